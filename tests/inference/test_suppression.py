"""Suppression in numpy is torchvision's, to the box."""

import time

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchvision.ops import batched_nms

from reprolens.inference.model import Contract, Found
from reprolens.inference.suppression import suppress


def contract(score: float = 0.05, overlap: float = 0.5, most: int = 100) -> Contract:
    return Contract("onnx", "any", ("a",), (8, 8), None, False, score, overlap, most)


def torchvision_says(boxes: NDArray[np.float32], scores: NDArray[np.float32], said: Contract) -> Found:
    """Return what `OneStage` makes of the candidates."""
    values = torch.from_numpy(scores)
    places, labels = torch.nonzero(values > said.score_threshold, as_tuple=True)
    chosen, kept_scores = torch.from_numpy(boxes)[places], values[places, labels]
    kept = batched_nms(chosen, kept_scores, labels, said.nms_threshold)[: said.detections_per_image]
    return Found(chosen[kept].numpy(), kept_scores[kept].numpy(), labels[kept].numpy())


def draw(seed: int, count: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return boxes `(count, 4)` in eighths of a pixel, many of them overlapping, and scores that all differ.

    Eighths survive the shift by which torchvision keeps classes apart without rounding.
    """
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 400, (count, 2)) / 8
    boxes = np.concatenate([low, low + rng.integers(0, 160, (count, 2)) / 8], axis=1)
    scores = rng.permutation(count * classes).reshape(count, classes) / (count * classes)
    return boxes.astype(np.float32), scores.astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 60),
    classes=st.integers(1, 5),
    score=st.sampled_from([0.0, 0.05, 0.5, 0.9]),
    overlap=st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
    most=st.integers(1, 100),
)
def test_suppression_is_that_of_torchvision(
    seed: int, count: int, classes: int, score: float, overlap: float, most: int
) -> None:
    boxes, scores = draw(seed, count, classes)
    said = contract(score, overlap, most)
    ours, theirs = suppress(boxes, scores, said), torchvision_says(boxes, scores, said)
    assert np.array_equal(ours.scores, theirs.scores)
    assert np.array_equal(ours.labels, theirs.labels)
    assert np.array_equal(ours.boxes, theirs.boxes)
    assert (ours.boxes.dtype, ours.scores.dtype, ours.labels.dtype) == (np.float32, np.float32, np.int64)


def test_many_candidates_are_suppressed_as_by_torchvision() -> None:
    for seed in range(5):
        boxes, scores = draw(seed, 1200, 3)  # above 1000 torchvision goes class by class
        said = contract(0.3, 0.4, 300)
        ours, theirs = suppress(boxes, scores, said), torchvision_says(boxes, scores, said)
        assert np.array_equal(ours.boxes, theirs.boxes)
        assert np.array_equal(ours.labels, theirs.labels)


def test_score_at_the_threshold_is_no_detection() -> None:
    boxes = np.array([[0, 0, 4, 4]], dtype=np.float32)
    for value in (0.1, 0.2, 0.05, 0.3):
        scores = np.array([[value]], dtype=np.float32)
        assert len(suppress(boxes, scores, contract(value))) == 0
        assert len(suppress(boxes, np.nextafter(scores, np.float32(1)), contract(value))) == 1


def test_of_equal_scores_the_first_box_and_class_come_first() -> None:
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 4], [9, 9, 12, 12]], dtype=np.float32)
    found = suppress(boxes, np.full((3, 2), 0.5, dtype=np.float32), contract())
    assert found.boxes[:, 0].tolist() == [0, 0, 9, 9]
    assert found.labels.tolist() == [0, 1, 0, 1]


def test_nothing_that_is_no_number_becomes_a_detection() -> None:
    boxes = np.array([[0, 0, 4, 4], [1, 1, 1, 1], [1, 1, 1, 1]], dtype=np.float32)
    found = suppress(boxes, np.array([[np.nan], [0.5], [0.4]], dtype=np.float32), contract())
    assert found.scores.tolist() == [np.float32(0.5), np.float32(0.4)]  # without area nothing overlaps


def test_a_thousand_candidates_take_milliseconds() -> None:
    boxes, scores = draw(0, 1000, 1)
    wide = (boxes * 20).astype(np.float32)  # hardly any overlap: the worst case
    wide[:, 2:] = wide[:, :2] + 8
    times = []
    for _ in range(5):
        start = time.perf_counter()
        suppress(wide, scores, contract(0.0, 0.5, 300))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05
