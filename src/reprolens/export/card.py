"""README.md of an exported folder: the model card. It tells of the published files and of no others."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reprolens.config import ExportFormat
from reprolens.export.formats import FORMATS
from reprolens.export.provenance import DATA, WEIGHTS, Provenance
from reprolens.export.source import Source
from reprolens.files import write_text
from reprolens.models.registry import get

Reports = Mapping[str, Mapping[str, Any]]

_MEASURES = {
    "mAP at IoU 0.5, VOC12 (all points)": "voc12/map50",
    "mAP at IoU 0.5, VOC07 (11 points)": "voc07/map50",
    "AP, COCO (IoU 0.50 to 0.95)": "coco/ap",
    "AP at IoU 0.75, COCO": "coco/ap75",
}
_FASTER = 1.1
"""By which a file of smaller numbers must be faster than float32 to be called so; less is the noise of a machine."""


def write_card(folder: Path, source: Source, reports: Reports, origin: Provenance) -> None:
    """Write README.md into `folder`.

    `reports` holds the contents of reports/dataset.json, pretrain.json, train.json, evaluation.json and export.json
    under these names without suffix.
    """
    parts = (
        _introduction(source, reports),
        _data(source, reports["dataset"]),
        _quality(source, reports),
        _files(source, reports["export"]),
        _use(source, reports["export"]),
        _limits(source, reports),
        _reproduction(origin),
    )
    write_text(folder / "README.md", "\n\n".join(parts) + "\n")


def _introduction(source: Source, reports: Reports) -> str:
    options, train = source.trained.options, reports["train"]
    entry = get(options.name)
    height, width = options.image_size
    rows = [
        ("model", f"{entry.name} ([paper](https://arxiv.org/abs/{entry.paper.removeprefix('arXiv:')}))"),
        ("size", f"{train['parameters'] / 1e6:.2f} M parameters; it sees {height} x {width} pixels"),
        ("code's licence", entry.licence),
        ("starting weights", _weights(reports["pretrain"])),
        ("training", f"best of {train['epochs']} epochs by AP on the val split"),
    ]
    return (
        f"# {entry.name}, {len(source.trained.classes)} classes\n\n"
        f"An object detector: a picture of any size goes in, {_given(source)} come out. Resizing and normalisation are "
        f"inside the files.\n\n{_table(('', ''), rows)}"
    )


def _given(source: Source) -> str:
    return "boxes, scores and labels" if source.config.postprocess else "candidate boxes with a score for each class"


def _data(source: Source, dataset: Mapping[str, Any]) -> str:
    splits = [name for name in ("train", "val", "test") if f"images/{name}" in dataset]
    counts = {item["name"]: item for item in dataset["classes"]}
    rows = [
        ("pictures", *(dataset[f"images/{name}"] for name in splits)),
        ("boxes", *(dataset.get(f"boxes/{name}", "") for name in splits)),
        *((name, *(counts.get(name, {}).get(split, 0) for split in splits)) for name in source.trained.classes),
    ]
    said = dataset.get("source") or [{}]
    said = said[0] if isinstance(said, Sequence) else said
    return (
        f"## Data set\n\nLicence: {_text(said.get('licence') or 'not stated')}. Format: "
        f"{_text(said.get('format', 'unknown'))}. Boxes of each class:\n\n{_table(('', *splits), rows)}"
    )


def _quality(source: Source, reports: Reports) -> str:
    evaluation = reports["evaluation"]
    seen = ", the pictures that it was trained on" if evaluation["split"] == "train" else " that training never saw"
    if evaluation["split"] == "val":
        seen = ", by which the epoch was chosen"
    measures = [(label, _number(evaluation[key]), _interval(evaluation, key)) for label, key in _MEASURES.items()]
    classes = [(name, _number(evaluation[f"voc12/ap50/{name}"])) for name in source.trained.classes]
    return (
        f"## How good it is\n\nOn the {evaluation['split']} split, {evaluation['images']} pictures with "
        f"{evaluation['boxes']} boxes{seen}:\n\n{_table(('measure', 'value', '95 % interval'), measures)}\n\n"
        f"{_table(('class', 'AP at IoU 0.5 (VOC12)'), classes)}"
    )


def _files(source: Source, export: Mapping[str, Any]) -> str:
    """Return what each file was measured to be, the trained model before them all."""
    header = (
        *("file", "numbers", "MB", "mAP50 (drop)", "AP (drop)", "ms a picture, median (95 %)"),
        *(f"pictures/s, {export['batch']} at a time", "peak memory, MiB", "x torch"),
    )
    rows = [("the trained model in torch", "float32", "", *_measured(export, "torch"), "1")]
    for name in export["published"]:
        numbers, size = FORMATS[ExportFormat(name)].precision, _shown(export.get(f"{name}/size_mb"), 1)
        speedup = _shown(export.get(f"{name}/speedup"), 2)
        rows.append((f"`{export[f'{name}/file']}`", numbers, size, *_measured(export, name), speedup))
    return (
        f"## Files\n\nEach was run over the {export['split']} split, {export['images']} pictures, beside the model it "
        f"was made from: on {_text(export['cpu'])}, threads: {export['threads']}. mAP50 is VOC12's, AP is COCO's; the "
        f"drop is how far below the model in torch.\n\n{_table(header, rows)}{_candidates(source, export)}"
    )


def _candidates(source: Source, export: Mapping[str, Any]) -> str:
    """Say of the file that never has its post-processing inside that it has not, where others have."""
    if not source.config.postprocess or ExportFormat.torch_export not in export["published"]:
        return ""
    file = FORMATS[ExportFormat.torch_export].file
    return f"\n\n`{file}` gives candidates: thresholds and non-maximum suppression are left to whoever runs it."


def _measured(export: Mapping[str, Any], name: str) -> tuple[str, ...]:
    quality = []
    for key in ("voc12/map50", "coco/ap"):
        drop = export.get(f"{name}/drop/{key}")
        quality.append(_number(export.get(f"{name}/{key}")) + ("" if drop is None else f" ({drop:.4f})"))
    median, most = (_shown(export.get(f"{name}/latency_ms/{part}"), 1) for part in ("p50", "p95"))
    speed, memory = export.get(f"{name}/images_per_second"), export.get(f"{name}/peak_memory_mib")
    return (*quality, f"{median} ({most})", _shown(speed, 1), _shown(memory, 0))


def _use(source: Source, export: Mapping[str, Any]) -> str:
    file = export[f"{export['published'][0]}/file"]
    return (
        "## How to run it\n\n`python example.py picture.jpg` runs it without Reprolens and prints label, score and box "
        "(x0 y0 x1 y1 in pixels). `model.json` says what goes in and what comes out, `labels.txt` names the classes. "
        f"With Reprolens:\n\n```\nreprolens predict {file} pictures/\n```"
    )


def _limits(source: Source, reports: Reports) -> str:
    options, near = source.trained.options, reports["evaluation"].get("near_duplicates") or 0
    lines = [
        "It knows the classes above and nothing else, in pictures like those it was trained on.",
        "Scores rank detections; they are not calibrated probabilities.",
        f"Detections below a score of {options.score_threshold} are left out, and all but the best "
        f"{options.detections_per_image} of a picture.",
        "Times and memory are those of the machine above; another one's differ.",
        *_not_faster(reports["export"]),
    ]
    if near:
        lines.append(f"{near} of the measured pictures look like one of another split, so the numbers may be too good.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _not_faster(export: Mapping[str, Any]) -> list[str]:
    """Say of each published file of smaller numbers that did not run faster than float32 that it did not."""
    base = export.get("onnx/latency_ms/p50")
    lines = []
    for name in export["published"]:
        precision, time = FORMATS[ExportFormat(name)].precision, export.get(f"{name}/latency_ms/p50")
        if precision != "float32" and base and time and base / time < _FASTER:
            times = f"{time:.1f} ms a picture, {base:.1f} ms in float32"
            file = export[f"{name}/file"]
            lines.append(f"`{file}` is smaller, but was not faster here: {times}. {_REASON[precision]}.")
    return lines


_REASON = {
    "float16": "CPUs mostly compute with 16-bit numbers as 32-bit ones",
    "int8": "On CPUs with VNNI or AMX 8-bit numbers speed up ordinary convolutions, depthwise ones hardly",
}


def _reproduction(origin: Provenance) -> str:
    steps = [f"git checkout {origin.revision}", "dvc repro"] if origin.revision else ["dvc repro"]
    note = "\n\nThe sources held changes that this commit lacks." if origin.dirty else ""
    rows = [(f"`{path}`, DVC's MD5", f"`{md5}`") for path, md5 in origin.hashes.items()]
    rows += [
        (name, f"`{value}`")
        for name, value in (
            (f"`{WEIGHTS}`, SHA-256", origin.weights),
            (f"`{DATA}`, measured split, SHA-256", origin.data),
        )
        if value
    ]
    config = f"\n\n<details><summary>Configuration</summary>\n\n```yaml\n{origin.config}```\n\n</details>"
    hashes = f"\n\n{_table(('', ''), rows)}" if rows else ""
    return (
        "## How to reproduce it\n\n```\n" + "\n".join(steps) + f"\n```{note}{hashes}{config if origin.config else ''}"
    )


def _weights(origin: Mapping[str, Any]) -> str:
    name = origin.get("name") or origin.get("file")
    return _text(f"{name} ({origin['licence']})") if name else "none: trained from random values"


def _interval(evaluation: Mapping[str, Any], key: str) -> str:
    """Return the interval by bootstrap over pictures; nothing where there is none (evaluate.bootstrap: 0)."""
    low, high = evaluation.get(f"{key}/low"), evaluation.get(f"{key}/high")
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _text(value: object) -> str:
    """Return what came from outside so that Markdown takes it for text and a table for one cell."""
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
