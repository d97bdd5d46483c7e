"""Laws of the likely label errors: none where model and labels agree, and planted ones rank high."""

import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprolens.evaluation import Detections, Truth
from reprolens.evaluation.findings.label_errors import (
    KINDS,
    LEAST_SUSPICION,
    Suspect,
    _falling_fit,
    likely_label_errors,
)
from reprolens.evaluation.measures.detections import join
from reprolens.evaluation.measures.overlaps import box_iou
from reprolens.evaluation.measures.voc_ap import match_voc

CLASSES = 3
Split = tuple[list[Detections], list[Truth]]


def _suspects(detections: list[Detections], truths: list[Truth], classes: int, most: int) -> tuple[Suspect, ...]:
    joined = join(detections, truths)
    return likely_label_errors(joined, match_voc(joined, classes), classes, most)


def _labelled(boxes: Any, labels: Any, difficult: bool = False, crowd: bool = False) -> Truth:
    return Truth(boxes, labels, [difficult] * len(labels), [crowd] * len(labels))


def _good_split(pictures: int = 40) -> Split:
    """A model that finds everything, two pixels off, and also says a few unsure things that are not there."""
    random = np.random.default_rng(3)
    detections, truths = [], []
    for _ in range(pictures):
        corners = np.array([[10.0, 10], [110, 10], [10, 110]]) + random.uniform(0, 30, (3, 2))
        boxes = np.concatenate([corners, corners + random.uniform(30, 50, (3, 2))], axis=1)
        labels = random.permutation(CLASSES)
        truths.append(_labelled(boxes, labels))
        found = boxes + random.uniform(-2, 2, boxes.shape)
        noise = np.concatenate([boxes[:1] + 5, [[120.0, 120, 150, 150]]])
        scores = np.concatenate([random.uniform(0.7, 1, 3), random.uniform(0, 0.2, 2)])
        detections.append(
            Detections(np.concatenate([found, noise]), scores, np.append(labels, random.integers(0, CLASSES, 2)))
        )
    return detections, truths


def _change(truth: Truth, kind: str) -> tuple[Truth, np.ndarray]:
    """Return the truth with its first object labelled wrongly in this way, and the box to be suspected."""
    boxes, labels = truth.boxes.copy(), truth.labels.copy()
    if kind == "overlooked":
        return _labelled(boxes[1:], labels[1:]), boxes[0]
    if kind == "spurious":
        extra = np.array([[160.0, 160, 195, 195]])
        return _labelled(np.concatenate([extra, boxes]), np.append(labels[:1], labels)), extra[0]
    if kind == "swapped":
        labels[0] = (labels[0] + 1) % CLASSES
    else:
        boxes[0] += np.tile((boxes[0, 2:] - boxes[0, :2]) * 0.35, 2)
    return _labelled(boxes, labels), boxes[0]


@pytest.mark.parametrize("kind", KINDS)
def test_one_wrong_label_in_a_good_data_set_is_the_one_suspect(kind: str) -> None:
    detections, truths = _good_split()
    assert _suspects(detections, truths, CLASSES, 100) == ()
    right = int(truths[7].labels[0])
    truths[7], box = _change(truths[7], kind)
    (suspect,) = _suspects(detections, truths, CLASSES, 100)
    assert (suspect.image, suspect.kind) == (7, kind)
    labelled = {"overlooked": None, "swapped": (right + 1) % CLASSES}.get(kind, right)
    assert (suspect.label, suspect.suggested) == (labelled, None if kind == "spurious" else right)
    expected = pytest.approx(box.tolist(), abs=2) if kind == "overlooked" else box.tolist()
    assert list(suspect.box) == expected
    assert LEAST_SUSPICION <= suspect.suspicion <= 1


def test_a_perfect_data_set_with_perfect_detections_has_no_suspects(random_split: Any) -> None:
    _, truths = random_split(60, 4)
    detections = [Detections(truth.boxes, np.full(len(truth), 0.9), truth.labels) for truth in truths]
    assert _suspects(detections, truths, 4, 1000) == ()


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_difficult_objects_and_crowds_are_never_suspects(flag: str) -> None:
    for kind in ("swapped", "badly_located", "spurious"):
        detections, truths = _good_split()
        changed, _ = _change(truths[7], kind)
        flags = np.zeros(len(changed), np.bool_)
        flags[0] = True
        truths[7] = Truth(
            changed.boxes, changed.labels, **{"difficult": ~flags & flags, "crowd": ~flags & flags} | {flag: flags}
        )
        assert not [one for one in _suspects(detections, truths, CLASSES, 100) if one.kind == kind]


def test_a_detection_on_a_crowd_or_a_difficult_object_is_not_overlooked() -> None:
    for place in ("difficult", "crowd"):
        detections, truths = _good_split()
        truth = truths[7]
        around = truth.boxes.copy()
        if place == "crowd":
            around[0] += [-8, -8, 60, 60]  # the detection lies wholly inside, at an IoU far below 0.5
        flags = np.arange(3) == 0
        both = {"difficult": np.zeros(3, np.bool_), "crowd": np.zeros(3, np.bool_)} | {place: flags}
        truths[7] = Truth(around, truth.labels, **both)
        assert _suspects(detections, truths, CLASSES, 100) == ()


def _wrong_split() -> Split:
    """The good split with two labels of each kind wrong."""
    detections, truths = _good_split()
    for number, kind in enumerate((*KINDS, *KINDS)):
        truths[number], _ = _change(truths[number], kind)
    return detections, truths


def test_suspicions_never_rise_and_only_the_surest_are_kept() -> None:
    detections, truths = _wrong_split()
    suspects = _suspects(detections, truths, CLASSES, 1000)
    values = [one.suspicion for one in suspects]
    assert sorted((one.image, one.kind) for one in suspects) == list(enumerate((*KINDS, *KINDS)))
    assert values == sorted(values, reverse=True)
    assert all(LEAST_SUSPICION <= value <= 1 for value in values)
    assert _suspects(detections, truths, CLASSES, 5) == suspects[:5]
    assert _suspects(detections, truths, CLASSES, 0) == ()


def test_any_rising_scale_of_scores_gives_the_same_suspects() -> None:
    detections, truths = _wrong_split()
    stretched = [Detections(one.boxes, 7 * one.scores**3 - 4, one.labels) for one in detections]
    expected = _suspects(detections, truths, CLASSES, 50)
    assert expected and _suspects(stretched, truths, CLASSES, 50) == expected


@pytest.mark.parametrize(
    ("detections", "truths"),
    [
        ([], []),
        ([Detections([], [], [])], [_labelled([], [])]),
        ([Detections([[1.0, 1, 9, 9]], [0.9], [0])], [_labelled([], [])]),
        ([Detections([], [], [])], [_labelled([[1.0, 1, 9, 9]], [0])]),
    ],
)
def test_without_anything_the_model_is_right_about_nothing_is_suspect(
    detections: list[Detections], truths: list[Truth]
) -> None:
    assert _suspects(detections, truths, 1, 10) == ()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), st.booleans()), max_size=40))
def test_trust_is_the_falling_fit_that_pooling_one_block_after_the_other_gives(rows: list[tuple]) -> None:
    rows = sorted(rows, key=lambda row: (row[0], -row[1]))
    group, scores, right = (
        np.array([row[place] for row in rows], kind) for place, kind in enumerate((int, float, bool))
    )
    shares, sizes = _falling_fit(group, scores, right)
    expected: list[tuple[float, int]] = []
    for label in range(3):
        blocks: list[list[int]] = []
        for score in sorted({score for one, score, _ in rows if one == label}, reverse=True):
            own = [hit for one, other, hit in rows if (one, other) == (label, score)]
            blocks.append([sum(own), len(own)])
            while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] <= blocks[-1][0] * blocks[-2][1]:
                last = blocks.pop()
                blocks[-1] = [blocks[-1][0] + last[0], blocks[-1][1] + last[1]]
        expected += [(hits / size, size) for hits, size in blocks for _ in range(size)]
    assert list(zip(shares.tolist(), sizes.tolist(), strict=True)) == expected


def test_a_crowded_picture_takes_no_more_memory_than_a_bounded_number_of_pairs() -> None:
    random = np.random.default_rng(0)
    near, far = random.uniform(0, 4, (3000, 2)), random.uniform(48, 52, (500, 2))
    found = Detections(np.concatenate([near, near + 60], axis=1), random.random(3000), np.zeros(3000))
    joined = join([found], [_labelled(np.concatenate([far, far + 60], axis=1), np.ones(500))])
    matches = match_voc(joined, 2)
    tracemalloc.start()
    likely_label_errors(joined, matches, 2, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120 * 2**20  # all 1.5 million pairs touch each other, none of them nearly


def _erring_split(classes: int = 10, pictures: int = 200) -> Split:
    """A model as one is trained: 3 % not found, 4 % taken for another class, less surely, and 20 unsure things seen."""
    random = np.random.default_rng(5)
    cells = np.stack(np.meshgrid(np.arange(3), np.arange(3)), -1).reshape(-1, 2) * 40.0
    detections, truths = [], []
    for _ in range(pictures):
        corners = cells[random.permutation(9)[:5]] + random.uniform(0, 10, (5, 2))
        boxes = np.concatenate([corners, corners + random.uniform(12, 28, (5, 2))], axis=1)
        labels = random.integers(classes, size=5)
        truths.append(_labelled(boxes, labels))
        found, confused = random.random(5) > 0.03, random.random(5) < 0.04
        seen = np.where(confused, (labels + random.integers(1, classes, 5)) % classes, labels)
        scores = np.where(confused, random.uniform(0.3, 0.7, 5), random.uniform(0.6, 0.95, 5))
        corners = random.uniform(0, 100, (20, 2))
        others = np.concatenate([corners, corners + random.uniform(8, 28, (20, 2))], axis=1)
        detections.append(
            Detections(
                np.concatenate([boxes[found] + random.normal(0, 1, (found.sum(), 4)), others]),
                np.concatenate([scores[found], random.uniform(0.02, 0.35, 20)]),
                np.concatenate([seen[found], random.integers(classes, size=20)]),
            )
        )
    return detections, truths


def _plant(truths: list[Truth], classes: int, share: float, seed: int) -> tuple[list[Truth], list[tuple]]:
    """Label this share of the objects wrongly; return picture, kind and box of each."""
    random = np.random.default_rng(seed)
    changed, planted = [], []
    for image, truth in enumerate(truths):
        boxes, labels = truth.boxes.copy(), truth.labels.copy()
        keep, extra = np.ones(len(truth), np.bool_), []
        for place in np.flatnonzero(random.random(len(truth)) < share):
            kind = tuple(KINDS)[random.integers(len(KINDS))]
            side = boxes[place, 2:] - boxes[place, :2]
            if kind == "overlooked":
                keep[place] = False
            elif kind == "swapped":
                labels[place] = (labels[place] + random.integers(1, classes)) % classes
            elif kind == "badly_located":
                boxes[place] += np.tile(random.uniform(0.3, 0.5, 2) * random.choice([-1, 1], 2) * side, 2)
            else:
                corner = random.uniform(0, np.maximum(truth.boxes[:, 2:].max(axis=0) - side, 1))
                box = np.concatenate([corner, corner + side])
                if box_iou(np.tile(box, (len(truth), 1)), truth.boxes).any():
                    continue  # no empty place was hit
                extra.append((box, labels[place]))
            planted.append((image, kind, extra[-1][0] if kind == "spurious" else boxes[place].copy()))
        places = np.array([box for box, _ in extra]).reshape(-1, 4)
        names = np.array([label for _, label in extra], np.int64)
        changed.append(_labelled(np.concatenate([boxes[keep], places]), np.concatenate([labels[keep], names])))
    return changed, planted


def _hits(suspects: tuple[Suspect, ...], planted: list[tuple]) -> list[str]:
    """Return the kinds of the planted errors that are among the suspects as what they are."""
    return [
        kind
        for suspect in suspects
        for image, kind, box in planted
        if (image, kind) == (suspect.image, suspect.kind) and box_iou(np.array([suspect.box]), box[None])[0] >= 0.5
    ]


def test_planted_errors_of_every_kind_rank_high_where_the_model_errs_too() -> None:
    (detections, truths), classes = _erring_split(), 10
    for share, least in ((0.05, 0.5), (0.15, 0.75)):  # what the model misses looks like a label without an object
        changed, planted = _plant(truths, classes, share, seed=0)
        hits = _hits(_suspects(detections, changed, classes, len(planted)), planted)
        assert len(hits) >= least * len(planted)
        total = Counter(kind for _, kind, _ in planted)
        assert all(Counter(hits)[kind] >= 0.6 * total[kind] for kind in ("overlooked", "swapped"))
