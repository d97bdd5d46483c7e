"""The panels of the workspace and the report. Every key they name is one that `tracking.publish` writes."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import wandb_workspaces.reports.v2 as wr

from reprolens.tracking.dashboard.subject import Subject

LATENCY, SIZE = "onnx/latency_ms/p50", "onnx/size_mb"
QUALITY = "voc12/map50"
TABLE = ("train/epochs", "train/seconds", LATENCY, SIZE)
"""What a trial costs: columns of every table of trials."""

ERRORS = ("cls", "loc", "both", "dupe", "bkg", "miss")
"""TIDE's kinds of error, each the AP50 that it costs."""

SIZES = ("small", "medium", "large")
"""COCO's sizes of objects."""

WIDTH = 24
"""Columns of a report's grid."""

_GRADIENT = (("#b3cde3", 0), ("#8c96c6", 40), ("#88419d", 100))
_SIZE = (8, 8)


def trial_panels(subject: Subject) -> list[Any]:
    """Return what the varied keys do to the objective, and what quality costs in time."""
    columns = [
        *(wr.ParallelCoordinatesPlotColumn(wr.Config(key), log=_is_log(key)) for key in subject.swept),
        wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(subject.objective), inverted=subject.lower_is_better or None),
    ]
    return [
        wr.ParallelCoordinatesPlot(
            title=f"What leads to {subject.objective}",
            columns=columns,
            gradient=[wr.GradientPoint(color=color, offset=offset) for color, offset in _GRADIENT],
            layout=wr.Layout(w=WIDTH, h=10),
        ),
        wr.ParameterImportancePlot(with_respect_to=subject.objective, layout=_layout()),
        wr.ScatterPlot(
            title="Quality against latency",
            x=wr.SummaryMetric(LATENCY),
            y=wr.SummaryMetric(QUALITY),
            log_x=True,
            layout=_layout(),
        ),
        wr.BarPlot(title=subject.objective, metrics=[subject.objective], max_runs_to_show=20, layout=_layout()),
    ]


def training_panels() -> list[Any]:
    """Return the curves of history.csv, all over epochs."""
    curves = (
        ("Validation mAP, IoU 0.5", "val/map50", None),
        ("Validation mAP, IoU 0.5 to 0.95", "val/map", None),
        ("Training loss", "train/loss", True),
        ("Learning rate", "lr", None),
        ("Images per second", "images_per_second", None),
    )
    return [
        wr.LinePlot(title=title, x="epoch", y=[key], title_x="epoch", log_y=log, max_runs_to_show=20, layout=_layout())
        for title, key, log in curves
    ]


def class_panels() -> list[Any]:
    """Return quality class by class: bars, precision against recall, what is taken for what, and the table."""
    labels = {"title": "AP of each class, IoU 0.5", "x-axis-title": "AP", "y-axis-title": "class"}
    return [
        _chart("tables/per_class", "wandb/bar/v0", {"label": "class", "value": "ap50_voc12"}, labels),
        _chart(
            "curves/precision_recall_table",
            "wandb/area-under-curve/v0",
            {"x": "recall", "y": "precision", "class": "class"},
            {"title": "Precision-recall, IoU 0.5", "x-axis-title": "Recall", "y-axis-title": "Precision"},
        ),
        _chart(
            "curves/confusion_table",
            "wandb/confusion_matrix/v1",
            {"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"},
            {"title": "Confusion matrix, IoU 0.5"},
        ),
        wr.WeavePanelSummaryTable(table_name="tables/per_class", layout=wr.Layout(w=WIDTH, h=10)),
    ]


def score_panels() -> list[Any]:
    """Return how far scores hold, and which sizes of objects are found how well."""
    lines = {"title": "Precision, recall and F1, IoU 0.5", "xname": "score threshold"}
    return [
        _chart(
            "curves/thresholds_table",
            "wandb/lineseries/v0",
            {"step": "threshold", "lineVal": "value", "lineKey": "measure"},
            lines,
        ),
        _chart(
            "curves/reliability_table",
            "wandb/line/v0",
            {"x": "confidence", "y": "accuracy"},
            {"title": "Reliability: share of right detections over their score"},
        ),
        wr.BarPlot(title="Calibration error", metrics=["calibration/ece"], max_runs_to_show=20, layout=_layout()),
        wr.BarPlot(
            title="AP by size of object, COCO",
            metrics=[f"coco/ap_{size}" for size in SIZES],
            max_runs_to_show=20,
            layout=_layout(),
        ),
        wr.BarPlot(title="F1 at the best threshold", metrics=["best_f1"], max_runs_to_show=20, layout=_layout()),
        _pictures("Reliability", "figures/reliability"),
    ]


def picture_panels() -> list[Any]:
    """Return evaluated pictures with truth and predictions, those served worst, false alarms and missed objects."""
    return [
        _pictures("Pictures: truth and predictions", "samples/boxes", columns=4, width=12, height=12),
        _pictures("Served worst", "samples/worst", columns=4, width=12, height=12),
        _pictures("Pictures at a glance", "sheets/samples"),
        _pictures("Worst at a glance", "sheets/worst"),
        _pictures("Confusion matrix", "figures/confusion"),
        _pictures("Surest false alarms", "sheets/false_positives", width=12, height=10),
        _pictures("Largest missed objects", "sheets/misses", width=12, height=10),
    ]


def data_panels() -> list[Any]:
    """Return what the model was fed, where it doubts the labels, and which kinds of error cost how much."""
    return [
        _pictures("Training pictures", "sheets/data", width=12, height=10),
        _pictures("The same, augmented", "sheets/augmentation", width=12, height=10),
        wr.BarPlot(
            title="AP50 lost by kind of error (TIDE)",
            metrics=[f"tide/{kind}" for kind in ERRORS],
            max_runs_to_show=20,
            layout=wr.Layout(w=12, h=8),
        ),
        wr.WeavePanelSummaryTable(table_name="tables/errors", layout=wr.Layout(w=12, h=8)),
        _pictures("Likely label errors", "sheets/label_errors", width=12, height=10),
        wr.WeavePanelSummaryTable(table_name="tables/label_errors", layout=wr.Layout(w=12, h=10)),
        wr.RunComparer(diff_only="split", layout=wr.Layout(w=WIDTH, h=10)),
    ]


def placed(panels: Sequence[Any], name: str) -> list[Any]:
    """Return the panels in rows from left to right, none over another.

    Their ids follow from `name` and their order, so that the same specification is the same text.
    """
    x = y = height = 0
    for index, panel in enumerate(panels):
        if x + panel.layout.w > WIDTH:
            x, y, height = 0, y + height, 0
        panel.layout.x, panel.layout.y = x, y
        x, height = x + panel.layout.w, max(height, panel.layout.h)
        panel._id = fixed_name(f"{name} {index}", 12)
    return list(panels)


def fixed_name(text: str, length: int) -> str:
    """Return so many letters and digits that only `text` decides: W&B's own ids are random ones of the same kind."""
    number, digits = int(hashlib.sha256(text.encode()).hexdigest(), 16), "0123456789abcdefghijklmnopqrstuvwxyz"
    return "".join(digits[number // 36**place % 36] for place in range(length))


def _chart(table: str, name: str, fields: Mapping[str, str], strings: Mapping[str, str]) -> Any:
    """Return one of W&B's own charts of a table in the runs' summaries; asked as `wandb.plot_table` asks."""
    query = {"id": {}, "name": {}, "_defaultColorIndex": {}, "summaryTable": {"tableKey": table}}
    return wr.CustomChart(
        query=query, chart_name=name, chart_fields=dict(fields), chart_strings=dict(strings), layout=_layout()
    )


def _pictures(title: str, key: str, columns: int = 1, width: int = 8, height: int = 8) -> Any:
    layout = wr.Layout(w=width, h=height)
    return wr.MediaBrowser(title=title, media_keys=[key], num_columns=columns, layout=layout)


def _layout() -> wr.Layout:
    width, height = _SIZE
    return wr.Layout(w=width, h=height)


def _is_log(key: str) -> bool | None:
    """Say whether a key is searched by factors. Weight decay is too, but may be 0, which has no logarithm."""
    return True if key.split(".")[-1] == "lr" else None
