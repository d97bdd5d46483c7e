"""Which detections and true boxes of a picture overlap, and how much: pairs, never more at once than fit the memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOUND_IOU = 0.5
"""From here up a detection and an object are at the same place: VOC's limit, and TIDE's."""

NEAR_IOU = 0.1
"""From here up a detection is about an object at all: TIDE's limit."""

_PAIRS_AT_ONCE = 500_000
"""Pairs whose overlap is worked out together: bounds the memory to some 80 MB; more at once is no faster."""

Array = NDArray[np.float64]
Whole = NDArray[np.int64]
Overlap = Callable[[Whole, Whole], Array]
"""Of N detections and as many true boxes, by their positions: how much each pair overlaps, `(N,)`."""


@dataclass(frozen=True)
class Pairs:
    """Detections and true boxes of one group, by their positions; ordered by detection, then by true box."""

    detection: Whole
    truth: Whole
    iou: Array

    def keep(self, which: NDArray) -> "Pairs":
        return Pairs(self.detection[which], self.truth[which], self.iou[which])


def all_pairs(group: Whole, truth_group: Whole, overlap: Overlap) -> Iterator[Pairs]:
    """Yield all pairs of the same group, in their order, many at once; those of a detection are never parted.

    `group` `(N,)` is the detections', `truth_group` `(M,)` the true boxes' and never falls.
    """
    first, last = (np.searchsorted(truth_group, group, side=side) for side in ("left", "right"))
    counts = last - first
    busy = np.flatnonzero(counts)
    chunk = (np.cumsum(counts[busy]) - 1) // _PAIRS_AT_ONCE
    for some in np.split(busy, np.flatnonzero(np.diff(chunk)) + 1) if len(busy) else ():
        many = counts[some]
        detection = np.repeat(some, many)
        truth = np.arange(many.sum()) + np.repeat(first[some] - (np.cumsum(many) - many), many)
        yield Pairs(detection, truth, overlap(detection, truth))


def overlapping(group: Whole, truth_group: Whole, overlap: Overlap, least: float) -> Pairs:
    """Return the pairs of the same group whose overlap is above 0 and reaches `least`; groups as in `all_pairs`."""
    found = [Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for pairs in all_pairs(group, truth_group, overlap):
        found.append(pairs.keep((pairs.iou > 0) & (pairs.iou >= least)))
    return Pairs(*(np.concatenate([getattr(pair, name) for pair in found]) for name in ("detection", "truth", "iou")))


def overlaps(boxes: Array, image: Whole, others: Array, other_image: Whole, least: float) -> Pairs:
    """Return the pairs of one picture whose IoU is above 0 and reaches `least`; `other_image` never falls.

    `boxes` `(N, 4)` are the pairs' `detection`, `others` `(M, 4)` their `truth`; which of the two the model found makes
    no difference to the IoU.
    """
    return overlapping(image, other_image, lambda one, other: box_iou(boxes[one], others[other]), least)


def box_iou(one: Array, two: Array) -> Array:
    """Return the IoU of boxes `(N, 4)` row by row, `(N,)`; 0 where a box has no area."""
    sides = np.minimum(one[:, 2:], two[:, 2:]) - np.maximum(one[:, :2], two[:, :2])
    shared = np.where((sides > 0).all(axis=1), sides[:, 0] * sides[:, 1], 0.0)
    areas = [np.maximum(box[:, 2:] - box[:, :2], 0).prod(axis=1) for box in (one, two)]
    union = areas[0] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def nearest(chunks: Iterable[Pairs], count: int) -> tuple[Array, Whole]:
    """Return for each of N detections its largest overlap, `(N,)`, and whose: the first of equals; 0 and -1 if none.

    The pairs come as `all_pairs` yields them.
    """
    best, other = np.zeros(count), np.full(count, -1, np.int64)
    for pairs in chunks:
        starts = np.flatnonzero(np.diff(pairs.detection, prepend=-1))
        if len(starts):
            largest = np.maximum.reduceat(pairs.iou, starts)
            reached = pairs.iou == np.repeat(largest, np.diff(np.append(starts, len(pairs.iou))))
            whose = np.minimum.reduceat(np.where(reached, pairs.truth, np.iinfo(np.int64).max), starts)
            best[pairs.detection[starts]], other[pairs.detection[starts]] = largest, whose
    return best, other


def best_overlaps(pairs: Pairs, count: int) -> tuple[Array, Whole]:
    """Return for each of N detections its largest IoU, `(N,)`, and whose: the first of equals; 0 and -1 if none."""
    return nearest([pairs], count)


def most_of(pairs: Pairs, values: Array, count: int) -> tuple[Array, Whole]:
    """Return for each of N detections the largest of its pairs' values, `(N,)`, and whose: the first of equals.

    One without pairs has 0 and -1. The pairs may come in any order.
    """
    order = np.lexsort((pairs.truth, -values, pairs.detection))
    order = order[np.unique(pairs.detection[order], return_index=True)[1]]
    best, other = np.zeros(count), np.full(count, -1, np.int64)
    best[pairs.detection[order]], other[pairs.detection[order]] = values[order], pairs.truth[order]
    return best, other
