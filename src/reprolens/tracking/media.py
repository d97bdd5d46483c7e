"""The charts, tables and pictures of a run, as wandb's own objects. They are built before the run is opened."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reprolens.errors import TrackingError
from reprolens.tracking.reports import Labelled, Reports, Sample

if TYPE_CHECKING:
    import wandb

MAX_POINTS = 10_000
"""W&B draws at most so many rows of a table in a chart."""


def build_media(reports: Reports) -> dict[str, Any]:
    """Return all that is more than a number, by its name in the run. Raises TrackingError for a broken picture."""
    import wandb

    errors = [list(row) for row in reports.errors]
    media: dict[str, Any] = {
        "curves/precision_recall": _precision_recall(reports.precision_recall),
        "curves/confusion": _confusion(reports.confusion),
        "curves/errors": wandb.plot.bar(
            _table(("error", "cost"), [[name, cost] for name, _, cost in reports.errors]),
            "error",
            "cost",
            title="AP50 that each kind of error costs (TIDE)",
        ),
        "tables/per_class": _table(reports.per_class_columns, [list(row) for row in reports.per_class]),
        "tables/errors": _table(("error", "count", "cost"), errors),
    }
    media |= _scores(reports)
    for name in ("reliability", "label_errors"):
        if name in reports.tables:
            columns, rows = reports.tables[name]
            media[f"tables/{name}"] = _table(columns, [list(row) for row in rows])
    names = dict(enumerate(reports.classes, start=1))
    for key, samples in (("samples/boxes", reports.samples), ("samples/worst", reports.worst)):
        if samples:
            media[key] = [_sample(sample, names) for sample in samples]
    media |= {f"figures/{name}": _picture(path) for name, path in reports.figures.items()}
    return media | {f"sheets/{name}": _picture(path) for name, path in reports.sheets.items()}


def _table(columns: Sequence[str], rows: list[list[Any]]) -> "wandb.Table":
    import wandb

    return wandb.Table(columns=list(columns), data=rows)


def _scores(reports: Reports) -> dict[str, Any]:
    """Return how far scores hold: measures over the threshold, and the share of right detections over the score."""
    import wandb

    media: dict[str, Any] = {}
    if "thresholds" in reports.tables:
        columns, rows = reports.tables["thresholds"]
        names, at = ("precision", "recall", "f1"), columns.index("threshold")
        lines = [[row[at], row[columns.index(name)], name] for name in names for row in _thinned(rows, len(names))]
        media["curves/thresholds"] = wandb.plot_table(
            vega_spec_name="wandb/lineseries/v0",  # the chart that wandb.plot.line_series uses
            data_table=_table(("threshold", "value", "measure"), lines),
            fields={"step": "threshold", "lineVal": "value", "lineKey": "measure"},
            string_fields={"title": "Precision, recall and F1, IoU 0.5", "xname": "score threshold"},
        )
    if "reliability" in reports.tables:
        columns, rows = reports.tables["reliability"]
        wheres = [columns.index(name) for name in ("confidence", "accuracy")]
        points = [[row[where] for where in wheres] for row in rows]
        media["curves/reliability"] = wandb.plot_table(
            vega_spec_name="wandb/line/v0",  # the chart that wandb.plot.line uses
            data_table=_table(("confidence", "accuracy"), [point for point in points if None not in point]),
            fields={"x": "confidence", "y": "accuracy"},
            string_fields={"title": "Reliability: share of right detections over their score"},
        )
    return media


def _thinned(rows: Sequence[Any], lines: int = 1) -> Sequence[Any]:
    """Return every n-th row if all of them, in so many lines, are too many to draw."""
    return rows[:: math.ceil(lines * len(rows) / MAX_POINTS) or 1]


def _confusion(pairs: Sequence[tuple[str, str, int]]) -> Any:
    """Return W&B's confusion matrix of counts; of more pairs than it draws those that occur, the most frequent."""
    import wandb

    if len(pairs) > MAX_POINTS:
        pairs = sorted((pair for pair in pairs if pair[2]), key=lambda pair: -pair[2])[:MAX_POINTS]
    columns = ("Actual", "Predicted", "nPredictions")
    return wandb.plot_table(
        vega_spec_name="wandb/confusion_matrix/v1",  # the chart that wandb.plot.confusion_matrix uses
        data_table=_table(columns, [list(pair) for pair in pairs]),
        fields={name: name for name in columns},
        string_fields={"title": "Confusion, IoU 0.5"},
    )


def _precision_recall(points: Sequence[tuple[str, float, float]]) -> Any:
    """Return W&B's precision-recall chart, a curve a class, of every n-th point if there are too many to draw."""
    import wandb

    table = _table(("class", "recall", "precision"), [list(point) for point in _thinned(points)])
    return wandb.plot_table(
        vega_spec_name="wandb/area-under-curve/v0",  # the chart that wandb.plot.pr_curve uses
        data_table=table,
        fields={"x": "recall", "y": "precision", "class": "class"},
        string_fields={
            "title": "Precision-recall, IoU 0.5",
            "x-axis-title": "Recall",
            "y-axis-title": "Precision",
        },
    )


def _sample(sample: Sample, names: Mapping[int, str]) -> "wandb.Image":
    boxes = {"predictions": _boxes(sample.predictions, names), "ground_truth": _boxes(sample.truth, names)}
    caption = sample.id if sample.why is None else f"{sample.id}: {sample.why}"
    return _picture(sample.image, caption=caption, boxes=boxes)


def _picture(path: Any, **more: Any) -> "wandb.Image":
    """Return the picture; its file is copied as it is, never encoded again."""
    import wandb
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.verify()
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises SyntaxError for a broken PNG
        raise TrackingError(
            f"reports/{path.parent.name}/{path.name}: cannot be read as a picture ({error}); "
            f"write it again with dvc repro -f {'train' if path.parent.name == 'sheets' else 'evaluate'}"
        ) from None
    return wandb.Image(str(path), **more)


def _boxes(items: Sequence[Labelled], names: Mapping[int, str]) -> dict[str, Any]:
    """Return boxes in W&B's form. Class ids are 1-based, as in reports/predictions.json."""
    ids = {name: index for index, name in names.items()}
    return {"box_data": [_box(item, ids[item.label]) for item in items], "class_labels": dict(names)}


def _box(item: Labelled, class_id: int) -> dict[str, Any]:
    x0, y0, x1, y1 = item.box
    box = {
        "position": {"minX": x0, "minY": y0, "maxX": x1, "maxY": y1},
        "domain": "pixel",
        "class_id": class_id,
        "box_caption": f"{item.label} (difficult)" if item.difficult else item.label,
    }
    if item.score is not None:
        box |= {"box_caption": f"{item.label} {item.score:.2f}", "scores": {"score": item.score}}
    return box
