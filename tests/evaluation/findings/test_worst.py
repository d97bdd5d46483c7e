"""Laws of the pictures that were served worst."""

from typing import Any

import numpy as np

from reprolens.evaluation import Detections, Truth
from reprolens.evaluation.findings.worst import Faults, choose_worst, count_faults
from reprolens.evaluation.measures.voc_ap import curves_of, voc_matches

A, B, FAR = [10.0, 10, 30, 30], [50.0, 50, 70, 70], [80.0, 80, 90, 90]


def _faults(found: Detections, truth: Truth) -> Faults:
    (faults,) = count_faults(voc_matches([found], [truth], 2), 1, 0.5)
    return faults


def test_a_miss_weighs_one_and_a_false_detection_its_score() -> None:
    truth = Truth([A, B], [0, 1], [False, False], [False, False])
    assert _faults(Detections([A, FAR, FAR], [0.9, 0.8, 0.4], [0, 1, 0]), truth) == Faults(1, 1, 1.8)
    assert _faults(Detections([A, B], [0.9, 0.75], [0, 0]), truth) == Faults(1, 1, 1.75)  # the wrong class
    assert _faults(Detections([A, B], [0.9, 0.75], [0, 1]), truth) == Faults(0, 0, 0.0)


def test_difficult_objects_weigh_nothing_missed_or_found() -> None:
    truth = Truth([A], [0], [True], [False])
    assert _faults(Detections([], [], []), truth) == _faults(Detections([A], [0.9], [0]), truth) == Faults(0, 0, 0.0)


def test_the_faults_of_all_pictures_add_up_to_those_of_precision_and_recall(random_split: Any) -> None:
    detections, truths = random_split(40, 3)
    matches = voc_matches(detections, truths, 3)
    faults = count_faults(matches, 40, 0.5)
    counts = np.sum([curve.counts(0.5) for curve in curves_of(matches, 3)], axis=0)
    assert (sum(item.wrong for item in faults), sum(item.missed for item in faults)) == (counts[1], counts[2])


def test_the_heaviest_come_first_of_equal_ones_the_earlier_and_none_without_fault() -> None:
    faults = [Faults(0, 0, 0.0), Faults(1, 0, 1.0), Faults(0, 2, 1.4), Faults(1, 0, 1.0), Faults(0, 1, 0.0)]
    assert choose_worst(faults, 9) == [2, 1, 3, 4]
    assert choose_worst(faults, 2) == [2, 1]
    assert choose_worst(faults, 0) == choose_worst([], 3) == []


def test_the_reason_says_what_is_there() -> None:
    assert [str(Faults(*counts, 0)) for counts in ((2, 1), (3, 0), (0, 4))] == [
        "2 missed, 1 false",
        "3 missed",
        "4 false",
    ]
