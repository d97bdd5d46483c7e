"""Laws of the confusion matrix: what is taken for what, each detection and each true box once."""

import time
from typing import Any

import numpy as np
import pytest

from reprolens.evaluation import Detections, Truth
from reprolens.evaluation.findings.confusion import confusion_matrix, confusion_names, confusion_rows

A, B = [10.0, 10, 30, 30], [50.0, 50, 70, 70]
NOTHING = Detections([], [], [])


def _truth(boxes: list, labels: list[int], difficult: bool = False, crowd: bool = False) -> Truth:
    return Truth(boxes, labels, [difficult] * len(labels), [crowd] * len(labels))


def _pairs(found: Detections, truth: Truth, threshold: float = 0.5) -> dict[tuple[int, int], int]:
    """Return the counts above 0 of two classes, 0 and 1; 2 is the background."""
    matrix = confusion_matrix([found], [truth], 2, threshold)
    return {(row, column): int(matrix[row, column]) for row, column in np.argwhere(matrix).tolist()}


def test_right_wrong_missed_and_imagined_objects_have_their_places() -> None:
    found = Detections([A, B, [80, 80, 90, 90]], [0.9, 0.8, 0.7], [0, 1, 1])
    truth = _truth([A, B, [0, 80, 9, 99]], [0, 0, 1])
    assert _pairs(found, truth) == {(0, 0): 1, (0, 1): 1, (2, 1): 1, (1, 2): 1}


def test_only_detections_from_the_threshold_up_count() -> None:
    found = Detections([A, B], [0.5, 0.49], [0, 0])
    assert _pairs(found, _truth([A, B], [0, 0])) == {(0, 0): 1, (0, 2): 1}


def test_a_box_found_twice_is_right_once_and_background_once() -> None:
    assert _pairs(Detections([A, A], [0.9, 0.8], [0, 1]), _truth([A], [0])) == {(0, 0): 1, (2, 1): 1}


def test_the_largest_overlap_is_paired_first_whatever_the_score_and_the_class() -> None:
    shifted = [12.0, 10, 32, 30]
    assert _pairs(Detections([shifted, A], [0.9, 0.6], [0, 1]), _truth([A], [0])) == {(0, 1): 1, (2, 0): 1}


def test_of_equal_overlaps_the_same_class_goes_first_then_the_surer_one() -> None:
    assert _pairs(Detections([A, A], [0.6, 0.9], [0, 1]), _truth([A], [0])) == {(0, 0): 1, (2, 1): 1}
    both = _truth([A, A], [0, 1])
    assert _pairs(Detections([A], [0.9], [1]), both) == {(1, 1): 1, (0, 2): 1}
    red, green = (Detections([A, A], [0.6, 0.9], labels) for labels in ([0, 1], [1, 0]))
    third = Truth([A], [2], [False], [False])
    matrix = [confusion_matrix([found], [third], 3, 0.5) for found in (red, green)]
    assert matrix[0][2, 1] == matrix[0][3, 0] == matrix[1][2, 0] == matrix[1][3, 1] == 1


def test_an_overlap_below_one_half_is_none() -> None:
    assert _pairs(Detections([[10, 10, 30, 19]], [0.9], [0]), _truth([A], [0])) == {(0, 2): 1, (2, 0): 1}
    assert _pairs(Detections([[10, 10, 30, 20]], [0.9], [0]), _truth([A], [0])) == {(0, 0): 1}


@pytest.mark.parametrize("label", [0, 1])
def test_difficult_objects_and_crowds_are_neither_missed_nor_wrong(label: int) -> None:
    found = Detections([A], [0.9], [label])
    for kind in ({"difficult": True}, {"crowd": True}):
        assert _pairs(NOTHING, _truth([A], [0], **kind)) == {}
        assert _pairs(found, _truth([A], [0], **kind)) == {}
    assert _pairs(found, _truth([[0, 0, 90, 90]], [0], crowd=True)) == {}  # inside of a crowd
    assert _pairs(found, _truth([[0, 0, 90, 90]], [0], difficult=True)) == {(2, label): 1}


def test_an_ordinary_object_goes_before_a_difficult_one_that_overlaps_more() -> None:
    truth = Truth([A, [10, 10, 30, 26]], [0, 0], [True, False], [False, False])
    assert _pairs(Detections([A], [0.9], [0]), truth) == {(0, 0): 1}


def test_every_ordinary_object_and_every_detection_is_counted_once(random_split: Any) -> None:
    detections, truths = random_split(60, 3, crowd=0, difficult=0)
    matrix = confusion_matrix(detections, truths, 3, 0.3)
    labels = np.concatenate([truth.labels for truth in truths])
    assert matrix[:-1].sum(axis=1).tolist() == np.bincount(labels, minlength=3).tolist()
    kept = np.concatenate([found.above(0.3).labels for found in detections])
    assert matrix[:, :-1].sum(axis=0).tolist() == np.bincount(kept, minlength=3).tolist()
    assert matrix[-1, -1] == 0


def test_pictures_do_not_mix_and_their_order_does_not_matter(random_split: Any) -> None:
    detections, truths = random_split(30, 3)
    whole = confusion_matrix(detections, truths, 3, 0.3)
    parts = [confusion_matrix([found], [truth], 3, 0.3) for found, truth in zip(detections, truths, strict=True)]
    assert (whole == np.sum(parts, axis=0)).all()
    assert (whole == confusion_matrix(detections[::-1], truths[::-1], 3, 0.3)).all()


def test_the_table_has_every_pair_and_beyond_a_hundred_classes_those_that_occur() -> None:
    matrix = np.diag([1, 2, 0])
    assert list(confusion_rows(matrix, ["a", "b"])) == [
        *(("a", "a", 1), ("a", "b", 0), ("a", "background", 0)),
        *(("b", "a", 0), ("b", "b", 2), ("b", "background", 0)),
        *(("background", "a", 0), ("background", "b", 0), ("background", "background", 0)),
    ]
    names = [str(number) for number in range(101)]
    assert list(confusion_rows(np.diag([1] + [0] * 101), names)) == [("0", "0", 1)]


def test_a_class_may_be_called_background() -> None:
    assert confusion_names(["background", "a"]) == ("background", "a", "(background)")


def test_five_thousand_pictures_are_counted_in_less_than_two_seconds(random_split: Any) -> None:
    detections, truths = random_split(500, 80)
    began = time.process_time()
    confusion_matrix(detections * 10, truths * 10, 80, 0.0)
    assert time.process_time() - began < 2
