"""The detections of a split as the readers of predictions hand them over: one row each, in the order of the file."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprolens.evaluation.measures.detections import Detections
from reprolens.evaluation.predictions.coco_files import added


@dataclass(frozen=True)
class Rows:
    """N detections of all pictures.

    place: `(N,)` int64, the place of each one's picture. boxes: `(N, 4)` float64 x0, y0, x1, y1 in pixels, continuous.
    scores: `(N,)` float64. labels: `(N,)` int64. masks: N run-length codes as in `Detections`, or None.
    """

    place: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    masks: Sequence[bytes] | None = None


def by_picture(rows: Rows, pictures: int) -> list[Detections]:
    """Return the detections of each picture, in the order of the rows."""
    order = np.argsort(rows.place, kind="stable")
    bounds = np.searchsorted(rows.place[order], np.arange(pictures + 1)).tolist()
    boxes, scores, labels = rows.boxes[order], rows.scores[order], rows.labels[order]
    masks = None if rows.masks is None else [rows.masks[row] for row in order.tolist()]
    return [
        Detections(
            boxes[first:last],
            scores[first:last],
            labels[first:last],
            None if masks is None else tuple(masks[first:last]),
        )
        for first, last in pairwise(bounds)
    ]


def from_first_pixel(boxes: NDArray[np.float64], first_pixel: int) -> NDArray[np.float64]:
    """Return corners `(N, 4)` as they are in memory.

    With `first_pixel` 1 they are VOC's: the numbers of the first and the last pixel in the box, counted from 1; so x0
    is xmin - 1, and x1 is xmax. With 0 they are in that form already.
    """
    if not first_pixel:
        return boxes
    return np.concatenate([added(boxes[:, :2], np.full((len(boxes), 2), -1.0)), boxes[:, 2:]], axis=1)


def first_row(bad: ArrayLike) -> int | None:
    """Return the first of N rows where something is bad, `(N,)` bool, and None where nothing is."""
    return int(np.argmax(bad)) if np.any(bad) else None
