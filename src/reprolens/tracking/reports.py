"""What the earlier stages reported, read and checked as a whole before a run is opened: none is half written."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reprolens.errors import TrackingError

STAGES = {"dataset": "convert", "pretrain": "pretrain", "train": "train", "evaluation": "evaluate", "export": "export"}
"""Each JSON report, and the stage that writes it."""

FIGURES = {"precision_recall": "pr.png", "confusion": "confusion.png", "errors": "errors.png"}
"""The figures of reports/plots/, and the names that they have in the run."""

MORE_FIGURES = {"class_ap": "class_ap.png", "reliability": "reliability.png"}
"""Further ones, which evaluations of before, and scores that are no probabilities, do not have."""

TABLES = {
    "reliability": ("plots/reliability.csv", ("confidence", "accuracy", "count", "lower", "upper")),
    "thresholds": ("plots/thresholds.csv", ("threshold", "precision", "recall", "f1")),
    "label_errors": ("label_errors.csv", ("image", "kind", "class", "suggested", "suspicion")),
}
"""Tables that not every evaluation has: each one's file in reports/, and the columns that it must have."""

CASES = ("false_positives", "misses", "label_errors")
"""The contact sheets of single cases in reports/samples/, each only where there are any."""

_TEXTS = ("class", "image", "kind", "suggested")  # the columns that hold no numbers

Number = int | float
Scalar = Number | bool | str
Row = tuple[str | float | None, ...]


@dataclass(frozen=True)
class Labelled:
    """One box of a sample picture, `(x0, y0, x1, y1)` in its pixels. A true box has no score."""

    box: tuple[float, float, float, float]
    label: str
    score: float | None = None
    difficult: bool = False


@dataclass(frozen=True)
class Sample:
    """One picture, without boxes drawn into it, what is and what was seen on it, and why it is one of the worst."""

    id: str
    image: Path
    truth: tuple[Labelled, ...]
    predictions: tuple[Labelled, ...]
    why: str | None = None


@dataclass(frozen=True)
class Reports:
    """Everything under reports/ that the run shows.

    metrics: of each JSON report, what is one value a key.
    published: of each exported format that passed the gate, its file in export/; `rejected`: of the others, why.
    confusion: true class, predicted class and how often; both may be the background.
    errors: kind of error, how many of it, the AP50 that they cost.
    tables: of `TABLES` those that are there, as columns and rows.
    figures: `precision_recall`, `confusion` and `errors`, of `class_ap` and `reliability` those that are there.
    sheets: of the contact sheets `samples`, `worst`, `false_positives`, `misses`, `label_errors`, `data` and
        `augmentation` those that show something.
    """

    metrics: Mapping[str, Mapping[str, Scalar]]
    published: Mapping[str, str]
    rejected: Mapping[str, str]
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    history: tuple[Mapping[str, Number], ...]
    precision_recall: tuple[tuple[str, float, float], ...]
    confusion: tuple[tuple[str, str, int], ...]
    errors: tuple[tuple[str, int, float], ...]
    per_class_columns: tuple[str, ...]
    per_class: tuple[Row, ...]
    tables: Mapping[str, tuple[tuple[str, ...], tuple[Row, ...]]]
    samples: tuple[Sample, ...]
    worst: tuple[Sample, ...]
    figures: Mapping[str, Path]
    sheets: Mapping[str, Path]


def read_reports(folder: Path) -> Reports:
    """Read the folder `reports`. Raises TrackingError naming the first file that is missing or damaged."""
    values = {name: _read_object(folder / f"{name}.json", stage) for name, stage in STAGES.items()}
    columns, history = _read_history(folder / "history.csv")
    classes = _class_names(values["dataset"], folder / "dataset.json")
    samples, worst = _read_samples(folder / "samples", classes)
    published, rejected = _judged(values["export"], folder / "export.json")
    plots = folder / "plots"
    per_class_columns, per_class = _read_table(plots / "per_class.csv", ["class"])
    return Reports(
        metrics={name: _scalars(value) for name, value in values.items()},
        published=published,
        rejected=rejected,
        classes=classes,
        columns=columns,
        history=history,
        precision_recall=tuple(
            (name, _cell(recall, line) or 0.0, _cell(precision, line) or 0.0)
            for line, (name, recall, precision) in _read_columns(plots / "pr.csv", ("class", "recall", "precision"))
        ),
        confusion=tuple(
            (truth, prediction, _whole(count, line))
            for line, (truth, prediction, count) in _read_columns(
                plots / "confusion.csv", ("truth", "prediction", "count")
            )
        ),
        errors=tuple(
            (name, _whole(count, line), _number(cost, line))
            for line, (name, count, cost) in _read_columns(plots / "errors.csv", ("error", "count", "cost"))
        ),
        per_class_columns=per_class_columns,
        per_class=per_class,
        tables={
            name: _read_table(folder / file, needed)
            for name, (file, needed) in TABLES.items()
            if (folder / file).is_file()
        },
        samples=samples,
        worst=worst,
        figures={name: _existing(plots / file, "evaluate") for name, file in FIGURES.items()}
        | {name: plots / file for name, file in MORE_FIGURES.items() if (plots / file).is_file()},
        sheets=_find_sheets(folder, bool(samples), bool(worst)),
    )


def summary(reports: Reports) -> dict[str, Any]:
    """Return the final values of all reports under one name each, and the best of each validation metric.

    What evaluation.json says keeps its names, and so does every other key that has a slash (`onnx/size_mb`). A bare
    key of another report would be ambiguous (dataset and evaluation both count `images`), so its report stands in
    front: `train/seconds`; so it does before a key that the history has too, `train/val/map50`. The best stands where
    W&B puts it, `{"val/map50": {"max": 0.9}}`; it is said again here because a run that is continued online forgets the
    best of what it was sent before.
    """
    named: dict[str, Any] = {}
    for column in reports.columns:
        values = [row[column] for row in reports.history if column in row]
        if column.startswith("val/") and values:
            best = best_is(column)
            named[column] = {best: max(values) if best == "max" else min(values)}
    for report, metrics in reports.metrics.items():
        for key, value in metrics.items():
            keeps = report == "evaluation" or ("/" in key and key not in reports.columns)
            named[key if keeps else f"{report}/{key}"] = value
    return named | dict(reports.metrics["evaluation"])


def best_is(column: str) -> Literal["min", "max"]:
    """Say which end of a validation metric is its best."""
    return "min" if "loss" in column else "max"


def _existing(path: Path, stage: str) -> Path:
    if not path.is_file():
        raise TrackingError(f"{_short(path)}: not found; run the {stage} stage first (dvc repro {stage})")
    return path


def _damaged(path: Path, stage: str, reason: str) -> TrackingError:
    return TrackingError(f"{_short(path)}: {reason}; write it again with dvc repro -f {stage}")


def _short(path: Path) -> str:
    """Return the path from its folder `reports` on."""
    parts = path.parts
    start = max((index for index, part in enumerate(parts) if part == "reports"), default=0)
    return "/".join(parts[start:])


def _read_json(path: Path, stage: str) -> Any:
    try:
        return json.loads(_existing(path, stage).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, stage, f"is not valid JSON ({error})") from None


def _read_object(path: Path, stage: str) -> dict[str, Any]:
    value = _read_json(path, stage)
    if not isinstance(value, dict):
        raise _damaged(path, stage, "is not a JSON object")
    return value


def _scalars(report: Mapping[str, Any]) -> dict[str, Scalar]:
    return {key: value for key, value in report.items() if isinstance(value, bool | int | float | str)}


def _class_names(dataset: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    try:
        return tuple(str(entry["name"]) for entry in dataset["classes"])
    except (KeyError, TypeError):
        raise _damaged(path, "convert", "does not list the classes") from None


def _judged(export: Mapping[str, Any], path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the exported formats that were published, each with its file, and the rejected ones with the reason."""
    names, rejected = export.get("published"), export.get("rejected")
    if not isinstance(names, list) or not isinstance(rejected, dict):
        raise _damaged(path, "export", "does not say which files were published")
    files = {str(name): str(export.get(f"{name}/file")) for name in names}
    if any(Path(file).name != file for file in files.values()):
        raise _damaged(path, "export", "names a file outside export/")
    return files, {str(name): str(reason) for name, reason in rejected.items()}


def _read_csv(path: Path, stage: str, needed: Iterable[str]) -> tuple[tuple[str, ...], list[tuple[str, list[str]]]]:
    """Return the header, and the rows each with its place ('history.csv:2'), the header's length all of them."""
    try:
        with _existing(path, stage).open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            header = tuple(next(reader, ()))
            rows = [(f"{_short(path)}:{reader.line_num}", row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, stage, f"cannot be read as CSV ({error})") from None
    if missing := [name for name in needed if name not in header]:
        raise _damaged(path, stage, f"has no column {missing[0]!r}")
    for place, row in rows:
        if len(row) != len(header):
            raise TrackingError(f"{place}: holds {len(row)} values, the header {len(header)}; run dvc repro -f {stage}")
    return header, rows


def _cell(text: str, place: str) -> float | None:
    """Return the number in a cell, None where it is empty."""
    try:
        return float(text) if text.strip() else None
    except ValueError:
        raise TrackingError(f"{place}: {text!r} is not a number; run the stage that wrote it again") from None


def _number(text: str, place: str) -> float:
    number = _cell(text, place)
    if number is None or not math.isfinite(number):
        raise TrackingError(f"{place}: {text!r} is not a number; run the stage that wrote it again")
    return number


def _whole(text: str, place: str) -> int:
    number = _number(text, place)
    if not number.is_integer():
        raise TrackingError(f"{place}: {text!r} is not a whole number; run the stage that wrote it again")
    return int(number)


def _read_history(path: Path) -> tuple[tuple[str, ...], tuple[Mapping[str, Number], ...]]:
    """Return the columns, and of each row those that are not empty; `epoch` and `global_step` are whole numbers."""
    counters = ("epoch", "global_step")
    header, rows = _read_csv(path, "train", counters)
    history: list[Mapping[str, Number]] = []
    for place, row in rows:
        numbers = zip(header, (_cell(text, place) for text in row), strict=True)
        cells = {name: number for name, number in numbers if number is not None}
        if any(name not in cells or not cells[name].is_integer() for name in counters):
            raise _damaged(path, "train", f"has a row without a whole epoch and global_step ({place})")
        history.append({name: int(value) if name in counters else value for name, value in cells.items()})
    return header, tuple(history)


def _read_columns(path: Path, names: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield of each row its place and the cells of these columns, in their order."""
    header, rows = _read_csv(path, "evaluate", names)
    where = [header.index(name) for name in names]
    for place, row in rows:
        yield place, tuple(row[index] for index in where)


def _read_table(path: Path, needed: Iterable[str]) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return header and rows; all cells are numbers, None where empty, but those of `_TEXTS`."""
    header, rows = _read_csv(path, "evaluate", needed)
    return header, tuple(
        tuple(text if name in _TEXTS else _cell(text, place) for name, text in zip(header, row, strict=True))
        for place, row in rows
    )


def _read_samples(folder: Path, classes: Sequence[str]) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Return the samples, and the pictures that were served worst."""
    path = folder / "samples.json"
    try:
        entries = [(str(entry["kind"]), _read_sample(entry, folder)) for entry in _read_json(path, "evaluate")]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, "evaluate", f"does not describe pictures and their boxes ({error!r})") from None
    for kind, sample in entries:
        if kind not in ("sample", "worst"):
            raise _damaged(path, "evaluate", f"has a picture of the kind {kind!r}")
        for item in (*sample.truth, *sample.predictions):
            if item.label not in classes:
                raise _damaged(path, "evaluate", f"names the class {item.label!r}, which reports/dataset.json lacks")
    samples, worst = (tuple(sample for kind, sample in entries if kind == which) for which in ("sample", "worst"))
    return samples, worst


def _read_sample(entry: Mapping[str, Any], folder: Path) -> Sample:
    return Sample(
        id=str(entry["id"]),
        image=_existing(folder / entry["image"], "evaluate"),
        truth=tuple(_labelled(item) for item in entry["truth"]),
        predictions=tuple(_labelled(item) for item in entry["predictions"]),
        why=None if entry["why"] is None else str(entry["why"]),
    )


def _find_sheets(folder: Path, samples: bool, worst: bool) -> dict[str, Path]:
    """Return the contact sheets; those of pictures must be there where there are pictures to show."""
    sheets = {}
    for name, file, shown in (("samples", "sheet.png", samples), ("worst", "worst.png", worst)):
        if shown:
            sheets[name] = _existing(folder / "samples" / file, "evaluate")
    sheets |= {name: path for name in CASES if (path := folder / "samples" / f"{name}.png").is_file()}
    for name in ("data", "augmentation"):
        if (path := folder / "sheets" / f"{name}.jpg").is_file():
            sheets[name] = path
    return sheets


def _labelled(item: Mapping[str, Any]) -> Labelled:
    x0, y0, x1, y1 = (float(value) for value in item["box"])
    score = item.get("score")
    return Labelled(
        box=(x0, y0, x1, y1),
        label=str(item["label"]),
        score=None if score is None else float(score),
        difficult=bool(item.get("difficult", False)),
    )
