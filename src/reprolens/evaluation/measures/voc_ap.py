"""Average precision as PASCAL VOC defines it: VOC2007's 11-point and VOC2010-2012's all-point form.

Source: VOCevaldet.m and VOCap.m of the PASCAL VOC development kits (VOC2007 and VOC2012; Everingham et al., "The
PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010). Of each class all detections are ranked by score; each is
compared with the true box of its picture and class that it overlaps most, whether or not that one is taken already. It
is right if their IoU reaches the threshold and no better ranked detection was right about the same box; it is ignored
if that box is marked difficult; else it is wrong.

The development kit measures inclusive 1-based pixels: a side is `xmax - xmin + 1`. With the boxes in memory
`xmin = x0 + 1, xmax = x1`, so that is `x1 - x0`, and the same holds for an intersection: the continuous IoU here equals
the development kit's on the files. Its results for equal scores depend on MATLAB's sort; here equal scores keep the
order in which they came (pictures, then boxes of a picture). A crowd box, which VOC does not know, is treated as
difficult.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from reprolens.evaluation.measures.detections import Detections, Joined, Truth, join
from reprolens.evaluation.measures.matches import Matches, ranked
from reprolens.evaluation.measures.overlaps import FOUND_IOU, all_pairs, box_iou, nearest


@dataclass(frozen=True)
class Curve:
    """The ranked detections of one class: one point for each that counts (the ignored ones are left out).

    scores: `(P,)` float64, never rising.
    hits: `(P,)` int64, how many of the detections up to and with this one are right.
    positives: how many true boxes there are to be found.
    """

    scores: NDArray[np.float64]
    hits: NDArray[np.int64]
    positives: int

    @property
    def precision(self) -> NDArray[np.float64]:
        """The share of the detections up to each point that are right, `(P,)`."""
        return self.hits / np.arange(1, len(self.hits) + 1)

    @property
    def recall(self) -> NDArray[np.float64]:
        """The share of the true boxes that are found up to each point, `(P,)`; NaN where there is nothing to find."""
        if not self.positives:
            return np.full(len(self.hits), np.nan)
        return self.hits / self.positives

    def envelope(self) -> NDArray[np.float64]:
        """The best precision at each point's recall or a higher one, `(P,)`: what both forms of AP are taken from."""
        return np.maximum.accumulate(self.precision[::-1])[::-1]

    def counts(self, threshold: float) -> tuple[int, int, int]:
        """Return how many detections with a score from `threshold` up are right, how many wrong, and what is missed."""
        kept = int(np.searchsorted(-self.scores, -threshold, side="right"))
        hits = int(self.hits[kept - 1]) if kept else 0
        return hits, kept - hits, self.positives - hits


def voc_curves(
    detections: Sequence[Detections],
    truths: Sequence[Truth],
    classes: int,
    iou_threshold: float = FOUND_IOU,
    ignore_difficult: bool = True,
) -> tuple[Curve, ...]:
    """Return the curve of every class, from the detections and the truth of the same pictures in the same order.

    `ignore_difficult=False` counts difficult objects as ordinary ones; crowds stay ignored.
    """
    return curves_of(voc_matches(detections, truths, classes, iou_threshold, ignore_difficult), classes)


def curves_of(matches: Matches, classes: int) -> tuple[Curve, ...]:
    """Return the curve of every class, from what `voc_matches` returns."""
    counted = ~matches.ignored[0]
    bounds = np.searchsorted(matches.label[counted], np.arange(classes + 1))
    scores, right = matches.scores[counted], matches.right[0, counted]
    positives = np.bincount(matches.truth_label, minlength=classes)
    return tuple(
        Curve(scores[first:last], np.cumsum(right[first:last]), int(positives[index]))
        for index, (first, last) in enumerate(pairwise(bounds))
    )


def voc_matches(
    detections: Sequence[Detections],
    truths: Sequence[Truth],
    classes: int,
    iou_threshold: float = FOUND_IOU,
    ignore_difficult: bool = True,
) -> Matches:
    """Judge every detection as the development kit does, at the one threshold."""
    return match_voc(join(detections, truths), classes, iou_threshold, ignore_difficult)


def match_voc(joined: Joined, classes: int, iou_threshold: float = FOUND_IOU, ignore_difficult: bool = True) -> Matches:
    """Judge detections as `voc_matches` does."""
    found, truth = joined.found, joined.truth
    rank = ranked(found)
    image, labels, boxes = joined.image[rank], found.labels[rank], found.boxes[rank]
    group = joined.truth_image * classes + truth.labels
    order = np.argsort(group, kind="stable")
    true_boxes, ignore = truth.boxes[order], (truth.crowd | (truth.difficult & ignore_difficult))[order]

    # The first of the largest IoU, as the development kit's loop with its strict comparison finds it.
    pairs = all_pairs(image * classes + labels, group[order], lambda one, other: box_iou(boxes[one], true_boxes[other]))
    iou, best = nearest(pairs, len(rank))
    right, ignored = _judge((iou >= iou_threshold) & (best >= 0), best, ignore)
    taken = np.full((1, len(rank)), -1, np.int32)
    taken[0, right] = order[best[right]]

    easy = np.sort(order[~ignore])
    easy = easy[np.argsort(truth.labels[easy], kind="stable")]
    return Matches(
        rank,
        image,
        labels,
        found.scores[rank],
        taken,
        ignored[None],
        easy,
        joined.truth_image[easy],
        truth.labels[easy],
    )


def eleven_point_ap(curve: Curve) -> float | None:
    """Return VOC2007's AP: the mean of the best precision at recall 0, 0.1, ... 1; None where nothing is to be found.

    The recall levels are compared in whole numbers, `10 hits >= k positives`. (In floating point the result depends on
    how a language counts from 0 to 1: `3 * 0.1` is above `0.3`, and a recall of 3 in 10 would miss its level.)
    """
    if not curve.positives:
        return None
    # The envelope never rises: the best precision from a recall up is its value where that recall is first reached.
    reached = np.searchsorted(curve.hits * 10, np.arange(11) * curve.positives, side="left")
    return float(np.append(curve.envelope(), 0.0)[reached].sum() / 11)


def all_point_ap(curve: Curve) -> float | None:
    """Return VOC2010-2012's AP: the area under the curve's envelope; None where nothing is to be found."""
    if not curve.positives:
        return None
    # Recall rises by 1 / positives at each right detection and nowhere else.
    rises = np.diff(curve.hits, prepend=0) > 0
    return float(curve.envelope()[rises].sum() / curve.positives)


def mean_ap(values: Iterable[float | None]) -> float | None:
    """Return the mean over the classes whose AP is defined; None where none is."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _judge(
    matched: NDArray[np.bool_], best: NDArray[np.int64], ignore: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which ranked detections are right and which are ignored, from the true box that each overlaps most."""
    ignored = matched.copy()
    ignored[matched] = ignore[best[matched]]
    candidates = np.flatnonzero(matched & ~ignored)
    right = np.zeros(len(matched), np.bool_)
    right[candidates[np.unique(best[candidates], return_index=True)[1]]] = True  # the first of each true box
    return right, ignored
