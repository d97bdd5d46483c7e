"""Which detections are right: every detection judged once, so that measures of resampled pictures need no boxes.

COCO's rule is here (https://cocodataset.org/#detection-eval; pycocotools' `evaluateImg` and `bbIou`), because hotcoco
hands its own judgements over far slower than it makes them; VOC's is beside its measure in voc_ap.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprolens.evaluation.measures.detections import Detections, Joined, Truth, join, xywh
from reprolens.evaluation.measures.overlaps import Overlap, Pairs, overlapping

COCO_IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_MOST_DETECTIONS = 100


@dataclass(frozen=True)
class Matches:
    """The N detections that count, judged at T IoU thresholds, and the M true boxes that are to be found.

    Detections are in the order of their classes, those of a class by falling score; equal scores keep the order in
    which they came (pictures, then boxes of a picture). Of the true boxes, those of a class are together too.

    detection: `(N,)` int64, which of the joined pictures' detections each is, as the pictures came.
    image, label: `(N,)` int64, position of the picture and index of the class.
    scores: `(N,)` float64.
    taken: `(T, N)` int32, which of the joined pictures' true boxes each is right about; -1 of those that are not right.
    ignored: `(T, N)` bool; who is neither right nor ignored is wrong.
    truth: `(M,)` int64, which of the joined pictures' true boxes each is; `truth_image`, `truth_label` as above.
    """

    detection: NDArray[np.int64]
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    scores: NDArray[np.float64]
    taken: NDArray[np.int32]
    ignored: NDArray[np.bool_]
    truth: NDArray[np.int64]
    truth_image: NDArray[np.int64]
    truth_label: NDArray[np.int64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which detections are right at each IoU threshold, `(T, N)`."""
        return self.taken >= 0

    def wrong(self, score_threshold: float) -> NDArray[np.bool_]:
        """Return which detections with a score from the threshold up are wrong at the lowest IoU threshold, `(N,)`."""
        return (self.scores >= score_threshold) & ~self.ignored[0] & (self.taken[0] < 0)

    def missed(self, score_threshold: float) -> NDArray[np.int64]:
        """Return which of the joined pictures' true boxes no detection from the threshold up is right about, rising."""
        return np.setdiff1d(self.truth, self.taken[0, self.scores >= score_threshold])

    def counts(self, images: int, score_threshold: float) -> NDArray[np.int64]:
        """Return how many right, wrong and missed ones each of the pictures has at these thresholds, `(images, 3)`."""
        kept = (self.scores >= score_threshold) & (self.taken[0] >= 0)
        right, wrong = (
            np.bincount(self.image[which], minlength=images) for which in (kept, self.wrong(score_threshold))
        )
        return np.column_stack((right, wrong, np.bincount(self.truth_image, minlength=images) - right))


def ranked(found: Detections) -> NDArray[np.int64]:
    """Return the positions of the detections in the order of `Matches`."""
    return np.lexsort((-found.scores, found.labels))


def coco_matches(detections: Sequence[Detections], truths: Sequence[Truth], classes: int) -> Matches:
    """Judge detections as COCO does, over all sizes of boxes, at its ten IoU thresholds.

    Of each picture and class, the best 100 detections count. In the order of their scores each takes, among the true
    boxes not yet taken whose IoU reaches the threshold, the one of the largest IoU (the last of equals); who finds none
    is ignored if it lies in a crowd (the share of its own area reaches the threshold), else wrong.
    """
    return match_coco(join(detections, truths), classes)


def match_coco(joined: Joined, classes: int, overlap: Overlap | None = None) -> Matches:
    """Judge detections as `coco_matches` does, by their boxes or by another `overlap`, such as `coco.mask_overlap`.

    The positions that `overlap` is asked for are those of `joined.found` and `joined.truth`.
    """
    images, found, truth = joined.images, joined.found, joined.truth
    rank = ranked(found)
    rank = rank[_places(joined.image[rank] * classes + found.labels[rank]) < _MOST_DETECTIONS]
    image, labels = joined.image[rank], found.labels[rank]
    order = np.lexsort((joined.truth_image, truth.labels))
    truth_image, truth_labels, crowd = joined.truth_image[order], truth.labels[order], truth.crowd[order]

    measure = coco_overlap(found, truth) if overlap is None else overlap
    group = image + labels * images
    pair = overlapping(
        group,
        truth_image + truth_labels * images,
        lambda one, other: measure(rank[one], order[other]),
        COCO_IOU_THRESHOLDS[0],
    )
    inside = crowd[pair.truth]
    taken = _take_greedily(pair.keep(~inside), group, order)
    ignored = np.zeros(taken.shape, np.bool_)
    for threshold, row in enumerate(ignored):
        row[pair.detection[inside & (pair.iou >= COCO_IOU_THRESHOLDS[threshold])]] = True
        row &= taken[threshold] < 0
    easy = ~crowd
    return Matches(
        rank,
        image,
        labels,
        found.scores[rank],
        taken,
        ignored,
        order[easy],
        truth_image[easy],
        truth_labels[easy],
    )


def coco_overlap(found: Detections, truth: Truth) -> Overlap:
    """Return what measures the IoU of boxes as COCO does; in a crowd the share of the detection's own area counts."""
    boxes, truths, crowd = xywh(found.boxes), xywh(truth.boxes), truth.crowd
    return lambda one, other: _coco_iou(boxes[one], truths[other], crowd[other])


def _take_greedily(pairs: Pairs, group: NDArray[np.int64], names: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return which true box each detection gets, by its name or -1, `(T, N)`: the first of every group go first.

    Then go the second of every group, and so on. `names` has an entry for each true box.
    """
    thresholds = COCO_IOU_THRESHOLDS[:, None]
    got = np.full((len(thresholds), len(group)), -1, np.int32)
    taken = np.zeros((len(thresholds), len(names)), np.bool_)
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
        truth = now.truth[chosen[threshold, place]]
        got[threshold, now.detection[starts[place]]] = names[truth]
        taken[threshold, truth] = True
    return got


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
