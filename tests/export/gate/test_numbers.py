"""Two sets of detections are compared one to one."""

from dataclasses import replace

import numpy as np
import pytest

from reprolens.errors import ExportError
from reprolens.evaluation import Detections
from reprolens.export.gate.numbers import Difference, check_found, difference
from reprolens.inference.model import Found

NOTHING = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))


def _some(count: int = 12, seed: int = 0) -> Detections:
    """Return detections of three classes well apart from each other."""
    random = np.random.default_rng(seed)
    corners = np.stack([np.arange(count) * 40.0, random.uniform(0, 50, count)], axis=1)
    boxes = np.concatenate([corners, corners + random.uniform(15, 30, (count, 2))], axis=1)
    return Detections(boxes, np.sort(random.uniform(0.2, 0.9, count))[::-1], random.integers(0, 3, count))


def _compared(first: Detections, second: Detections, most: int = 100) -> Difference:
    """Compare both ways round, which must say the same, at a threshold of 0.1 and a tolerance of 0.01."""
    gap, other = (difference(*pair, 0.1, most, 0.01) for pair in ((first, second), (second, first)))
    assert replace(gap, box_relative=0, score_relative=0) == replace(other, box_relative=0, score_relative=0)
    return gap


def _same(matched: int, unmatched: int) -> Difference:
    return Difference(matched=matched, unmatched=unmatched)


def test_detections_do_not_differ_from_themselves_in_any_order() -> None:
    order = np.random.default_rng(1).permutation(12)
    shuffled = Detections(_some().boxes[order], _some().scores[order], _some().labels[order])
    assert _compared(_some(), shuffled) == _same(12, 0)


def test_nothing_does_not_differ_from_nothing() -> None:
    assert _compared(NOTHING, NOTHING) == _same(0, 0)


def test_the_greatest_gap_of_a_coordinate_and_of_a_score_are_found() -> None:
    boxes, scores = _some().boxes.copy(), _some().scores.copy()
    boxes[3, 2] += 0.5
    boxes[5, 0] -= 0.25
    scores[7] -= 0.003
    gap = _compared(_some(), Detections(boxes, scores, _some().labels))
    assert (gap.matched, gap.unmatched) == (12, 0)
    assert (gap.box, gap.score) == pytest.approx((0.5, 0.003))


def test_relative_differences_are_shares_of_the_second_but_of_no_less_than_a_pixel_and_a_hundredth() -> None:
    theirs = Detections(np.array([[0.0, 0, 20, 10], [50, 50, 50.5, 50.5]]), np.array([0.5, 0.004]), np.zeros(2, int))
    ours = replace(theirs, boxes=theirs.boxes.copy(), scores=np.array([0.55, 0.004]))
    ours.boxes[0, 2] += 0.5
    gap = difference(ours, theirs, 0.1, 100, 0.01)
    assert (gap.box_relative, gap.score_relative) == pytest.approx((0.5 / 20, 0.1))
    assert difference(theirs, ours, 0.1, 100, 0.01).box_relative == pytest.approx(0.5 / 20.5)
    small = replace(theirs, boxes=theirs.boxes.copy(), scores=np.array([0.5, 0.006]))
    small.boxes[1, 2] += 0.25
    gap = difference(small, theirs, 0.1, 100, 0.01)
    assert (gap.box_relative, gap.score_relative) == pytest.approx((0.25, 0.2))


def test_a_detection_that_only_one_side_has_is_unmatched() -> None:
    first = _some()
    fewer = Detections(first.boxes[1:], first.scores[1:], first.labels[1:])
    assert _compared(first, fewer) == _same(11, 1)
    assert _compared(first, NOTHING) == _same(0, 12)


def test_another_class_or_another_place_is_another_detection() -> None:
    first = _some()
    renamed = Detections(first.boxes, first.scores, np.where(np.arange(12) == 4, 9, first.labels))
    assert _compared(first, renamed).unmatched == 2
    moved = Detections(first.boxes + np.where(np.arange(12) == 4, 10.0, 0.0)[:, None], first.scores, first.labels)
    assert _compared(first, moved).unmatched == 2


def test_two_detections_never_share_a_partner() -> None:
    one = Detections(np.array([[0.0, 0, 20, 20]]), np.array([0.8]), np.array([0]))
    twice = Detections(np.repeat(one.boxes, 2, 0), np.array([0.8, 0.8]), np.array([0, 0]))
    assert _compared(one, twice) == _same(1, 1)


@pytest.mark.parametrize(("score", "unmatched"), [(0.1005, 0), (0.109, 0), (0.111, 1), (0.5, 1)])
def test_what_lies_at_the_threshold_may_be_missing(score: float, unmatched: int) -> None:
    extra = Detections(np.array([[0.0, 0, 9, 9]]), np.array([score]), np.array([0]))
    assert _compared(extra, NOTHING).unmatched == unmatched


@pytest.mark.parametrize(("score", "unmatched"), [(0.405, 0), (0.42, 1)])
def test_what_lies_at_the_cut_of_a_full_side_may_be_missing(score: float, unmatched: int) -> None:
    full = Detections(_some(6).boxes, np.linspace(0.9, 0.4, 6), np.zeros(6, np.int64))
    lost = Detections(
        np.concatenate([full.boxes, [[500.0, 0, 520, 20]]])[[0, 1, 2, 3, 4, 6]],
        np.array([*full.scores[:5], score]),
        np.zeros(6, np.int64),
    )
    # The last of each has no partner; the other's cut, at 0.4 and at the score given, decides whether that is an error.
    assert _compared(full, lost, most=6).unmatched == unmatched


@pytest.mark.parametrize("part", ["boxes", "scores"])
def test_numbers_that_are_none_have_no_partner(part: str) -> None:
    broken = replace(_some(), **{part: np.full_like(getattr(_some(), part), np.nan)})
    gap = difference(_some(), broken, 0.1, 100, 0.01)
    assert (gap.matched, gap.unmatched >= 12) == (0, True)


def test_the_difference_of_many_pictures_is_the_greatest_and_the_sum_of_the_counts() -> None:
    joined = Difference(0.5, 0.1, 0.01, 0.3, 3, 0) | Difference(0.25, 0.2, 0.02, 0.1, 4, 1)
    assert joined == Difference(0.5, 0.2, 0.02, 0.3, 7, 1)


# ---- what is no detections at all


def _found(**parts: list[float]) -> Found:
    given = {"boxes": [[0.0, 0, 9, 9], [5, 5, 8, 9]], "scores": [0.9, 0.5], "labels": [0, 2], **parts}
    return Found(
        np.array(given["boxes"], np.float32).reshape(-1, 4),
        np.array(given["scores"], np.float32),
        np.array(given["labels"], np.int64),
    )


def test_detections_of_the_models_classes_and_none_at_all_are_taken() -> None:
    check_found(_found(), 3)
    check_found(_found(boxes=[], scores=[], labels=[]), 3)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused(number: float) -> None:
    with pytest.raises(ExportError, match="gives a score that is no finite number"):
        check_found(_found(scores=[number, 0.5]), 3)
    with pytest.raises(ExportError, match="gives a box that is no finite number"):
        check_found(_found(boxes=[[0.0, 0, 9, 9], [5, number, 8, 9]]), 3)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_of_no_class_is_refused(label: int) -> None:
    with pytest.raises(ExportError, match=f"gives label {label}, but the model's classes go from 0 to 2"):
        check_found(_found(labels=[0, label]), 3)
