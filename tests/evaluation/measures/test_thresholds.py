from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprolens.evaluation import Detections, Truth
from reprolens.evaluation.measures.evaluator import working_point
from reprolens.evaluation.measures.matches import Matches
from reprolens.evaluation.measures.thresholds import MOST_ROWS, best_f1, sweep, table
from reprolens.evaluation.measures.voc_ap import curves_of, voc_matches


def _judged(scores: list[float], right: list[bool], positives: int) -> Matches:
    image, objects = np.zeros(len(scores), np.int64), np.zeros(positives, np.int64)
    taken = np.where(np.array(right, bool), 0, -1).astype(np.int32).reshape(1, -1)
    ignored = np.zeros(taken.shape, bool)
    order = np.arange(len(scores))
    return Matches(order, image, image, np.array(scores, float), taken, ignored, objects, objects, objects)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([-1.0, 0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=12),
    st.integers(0, 4),
)
def test_no_threshold_has_a_higher_f1_and_no_higher_one_has_the_same(rows: list[Any], more: int) -> None:
    scores, right = [score for score, _ in rows], [hit for _, hit in rows]
    positives = sum(right) + more

    def f1(threshold: float) -> float:
        kept = [hit for score, hit in rows if score >= threshold]
        return 2 * sum(kept) / (len(kept) + positives)

    found = best_f1(sweep(_judged(scores, right, positives)))
    best = max(f1(score) for score in scores)
    threshold = max(score for score in scores if f1(score) == best)
    assert (found["best_f1"], found["best_f1/threshold"]) == (best, threshold)
    kept = [hit for score, hit in rows if score >= threshold]
    assert found["best_f1/precision"] == sum(kept) / len(kept)
    assert found["best_f1/recall"] == (sum(kept) / positives if positives else None)


def test_the_numbers_at_every_threshold_are_those_of_the_working_point(random_split: Any) -> None:
    detections, truths = random_split(40, 3)
    matches = voc_matches(detections, truths, 3)
    curves = curves_of(matches, 3)
    rows = table(sweep(matches))
    assert len(rows) > 50
    for threshold, *numbers in rows:
        assert numbers == pytest.approx(list(working_point(curves, threshold).values()))
    found = best_f1(sweep(matches))
    assert tuple(found[f"best_f1{part}"] for part in ("/threshold", "/precision", "/recall", "")) in rows
    assert found["best_f1"] == max(row[3] for row in rows)


def test_a_long_table_keeps_its_ends_the_best_row_and_at_most_two_hundred() -> None:
    random = np.random.default_rng(0)
    scores = np.concatenate([random.normal(0.5, 1e-4, 5000), [30.0]])  # logits with one far away
    points = sweep(_judged(scores.tolist(), (random.random(5001) < 0.5).tolist(), 3000))
    rows = table(points)
    thresholds = [row[0] for row in rows]
    assert 90 < len(rows) <= MOST_ROWS
    assert thresholds == sorted(set(thresholds))
    assert (thresholds[0], thresholds[-1]) == (scores.min(), 30.0)
    assert best_f1(points)["best_f1/threshold"] in thresholds


def test_without_detections_there_is_no_threshold_and_f1_is_zero_if_something_was_to_be_found() -> None:
    points = sweep(_judged([], [], 3))
    assert table(points) == ()
    assert list(best_f1(points).values()) == [0, None, None, 0]
    assert list(best_f1(sweep(_judged([], [], 0))).values()) == [None] * 4


def test_what_voc_ignores_counts_nowhere() -> None:
    boxes = [[0, 0, 9, 9], [20, 20, 29, 29]]
    truth = Truth(boxes, [0, 0], [True, False], [False, False])
    matches = voc_matches([Detections(boxes, [0.9, 0.5], [0, 0])], [truth], 1)
    assert list(best_f1(sweep(matches)).values()) == [1, 0.5, 1, 1]
