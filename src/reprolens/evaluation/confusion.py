"""What is taken for what: the confusion matrix of detections, its table and its picture.

Detections from the score threshold up and true boxes of a picture are paired whatever their classes: of all pairs whose
IoU reaches 0.5 the one of the largest IoU first, each detection and each true box once. Of equal IoUs a pair of one
class goes first, then the surer detection, then the earlier one. A true box that is left over is missed, taken for
background; a detection that is left over is background taken for an object. Difficult objects and crowds take no part:
they are not missed, and a detection that is left over and reaches IoU 0.5 with one (of a crowd: half of its own area
lies inside) is not counted.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reprolens import files
from reprolens.evaluation.coco import xywh
from reprolens.evaluation.detections import Detections, Truth, join_detections, join_truths
from reprolens.evaluation.matches import overlapping

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BACKGROUND = "background"

_FULL_TABLE = 100
"""Classes up to which the table names the pairs that never occur too: more than 10,000 rows no dashboard draws."""
_NUMBERED = 25
_LABELS = 110


def confusion_matrix(
    detections: Sequence[Detections], truths: Sequence[Truth], classes: int, score_threshold: float
) -> NDArray[np.int64]:
    """Return how often each class (row) was taken for each (column), `(classes + 1, classes + 1)`; the last is none.

    `detections` and `truths` are of the same pictures in the same order.
    """
    image, found = join_detections([item.above(score_threshold) for item in detections])
    truth_image, truth = join_truths(truths)
    ignore = truth.difficult | truth.crowd
    pairs = overlapping(xywh(found.boxes), image, xywh(truth.boxes), truth_image, truth.crowd)
    ordinary = pairs.keep(~ignore[pairs.truth])
    same = found.labels[ordinary.detection] == truth.labels[ordinary.truth]
    order = np.lexsort((ordinary.truth, ordinary.detection, -found.scores[ordinary.detection], ~same, -ordinary.iou))

    partner = np.full(len(found), -1)
    taken = np.zeros(len(truth), np.bool_)
    for detection, other in zip(ordinary.detection[order].tolist(), ordinary.truth[order].tolist(), strict=True):
        if partner[detection] < 0 and not taken[other]:
            partner[detection], taken[other] = other, True

    paired = partner >= 0
    left = ~paired
    left[pairs.detection[ignore[pairs.truth]]] = False
    missed = truth.labels[~taken & ~ignore]
    rows = np.concatenate([truth.labels[partner[paired]], np.full(left.sum(), classes), missed])
    columns = np.concatenate([found.labels[paired], found.labels[left], np.full(len(missed), classes)])
    size = classes + 1
    return np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)


def confusion_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the matrix's rows and columns: the classes, and `background`, bracketed if a class is."""
    name = BACKGROUND
    while name in classes:
        name = f"({name})"
    return (*classes, name)


def confusion_rows(matrix: NDArray[np.int64], classes: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    """Yield truth, prediction and count of every pair; beyond 100 classes, of those pairs that occur."""
    names = confusion_names(classes)
    for row, truth in enumerate(names):
        for column, prediction in enumerate(names):
            if matrix[row, column] or len(classes) <= _FULL_TABLE:
                yield truth, prediction, int(matrix[row, column])


def draw_confusion(matrix: NDArray[np.int64], classes: Sequence[str], score_threshold: float, path: Path) -> None:
    """Write a PNG, 1280 pixels wide: the share of each true class's boxes that was taken for each class.

    The colours show the square root of the share, so that rare confusions are seen. Up to 25 classes the counts stand
    in the cells.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    names = [name if len(name) <= 20 else f"{name[:19]}…" for name in confusion_names(classes)]
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    side = min(1080, max(300, 62 * len(names)))
    longest = max(map(len, names))
    turned = longest * len(names) > 120
    font = min(11.0, max(4.0, 0.62 * side / len(names)))  # of points, 1.4 pixels each
    left, below = 70 + 0.9 * font * longest, 70 + (0.9 * font * longest if turned else 15)
    height = 50 + side + below
    figure = Figure(figsize=(12.8, height / 100), dpi=100)
    FigureCanvasAgg(figure)
    width = 1280 - left - 110
    axes = figure.add_axes((left / 1280, below / height, width / 1280, side / height))
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), aspect="auto", interpolation="nearest")
    scale = figure.add_axes(((left + width + 20) / 1280, below / height, 18 / 1280, side / height))
    ticks = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1)
    figure.colorbar(image, cax=scale, ticks=ticks, format="%g", label="share of the row")
    if len(classes) <= _NUMBERED:
        _write_counts(axes, matrix, shares, font)
    _write_axes(axes, names, font, turned)
    found = int(np.trace(matrix[:-1, :-1]))
    title = f"Confusion at IoU 0.5, score from {score_threshold:g} up: {found} of {matrix[:-1].sum()} boxes right"
    axes.set_title(title, loc="left", fontsize=14, pad=12)
    with files.atomic(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def _write_counts(axes: "Axes", matrix: NDArray[np.int64], shares: NDArray[np.float64], font: float) -> None:
    for row, column in zip(*np.nonzero(matrix), strict=True):
        color = "white" if shares[row, column] > 0.3 else "black"
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=color, fontsize=font)


def _write_axes(axes: "Axes", names: Sequence[str], font: float, turned: bool) -> None:
    step = -(-len(names) // _LABELS)
    places = [*range(0, len(names) - 1, step), len(names) - 1]
    labels = [names[place] for place in places]
    axes.set_xticks(places, labels, fontsize=font, rotation=90 if turned else 0, parse_math=False)
    axes.set_yticks(places, labels, fontsize=font, parse_math=False)
    axes.set_xlabel("prediction", fontsize=12)
    axes.set_ylabel("truth", fontsize=12)
    axes.tick_params(length=2)
    for line in (axes.axhline, axes.axvline):
        line(len(names) - 1.5, color="0.4", linewidth=0.8)
    if step == 1:  # else the grid would cover the cells
        axes.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="0.92", linewidth=0.5)
        axes.tick_params(which="minor", length=0)
