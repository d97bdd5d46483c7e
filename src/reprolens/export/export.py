"""The export stage: a trained model to files, of which only those that are as good as it are published."""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprolens.config import Export, ExportFormat, OnFailure
from reprolens.errors import ExportError, GateError, ReprolensError, first_line
from reprolens.export.formats import FORMATS, Written, check_formats
from reprolens.files import atomic_folder, write_text

if TYPE_CHECKING:
    from reprolens.export.source import Source
    from reprolens.models import TrainedModel
    from reprolens.voc import Folder

REJECTED = "rejected"
"""The folder in the exported one where files are kept that did not pass, each format in its own with `reason.txt`."""

EARLIER = {"dataset": "convert", "pretrain": "pretrain", "train": "train", "evaluation": "evaluate"}
"""The reports that the model card tells from, and the stages that write them."""


def export_model(
    trained: "TrainedModel", folder: "Folder", config: Export, reports: Path, out: Path, root: Path
) -> dict[str, Any]:
    """Write `trained` in each of `config.formats`, let the gate judge the files, and return reports/export.json.

    `out` then holds the files that passed with labels.txt, model.json, README.md (the model card) and example.py, all
    of which are left out where nothing passed; what did not pass is in `out`/rejected. `root` is the repository, which
    knows revision and hashes. A format that cannot be written is one that did not pass.

    Raises ExportError for what no format can be had of, before anything is written; `out` then stays as it was.
    """
    check_formats(config.formats)
    _check_family(trained, config)
    earlier = {name: _read(reports / f"{name}.json", stage) for name, stage in EARLIER.items()}
    from reprolens.export.provenance import read_provenance
    from reprolens.export.source import Source

    provenance = read_provenance(root, earlier["evaluation"])
    source = Source(trained, folder, config)
    with atomic_folder(out) as temporary:
        report, written = _judged(source, temporary)
        if report["published"]:
            from reprolens.export.about import write_about
            from reprolens.export.card import write_card

            write_about(temporary, source, report, written, provenance)
            write_card(temporary, source, {**earlier, "export": report}, provenance)
    return report


def refuse(report: Mapping[str, Any], config: Export) -> None:
    """Raise GateError in one line if a file did not pass, unless config.gate.on_failure is to warn."""
    if not report["rejected"] or config.gate.on_failure == OnFailure.warn:
        return
    count, total = len(report["rejected"]), len(report["rejected"]) + len(report["published"])
    only = next(iter(report["rejected"])) if count == 1 else None
    kept = f"it is kept in export/{REJECTED}/{only}" if only else f"they are kept in export/{REJECTED}"
    raise GateError(
        f"export: {count} of {total} files {'is' if only else 'are'} not as good as the model and not published: "
        f"{told_rejected(report)}; {kept}"
    )


def told_rejected(report: Mapping[str, Any]) -> str:
    """Return the rejected files with their reasons, as one line."""
    return "; ".join(f"{report[f'{name}/file']}: {reason}" for name, reason in report["rejected"].items())


def _check_family(trained: "TrainedModel", config: Export) -> None:
    """Raise ExportError for a family without an export, and for what a detector of two stages cannot become."""
    from reprolens.export.dense import TwoStage, fixed_part

    part = fixed_part.dispatch(type(trained.module))
    if part is fixed_part.dispatch(object):
        raise ExportError(f"{type(trained.module).__name__}: this family has no export yet")
    if part is not TwoStage:
        return
    for name in config.formats:
        if not FORMATS[name].two_stage:
            raise ExportError(
                f"export.formats: {name} takes detectors of one stage, {trained.options.name} has two; leave it out"
            )
    if not config.postprocess:
        raise ExportError(
            f"export.postprocess: must be true for {trained.options.name}, a detector of two stages, which decides "
            "between its stages"
        )


def _read(path: Path, stage: str) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        report = None
    if not isinstance(report, dict):
        raise ExportError(f"{path}: missing or damaged; run dvc repro {stage}")
    return report


def _judged(source: "Source", folder: Path) -> tuple[dict[str, Any], dict[ExportFormat, Written]]:
    """Write every format into `folder`, have them judged, put each where it belongs; return the report on them."""
    files, written, reasons = _write(source, folder)
    report: dict[str, Any] = {"published": [], "rejected": {}, "opset": source.config.opset}
    if files:
        from reprolens.export.gate.judge import judge

        judgement = judge(source, files, written)
        reasons |= {verdict.format: verdict.reasons for verdict in judgement.verdicts}
        report |= judgement.report()
    names = source.config.formats
    report["published"] = [name.value for name in names if not reasons[name]]
    report["rejected"] = {name.value: "; ".join(reasons[name]) for name in names if reasons[name]}
    for name in names:
        report |= {f"{name}/passed": not reasons[name], f"{name}/file": FORMATS[name].file}
        _place(folder, name, reasons[name])
    return {key: _finite(value) for key, value in report.items()}, written


def _write(
    source: "Source", folder: Path
) -> tuple[dict[ExportFormat, Path], dict[ExportFormat, Written], dict[ExportFormat, tuple[str, ...]]]:
    """Write each format into a folder of its own; return the files, what their writers say, and why others are none."""
    files: dict[ExportFormat, Path] = {}
    written: dict[ExportFormat, Written] = {}
    reasons: dict[ExportFormat, tuple[str, ...]] = {}
    for name in source.config.formats:
        path = folder / name / FORMATS[name].file
        path.parent.mkdir()
        print(f"export: writes {path.name}", file=sys.stderr, flush=True)
        try:
            written[name] = FORMATS[name].write(source, path)
        except ExportError as error:
            reasons[name] = (f"cannot be written: {str(error).removeprefix(f'{path}: ')}",)
            continue
        except Exception as error:  # exporters and converters raise kinds of their own
            if isinstance(error, ReprolensError):
                raise
            reasons[name] = (f"cannot be written: {type(error).__name__}: {first_line(error)}",)
            continue
        files[name] = path
    return files, written, reasons


def _place(folder: Path, name: ExportFormat, reasons: tuple[str, ...]) -> None:
    """Move a format's files from their own folder to the published ones, or to the rejected with the reasons."""
    if reasons:
        (folder / REJECTED).mkdir(exist_ok=True)
        (folder / name).rename(folder / REJECTED / name)
        write_text(folder / REJECTED / name / "reason.txt", "".join(f"{reason}\n" for reason in reasons))
        return
    for path in sorted((folder / name).iterdir()):
        path.rename(folder / path.name)
    (folder / name).rmdir()


def _finite(value: Any) -> Any:
    """Return None for a number that JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
