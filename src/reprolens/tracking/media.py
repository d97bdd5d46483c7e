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

    media: dict[str, Any] = {
        "curves/precision_recall": _precision_recall(reports.precision_recall),
        "curves/precision_recall_picture": _picture(reports.precision_recall_image),
        "tables/per_class": wandb.Table(
            columns=list(reports.per_class_columns), data=[list(row) for row in reports.per_class]
        ),
    }
    if reports.samples:
        names = dict(enumerate(reports.classes, start=1))
        media["samples/boxes"] = [_sample(sample, names) for sample in reports.samples]
    if reports.sheet is not None:
        media["samples/sheet"] = _picture(reports.sheet)
    return media


def _precision_recall(points: Sequence[tuple[str, float, float]]) -> Any:
    """Return W&B's precision-recall chart, a curve a class, of every n-th point if there are too many to draw."""
    import wandb

    step = math.ceil(len(points) / MAX_POINTS) or 1
    table = wandb.Table(columns=["class", "recall", "precision"], data=[list(point) for point in points[::step]])
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
    return _picture(sample.image, caption=sample.id, boxes=boxes)


def _picture(path: Any, **more: Any) -> "wandb.Image":
    """Return the picture; its file is copied as it is, never encoded again."""
    import wandb

    try:
        return wandb.Image(str(path), **more)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises SyntaxError for a broken PNG
        raise TrackingError(
            f"reports/{path.parent.name}/{path.name}: cannot be read as a picture ({error}); "
            "write it again with dvc repro -f evaluate"
        ) from None


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
