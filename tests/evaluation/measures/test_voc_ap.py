import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprolens.evaluation import Detections, Truth
from reprolens.evaluation.measures.voc_ap import Curve, all_point_ap, box_iou, eleven_point_ap, mean_ap, voc_curves

CLASSES = 2
PIXEL = np.array([1, 1, 0, 0])


@st.composite
def _pictures(draw: st.DrawFn) -> tuple[list[Detections], list[Truth]]:
    """Draw pictures whose boxes lie on a coarse grid and whose scores are few, so that ties are common."""
    corner, side = st.integers(0, 6), st.integers(0, 5)
    box = st.builds(lambda x, y, w, h: [x, y, x + w, y + h], corner, corner, side, side)
    label = st.integers(0, CLASSES - 1)
    found = st.lists(st.tuples(box, st.sampled_from([0.1, 0.5, 0.75, 0.9]), label), max_size=8)
    true = st.lists(st.tuples(box, label, st.booleans(), st.booleans()), max_size=5)
    pictures = draw(st.lists(st.tuples(found, true), max_size=4))
    detections = [Detections(*_columns(rows, 3)) for rows, _ in pictures]
    return detections, [Truth(*_columns(rows, 4)) for _, rows in pictures]


def _columns(rows: Sequence[tuple], width: int) -> list[Any]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _devkit(
    detections: list[Detections], truths: list[Truth], label: int, eleven: bool, ignore_difficult: bool
) -> float | None:
    """VOCevaldet.m and VOCap.m, line by line, on the inclusive 1-based pixels of the files."""
    ranked = [
        (score, picture, box + PIXEL)
        for picture, found in enumerate(detections)
        for box, score, other in zip(found.boxes, found.scores, found.labels, strict=True)
        if other == label
    ]
    ranked.sort(key=lambda row: -row[0])
    easy = [~(truth.crowd | (truth.difficult & ignore_difficult)) for truth in truths]
    positives = sum(int((flags & (truth.labels == label)).sum()) for flags, truth in zip(easy, truths, strict=True))
    if positives == 0:
        return None
    taken: set[tuple[int, int]] = set()
    tp, fp = np.zeros(len(ranked)), np.zeros(len(ranked))
    for d, (_, picture, bb) in enumerate(ranked):
        ovmax, jmax = -np.inf, -1
        for j, truth_box in enumerate(truths[picture].boxes):
            bbgt = truth_box + PIXEL
            iw = min(bb[2], bbgt[2]) - max(bb[0], bbgt[0]) + 1
            ih = min(bb[3], bbgt[3]) - max(bb[1], bbgt[1]) + 1
            if truths[picture].labels[j] != label or iw <= 0 or ih <= 0:
                continue
            ua = (bb[2] - bb[0] + 1) * (bb[3] - bb[1] + 1)
            ua += (bbgt[2] - bbgt[0] + 1) * (bbgt[3] - bbgt[1] + 1) - iw * ih
            if iw * ih / ua > ovmax:
                ovmax, jmax = iw * ih / ua, j
        if ovmax < 0.5:
            fp[d] = 1
        elif easy[picture][jmax]:
            if (picture, jmax) in taken:
                fp[d] = 1
            else:
                tp[d] = 1
                taken.add((picture, jmax))
    tp, fp = np.cumsum(tp), np.cumsum(fp)
    rec = tp / positives
    prec = tp / np.maximum(tp + fp, 1e-300)
    if eleven:
        return sum(max(prec[tp * 10 >= level * positives], default=0.0) / 11 for level in range(11))
    mrec, mpre = [0.0, *rec, 1.0], [0.0, *prec, 0.0]
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    return sum((mrec[i] - mrec[i - 1]) * mpre[i] for i in range(1, len(mrec)))


@settings(max_examples=300, deadline=None)
@given(_pictures(), st.booleans())
def test_ap_equals_the_development_kits_loop(
    pictures: tuple[list[Detections], list[Truth]], ignore_difficult: bool
) -> None:
    curves = voc_curves(*pictures, CLASSES, ignore_difficult=ignore_difficult)
    for label, curve in enumerate(curves):
        for measure, eleven in ((eleven_point_ap, True), (all_point_ap, False)):
            assert measure(curve) == pytest.approx(_devkit(*pictures, label, eleven, ignore_difficult), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(_pictures())
def test_ap_does_not_change_when_all_scores_are_transformed_alike(
    pictures: tuple[list[Detections], list[Truth]],
) -> None:
    detections, truths = pictures
    transformed = [replace(found, scores=np.exp(7 * found.scores) - 40) for found in detections]
    for one, two in zip(voc_curves(detections, truths, CLASSES), voc_curves(transformed, truths, CLASSES), strict=True):
        assert all_point_ap(one) == all_point_ap(two)
        assert eleven_point_ap(one) == eleven_point_ap(two)


@settings(max_examples=100, deadline=None)
@given(_pictures())
def test_finding_every_box_exactly_once_gives_one(pictures: tuple[list[Detections], list[Truth]]) -> None:
    # Boxes that lie apart and have an area: else one true box can be best overlapped by another's detection.
    truths = [
        replace(truth, boxes=np.array([[10.0 * place, 0, 10 * place + 9, 9] for place in range(len(truth))]))
        for truth in pictures[1]
    ]
    detections = [Detections(truth.boxes, np.linspace(0.1, 0.9, len(truth)), truth.labels) for truth in truths]
    for curve in voc_curves(detections, truths, CLASSES):
        assert all_point_ap(curve) == (pytest.approx(1) if curve.positives else None)
        assert eleven_point_ap(curve) == (pytest.approx(1) if curve.positives else None)


@settings(max_examples=100, deadline=None)
@given(_pictures())
def test_ap_lies_between_zero_and_one_and_recall_never_falls(pictures: tuple[list[Detections], list[Truth]]) -> None:
    for curve in voc_curves(*pictures, CLASSES):
        if curve.positives:
            assert 0 <= all_point_ap(curve) <= 1 + 1e-12
            assert (np.diff(curve.recall) >= 0).all() and (curve.recall <= 1).all()
            assert (np.diff(curve.scores) <= 0).all()


def test_the_published_detections_give_the_published_map(voc100: Any) -> None:
    (detections, truths), _, classes = voc100
    assert sum(map(len, detections)) == 452 and sum(map(len, truths)) == 273
    curves = voc_curves(detections, truths, len(classes), ignore_difficult=False)
    assert mean_ap(map(all_point_ap, curves)) == pytest.approx(0.610913, abs=5e-7)
    assert mean_ap(map(eleven_point_ap, curves)) == pytest.approx(0.604126, abs=5e-7)


def test_the_toy_example_gives_the_published_map(toy: Any) -> None:
    (detections, truths), _, classes = toy
    curves = voc_curves(detections, truths, len(classes), ignore_difficult=False)
    assert mean_ap(map(all_point_ap, curves)) == pytest.approx(0.895833, abs=5e-7)
    assert mean_ap(map(eleven_point_ap, curves)) == pytest.approx(0.886364, abs=5e-7)


def test_a_second_detection_of_the_same_object_is_wrong() -> None:
    box = [[0, 0, 10, 10]]
    curve = _curve(Detections(box * 2, [0.9, 0.8], [0, 0]), Truth(box, [0], [False], [False]))
    assert curve.hits.tolist() == [1, 1]
    assert curve.precision.tolist() == [1, 0.5]


@pytest.mark.parametrize("flags", [(True, False), (False, True)], ids=["difficult", "crowd"])
def test_finding_or_missing_a_difficult_object_or_a_crowd_changes_nothing(flags: tuple[bool, bool]) -> None:
    boxes = [[0, 0, 10, 10], [50, 50, 60, 60]]
    truth = Truth(boxes, [0, 0], [False, flags[0]], [False, flags[1]])
    found = Detections(boxes + boxes[1:], [0.8, 0.9, 0.7], [0, 0, 0])
    assert all_point_ap(_curve(found, truth)) == 1
    assert _curve(found, truth).counts(0) == (1, 0, 0)
    assert all_point_ap(_curve(Detections(boxes[:1], [0.8], [0]), truth)) == 1


def test_an_overlap_of_exactly_one_half_is_enough() -> None:
    truth = Truth([[0, 0, 10, 10]], [0], [False], [False])
    assert all_point_ap(_curve(Detections([[0, 0, 10, 5]], [0.9], [0]), truth)) == 1
    assert all_point_ap(_curve(Detections([[0, 0, 10, 4.999]], [0.9], [0]), truth)) == 0


def test_a_recall_of_exactly_three_in_ten_reaches_its_level() -> None:
    curve = Curve(np.linspace(1, 0.5, 3), np.array([1, 2, 3]), 10)
    assert eleven_point_ap(curve) == pytest.approx(4 / 11)  # levels 0, 0.1, 0.2, 0.3


def test_a_class_without_objects_has_no_ap_and_its_detections_are_wrong() -> None:
    curve = _curve(Detections([[0, 0, 10, 10]], [0.9], [0]), Truth([], [], [], []))
    assert eleven_point_ap(curve) is None and all_point_ap(curve) is None
    assert curve.counts(0.5) == (0, 1, 0)
    assert np.isnan(curve.recall).all()
    assert mean_ap([None, 0.5]) == 0.5
    assert mean_ap([None]) is None


def test_a_class_without_detections_has_ap_zero() -> None:
    curve = _curve(Detections([], [], []), Truth([[0, 0, 10, 10]], [0], [False], [False]))
    assert eleven_point_ap(curve) == all_point_ap(curve) == 0


def test_inverted_boxes_and_boxes_without_area_overlap_nothing() -> None:
    boxes = np.array([[0, 0, 10, 10], [10, 10, 0, 0], [5, 5, 5, 5], [0, 10, 10, 0]], dtype=float)
    one, two = (part.reshape(-1, 4) for part in (np.repeat(boxes, 4, axis=0), np.tile(boxes, (4, 1))))
    assert box_iou(one, two).tolist() == [1.0] + [0.0] * 15


def test_equal_scores_rank_in_the_order_given() -> None:
    truth = Truth([[0, 0, 10, 10]], [0], [False], [False])
    found = Detections([[50, 50, 60, 60], [0, 0, 10, 10]], [0.5, 0.5], [0, 0])
    assert all_point_ap(_curve(found, truth)) == 0.5


def test_the_memory_bound_on_pairs_does_not_change_the_result(
    monkeypatch: pytest.MonkeyPatch, random_split: Any
) -> None:
    pictures = random_split(30, 3)
    whole = voc_curves(*pictures, 3)
    monkeypatch.setattr("reprolens.evaluation.measures.overlaps._PAIRS_AT_ONCE", 7)
    for one, two in zip(whole, voc_curves(*pictures, 3), strict=True):
        assert one.hits.tolist() == two.hits.tolist()


def test_a_hundred_thousand_detections_take_less_than_three_seconds(random_split: Any) -> None:
    detections, truths = random_split(11_000, 20)
    assert sum(map(len, detections)) > 90_000
    start = time.process_time()
    voc_curves(detections, truths, 20)
    assert time.process_time() - start < 3


def _curve(found: Detections, truth: Truth) -> Curve:
    return voc_curves([found], [truth], 1)[0]
