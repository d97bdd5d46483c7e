"""Objects of a data set that are likely labelled wrongly: a list to look at, never a verdict.

After ObjectLab: Tkachenko, Thyagarajan and Mueller, "ObjectLab: Automated Diagnosis of Mislabeled Images in Object
Detection Data", 2023, arXiv:2309.00832. Its idea: where a model that is usually right contradicts a label, look at the
label. Its three kinds are here, and a fourth:

- overlooked: a detection where nothing is labelled;
- swapped: a detection of another class on a labelled object, and none of the object's own;
- badly_located: a detection of the object's class beside it, and none on it;
- spurious: a labelled object that no detection of any class touches, however low its score.

Three things differ. ObjectLab believes detections with a score above 0.95 (overlooked, swapped) or 0.5 (badly located);
the scores of many detectors never reach that, or mean something else. Here a detection is believed as far as those like
it are right on this very split: its `trust` is the share of right ones (VOC's rule, IoU 0.5) among detections of its
class with such scores, by isotonic regression (Barlow et al., "Statistical Inference under Order Restrictions", 1972),
drawn towards the same share over all classes where a class has few. Boxes are compared by IoU alone, without a distance
of corners. And single objects are ranked, not pictures. A number is the model's word against the label's, from 0 to 1,
comparable between the kinds; it is no calibrated probability.

The model must not have been trained on the pictures, or it may have learnt their errors. Difficult objects and crowds
are never suspects, and nothing is called overlooked because it lies on one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprolens.evaluation.measures.coco import SIZES, size_places
from reprolens.evaluation.measures.detections import Detections, Joined, Truth, box_areas
from reprolens.evaluation.measures.matches import Matches
from reprolens.evaluation.measures.overlaps import (
    FOUND_IOU,
    NEAR_IOU,
    Pairs,
    all_pairs,
    best_overlaps,
    box_iou,
    most_of,
    nearest,
    overlaps,
)

KINDS = {
    "overlooked": "an object that is not labelled",
    "swapped": "the wrong class",
    "badly_located": "the right class, the box elsewhere",
    "spurious": "no object is there",
}
"""The kinds of label error, in words."""

LEAST_SUSPICION = 0.5
"""Suspects below are not listed: the label's word outweighs the model's."""

_PRIOR = 5.0
"""Detections of all classes, with such a score, that count beside those of the class."""
_USUALLY_LOST = 0.1
"""Where this share of the objects is untouched, one such is as likely lost by the model as labelled wrongly."""

Array = NDArray[np.float64]
Whole = NDArray[np.int64]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Suspect:
    """An object whose label is doubtful. `image` is the position of its picture, `kind` one of KINDS.

    box: what the data set says, or the detection's of an overlooked one: x0, y0, x1, y1 in pixels.
    label: the class in the data set; None of an overlooked one.
    suggested, suggested_box: the class that the model sees, and where; None of a spurious one.
    suspicion: 0 to 1, higher is more suspect.
    """

    image: int
    kind: str
    box: Box
    label: int | None
    suggested: int | None
    suspicion: float
    suggested_box: Box | None = None


@dataclass(frozen=True)
class _Scene:
    """All pictures together: detections with their trust, objects, and the pairs of them from NEAR_IOU up."""

    image: Whole
    found: Detections
    trust: Array
    wrong: NDArray[np.bool_]
    truth_image: Whole
    truth: Truth
    ordinary: NDArray[np.bool_]
    pairs: Pairs
    same: NDArray[np.bool_]


@dataclass(frozen=True)
class _Candidates:
    """N doubts of a kind: the detection and the object they are about (-1: none), and how strong they are."""

    kind: str
    detection: Whole
    object: Whole
    suspicion: Array


def likely_label_errors(joined: Joined, matches: Matches, classes: int, most: int) -> tuple[Suspect, ...]:
    """Return up to `most` suspects, the surest first, of equal ones the earlier picture's.

    `matches` is what `match_voc` returns for the same pictures; give the unsure detections too. Each object and each
    detection is the reason for one suspect at most.
    """
    scene = _scene(joined, matches)
    doubts = (_overlooked(scene), _swapped(scene), _badly_located(scene), _spurious(scene, classes))
    detection, thing, suspicion = (
        np.concatenate([getattr(one, name) for one in doubts]) for name in ("detection", "object", "suspicion")
    )
    kinds = np.repeat(np.arange(len(doubts)), [len(one.suspicion) for one in doubts])
    scores, image = np.full(len(kinds), -np.inf), np.zeros(len(kinds), np.int64)
    seen, labelled = detection >= 0, thing >= 0
    scores[seen], image[seen] = scene.found.scores[detection[seen]], scene.image[detection[seen]]
    image[labelled] = scene.truth_image[thing[labelled]]
    suspects: list[Suspect] = []
    used: dict[int, list[Array]] = {}  # of each picture, the places that the suspects so far are about
    for place in np.lexsort((thing, detection, kinds, image, -scores, -suspicion)).tolist():
        if suspicion[place] < LEAST_SUSPICION or len(suspects) >= most:
            break
        boxes = [scene.found.boxes[detection[place]]] if seen[place] else []
        boxes += [scene.truth.boxes[thing[place]]] if labelled[place] else []
        there = used.setdefault(int(image[place]), [])
        if not _known(boxes, there):
            there.extend(boxes)
            kind = doubts[kinds[place]].kind
            suspects.append(_suspect(scene, kind, int(detection[place]), int(thing[place]), float(suspicion[place])))
    return tuple(suspects)


def _suspect(scene: _Scene, kind: str, detection: int, thing: int, suspicion: float) -> Suspect:
    x0, y0, x1, y1 = (scene.truth.boxes[thing] if thing >= 0 else scene.found.boxes[detection]).tolist()
    image = scene.truth_image[thing] if thing >= 0 else scene.image[detection]
    label = int(scene.truth.labels[thing]) if thing >= 0 else None
    if detection < 0:
        return Suspect(int(image), kind, (x0, y0, x1, y1), label, None, suspicion)
    left, top, right, bottom = scene.found.boxes[detection].tolist()
    suggested = int(scene.found.labels[detection])
    return Suspect(int(image), kind, (x0, y0, x1, y1), label, suggested, suspicion, (left, top, right, bottom))


def _known(boxes: Sequence[Array], there: Sequence[Array]) -> bool:
    """Return whether a suspect so far is about the same place: two detections of one thing are one doubt."""
    if not there:
        return False
    return any(bool((box_iou(np.tile(box, (len(there), 1)), np.stack(there)) >= FOUND_IOU).any()) for box in boxes)


def _scene(joined: Joined, matches: Matches) -> _Scene:
    found, truth = joined.found, joined.truth
    trust, wrong = np.zeros(len(found)), np.zeros(len(found), np.bool_)
    trust[matches.detection] = _trust(matches)
    wrong[matches.detection] = ~matches.right[0] & ~matches.ignored[0]
    pairs = overlaps(found.boxes, joined.image, truth.boxes, joined.truth_image, NEAR_IOU)
    same = found.labels[pairs.detection] == truth.labels[pairs.truth]
    ordinary = ~truth.difficult & ~truth.crowd
    return _Scene(joined.image, found, trust, wrong, joined.truth_image, truth, ordinary, pairs, same)


def _trust(matches: Matches) -> Array:
    """Return how far each detection is believed, `(N,)`; 0 for an ignored one."""
    counted = ~matches.ignored[0]
    labels, scores, right = matches.label[counted], matches.scores[counted], matches.right[0, counted]
    shared, _ = _falling_fit(np.zeros_like(labels), scores, right)
    own, size = _falling_fit(labels, scores, right)
    trust = np.zeros(len(counted))
    trust[counted] = (own * size + _PRIOR * shared) / (size + _PRIOR)
    return trust


def _falling_fit(group: Whole, scores: Array, right: NDArray[np.bool_]) -> tuple[Array, Whole]:
    """Return the shares of right ones that best fit and never rise as a group's scores fall, and the blocks' sizes.

    Both are `(N,)`: of each detection the share of its block, all of which have one, and how many these are.

    The pool-adjacent-violators algorithm (Barlow et al.), equal scores pooled from the start. In each round all runs of
    blocks whose shares do not fall are pooled, which comes to the same: two neighbours that do not fall end in one.
    """
    order = np.lexsort((-scores, group))
    group, scores = group[order], scores[order]
    starts = np.flatnonzero((np.diff(group, prepend=-1) != 0) | (np.diff(scores, prepend=np.inf) != 0))
    if not len(starts):
        return np.zeros(0), np.zeros(0, np.int64)
    hits = np.add.reduceat(right[order], starts, dtype=np.int64)
    while True:
        sizes = np.diff(np.append(starts, len(order)))
        falls = hits[:-1] * sizes[1:] > hits[1:] * sizes[:-1]
        apart = np.flatnonzero(np.append(True, falls | (np.diff(group[starts]) != 0)))
        if len(apart) == len(starts):
            break
        starts, hits = starts[apart], np.add.reduceat(hits, apart)
    share, size = np.empty(len(order)), np.empty(len(order), np.int64)
    share[order], size[order] = np.repeat(hits / sizes, sizes), np.repeat(sizes, sizes)
    return share, size


def _overlooked(scene: _Scene) -> _Candidates:
    """Doubt that nothing is there: trust, less where the detection overlaps an object: none is left from IoU 0.5 up.

    Lying inside an object of its class, or in any crowd, counts as the share of its own area: it may be a part.
    """
    found, truth = scene.found, scene.truth
    trusted = np.flatnonzero(scene.wrong & (scene.trust >= LEAST_SUSPICION))  # of the others there is too little doubt

    def overlap(one: Whole, other: Whole) -> Array:
        one = trusted[one]
        values = box_iou(found.boxes[one], truth.boxes[other])
        inside = (values > 0) & ((found.labels[one] == truth.labels[other]) | truth.crowd[other])
        values[inside] = _share_inside(found.boxes[one[inside]], truth.boxes[other[inside]])
        return values

    most, _ = nearest(all_pairs(scene.image[trusted], scene.truth_image, overlap), len(trusted))
    suspicion = scene.trust[trusted] * np.maximum(1 - most / FOUND_IOU, 0)
    which = suspicion >= LEAST_SUSPICION
    return _Candidates("overlooked", trusted[which], np.full(which.sum(), -1, np.int64), suspicion[which])


def _share_inside(boxes: Array, others: Array) -> Array:
    """Return which share of each box's area lies in the other one, row by row; the boxes overlap."""
    shared = np.concatenate([np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])], axis=1)
    return box_areas(shared) / box_areas(boxes)


def _swapped(scene: _Scene) -> _Candidates:
    """Doubt an object's class: the trust in another class there, times the distrust in its own."""
    pairs = scene.pairs
    there = pairs.iou >= FOUND_IOU
    own, _ = _surest(scene, scene.same & there)
    found_own = np.zeros(len(scene.found), np.bool_)  # an object of the detection's own class is labelled there as well
    found_own[pairs.detection[scene.same & there]] = True
    other = ~scene.same & there & scene.wrong[pairs.detection] & ~found_own[pairs.detection]
    most, whose = _surest(scene, other & scene.ordinary[pairs.truth])
    suspicion = most * (1 - own)
    thing = np.flatnonzero((whose >= 0) & (suspicion >= LEAST_SUSPICION))
    return _Candidates("swapped", whose[thing], thing, suspicion[thing])


def _badly_located(scene: _Scene) -> _Candidates:
    """Doubt an object's box: the trust in its class nearby, less the trust in what lies as detections usually do.

    Nearby means from IoU 0.1 up, of detections that overlap no other object of the class more. As usual means the
    median IoU of right detections, so that a model that draws boxes loosely does not doubt every label.
    """
    pairs = scene.pairs
    _, closest = best_overlaps(pairs.keep(scene.same), len(scene.found))
    mine = scene.same & (closest[pairs.detection] == pairs.truth)
    usual = pairs.iou[mine & ~scene.wrong[pairs.detection] & scene.ordinary[pairs.truth]]
    fit = np.minimum(pairs.iou / (np.median(usual) if len(usual) else 1.0), 1.0)
    most, whose = _surest(scene, mine & scene.ordinary[pairs.truth])
    backed, _ = _largest(scene, scene.same, scene.trust[pairs.detection] * fit)
    suspicion = most - backed
    thing = np.flatnonzero((whose >= 0) & (suspicion >= LEAST_SUSPICION))
    return _Candidates("badly_located", whose[thing], thing, suspicion[thing])


def _spurious(scene: _Scene, classes: int) -> _Candidates:
    """Doubt that an object is there: the more, the more of its like are found and the fewer are not touched at all.

    Its like are those of its class, or of its size (COCO's small, medium and large) where that doubts less. Found means
    at any score.
    """
    pairs, truth, ordinary = scene.pairs, scene.truth, scene.ordinary
    touched, found = np.zeros(len(truth), np.bool_), np.zeros(len(truth), np.bool_)
    touched[pairs.truth] = True
    found[pairs.truth[scene.same & (pairs.iou >= FOUND_IOU)]] = True
    suspicion = np.ones(ordinary.sum())
    for group, groups in ((truth.labels, classes), (size_places(truth.areas), len(SIZES))):
        group = group[ordinary]
        count = np.maximum(np.bincount(group, minlength=groups), 1)
        recall, lost = (np.bincount(group, which[ordinary], groups) / count for which in (found, ~touched))
        suspicion = np.minimum(suspicion, (recall * _USUALLY_LOST / (_USUALLY_LOST + lost))[group])
    which = ~touched[ordinary] & (suspicion >= LEAST_SUSPICION)
    thing = np.flatnonzero(ordinary)[which]
    return _Candidates("spurious", np.full(len(thing), -1, np.int64), thing, suspicion[which])


def _surest(scene: _Scene, which: NDArray[np.bool_]) -> tuple[Array, Whole]:
    """Return of each object the most trusted detection among these pairs: its trust, and which it is; 0 and -1."""
    return _largest(scene, which, scene.trust[scene.pairs.detection])


def _largest(scene: _Scene, which: NDArray[np.bool_], values: Array) -> tuple[Array, Whole]:
    pairs = scene.pairs.keep(which)
    by_object = Pairs(pairs.truth, pairs.detection, pairs.iou)
    return most_of(by_object, values[which], len(scene.truth))
