"""Which detections are right: every detection judged once, so that measures of resampled pictures need no boxes.

COCO's rule is here (https://cocodataset.org/#detection-eval; pycocotools' `evaluateImg` and `bbIou`), because hotcoco
hands its own judgements over far slower than it makes them; VOC's is beside its measure in voc_ap.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprolens.evaluation.coco import xywh
from reprolens.evaluation.detections import Detections, Truth, join_detections, join_truths

COCO_IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_MOST_DETECTIONS = 100
_PAIRS_AT_ONCE = 2_000_000
"""Pairs of a detection and a true box whose IoU is worked out together: bounds the memory to some 200 MB."""


@dataclass(frozen=True)
class Matches:
    """The N detections that count, judged at T IoU thresholds, and the M true boxes that are to be found.

    Detections are in the order of their classes, those of a class by falling score; equal scores keep the order in
    which they came (pictures, then boxes of a picture). Of the true boxes, those of a class are together too.

    image, label: `(N,)` int64, position of the picture and index of the class.
    scores: `(N,)` float64.
    right, ignored: `(T, N)` bool; who is neither is wrong.
    truth_image, truth_label: `(M,)` int64.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    truth_image: NDArray[np.int64]
    truth_label: NDArray[np.int64]

    def wrong(self, score_threshold: float) -> NDArray[np.bool_]:
        """Return which detections with a score from the threshold up are wrong at the lowest IoU threshold, `(N,)`."""
        return (self.scores >= score_threshold) & ~self.ignored[0] & ~self.right[0]

    def counts(self, images: int, score_threshold: float) -> NDArray[np.int64]:
        """Return how many right, wrong and missed ones each of the pictures has at these thresholds, `(images, 3)`."""
        kept = (self.scores >= score_threshold) & ~self.ignored[0] & self.right[0]
        right, wrong = (
            np.bincount(self.image[which], minlength=images) for which in (kept, self.wrong(score_threshold))
        )
        return np.column_stack((right, wrong, np.bincount(self.truth_image, minlength=images) - right))


def coco_matches(detections: Sequence[Detections], truths: Sequence[Truth], classes: int) -> Matches:
    """Judge detections as COCO does, over all sizes of boxes, at its ten IoU thresholds.

    Of each picture and class, the best 100 detections count. In the order of their scores each takes, among the true
    boxes not yet taken whose IoU reaches the threshold, the one of the largest IoU (the last of equals); who finds none
    is ignored if it lies in a crowd (the share of its own area reaches the threshold), else wrong.
    """
    image, found = join_detections(detections)
    rank = np.lexsort((-found.scores, found.labels))
    rank = rank[_places(image[rank] * classes + found.labels[rank]) < _MOST_DETECTIONS]
    image, labels, boxes = image[rank], found.labels[rank], xywh(found.boxes[rank])
    truth_image, truth = join_truths(truths)
    order = np.lexsort((truth_image, truth.labels))
    truth_image, truth_labels, crowd = truth_image[order], truth.labels[order], truth.crowd[order]

    pair = overlapping(
        boxes,
        image + labels * len(truths),
        xywh(truth.boxes[order]),
        truth_image + truth_labels * len(truths),
        crowd,
    )
    inside = crowd[pair.truth]
    right = _take_greedily(pair.keep(~inside), image + labels * len(truths), len(order))
    ignored = np.zeros_like(right)
    for threshold, (row, taken) in enumerate(zip(ignored, right, strict=True)):
        row[pair.detection[inside & (pair.iou >= COCO_IOU_THRESHOLDS[threshold])]] = True
        row &= ~taken
    return Matches(image, labels, found.scores[rank], right, ignored, truth_image[~crowd], truth_labels[~crowd])


@dataclass(frozen=True)
class Pairs:
    """Detections and true boxes of one group that overlap enough; by detection, then by true box."""

    detection: NDArray[np.int64]
    truth: NDArray[np.int64]
    iou: NDArray[np.float64]

    def keep(self, which: NDArray) -> "Pairs":
        return Pairs(self.detection[which], self.truth[which], self.iou[which])


def overlapping(
    boxes: NDArray[np.float64],
    group: NDArray[np.int64],
    truths: NDArray[np.float64],
    truth_group: NDArray[np.int64],
    crowd: NDArray[np.bool_],
) -> Pairs:
    """Return the pairs of the same group whose IoU reaches COCO's lowest threshold, 0.5; `truth_group` never falls.

    `boxes`, `truths`: `(N, 4)` left, top, width, height. In a crowd the share of the detection's own area counts.
    """
    first, last = (np.searchsorted(truth_group, group, side=side) for side in ("left", "right"))
    found = [Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for some in _chunks(last - first):
        counts = (last - first)[some]
        detection = np.repeat(some, counts)
        truth = np.arange(counts.sum()) + np.repeat(first[some] - (np.cumsum(counts) - counts), counts)
        iou = _coco_iou(boxes[detection], truths[truth], crowd[truth])
        found.append(Pairs(detection, truth, iou).keep(iou >= COCO_IOU_THRESHOLDS[0]))
    return Pairs(*(np.concatenate([getattr(pair, name) for pair in found]) for name in ("detection", "truth", "iou")))


def _take_greedily(pairs: Pairs, group: NDArray[np.int64], truths: int) -> NDArray[np.bool_]:
    """Return which detections get a true box, `(T, N)`: in turn the first of every group, the second of every group."""
    thresholds = COCO_IOU_THRESHOLDS[:, None]
    right = np.zeros((len(thresholds), len(group)), np.bool_)
    taken = np.zeros((len(thresholds), truths), np.bool_)
    busy = np.unique(pairs.detection)
    turn = np.repeat(_places(group[busy]), np.diff(np.append(np.searchsorted(pairs.detection, busy), len(pairs.iou))))
    order = np.argsort(turn, kind="stable")
    for some in np.split(order, np.cumsum(np.bincount(turn))[:-1]) if len(order) else ():
        now = pairs.keep(some)
        starts = np.flatnonzero(np.diff(now.detection, prepend=-1))
        free = np.where((now.iou >= thresholds) & ~taken[:, now.truth], now.iou, 0.0)
        best = np.maximum.reduceat(free, starts, axis=1)
        best_of_own = np.repeat(best, np.diff(np.append(starts, len(some))), axis=1)
        chosen = np.maximum.reduceat(np.where(free == best_of_own, np.arange(len(some)), 0), starts, axis=1)
        threshold, place = np.nonzero(best)
        right[threshold, now.detection[starts[place]]] = True
        taken[threshold, now.truth[chosen[threshold, place]]] = True
    return right


def _coco_iou(boxes: NDArray[np.float64], truths: NDArray[np.float64], crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the IoU row by row of boxes `(N, 4)` x, y, width, height, rounded as pycocotools' `bbIou` rounds it."""
    ends = [box[:, :2] + box[:, 2:] for box in (boxes, truths)]
    sides = np.minimum(*ends) - np.maximum(boxes[:, :2], truths[:, :2])
    shared = np.where((sides > 0).all(axis=1), sides.prod(axis=1), 0.0)
    areas = boxes[:, 2:].prod(axis=1)
    union = np.where(crowd, areas, areas + truths[:, 2:].prod(axis=1) - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def _places(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each element how many of its group come before it."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    places = np.empty(len(group), np.int64)
    places[order] = np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))
    return places


def _chunks(counts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of what has a count, so many at once that their counts add up to a bounded number."""
    busy = np.flatnonzero(counts)
    chunk = (np.cumsum(counts[busy]) - 1) // _PAIRS_AT_ONCE
    for number in np.unique(chunk):
        yield busy[chunk == number]
