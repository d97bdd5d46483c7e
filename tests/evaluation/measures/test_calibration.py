from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprolens.evaluation import Detections, Truth
from reprolens.evaluation.measures.calibration import BINS, Calibration, calibrate
from reprolens.evaluation.measures.coco import coco_evaluation
from reprolens.evaluation.measures.matches import Matches
from reprolens.evaluation.measures.voc_ap import voc_matches


def _judged(scores: list[float], right: list[bool], ignored: list[bool] | None = None) -> Matches:
    """Return detections of one class with these scores that were judged so."""
    nothing = np.zeros(len(scores), np.int64)
    judged = [np.array(flags, bool).reshape(1, -1) for flags in (right, ignored or [False] * len(scores))]
    taken = np.where(judged[0], 0, -1).astype(np.int32)
    order, none = np.arange(len(scores)), nothing[:0]
    return Matches(order, nothing, nothing, np.array(scores, float), taken, judged[1], none, none, none)


def _calibrated(scores: list[float], right: list[bool]) -> Calibration:
    found = calibrate(_judged(scores, right))
    assert found is not None
    return found


def test_scores_that_keep_their_promise_have_no_error() -> None:
    scores = [0.25] * 4 + [0.75] * 4
    right = [True, False, False, False, True, True, True, False]
    found = _calibrated(scores, right)
    assert found.ece == pytest.approx(0) and found.mce == pytest.approx(0)


def test_the_error_is_the_mean_gap_over_detections_and_the_largest_gap_of_a_bin() -> None:
    found = _calibrated([0.9] * 3 + [0.1], [True, False, False, False])
    assert found.mce == pytest.approx(0.9 - 1 / 3)
    assert found.ece == pytest.approx(0.75 * (0.9 - 1 / 3) + 0.25 * 0.1)


def test_a_bin_holds_its_lower_edge_and_the_last_one_also_one() -> None:
    edges = [number / BINS for number in range(BINS + 1)]
    found = _calibrated(edges, [True] * len(edges))
    assert found.edges.tolist() == edges
    assert found.count.tolist() == [1] * (BINS - 1) + [2]


def test_empty_bins_have_no_mean() -> None:
    found = _calibrated([0.5], [True])
    assert np.isnan(found.confidence).sum() == np.isnan(found.accuracy).sum() == BINS - 1
    assert (found.confidence[BINS // 2], found.accuracy[BINS // 2]) == (0.5, 1)


def test_without_detections_there_are_bins_but_no_errors() -> None:
    found = _calibrated([], [])
    assert (found.ece, found.mce) == (None, None)
    assert found.count.sum() == 0


@pytest.mark.parametrize("score", [-0.001, 1.001, 37.0])
def test_scores_that_are_no_probabilities_have_no_calibration(score: float) -> None:
    assert calibrate(_judged([0.5, score], [True, True])) is None


def test_what_voc_ignores_takes_no_part() -> None:
    found = calibrate(_judged([0.5, 7.0], [True, False], [False, True]))
    assert found is not None and found.count.sum() == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_the_bins_add_up_and_the_mean_error_is_at_most_the_largest(rows: list[tuple[float, bool]]) -> None:
    scores, right = [score for score, _ in rows], [hit for _, hit in rows]
    found = _calibrated(scores, right)
    assert found.count.sum() == len(rows)
    full = found.count > 0
    assert np.sum(found.count[full] * found.accuracy[full]) == pytest.approx(sum(right))
    assert np.sum(found.count[full] * found.confidence[full]) == pytest.approx(sum(scores))
    assert found.ece is not None and found.mce is not None
    assert 0 <= found.ece <= found.mce + 1e-12 <= 1 + 1e-9
    assert ((found.confidence >= found.edges[:-1] - 1e-12) & (found.confidence <= found.edges[1:] + 1e-12))[full].all()


def test_the_numbers_are_those_of_hotcoco_where_both_measures_judge_alike() -> None:
    # Objects far apart, each found at most once, none difficult: here VOC and COCO call the same detections right.
    random = np.random.default_rng(0)
    detections, truths = [], []
    for _ in range(50):
        corners = np.stack(np.meshgrid([0, 100, 200], [0, 100, 200]), -1).reshape(-1, 2).astype(float)
        boxes = np.concatenate([corners, corners + 50], axis=1)
        labels = random.integers(0, 3, 9)
        truths.append(Truth(boxes, labels, np.zeros(9), np.zeros(9)))
        detections.append(Detections(boxes + random.normal(0, 8, (9, 4)), random.random(9), random.integers(0, 3, 9)))
    found = calibrate(voc_matches(detections, truths, 3))
    expected: Any = coco_evaluation(detections, truths, [(300, 300)] * 50, 3).calibration(
        n_bins=BINS, iou_threshold=0.5
    )
    assert found is not None
    assert found.ece == pytest.approx(expected["ece"], abs=1e-12) and found.ece > 0.1
    assert found.mce == pytest.approx(expected["mce"], abs=1e-12)
    assert found.count.tolist() == [row["count"] for row in expected["bins"]]
