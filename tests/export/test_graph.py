"""What stands around the network in a file does what torchvision does, for any candidates."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import ModelProto
from torchvision.ops import batched_nms

from reprolens.export import graph
from reprolens.inference.model import Contract
from reprolens.inference.outputs import detections
from reprolens.inference.suppression import suppress

CONTRACT = Contract("onnx", "any", ("a", "b", "c"), (32, 48), None, True, 0.3, 0.5, 7)
VERSIONS = (10, 20)
SCALE = np.array([2.0, 0.5, 2.0, 0.5], np.float32)


def _run(model: ModelProto, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [out.name for out in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def _candidates(seed: int, batch: int, anchors: int) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes `(B, A, 4)` that overlap much and scores `(B, A, 3)`, no two of a picture alike."""
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 30, (batch, anchors, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 20, (batch, anchors, 2))], -1)
    scores = np.stack([random.permutation(anchors * 3).reshape(anchors, 3) / (anchors * 3) for _ in range(batch)])
    return boxes.astype(np.float32), scores.astype(np.float32)


@pytest.mark.parametrize("seed", range(8))
def test_suppression_keeps_what_torchvision_keeps(seed: int) -> None:
    boxes, scores = _candidates(seed, 3, 40)
    model = graph.after_dense(CONTRACT, 40, *VERSIONS)
    found = detections(_run(model, {"dense_boxes": boxes, "dense_scores": scores, "scale": SCALE}), CONTRACT)
    for place in range(3):
        anchors, classes = np.nonzero(scores[place] > 0.3)
        chosen, values = torch.from_numpy(boxes[place][anchors]), torch.from_numpy(scores[place][anchors, classes])
        kept = batched_nms(chosen, values, torch.from_numpy(classes), 0.5)[:7].numpy()
        assert np.array_equal(found[place].labels, classes[kept])
        assert np.array_equal(found[place].scores, values.numpy()[kept])
        assert np.array_equal(found[place].boxes, chosen.numpy()[kept] * SCALE)


def test_what_a_file_finds_is_what_numpy_finds_among_its_candidates() -> None:
    boxes, scores = _candidates(9, 2, 60)
    given = {"dense_boxes": boxes, "dense_scores": scores, "scale": SCALE}
    inside = detections(_run(graph.after_dense(CONTRACT, 60, *VERSIONS), given), CONTRACT)
    bare = replace(CONTRACT, postprocess=False)
    outside = _run(graph.after_dense(bare, 60, *VERSIONS), given)
    for place in range(2):
        ours = suppress(outside["candidate_boxes"][place], outside["candidate_scores"][place], bare)
        assert np.array_equal(ours.labels, inside[place].labels)
        assert np.array_equal(ours.boxes, inside[place].boxes)


def test_a_network_with_fewer_candidates_than_detections_are_asked_for_gives_all_of_them() -> None:
    boxes, scores = _candidates(1, 1, 1)
    model = graph.after_dense(CONTRACT, 1, *VERSIONS)
    outputs = _run(model, {"dense_boxes": boxes, "dense_scores": scores, "scale": SCALE})
    assert outputs["scores"].shape == (1, 3)
    assert outputs["counts"].tolist() == [int((scores > 0.3).sum())]


def test_the_rows_behind_the_detections_are_zeros() -> None:
    boxes, scores = _candidates(2, 1, 40)
    scores[0, 3:] = 0
    model = graph.after_dense(CONTRACT, 40, *VERSIONS)
    outputs = _run(model, {"dense_boxes": boxes, "dense_scores": scores, "scale": SCALE})
    [count] = outputs["counts"]
    assert 0 < count < 7
    assert not any(outputs[name][0, count:].any() for name in ("boxes", "scores", "labels"))


@pytest.mark.parametrize("count", [0, 1, 7])
def test_detections_of_two_stages_are_filled_up_with_zeros(count: int) -> None:
    random = np.random.default_rng(0)
    found = {
        "found_boxes": random.uniform(0, 9, (count, 4)).astype(np.float32),
        "found_scores": np.sort(random.uniform(0.3, 1, count).astype(np.float32))[::-1].copy(),
        "found_labels": random.integers(0, 3, count),
    }
    model = graph.after_two_stage(replace(CONTRACT, batch=1), *VERSIONS)
    outputs = _run(model, {**found, "scale": SCALE})
    assert outputs["boxes"].shape == (1, 7, 4)
    assert not any(outputs[name][0, count:].any() for name in ("boxes", "scores", "labels"))
    [ours] = detections(outputs, replace(CONTRACT, batch=1))
    assert np.array_equal(ours.boxes, found["found_boxes"] * SCALE)
    assert np.array_equal(ours.scores, found["found_scores"])
    assert np.array_equal(ours.labels, found["found_labels"])


def test_the_scale_takes_boxes_from_the_network_to_the_picture() -> None:
    outputs = _run(graph.before(CONTRACT, *VERSIONS), {"images": np.zeros((2, 64, 24, 3), np.uint8)})
    assert outputs["pixels"].shape == (2, 3, 32, 48)
    assert outputs["scale"].tolist() == [0.5, 2.0, 0.5, 2.0]
