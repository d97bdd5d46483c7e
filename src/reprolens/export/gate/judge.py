"""The gate: every file has to show that it is the trained model, before it is called one.

It has to be what it says (claim), give torch's numbers (agreement), be as good on the whole test split (accuracy), and
then it is told how fast it is beside torch (speed), how large, and how much memory it takes (memory).
"""

import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import onnx
import torch

from reprolens.config import ExportFormat
from reprolens.errors import ExportError, first_line
from reprolens.export.eager import TorchModel
from reprolens.export.formats import FORMATS, Written
from reprolens.export.gate.accuracy import MEASURES, Scores, measure_each
from reprolens.export.gate.agreement import compare_each
from reprolens.export.gate.claim import check_claim
from reprolens.export.gate.memory import peak_memory
from reprolens.export.gate.pictures import choose_split, read, read_all, spread
from reprolens.export.gate.speed import measure_speed
from reprolens.export.gate.verdict import Judgement, Verdict
from reprolens.export.source import Source
from reprolens.files import sha256
from reprolens.inference.load import load_model
from reprolens.inference.model import Model
from reprolens.models import save_trained
from reprolens.progress import track

_TIMED_PICTURES = 8
_ROUNDING = 1e-9


@dataclass
class _Examined:
    """A file on its way through the gate. `model` is None once it cannot be run, or not any more.

    is_shown: whether anything in the pictures was there to compare its numbers by.
    """

    format: ExportFormat
    path: Path
    written: Written
    model: Model | None = None
    is_shown: bool = False
    reasons: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        return FORMATS[self.format].precision

    def fail(self, reason: str) -> None:
        """Take the file out of what follows."""
        self.reasons.append(reason.removeprefix(f"{self.path}: ").replace(str(self.path), self.path.name))
        self.model = None


def judge(source: Source, files: Mapping[ExportFormat, Path], written: Mapping[ExportFormat, Written]) -> Judgement:
    """Judge the files that were written of `source`, all beside each other and beside torch.

    `written` is what each file's writer says of it. A file that does not load, or dies, is one that did not pass.
    Raises ExportError if there is nothing to judge them on, or the trained model itself does not run.
    """
    split, threads = choose_split(source.folder), torch.get_num_threads()
    examined = [_Examined(format, path, written[format]) for format, path in files.items()]
    height, width = read(source.folder, source.folder.splits[split][0])[1].shape[:2]
    for item in track(examined, "gate: files"):
        _open(item, source, (height, width), threads)
    _agree(examined, source, split)
    torch_facts: dict[str, Any] = {**_accurate(examined, source, split)}
    if not all(item.reasons for item in examined):  # what will not be used need not be timed
        torch_facts |= _fast(examined, source, split)
        torch_facts["peak_memory_mib"] = round(_memory_of_torch(source, (height, width), threads), 1)
    verdicts = [Verdict(item.format, item.path, tuple(item.reasons), item.facts) for item in examined]
    common = {
        "split": split,
        "images": len(source.folder.splits[split]),
        "opset": _opset(source, examined),
        "threads": threads,
        "cpu": _cpu(),
        "batch": source.config.gate.throughput_batch,
    }
    return Judgement(tuple(verdicts), torch_facts, common)


def _open(item: _Examined, source: Source, size: tuple[int, int], threads: int) -> None:
    """Load a file and check what it says of itself; first in a process of its own, which it may crash."""
    item.facts |= {"sha256": sha256(item.path), "size_mb": round(_bytes(item.path) / 1e6, 2), **item.written.facts}
    try:
        item.facts["peak_memory_mib"] = round(peak_memory(item.path, size, threads), 1)
        model = load_model(item.path, threads, device="cpu")  # where torch runs, too
        item.reasons += check_claim(source, item.format, item.path, model, item.written)
        item.model = model
    except Exception as error:  # runtimes raise kinds of their own
        item.fail(first_line(error))


def _agree(examined: list[_Examined], source: Source, split: str) -> None:
    """Compare numbers on some pictures."""
    gate = source.config.gate
    files = {item.format: (item.path, item.model) for item in examined if item.model is not None}
    pictures = read_all(source.folder, spread(source.folder, split, gate.images))
    agreements, failed = compare_each(source, files, pictures)
    for item in examined:
        if item.format in failed:
            item.fail(failed[item.format])
        elif item.format in agreements:
            agreement = agreements[item.format]
            item.is_shown = agreement.is_shown
            item.facts |= agreement.facts()
            item.reasons += agreement.reasons(gate, is_exact=item.precision == "float32")


def _accurate(examined: list[_Examined], source: Source, split: str) -> Scores:
    """Compare mAP on the whole split; return torch's."""
    models = {"torch": TorchModel(source.trained), **_running(examined)}
    measured, failed = measure_each(models, source.folder, split, "gate: accuracy")
    if "torch" in failed:
        raise ExportError(f"{source.trained.options.name}: the trained model {failed['torch']}")
    torch_scores = measured["torch"]
    for item in examined:
        if item.format in failed:
            item.fail(failed[item.format])
        elif item.format in measured:
            _compare_scores(item, torch_scores, measured[item.format], source, split)
    return torch_scores


def _compare_scores(item: _Examined, before: Scores, after: Scores, source: Source, split: str) -> None:
    item.facts |= after
    limit = getattr(source.config.gate.max_drop, item.precision)
    count = len(source.folder.splits[split])
    for key in MEASURES:
        best, score = before[key], after[key]
        if best is None or score is None:
            item.facts[f"drop/{key}"] = None
            continue
        drop = best - score
        item.facts[f"drop/{key}"] = drop
        if drop > limit + _ROUNDING:
            item.reasons.append(
                f"{key} falls by {drop:.3g} to {score:.3f} on {count} {split} pictures, "
                f"allowed is {limit:g} (export.gate.max_drop.{item.precision})"
            )
    if before["coco/ap"] is None and item.precision != "float32":
        item.reasons.append(f"nothing shows that {item.precision} is good enough: the {split} pictures have no objects")
    elif not before["coco/ap"] and not item.is_shown:
        item.reasons.append(
            f"nothing shows that {item.precision} is good enough: the model finds nothing right in the {split} "
            "pictures, and there are no detections to compare"
        )


def _fast(examined: list[_Examined], source: Source, split: str) -> dict[str, Any]:
    """Time torch and the files that have passed so far; return torch's facts."""
    gate = source.config.gate
    models = {"torch": TorchModel(source.trained), **_running([item for item in examined if not item.reasons])}
    pictures = list(islice(read_all(source.folder, spread(source.folder, split, gate.images)), _TIMED_PICTURES))
    speeds, failed = measure_speed(models, pictures, gate.timed_runs, gate.throughput_batch)
    if "torch" in failed:
        raise ExportError(f"{source.trained.options.name}: the trained model {failed['torch']}")
    for item in examined:
        if item.format in failed:
            item.fail(failed[item.format])
        elif item.format in speeds:
            speed = speeds[item.format]
            item.facts |= {**speed.facts(), "speedup": round(speeds["torch"].p50 / speed.p50, 2)}
    return speeds["torch"].facts()


def _running(examined: list[_Examined]) -> dict[str, Model]:
    return {item.format.value: item.model for item in examined if item.model is not None}


def _memory_of_torch(source: Source, size: tuple[int, int], threads: int) -> float:
    trained = source.trained
    transform: Any = trained.module.get_submodule("transform")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        save_trained(path, trained.module.state_dict(), trained.options, trained.classes, transform.preprocessing)
        return peak_memory(path, size, threads)


def _bytes(path: Path) -> int:
    """Return how large a file is, with the one beside it that has OpenVINO's weights."""
    beside = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    return sum(file.stat().st_size for file in (path, *beside) if file.exists())


def _opset(source: Source, examined: list[_Examined]) -> int:
    """Return the ONNX operator set that was written; torch's older exporter, for two stages, has no newer than 20."""
    for item in examined:
        if item.path.suffix == ".onnx" and item.model is not None:
            return next(entry.version for entry in onnx.load(item.path).opset_import if entry.domain == "")
    return source.config.opset


def _cpu() -> str:
    """Return the processor's name."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
