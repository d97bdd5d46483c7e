"""What a page says of one evaluation beyond its headline: what was measured, how far scores hold, what to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprolens.tracking.page.charts import LARGEST, Chart
from reprolens.tracking.page.pictures import Place
from reprolens.tracking.page.scores import MEASURES, Bin, reliability_chart, threshold_chart
from reprolens.tracking.page.tables import Cell, Row, Table, percent
from reprolens.tracking.partial import read_number, read_table
from reprolens.tracking.wording import write_number

MOST_SUSPECTS = 100
"""Likely label errors that are listed; the rest stand in reports/label_errors.csv."""

SHEETS = {"false_positives": "False alarms, the surest first", "misses": "Missed objects, the largest first"}
"""The contact sheets of single cases in reports/samples, and what is on them."""

_ONE_SHEET = 170_000  # bytes, before base64 adds a third
_SIZES = {"small": "small, under 32² px", "medium": "medium", "large": "large, over 96² px"}
_MOST_WORST = 5
_SUSPICIONS = {
    "overlooked": "not labelled",
    "swapped": "other class",
    "badly_located": "badly placed",
    "spurious": "nothing there",
}


@dataclass(frozen=True)
class Suspect:
    """A likely label error: its picture, what is wrong, what the data set and the model say, the box, how likely."""

    image: str
    kind: str
    label: str
    suggested: str
    box: str
    suspicion: Cell


@dataclass(frozen=True)
class Evaluated:
    """What is known of an evaluation; what its reports lack is empty, None or 0.

    counts: how many there are of what, as text. hashes: weights and data, whole.
    near_duplicates: pictures that look like one of another split.
    worst: the classes with the lowest average precision `worst_by`, lowest first.
    """

    split: str
    counts: tuple[tuple[str, str], ...]
    hashes: tuple[tuple[str, str], ...]
    has_intervals: bool
    near_duplicates: int
    thresholds: Chart | None
    reliability: Chart | None
    errors: tuple[str, str] | None
    sizes: Table | None
    worst: tuple[tuple[str, str], ...]
    worst_by: str
    sheets: tuple[tuple[str, str], ...]
    suspects: tuple[Suspect, ...]
    more_suspects: int
    suspect_sheet: str | None


def read_evaluated(
    root: Path, reports: Mapping[str, Mapping[str, Any]], classes: Sequence[Mapping[str, str]], place: Place
) -> Evaluated:
    """Read what evaluate wrote in `root`/reports; `classes` are the rows of per_class.csv, `place` as in `pictures`."""
    metrics, plots, samples = reports["evaluation"], root / "reports/plots", root / "reports/samples"
    rows = read_table(root / "reports" / "label_errors.csv")
    suspects = tuple(found for row in rows if (found := _suspect(row)))
    column, worst = _worst(classes)
    sheets = ((title, place(samples / f"{name}.png", _ONE_SHEET)) for name, title in SHEETS.items())
    return Evaluated(
        split=_text(metrics.get("split")),
        counts=_counts(metrics),
        hashes=tuple((name, text) for name in ("weights", "data") if (text := _text(metrics.get(f"{name}/sha256")))),
        has_intervals=any(key.endswith("/low") and key.removesuffix("/low") in metrics for key in metrics),
        near_duplicates=_near_duplicates(reports),
        thresholds=_thresholds(plots / "thresholds.csv", metrics),
        reliability=reliability_chart(_bins(plots / "reliability.csv")),
        errors=_calibration(metrics),
        sizes=_sizes(metrics),
        worst=worst,
        worst_by=column,
        sheets=tuple((title, href) for title, href in sheets if href),
        suspects=suspects[:MOST_SUSPECTS],
        more_suspects=max(0, len(suspects) - MOST_SUSPECTS),
        suspect_sheet=place(samples / "label_errors.png", _ONE_SHEET),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _counts(metrics: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    names = {"images": "images", "boxes": "true boxes", "detections": "detections"}
    numbers = ((read_number(metrics.get(key)), name) for key, name in names.items())
    return tuple((f"{number:.0f}", name) for number, name in numbers if number is not None)


def _near_duplicates(reports: Mapping[str, Mapping[str, Any]]) -> int:
    """Return how many the evaluation counted, else the conversion of the data set."""
    counts = (read_number(reports[name].get("near_duplicates")) for name in ("evaluation", "dataset"))
    return int(next((count for count in counts if count is not None), 0))


def _calibration(metrics: Mapping[str, Any]) -> tuple[str, str] | None:
    ece, mce = (read_number(metrics.get(f"calibration/{name}")) for name in ("ece", "mce"))
    return None if ece is None else (write_number(ece), write_number(mce))


def _thresholds(path: Path, metrics: Mapping[str, Any]) -> Chart | None:
    """Return the chart of thresholds.csv; a measure that is no share is left out. Scores may be any numbers."""
    rows = []
    for row in read_table(path):
        numbers = {name: number for name in MEASURES if (number := read_number(row.get(name))) is not None}
        if (threshold := _score(row.get("threshold"))) is not None:
            rows.append({"threshold": threshold} | {name: x for name, x in numbers.items() if 0 <= x <= 1})
    marks = {"best F1": _score(metrics.get("best_f1/threshold")), "chosen": _score(metrics.get("score_threshold"))}
    values = {name: number for name in MEASURES if (number := read_number(metrics.get(name))) is not None}
    return threshold_chart(rows, {name: score for name, score in marks.items() if score is not None}, values)


def _score(value: object) -> float | None:
    number = read_number(value)
    return number if number is not None and abs(number) < LARGEST else None


def _bins(path: Path) -> list[Bin]:
    """Return the bins that hold detections; one without a place between 0 and 1 is left out."""
    columns = ("lower", "upper", "count", "confidence", "accuracy")
    bins = []
    for row in read_table(path):
        lower, upper, count, confidence, accuracy = (read_number(row.get(name)) for name in columns)
        if lower is None or upper is None or count is None or confidence is None or accuracy is None:
            continue
        if 0 <= lower < upper <= 1 and 0 <= confidence <= 1 and 0 <= accuracy <= 1:
            bins.append(Bin(lower, upper, count, confidence, accuracy))
    return bins


def _sizes(metrics: Mapping[str, Any]) -> Table | None:
    """Return COCO's sizes: how many true boxes, average precision with its bar, average recall; of masks too."""
    measures = {"coco/ap": "AP", "coco/ar": "AR", "coco_segm/ap": "AP of masks", "coco_segm/ar": "AR of masks"}
    shown = {key: name for key, name in measures.items() if any(f"{key}_{size}" in metrics for size in _SIZES)}
    if not any(read_number(metrics.get(f"{key}_{size}")) is not None for key in shown for size in _SIZES):
        return None
    counted = any(f"boxes/{size}" in metrics for size in _SIZES)
    rows = []
    for size, name in _SIZES.items():
        count = read_number(metrics.get(f"boxes/{size}"))
        cells = [Cell("" if count is None else f"{count:.0f}")] if counted else []
        cells += [_share(read_number(metrics.get(f"{key}_{size}"))) for key in shown]
        rows.append(Row(name, tuple(cells)))
    return Table((*(["boxes"] if counted else []), *shown.values()), tuple(rows))


def _share(value: float | None) -> Cell:
    return Cell("", 0.0) if value is None else Cell(f"{value:.3f}", percent(value))


def _worst(rows: Sequence[Mapping[str, str]]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return by which precision classes were ranked, and the lowest of them: at most half, for all are no worst."""
    for column, name in (("ap_coco", "AP (COCO)"), ("ap50_voc12", "AP50 (VOC12)")):
        found = [(number, row.get("class", "")) for row in rows if (number := read_number(row.get(column))) is not None]
        if found:
            lowest = sorted(found, key=lambda item: item[0])[: min(_MOST_WORST, len(found) // 2)]
            return name, tuple((label, f"{number:.3f}") for number, label in lowest)
    return "", ()


def _suspect(row: Mapping[str, str]) -> Suspect | None:
    suspicion = read_number(row.get("suspicion"))
    corners = [read_number(row.get(name)) for name in ("x0", "y0", "x1", "y1")]
    if suspicion is None or "image" not in row:
        return None
    box = ", ".join("" if corner is None else f"{corner:.0f}" for corner in corners)
    kind = row.get("kind", "")
    return Suspect(
        image=row["image"],
        kind=_SUSPICIONS.get(kind, kind),
        label=row.get("class", ""),
        suggested=row.get("suggested", ""),
        box=box,
        suspicion=Cell(f"{suspicion:.2f}", percent(suspicion)),
    )
