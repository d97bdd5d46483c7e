"""An evaluation as tables for a terminal, from what reports/evaluation.json says and nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from reprolens.evaluation.findings.errors import KINDS
from reprolens.evaluation.measures.intervals import class_key

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Report = Mapping[str, Any]

HEADLINE = {
    "voc12/map50": ("mAP50 (VOC12)", "VOC 2010 to 2012: AP at every recall, IoU 0.5"),
    "voc07/map50": ("mAP50 (VOC07)", "VOC 2007: AP at 11 recalls, IoU 0.5"),
    "coco/ap": ("AP (COCO)", "COCO: AP at 101 recalls, mean of IoU 0.50 to 0.95"),
    "coco/ap50": ("AP50 (COCO)", "the same, IoU 0.5"),
    "coco/ap75": ("AP75 (COCO)", "the same, IoU 0.75"),
    "coco_segm/ap": ("AP of masks (COCO)", "as COCO's AP, by the masks' IoU"),
    "coco_segm/ap50": ("AP50 of masks (COCO)", "the same, IoU 0.5"),
    "coco_segm/ap75": ("AP75 of masks (COCO)", "the same, IoU 0.75"),
    "best_f1": ("best F1", "at the score threshold that gives it, IoU 0.5"),
    "calibration/ece": ("ECE", "how far scores are from the share that is right"),
}
"""Each headline number's name, and which protocol it is, in words."""

_SIZES = {"small": "under 32 x 32", "medium": "to 96 x 96", "large": "beyond"}
_PER_CLASS = {"voc12": "AP50 (VOC12)", "voc07": "AP50 (VOC07)"}


def tables(
    report: Report, worst: Sequence[tuple[str, str]] = (), notes: Sequence[str] = (), most: int = 20
) -> "Iterator[RenderableType]":
    """Yield an evaluation as tables: what it is of, its numbers by protocol, sizes, thresholds, errors, classes.

    `report` holds the keys of reports/evaluation.json; what it lacks is left out. Classes are listed from the worst up,
    `most` of them. `worst` are names of pictures with the reason why they are the worst served; `notes` are sentences.
    """
    from rich.markup import escape

    yield _title(report)
    for note in notes:
        yield f"[dim]{escape(note)}[/dim]"
    parts = (_headline(report), _sizes(report), _thresholds(report), _errors(report), _classes(report, most))
    for table in chain(*parts, _worst(worst)):
        yield ""
        yield table


def _title(report: Report) -> str:
    from rich.markup import escape

    what = f"[bold]{escape(str(report.get('split', 'detections')))}[/bold]: "
    what += f"{report['images']} images, {report['boxes']} boxes, {report['detections']} detections"
    hashes = [f"{name} {report[key][:12]}" for name, key in _HASHES.items() if report.get(key)]
    if report.get("near_duplicates"):
        hashes.append(f"{report['near_duplicates']} pictures look like ones of another split")
    return f"{what} ({', '.join(hashes)})" if hashes else what


_HASHES = {"data": "data/sha256", "weights": "weights/sha256"}


def _headline(report: Report) -> "Iterator[Table]":
    table = _table("measure", right=("value", "95 % interval"))
    table.add_column("protocol", style="dim")
    for key, (name, protocol) in HEADLINE.items():
        if key in report:
            table.add_row(name, _number(report[key]), _interval(report, key), protocol)
    yield table


def _sizes(report: Report) -> "Iterator[Table]":
    kinds = [kind for kind in ("coco", "coco_segm") if f"{kind}/ap_small" in report]
    if not kinds:
        return
    names = [f"{measure}{' of masks' if kind == 'coco_segm' else ''}" for kind in kinds for measure in ("AP", "AR100")]
    table = _table("COCO size, pixels", right=("boxes", *names))
    for size, words in _SIZES.items():
        values = [_number(report.get(f"{kind}/{measure}_{size}")) for kind in kinds for measure in ("ap", "ar")]
        table.add_row(f"{size} ({words})", _count(report.get(f"boxes/{size}")), *values)
    values = [_number(report.get(f"{kind}/{measure}")) for kind in kinds for measure in ("ap", "ar100")]
    table.add_row("all", _count(report.get("boxes")), *values)
    yield table


def _thresholds(report: Report) -> "Iterator[Table]":
    rows = [("chosen", report.get("score_threshold"), ("precision", "recall", "f1"))]
    if report.get("best_f1") is not None:
        keys = ("best_f1/precision", "best_f1/recall", "best_f1")
        rows.append(("best F1", report.get("best_f1/threshold"), keys))
    rows = [row for row in rows if row[2][0] in report]
    if not rows:
        return
    table = _table("threshold", right=("score", "precision", "recall", "F1"))
    for name, threshold, keys in rows:
        values = [f"{_number(report.get(key))} {_interval(report, key)}".rstrip() for key in keys]
        table.add_row(name, "" if threshold is None else f"{threshold:.3g}", *values)
    yield table


def _errors(report: Report) -> "Iterator[Table]":
    if not any(f"tide/{kind}" in report for kind in KINDS):
        return
    table = _table("error (TIDE)", right=("AP50 lost",))
    for kind, words in KINDS.items():
        table.add_row(words, _number(report.get(f"tide/{kind}")))
    yield table


def _classes(report: Report, most: int) -> "Iterator[Table]":
    """Yield the classes by COCO's AP, the lowest first, those without truth, which have none, last."""
    from rich.markup import escape

    start = "voc12/ap50/"
    names = [key.removeprefix(start) for key in report if key.startswith(start)]
    if not names:
        return
    coco = {name: report.get(class_key("coco/ap", name)) for name in names}
    ranked = sorted(names, key=lambda name: (coco[name] is None, coco[name] or 0))
    masks = any(key.startswith("coco_segm/ap/") for key in report)
    table = _table(
        "class, worst first", right=("AP (COCO)", *_PER_CLASS.values(), *(("AP of masks (COCO)",) if masks else ()))
    )
    for name in ranked[:most]:
        keys = [class_key("coco/ap", name), *(f"{protocol}/ap50/{name}" for protocol in _PER_CLASS)]
        keys += [class_key("coco_segm/ap", name)] if masks else []
        table.add_row(escape(name), *(_number(report.get(key)) for key in keys))
    if len(ranked) > most:
        table.add_row(f"... {len(ranked) - most} more", style="dim")
    yield table


def _worst(worst: Sequence[tuple[str, str]]) -> "Iterator[Table]":
    from rich.markup import escape

    if worst:
        table = _table("picture served worst", "why")
        for name, why in worst:
            table.add_row(escape(name), escape(why))
        yield table


def _table(*columns: str, right: Sequence[str] = ()) -> "Table":
    from rich.table import Table

    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for column in right:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:z.3f}"


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


def _interval(report: Report, key: str) -> str:
    low, high = report.get(f"{key}/low"), report.get(f"{key}/high")
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"
