"""The picture of a confusion matrix."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reprolens.colors import on
from reprolens.evaluation.findings.confusion import confusion_names
from reprolens.evaluation.reports.figures.theme import (
    WIDTH,
    Theme,
    new_figure,
    save,
    shown_names,
    text_width,
    write_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUMBERED = 25
_LABELS = 90


def draw_confusion(
    matrix: NDArray[np.int64], classes: Sequence[str], score_threshold: float, folder: Path, name: str = "confusion"
) -> None:
    """Draw the share of each true class's boxes that was taken for each class; written by `theme.save`.

    `matrix` is that of `confusion_matrix`. The colours show the square root of the share, so that rare confusions are
    seen. Up to 25 classes the counts stand in the cells.
    """
    save(partial(_draw, matrix, classes, score_threshold), folder, name)


def _draw(matrix: NDArray[np.int64], classes: Sequence[str], score_threshold: float, theme: Theme) -> "Figure":
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    names = shown_names(confusion_names(classes))
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    side = min(1080, max(300, 62 * len(names)))
    step = -(-len(names) // _LABELS)
    font = min(11.0, 0.6 * side / len(names) * step)  # of points, 1.4 pixels each
    widths = [text_width(name, font) for name in names]
    longest = max(widths)
    left = 56 + longest
    room = (WIDTH - left - 110) / len(names)
    turned = step > 1 or any((one + two) / 2 + 8 > room for one, two in pairwise(widths))
    below = 56 + (longest if turned else 18)
    height = 50 + side + below
    figure = new_figure(height)
    width = WIDTH - left - 110
    axes = figure.add_axes((left / WIDTH, below / height, width / WIDTH, side / height))
    colors = LinearSegmentedColormap.from_list("cells", theme.cells)
    image = axes.imshow(shares, cmap=colors, norm=PowerNorm(0.5, 0, 1), aspect="auto", interpolation="none")
    scale = figure.add_axes(((left + width + 20) / WIDTH, below / height, 18 / WIDTH, side / height))
    ticks = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1)
    bar = figure.colorbar(image, cax=scale, ticks=ticks, format="%g", label="share of the row")
    bar.outline.set_edgecolor(theme.muted)
    if len(classes) <= _NUMBERED:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            red, green, blue = (round(255 * part) for part in image.to_rgba(shares[row, column])[:3])
            text = f"{matrix[row, column]:,}"
            color = on((red, green, blue))
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=min(font, 34 / len(text) + 3))
    _write_axes(axes, theme, names, step, font, turned)
    found, boxes = int(np.trace(matrix[:-1, :-1])), int(matrix[:-1].sum())
    note = f"score from {score_threshold:.3g} up: {found:,} of {boxes:,} boxes right"
    write_title(axes, theme, "Confusion at IoU 0.5", note)
    return figure


def _write_axes(axes: "Axes", theme: Theme, names: Sequence[str], step: int, font: float, turned: bool) -> None:
    places = [*range(0, len(names) - step, step), len(names) - 1]
    labels = [names[place] for place in places]
    axes.set_xticks(places, labels, fontsize=font, rotation=90 if turned else 0)
    axes.set_yticks(places, labels, fontsize=font)
    axes.set(xlabel="prediction", ylabel="truth")
    axes.tick_params(length=2)
    axes.spines[["top", "right"]].set_visible(True)
    for line in (axes.axhline, axes.axvline):
        line(len(names) - 1.5, color=theme.muted, linewidth=0.8)
    if step == 1:  # else the grid would cover the cells
        between = np.arange(len(names) - 2) + 0.5
        for lines in (axes.hlines, axes.vlines):
            lines(between, -0.5, len(names) - 0.5, color=theme.grid, linewidth=0.5)
