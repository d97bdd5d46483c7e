"""What a page says of the exported files: what each was measured to be beside the trained model, and which were not
published, and why.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reprolens.tracking.partial import read_number

MODEL = "the trained model in torch"

_COLUMNS = {
    "size_mb": ("MB", "{:.1f}"),
    "voc12/map50": ("mAP50", "{:.4f}"),
    "drop/voc12/map50": ("drop", "{:z.4f}"),
    "coco/ap": ("AP", "{:.4f}"),
    "drop/coco/ap": ("drop", "{:z.4f}"),
    "latency_ms/p50": ("ms, median", "{:.2f}"),
    "latency_ms/p95": ("95 %", "{:.2f}"),
    "images_per_second": ("pictures/s", "{:.1f}"),
    "peak_memory_mib": ("MiB, peak", "{:.0f}"),
    "speedup": ("x torch", "{:.2f}"),
}
"""Of each number of a file its heading, and how it is written."""


@dataclass(frozen=True)
class Line:
    """A file and its numbers, one a column, as text; `reason` says why it was not published, empty if it was."""

    name: str
    cells: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True)
class Exported:
    """The trained model, then the files under `columns`; `note` says where and on what they were measured."""

    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    note: str


def read_exported(export: Mapping[str, Any]) -> Exported | None:
    """Return what reports/export.json says of its files; None where it tells of none. What it lacks is left out."""
    published, rejected = export.get("published"), export.get("rejected")
    reasons = {str(name): "" for name in published} if isinstance(published, list) else {}
    reasons |= {str(name): str(reason) for name, reason in rejected.items()} if isinstance(rejected, dict) else {}
    if not reasons:
        return None
    names = {name: str(export.get(f"{name}/file") or name) for name in reasons}
    shown = [key for key in _COLUMNS if any(_cell(export, name, key) for name in ("torch", *names))]
    lines = [
        Line(file, tuple(_cell(export, name, key) for key in shown), reasons[name]) for name, file in names.items()
    ]
    model = Line(MODEL, tuple(_cell(export, "torch", key) for key in shown))
    if any(model.cells):
        lines.insert(0, model)
    return Exported(tuple(_COLUMNS[key][0] for key in shown), tuple(lines), _note(export))


def _cell(export: Mapping[str, Any], name: str, key: str) -> str:
    value = read_number(export.get(f"{name}/{key}"))
    return "" if value is None else _COLUMNS[key][1].format(value)


def _note(export: Mapping[str, Any]) -> str:
    """Return what there is of: the pictures that mAP and AP are of, processor, threads, batch."""
    images, threads, batch = (read_number(export.get(key)) for key in ("images", "threads", "batch"))
    split, cpu = (value if isinstance(value, str) else "" for value in (export.get("split"), export.get("cpu")))
    parts = [
        f"mAP50 (VOC12) and AP (COCO) over the {images:.0f} pictures of the {split} split" if images and split else "",
        f"times on {cpu}" if cpu else "",
        f"{threads:.0f} thread{'' if threads == 1 else 's'}" if threads else "",
        f"pictures a second {batch:.0f} at a time" if batch else "",
    ]
    return f"Measured in one run: {told}." if (told := ", ".join(part for part in parts if part)) else ""
