"""The figures of an evaluation: plots on light and dark pages, as PNG and SVG, and contact sheets of pictures."""

from reprolens.evaluation.reports.figures.confusion import draw_confusion
from reprolens.evaluation.reports.figures.curves import draw_pr_curves
from reprolens.evaluation.reports.figures.errors import draw_errors
from reprolens.evaluation.reports.figures.per_class import draw_class_ap
from reprolens.evaluation.reports.figures.reliability import draw_reliability
from reprolens.evaluation.reports.figures.samples import (
    Sample,
    Single,
    Tile,
    draw_sample,
    draw_single,
    write_samples_sheet,
    write_singles_sheet,
)

__all__ = [
    "Sample",
    "Single",
    "Tile",
    "draw_class_ap",
    "draw_confusion",
    "draw_errors",
    "draw_pr_curves",
    "draw_reliability",
    "draw_sample",
    "draw_single",
    "write_samples_sheet",
    "write_singles_sheet",
]
