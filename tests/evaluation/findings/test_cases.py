"""Laws of the cases: they are the errors that VOC's judgement counts, sure and large ones first, with true reasons."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reprolens.evaluation import Detections, Truth
from reprolens.evaluation.findings.cases import Case, false_positives, misses
from reprolens.evaluation.measures.detections import join
from reprolens.evaluation.measures.voc_ap import voc_matches

A, B, FAR = [10.0, 10, 30, 30], [50.0, 50, 70, 70], [80.0, 80, 90, 90]
ASIDE = [18.0, 10, 38, 30]  # IoU 0.43 with A
CLASSES = ("cat", "dog")
CAT, DOG = 0, 1


def _truth(boxes: list, labels: list[int], difficult: bool = False, crowd: bool = False) -> Truth:
    return Truth(boxes, labels, [difficult] * len(labels), [crowd] * len(labels))


def _cases(find: Callable[..., tuple[Case, ...]], found: Detections, truth: Truth) -> list[tuple[str, list[float]]]:
    matches = voc_matches([found], [truth], len(CLASSES))
    return [(case.why, list(case.box)) for case in find(join([found], [truth]), matches, 0.5, CLASSES)]


@pytest.mark.parametrize(
    ("why", "found", "labels"),
    [
        ("dog, not cat", [A, CAT], [DOG]),
        ("dog, not cat, wrong place", [ASIDE, CAT], [DOG]),
        ("wrong place", [ASIDE, CAT], [CAT]),
        ("nothing there", [FAR, CAT], [CAT]),
    ],
)
def test_a_false_alarm_says_what_is_wrong_with_it(why: str, found: list, labels: list[int]) -> None:
    box, label = found
    assert _cases(false_positives, Detections([box], [0.9], [label]), _truth([A], labels)) == [(why, box)]


def test_the_second_detection_of_an_object_is_found_twice() -> None:
    nearly = [10.0, 10, 30, 31]
    assert _cases(false_positives, Detections([nearly, A], [0.8, 0.9], [CAT, CAT]), _truth([A], [CAT])) == [
        ("found twice", nearly)
    ]


@pytest.mark.parametrize(
    ("why", "found"),
    [
        ("seen as dog 0.90", Detections([A, A], [0.9, 0.3], [DOG, CAT])),
        ("score 0.31 only", Detections([A], [0.31], [CAT])),
        ("best overlap 0.43", Detections([ASIDE], [0.9], [CAT])),
        ("best overlap 0.43, as dog", Detections([ASIDE], [0.9], [DOG])),
        ("not seen at all", Detections([FAR, ASIDE], [0.9, 0.2], [CAT, CAT])),
        ("not seen at all", Detections([], [], [])),
    ],
)
def test_a_miss_says_what_came_nearest(why: str, found: Detections) -> None:
    assert _cases(misses, found, _truth([A], [CAT])) == [(why, A)]


def test_of_two_objects_in_one_detection_the_other_is_missed_because_it_counted_for_the_first() -> None:
    low, high = [10.0, 10, 30, 30], [10.0, 14, 30, 34]
    assert _cases(misses, Detections([low], [0.9], [CAT]), _truth([low, high], [CAT, CAT])) == [
        ("best overlap 0.67, counted for another", high)
    ]


def test_an_object_is_not_seen_as_another_that_is_truly_there() -> None:
    rider, horse = [10.0, 10, 30, 30], [10.0, 12, 30, 34]
    truth = _truth([rider, horse], [CAT, DOG])
    assert _cases(misses, Detections([rider], [0.9], [CAT]), truth) == [("not seen at all", horse)]


def test_an_object_is_not_seen_as_a_difficult_one_that_is_truly_there() -> None:
    truth = Truth([A, [10.0, 12, 30, 34]], [DOG, CAT], [True, False], [False, False])
    assert _cases(misses, Detections([A], [0.9], [DOG]), truth) == [("not seen at all", [10.0, 12, 30, 34])]


def test_what_voc_ignores_is_no_case_unless_difficult_objects_count() -> None:
    found = Detections([A, B, FAR], [0.9, 0.8, 0.7], [CAT, CAT, DOG])
    truths = [Truth([A, B, [0, 0, 5, 5]], [CAT, CAT, DOG], [True, False, True], [False, True, False])]
    for ignored, expected in ((True, []), (False, ["not seen at all"])):
        matches = voc_matches([found], truths, 2, ignore_difficult=ignored)
        assert [case.why for case in misses(join([found], truths), matches, 0.5, CLASSES)] == expected
        alarms = false_positives(join([found], truths), matches, 0.5, CLASSES)
        assert [(case.why, case.box) for case in alarms] == [("nothing there", tuple(FAR))]


def test_cases_are_as_many_as_the_errors_that_precision_and_recall_count(random_split: Any) -> None:
    detections, truths = random_split(60, 3, seed=4)
    matches = voc_matches(detections, truths, 3)
    names = ("a", "b", "c")
    for threshold in (0.0, 0.5, 0.95):
        _, wrong, missed = matches.counts(len(truths), threshold).T
        for find, counts in ((false_positives, wrong), (misses, missed)):
            cases = find(join(detections, truths), matches, threshold, names)
            assert np.array_equal(np.bincount([case.image for case in cases], minlength=len(truths)), counts)


def test_two_of_each_picture_come_first_surest_and_largest_ahead_and_a_cut_list_is_the_start(random_split: Any) -> None:
    detections, truths = random_split(40, 3, seed=5)
    matches = voc_matches(detections, truths, 3)
    for find in (false_positives, misses):
        cases = find(join(detections, truths), matches, 0.3, ("a", "b", "c"))
        seen: dict[int, int] = {}
        rounds = []
        for case in cases:
            rounds.append(seen.get(case.image, 0) >= 2)
            seen[case.image] = seen.get(case.image, 0) + 1
        assert rounds == sorted(rounds) and any(rounds)
        for later in (False, True):
            weights = [_weight(case) for case, is_later in zip(cases, rounds, strict=True) if is_later is later]
            assert weights == sorted(weights, reverse=True)
        assert find(join(detections, truths), matches, 0.3, ("a", "b", "c"), most=7) == cases[:7]


def _weight(case: Case) -> float:
    x0, y0, x1, y1 = case.box
    return (x1 - x0) * (y1 - y0) if case.score is None else case.score


def test_cases_name_the_picture_box_class_and_score_that_they_are_about() -> None:
    nothing = Detections([], [], [])
    found = [nothing, Detections([FAR], [0.75], [DOG])]
    truths = [_truth([], []), _truth([A], [CAT])]
    matches = voc_matches(found, truths, 2)
    assert false_positives(join(found, truths), matches, 0.5, CLASSES) == (
        Case(1, tuple(FAR), DOG, 0.75, "nothing there"),
    )
    assert misses(join(found, truths), matches, 0.5, CLASSES) == (Case(1, tuple(A), CAT, None, "not seen at all"),)


def test_a_perfect_detector_and_no_pictures_give_no_cases(random_split: Any) -> None:
    _, truths = random_split(20, 3)
    perfect = [Detections(truth.boxes, np.ones(len(truth)), truth.labels) for truth in truths]
    for found, there in ((perfect, truths), ([], [])):
        matches = voc_matches(found, there, 3)
        alarms = false_positives(join(found, there), matches, 0.5, ("a", "b", "c"))
        assert not alarms and not misses(join(found, there), matches, 0.5, ("a", "b", "c"))


def test_a_detection_of_another_class_on_a_difficult_object_is_explained_by_it() -> None:
    truth = replace(_truth([A], [DOG]), difficult=np.array([True]))
    assert _cases(false_positives, Detections([A], [0.9], [CAT]), truth) == [("dog, not cat", A)]
