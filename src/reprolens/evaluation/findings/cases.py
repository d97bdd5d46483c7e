"""The mistakes worth looking at: the surest false alarms and the most blatant misses, each with its reason in words.

What is wrong and what is missed is VOC's judgement at IoU 0.5 and the score threshold (`matches.Matches`), so that the
cases are those that precision and recall count: what VOC ignores is no case. The reasons are those of TIDE (see
errors.py), whose limits are IoU 0.5 and 0.1; here all objects of the picture can be a reason, difficult ones and crowds
too.

A picture that the model fails to read would fill the list alone. So up to two cases of each picture come first, in
their order, and what else there is comes behind them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprolens.evaluation.measures.detections import Joined, box_areas
from reprolens.evaluation.measures.matches import Matches
from reprolens.evaluation.measures.overlaps import FOUND_IOU, NEAR_IOU, best_overlaps, most_of, overlaps

_OF_ONE_PICTURE = 2

Box = tuple[float, float, float, float]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """One mistake. `image` is the position of its picture, `label` the index of its class.

    box: the detection's of a false alarm, the object's of a miss: x0, y0, x1, y1 in pixels.
    score: the false alarm's; None of a miss.
    why: a few words, such as `dog, not cat` or `best overlap 0.32`.
    """

    image: int
    box: Box
    label: int
    score: float | None
    why: str


def false_positives(
    joined: Joined,
    matches: Matches,
    score_threshold: float,
    classes: Sequence[str],
    most: int | None = None,
) -> tuple[Case, ...]:
    """Return the false alarms with a score from the threshold up, the surest first; of equals the earlier one.

    `matches` is what `match_voc` returns for the same pictures. `most` cuts the list before reasons are sought.

    `dog, not cat`: the object there is a dog. `dog, not cat, wrong place`: it only touches the dog. `wrong place`: it
    touches a cat. `found twice`: a surer detection has the cat. `nothing there`: it touches no object.
    """
    image, found, truth = joined.image, joined.found, joined.truth
    wrong = matches.detection[matches.wrong(score_threshold)]
    wrong = wrong[np.lexsort((wrong, -found.scores[wrong]))]
    wrong = wrong[_spread(image[wrong])[:most]]

    pairs = overlaps(found.boxes[wrong], image[wrong], truth.boxes, joined.truth_image, NEAR_IOU)
    same = found.labels[wrong][pairs.detection] == truth.labels[pairs.truth]
    own, _ = best_overlaps(pairs.keep(same), len(wrong))
    other, whose = best_overlaps(pairs.keep(~same), len(wrong))
    cases = []
    for detection, own_iou, other_iou, one in zip(
        wrong.tolist(), own.tolist(), other.tolist(), whose.tolist(), strict=True
    ):
        label = int(found.labels[detection])
        instead = f"{classes[truth.labels[one]]}, not {classes[label]}" if one >= 0 else ""
        why = _why_wrong(own_iou, other_iou, instead)
        box, score = _box(found.boxes[detection]), float(found.scores[detection])
        cases.append(Case(int(image[detection]), box, label, score, why))
    return tuple(cases)


def misses(
    joined: Joined,
    matches: Matches,
    score_threshold: float,
    classes: Sequence[str],
    most: int | None = None,
) -> tuple[Case, ...]:
    """Return the objects that no detection with a score from the threshold up is right about, the largest first.

    `matches` and `most` are as for `false_positives`; of equally large objects the earlier one comes first.

    The first that holds, where only detections from the threshold up count except for the third, and of those of other
    classes only the wrong ones (neither right nor ignored). `best overlap 0.55, counted for another`: a detection of
    its class is there, but was judged by another object. `seen as cat 0.61`: one of another class is there. `score 0.31
    only`: one of its class is there, below the threshold. `best overlap 0.32`: one of its class (or, `as cat`, of
    another) touches it. `not seen at all`: none of these; what touches it, if anything, is too unsure, or there for an
    object of another class.
    """
    truth_image, truth = joined.truth_image, joined.truth
    missed = matches.missed(score_threshold)
    missed = missed[np.lexsort((missed, -box_areas(truth.boxes[missed])))]
    missed = missed[_spread(truth_image[missed])[:most]]

    reasons = _why_missed(missed, joined, matches, score_threshold, classes)
    return tuple(
        Case(int(truth_image[place]), _box(truth.boxes[place]), int(truth.labels[place]), None, why)
        for place, why in zip(missed.tolist(), reasons, strict=True)
    )


def _why_wrong(own: float, other: float, instead: str) -> str:
    """Say why, from the largest IoU with objects of its own and of another class, and `dog, not cat`."""
    if own >= FOUND_IOU:
        return "found twice"  # else it would be right, or ignored
    if own >= NEAR_IOU and own >= other:
        return "wrong place"
    if other >= FOUND_IOU:
        return instead
    return f"{instead}, wrong place" if other >= NEAR_IOU else "nothing there"


def _why_missed(
    missed: Whole, joined: Joined, matches: Matches, score_threshold: float, classes: Sequence[str]
) -> list[str]:
    found, truth = joined.found, joined.truth
    wrong = np.zeros(len(found), np.bool_)
    wrong[matches.detection] = matches.wrong(score_threshold)
    pairs = overlaps(truth.boxes[missed], joined.truth_image[missed], found.boxes, joined.image, NEAR_IOU)
    same = truth.labels[missed][pairs.detection] == found.labels[pairs.truth]
    scores, there = found.scores[pairs.truth], pairs.iou >= FOUND_IOU
    kept, false = scores >= score_threshold, wrong[pairs.truth]

    shared, _ = best_overlaps(pairs.keep(same & kept & there), len(missed))
    other_class = ~same & there & false
    _, mistaken = most_of(pairs.keep(other_class), scores[other_class], len(missed))
    unsure = same & ~kept & there
    _, doubted = most_of(pairs.keep(unsure), scores[unsure], len(missed))
    own, _ = best_overlaps(pairs.keep(same & kept), len(missed))
    other, whose = best_overlaps(pairs.keep(~same & false), len(missed))

    reasons = []
    for place in range(len(missed)):
        if shared[place]:
            why = f"best overlap {shared[place]:.2f}, counted for another"
        elif (one := mistaken[place]) >= 0:
            why = f"seen as {classes[found.labels[one]]} {found.scores[one]:.2f}"
        elif (one := doubted[place]) >= 0:
            why = f"score {found.scores[one]:.2f} only"
        elif own[place]:
            why = f"best overlap {own[place]:.2f}"
        elif other[place]:
            why = f"best overlap {other[place]:.2f}, as {classes[found.labels[whose[place]]]}"
        else:
            why = "not seen at all"
        reasons.append(why)
    return reasons


def _spread(image: Whole) -> Whole:
    """Return the order in which up to two of each picture come first, and otherwise all stay as they are."""
    order = np.argsort(image, kind="stable")
    starts = np.flatnonzero(np.diff(image[order], prepend=-1))
    before = np.empty(len(image), np.int64)
    before[order] = np.arange(len(image)) - np.repeat(starts, np.diff(np.append(starts, len(image))))
    return np.argsort(before >= _OF_ONE_PICTURE, kind="stable")


def _box(corners: NDArray[np.float64]) -> Box:
    x0, y0, x1, y1 = corners.tolist()
    return x0, y0, x1, y1
