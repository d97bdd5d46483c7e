"""Laws of the error breakdown: a made error is of its kind, and costs what mending it would bring."""

import time
from typing import Any

import pytest

from reprolens.evaluation import DetectionEvaluator, Detections, Truth
from reprolens.evaluation.findings.errors import KINDS, ErrorKind, error_breakdown
from reprolens.evaluation.measures.coco import coco_evaluation

A, B, FAR = [10.0, 10, 30, 30], [50.0, 50, 70, 70], [80.0, 80, 90, 90]
ASIDE = [18.0, 10, 38, 30]  # IoU 0.43 with A
HALF = 51 / 101
"""AP50 of one box in two: COCO's 101 levels of recall, of which 0 to 0.5 are reached."""


def _errors(found: Detections, truth: Truth, classes: int = 2) -> dict[str, ErrorKind]:
    evaluation = coco_evaluation([found], [truth], [(100, 100)], classes)
    return {error.name: error for error in error_breakdown(evaluation)}


def _truth(boxes: list, labels: list[int], crowd: bool = False) -> Truth:
    return Truth(boxes, labels, [False] * len(labels), [crowd] * len(labels))


@pytest.mark.parametrize(
    ("kind", "found", "truth", "cost"),
    [
        # The wrong class is ranked first: mended, both classes go from 0 and 1/2 to 1.
        ("cls", Detections([A, B], [0.9, 0.8], [1, 1]), _truth([A, B], [0, 1]), 3 / 4),
        ("loc", Detections([ASIDE], [0.9], [0]), _truth([A], [0]), 1),
        ("dupe", Detections([A, A, B], [0.9, 0.8, 0.7], [0, 0, 0]), _truth([A, B], [0, 0]), 50 / 101 / 3),
        ("bkg", Detections([FAR, A], [0.9, 0.8], [0, 0]), _truth([A], [0]), 1 / 2),
        ("miss", Detections([A], [0.9], [0]), _truth([A, B], [0, 0]), 1 - HALF),
    ],
)
def test_an_error_of_one_kind_is_counted_as_that_and_costs_the_ap_that_it_loses(
    kind: str, found: Detections, truth: Truth, cost: float
) -> None:
    errors = _errors(found, truth)
    assert {name: error.count for name, error in errors.items()} == {name: int(name == kind) for name in KINDS}
    assert {name: error.cost for name, error in errors.items()} == pytest.approx(
        {name: cost if name == kind else 0 for name in KINDS}, abs=1e-9
    )


def test_a_wrong_class_at_the_wrong_place_is_both_and_leaves_its_box_missed() -> None:
    errors = _errors(Detections([ASIDE, B], [0.9, 0.8], [1, 1]), _truth([A, B], [0, 1]))
    assert {name: error.count for name, error in errors.items() if error.count} == {"both": 1, "miss": 1}
    assert errors["both"].cost == pytest.approx(1 / 4)  # class 1 from 1/2 to 1, class 0 stays at 0


def test_a_perfect_detector_has_no_errors_and_crowds_make_none() -> None:
    truth = Truth([A, [40, 40, 99, 99]], [0, 0], [False, False], [False, True])
    errors = _errors(Detections([A, B], [0.9, 0.8], [0, 0]), truth)
    assert {(error.count, error.cost) for error in errors.values()} == {(0, 0)}


@pytest.mark.parametrize(
    ("detections", "truths"),
    [
        ([], []),
        ([Detections([], [], [])], [_truth([], [])]),
        ([Detections([FAR], [0.9], [0])], [_truth([], [])]),
        ([Detections([], [], [])], [_truth([A], [0])]),
    ],
)
def test_without_truth_or_detections_nothing_costs(detections: list[Detections], truths: list[Truth]) -> None:
    errors = error_breakdown(coco_evaluation(detections, truths, [(100, 100)] * len(truths), 1))
    assert [error.name for error in errors] == list(KINDS)
    assert {error.cost for error in errors} == {0}


def test_costs_stand_among_the_metrics_when_asked_for_and_else_nothing_is_broken_down(random_split: Any) -> None:
    results = []
    for asked in (False, True):
        evaluator = DetectionEvaluator(["a", "b"], breakdown=asked)
        for number, (found, truth) in enumerate(zip(*random_split(20, 2), strict=True)):
            evaluator.update(number, found, truth, (100, 100))
        results.append(evaluator.compute())
    without, having = results
    assert without.breakdown is None and having.breakdown is not None
    costs = {f"tide/{error.name}": error.cost for error in having.breakdown.errors}
    assert having.metrics == {**without.metrics, **costs}
    assert list(costs) == [f"tide/{name}" for name in KINDS]
    assert all(0 <= cost <= 1 for cost in costs.values())
    assert having.breakdown.confusion.shape == (3, 3)
    assert len(having.breakdown.faults) == 20


def test_five_thousand_pictures_are_broken_down_in_less_than_two_seconds(random_split: Any) -> None:
    detections, truths = (items * 10 for items in random_split(500, 80))
    evaluation = coco_evaluation(detections, truths, [(100, 100)] * 5000, 80)
    began = time.process_time()
    error_breakdown(evaluation)
    assert time.process_time() - began < 2
