"""What a page says of one experiment, taken from its reports: the same for the run's own page and a sweep's trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprolens.colors import class_hex
from reprolens.tracking.page.charts import Chart, confusion_matrix, line_chart, precision_recall
from reprolens.tracking.page.evaluated import Evaluated, read_evaluated
from reprolens.tracking.page.exported import Exported, read_exported
from reprolens.tracking.page.pictures import Place, Shot, read_sheets, read_shots
from reprolens.tracking.page.tables import Cell, Row, Table, percent
from reprolens.tracking.partial import REPORTS, read_history, read_number, read_object, read_table
from reprolens.tracking.reports import best_is
from reprolens.tracking.wording import write_duration, write_number

BACKGROUND = "background"
"""What reports/plots/confusion.csv calls no object: a missed one's prediction, a false alarm's truth."""

_METRICS = ("voc12/map50", "voc07/map50", "coco/ap", "coco_segm/ap", "precision", "recall", "f1", "best_f1")
_CLASS_COLUMNS = {"ap50_voc12": "AP50 (VOC12)", "ap50_voc07": "AP50 (VOC07)", "ap_coco": "AP (COCO)", "f1": "F1"}
_SHARES = ("ap50_voc12", "ap50_voc07", "ap_coco")
ERRORS = {
    "cls": "right place, wrong class",
    "loc": "right class, wrong place",
    "both": "wrong class, wrong place",
    "dupe": "found twice",
    "bkg": "nothing is there",
    "miss": "not found",
}
"""TIDE's kinds of error in evaluation's words (findings/errors.py), which cannot be imported from here."""

_MOST_CONFUSED = 8
_MOST_PROBLEMS = 20


@dataclass(frozen=True)
class Tile:
    """A headline number as text, and its 95 % interval, whose ends and value also lie on a scale, in per cent."""

    name: str
    value: str
    low: str = ""
    high: str = ""
    bar: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Sections:
    """Everything that a page shows of the reports; what these lack is empty or None. `more` pictures are not shown."""

    reports: Mapping[str, Mapping[str, Any]]
    tiles: tuple[Tile, ...]
    evaluated: Evaluated
    curves: tuple[Chart, ...]
    precision_recall: Chart | None
    classes: Table | None
    confusion: Chart | None
    confused: tuple[tuple[str, str, int], ...]
    errors: Table | None
    samples: tuple[Shot, ...]
    worst: tuple[Shot, ...]
    more: int
    sheets: tuple[tuple[str, str], ...]
    splits: Table | None
    objects: Table | None
    exported: Exported | None
    problems: int
    problem_list: tuple[str, ...]


def read_sections(root: Path, place: Place) -> Sections:
    """Read `root`/reports; `place` gives a picture's address in the page. What is missing or damaged is left out."""
    reports = {name: read_object(root / "reports" / f"{name}.json") for name in REPORTS}
    plots = root / "reports" / "plots"
    history = read_history(root)
    rows = read_table(plots / "per_class.csv")
    dataset = reports["dataset"]
    names = list(
        dict.fromkeys(
            [
                *(str(entry["name"]) for entry in _class_entries(dataset)),
                *(row["class"] for row in rows if "class" in row),
            ]
        )
    )
    colors = {name: class_hex(index) for index, name in enumerate(names)}
    counts = _confusion(plots / "confusion.csv")
    samples, more_samples = read_shots(root, place, colors, "sample")
    worst, more_worst = read_shots(root, place, colors, "worst")
    return Sections(
        reports={name: _scalars(report) for name, report in reports.items() if _scalars(report)},
        tiles=_tiles(reports, history),
        evaluated=read_evaluated(root, reports, rows, place),
        curves=_curves(history),
        precision_recall=_precision_recall(plots / "pr.csv", colors, rows),
        classes=_classes(rows, colors),
        confusion=confusion_matrix(counts, _confused_names(counts, names)),
        confused=_most_confused(counts),
        errors=_errors(plots / "errors.csv"),
        samples=samples,
        worst=worst,
        more=more_samples + more_worst,
        sheets=read_sheets(root, place),
        splits=_splits(dataset),
        objects=_objects(dataset, colors),
        exported=read_exported(reports["export"]),
        problems=int(read_number(dataset.get("problems")) or 0),
        problem_list=_problems(dataset),
    )


def _scalars(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if isinstance(value, bool | int | float | str)}


def _tiles(reports: Mapping[str, Mapping[str, Any]], history: Sequence[Mapping[str, float]]) -> tuple[Tile, ...]:
    """Return the headline: what the evaluation measured, before it the best of validation; then what it costs."""
    evaluation, export, train = reports["evaluation"], reports["export"], reports["train"]
    tiles = [_tile(key, evaluation) for key in _METRICS if read_number(evaluation.get(key)) is not None]
    if not tiles:
        for name in _columns(history, "val/"):
            best = min if best_is(name) == "min" else max
            tiles.append(Tile(f"{name}, best so far", write_number(best(row[name] for row in history if name in row))))
    for key, name, unit in (("onnx/latency_ms/p50", "ONNX latency", "ms"), ("onnx/size_mb", "ONNX size", "MB")):
        if export.get("onnx/passed") and (value := read_number(export.get(key))) is not None:
            tiles.append(Tile(name, f"{value:.3g} {unit}"))
    if (parameters := read_number(train.get("parameters"))) is not None:
        tiles.append(Tile("parameters", f"{parameters / 1e6:.3g} M"))
    if (seconds := read_number(train.get("seconds"))) is not None:
        tiles.append(Tile("training", write_duration(seconds)))
    return tuple(tiles)


def _tile(key: str, metrics: Mapping[str, Any]) -> Tile:
    value, low, high = (read_number(metrics.get(name)) for name in (key, f"{key}/low", f"{key}/high"))
    if value is None or low is None or high is None:
        return Tile(key, write_number(value))
    bar = {"left": round(100 * low, 1), "width": round(100 * (high - low), 1), "at": round(100 * value, 1)}
    return Tile(key, write_number(value), write_number(low), write_number(high), bar)


def _columns(history: Sequence[Mapping[str, float]], *starts: str) -> list[str]:
    columns = dict.fromkeys(name for row in history for name in row)
    return [name for name in columns if name.startswith(starts)]


def _curves(history: Sequence[Mapping[str, float]]) -> tuple[Chart, ...]:
    measured = _columns(history, "val/")
    groups = {
        "Loss": [*_columns(history, "train/"), *(name for name in measured if "loss" in name)],
        "Validation": [name for name in measured if "loss" not in name],
        "Learning rate": [name for name in _columns(history, "lr") if name == "lr" or name.startswith("lr/")],
        "Images per second": _columns(history, "images_per_second"),
    }
    charts = (line_chart(title, history, names) for title, names in groups.items())
    return tuple(chart for chart in charts if chart is not None)


def _precision_recall(path: Path, colors: Mapping[str, str], rows: Sequence[Mapping[str, str]]) -> Chart | None:
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in read_table(path):
        recall, precision = read_number(row.get("recall")), read_number(row.get("precision"))
        if recall is not None and precision is not None and 0 <= recall <= 1 and 0 <= precision <= 1:
            curves.setdefault(row.get("class", ""), []).append((recall, precision))
    areas = {row.get("class", ""): read_number(row.get("ap50_voc12")) for row in rows}
    return precision_recall(curves, colors, {name: area for name, area in areas.items() if area is not None})


def _classes(rows: Sequence[Mapping[str, str]], colors: Mapping[str, str]) -> Table | None:
    """Return reports/plots/per_class.csv as a table; the average precisions have bars."""
    if not rows or "class" not in rows[0]:
        return None
    columns = [name for name in rows[0] if name != "class"]
    body = [
        Row(row["class"], tuple(_class_cell(row, name) for name in columns), colors.get(row["class"], ""))
        for row in rows
    ]
    return Table(tuple(_CLASS_COLUMNS.get(name, name) for name in columns), tuple(body))


def _class_cell(row: Mapping[str, str], column: str) -> Cell:
    value = read_number(row[column])
    if value is None:
        return Cell("")
    if column == "boxes":
        return Cell(f"{value:.0f}")
    return Cell(f"{value:.3f}", percent(value) if column in _SHARES else None)


def _confusion(path: Path) -> dict[tuple[str, str], float]:
    counts: dict[tuple[str, str], float] = {}
    for row in read_table(path):
        count = read_number(row.get("count"))
        if count is not None and count > 0 and "truth" in row and "prediction" in row:
            counts[row["truth"], row["prediction"]] = count
    return counts


def _confused_names(counts: Mapping[tuple[str, str], float], names: Sequence[str]) -> list[str]:
    """Return the classes in their order, those of the matrix that no other report names, and last the background."""
    found = dict.fromkeys([*names, *(name for pair in counts for name in pair)])
    return [*(name for name in found if name != BACKGROUND), *([BACKGROUND] if BACKGROUND in found else [])]


def _most_confused(counts: Mapping[tuple[str, str], float]) -> tuple[tuple[str, str, int], ...]:
    """Return the pairs of two different classes with the highest counts: truth, prediction, count."""
    pairs = [(pair, count) for pair, count in counts.items() if pair[0] != pair[1] and BACKGROUND not in pair]
    pairs.sort(key=lambda item: (-item[1], item[0]))
    return tuple((truth, seen, round(count)) for (truth, seen), count in pairs[:_MOST_CONFUSED])


def _errors(path: Path) -> Table | None:
    found = [
        (row["error"], read_number(row.get("count")), read_number(row.get("cost")))
        for row in read_table(path)
        if "error" in row
    ]
    most = max([0.0, *(cost for _, _, cost in found if cost is not None)]) or 1.0  # mending one may also cost a little
    rows = tuple(Row(ERRORS.get(name, name), (_whole(count), _cost(cost, most))) for name, count, cost in found)
    return Table(("count", "AP50 lost"), rows) if rows else None


def _cost(cost: float | None, most: float) -> Cell:
    if cost is None:
        return Cell("")
    return Cell("<0.0001" if 0 < cost < 5e-5 else f"{cost:z.4f}", percent(cost / most))


def _whole(count: float | None) -> Cell:
    return Cell("" if count is None else f"{count:.0f}")


def _class_entries(dataset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entries = dataset.get("classes")
    return (
        [entry for entry in entries if isinstance(entry, dict) and "name" in entry] if isinstance(entries, list) else []
    )


def _splits(dataset: Mapping[str, Any]) -> Table | None:
    names = [key.removeprefix("images/") for key in dataset if key.startswith("images/")]
    numbers = {name: [read_number(dataset.get(f"{kind}/{name}")) for kind in ("images", "boxes")] for name in names}
    rows = tuple(Row(name, tuple(map(_whole, pair))) for name, pair in numbers.items() if pair[0] is not None)
    return Table(("pictures", "boxes"), rows) if rows else None


def _objects(dataset: Mapping[str, Any], colors: Mapping[str, str]) -> Table | None:
    """Return how many boxes each class has in each split; the first split's have bars."""
    entries = _class_entries(dataset)
    columns = list(dict.fromkeys(key for entry in entries for key in entry if key != "name"))
    if not columns:
        return None
    most = max(read_number(entry.get(columns[0])) or 0.0 for entry in entries) or 1.0
    rows = []
    for entry in entries:
        first, *rest = (read_number(entry.get(column)) for column in columns)
        cells = (Cell(_whole(first).text, percent((first or 0.0) / most)), *map(_whole, rest))
        rows.append(Row(str(entry["name"]), cells, colors.get(str(entry["name"]), "")))
    return Table(tuple(columns), tuple(rows))


def _problems(dataset: Mapping[str, Any]) -> tuple[str, ...]:
    entries = dataset.get("problem_list")
    lines = []
    for entry in entries[:_MOST_PROBLEMS] if isinstance(entries, list) else []:
        if isinstance(entry, dict):
            parts = [str(entry[key]) for key in ("file", "place", "reason", "action") if entry.get(key)]
            lines.append(": ".join(parts))
    return tuple(lines)
