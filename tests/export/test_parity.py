"""Two sets of detections are compared one to one, and a file that differs from its model does not pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reprolens.errors import ExportError
from reprolens.evaluation import Detections
from reprolens.export.parity import Difference, compare, difference
from reprolens.models import TrainedModel
from reprolens.models.preprocessing import IMAGENET, Preprocessing
from reprolens.voc import Folder

NAME = "fcos_mobilenet_v2"
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
    assert gap == other
    return gap


# ---- difference


def test_detections_do_not_differ_from_themselves_in_any_order() -> None:
    order = np.random.default_rng(1).permutation(12)
    shuffled = Detections(_some().boxes[order], _some().scores[order], _some().labels[order])
    assert _compared(_some(), shuffled) == Difference(0.0, 0.0, 12, 0)


def test_nothing_does_not_differ_from_nothing() -> None:
    assert _compared(NOTHING, NOTHING) == Difference(0.0, 0.0, 0, 0)


def test_the_greatest_gap_of_a_coordinate_and_of_a_score_are_found() -> None:
    boxes, scores = _some().boxes.copy(), _some().scores.copy()
    boxes[3, 2] += 0.5
    boxes[5, 0] -= 0.25
    scores[7] -= 0.003
    gap = _compared(_some(), Detections(boxes, scores, _some().labels))
    assert (gap.matched, gap.unmatched) == (12, 0)
    assert (gap.box, gap.score) == pytest.approx((0.5, 0.003))


def test_a_detection_that_only_one_side_has_is_unmatched() -> None:
    first = _some()
    fewer = Detections(first.boxes[1:], first.scores[1:], first.labels[1:])
    assert _compared(first, fewer) == Difference(0.0, 0.0, 11, 1)
    assert _compared(first, NOTHING) == Difference(0.0, 0.0, 0, 12)


def test_another_class_or_another_place_is_another_detection() -> None:
    first = _some()
    renamed = Detections(first.boxes, first.scores, np.where(np.arange(12) == 4, 9, first.labels))
    assert _compared(first, renamed).unmatched == 2
    moved = Detections(first.boxes + np.where(np.arange(12) == 4, 10.0, 0.0)[:, None], first.scores, first.labels)
    assert _compared(first, moved).unmatched == 2


def test_two_detections_never_share_a_partner() -> None:
    one = Detections(np.array([[0.0, 0, 20, 20]]), np.array([0.8]), np.array([0]))
    twice = Detections(np.repeat(one.boxes, 2, 0), np.array([0.8, 0.8]), np.array([0, 0]))
    assert _compared(one, twice) == Difference(0.0, 0.0, 1, 1)


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


# ---- compare


@contextmanager
def _changed(trained: TrainedModel, change: Callable[[torch.nn.Module], None]) -> Iterator[TrainedModel]:
    """Give the model as `change` makes it, then put it back."""
    state = {name: value.clone() for name, value in trained.module.state_dict().items()}
    transform = trained.module.get_submodule("transform")
    preprocessing = transform.preprocessing
    try:
        change(trained.module)
        yield trained
    finally:
        trained.module.load_state_dict(state)
        transform.preprocessing = preprocessing


def _other_normalisation(module: torch.nn.Module) -> None:
    module.get_submodule("transform").preprocessing = Preprocessing((0.3, 0.3, 0.3), IMAGENET.std)


def _other_boxes(module: torch.nn.Module) -> None:
    with torch.no_grad():
        module.get_parameter("head.regression_head.bbox_reg.bias").add_(0.2)


def _other_scores(module: torch.nn.Module) -> None:
    with torch.no_grad():
        module.get_parameter("head.classification_head.cls_logits.bias").add_(0.05)


def test_a_file_that_agrees_is_reported_with_numbers(exported: Any, options: Any, digits: Folder) -> None:
    it = exported(NAME)
    report = compare(it.trained, it.path, digits, options)
    assert report["parity/images"] == 4
    assert report["parity/detections"] > 300
    assert report["parity/unmatched"] == 0
    assert 0 <= report["parity/max_box_difference"] < 0.1
    assert 0 <= report["parity/max_score_difference"] < 0.001
    assert report["latency_ms/onnxruntime"] > 0
    assert report["latency_ms/torch"] > 0


@pytest.mark.parametrize("change", [_other_normalisation, _other_boxes, _other_scores])
def test_a_file_of_another_model_is_refused(change: Any, exported: Any, options: Any, digits: Folder) -> None:
    it = exported(NAME)
    with _changed(it.trained, change) as other, pytest.raises(ExportError) as caught:
        compare(other, it.path, digits, options)
    message = str(caught.value)
    assert message.startswith("model.onnx: differs from the torch model, parity/")
    assert "\n" not in message


def test_the_tolerances_decide(exported: Any, options: Any, digits: Folder) -> None:
    it = exported(NAME)
    strict = replace(options, score_tolerance=1e-12)
    with pytest.raises(ExportError, match=r"max_score_difference is .*, allowed is 1e-12 \(export\.score_tolerance\)"):
        compare(it.trained, it.path, digits, strict)


def test_more_pictures_than_there_are_is_all_of_them(exported: Any, options: Any, digits: Folder) -> None:
    it = exported(NAME)
    report = compare(it.trained, it.path, digits, replace(options, parity_images=1000))
    assert report["parity/images"] == len(digits.splits["test"])


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_damaged_file_is_refused_in_one_line(
    content: bytes, exported: Any, options: Any, digits: Folder, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ExportError, match=r"model\.onnx: onnxruntime cannot load it") as caught:
        compare(exported(NAME).trained, tmp_path / "model.onnx", digits, options)
    assert "\n" not in str(caught.value)
