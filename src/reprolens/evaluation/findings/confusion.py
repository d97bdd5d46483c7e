"""What is taken for what: the confusion matrix of detections, and its table.

Detections from the score threshold up and true boxes of a picture are paired whatever their classes: of all pairs whose
IoU reaches 0.5 the one of the largest IoU first, each detection and each true box once. Of equal IoUs a pair of one
class goes first, then the surer detection, then the earlier one. A true box that is left over is missed, taken for
background; a detection that is left over is background taken for an object. Difficult objects and crowds take no part:
they are not missed, and a detection that is left over and reaches IoU 0.5 with one (of a crowd: half of its own area
lies inside) is not counted.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from reprolens.evaluation.measures.detections import Detections, Truth, join_detections, join_truths
from reprolens.evaluation.measures.matches import coco_overlap
from reprolens.evaluation.measures.overlaps import FOUND_IOU, overlapping

BACKGROUND = "background"

_FULL_TABLE = 100
"""Classes up to which the table names the pairs that never occur too: more than 10,000 rows no dashboard draws."""


def confusion_matrix(
    detections: Sequence[Detections], truths: Sequence[Truth], classes: int, score_threshold: float
) -> NDArray[np.int64]:
    """Return how often each class (row) was taken for each (column), `(classes + 1, classes + 1)`; the last is none.

    `detections` and `truths` are of the same pictures in the same order.
    """
    image, found = join_detections([item.above(score_threshold) for item in detections])
    truth_image, truth = join_truths(truths)
    ignore = truth.difficult | truth.crowd
    pairs = overlapping(image, truth_image, coco_overlap(found, truth), FOUND_IOU)
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
