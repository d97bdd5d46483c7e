"""YOLOX: the original's tensors, outputs and losses.

yolox_reference.json was written by the original code, yolox 0.3.0 (the classes of its `yolox.models`, put together as
its `exps/default` do, `initialize_biases` and BatchNorm's eps and momentum included), with the values that `_values`
gives for the tensors' original names and the pictures and objects below. `evaluation` are its outputs with
`decode_in_inference = False`, `training` those with BatchNorms in training mode, `after` those in evaluation mode after
a step in training mode with the objects, which moved the running statistics twice; each as sum, sum of absolute values,
and 16 values at even distances. `losses` and `assignment` (of the first picture) come from that step.
"""

import json
import math
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reprolens.config import Model
from reprolens.models import build
from reprolens.models.registry import get
from reprolens.models.simota import assign
from reprolens.models.yolox import BGR, Head, decoded, flat, grid

CHECKPOINTS = Path(__file__).parents[2].parent / "shared" / "data" / "checkpoints"
REFERENCE = json.loads((Path(__file__).parent / "yolox_reference.json").read_text(encoding="utf-8"))
SIZE = (64, 96)
COMPARED = ["yolox_nano", "yolox_tiny", "yolox_s", "yolox_darknet53"]

Options = Callable[..., Model]


def _original_name(name: str) -> str:
    return name.replace("backbone.body.", "backbone.backbone.").replace("backbone.neck.", "backbone.")


def _values(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return values that depend on nothing but a tensor's original name and shape."""
    drawn = np.random.default_rng(zlib.crc32(name.encode())).random(math.prod(shape)) * 2 - 1
    even, part = torch.from_numpy(drawn).float().reshape(shape), name.rpartition(".")[2]
    if "reg_preds" in name and part == "bias":
        return 1 + 0.1 * even  # boxes that overlap objects
    if part == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if part == "running_var":
        return 1 + 0.5 * even
    if part in ("running_mean", "bias"):
        return 0.1 * even
    return 1 + 0.3 * even if len(shape) == 1 else even * (3 / math.prod(shape[1:])) ** 0.5


def _images() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((2, 3, *SIZE))).float()


def _targets(*labels: int) -> list[dict[str, Tensor]]:
    """Return targets of two pictures, the second of which is empty."""
    boxes = torch.tensor([[4.0, 6, 40, 50], [30, 20, 90, 60], [60, 8, 76, 24], [58, 6, 80, 30]])
    return [
        {"boxes": boxes[: len(labels)], "labels": torch.tensor(labels, dtype=torch.int64)},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]


def _numbers(outputs: list[Tensor]) -> dict[str, Any]:
    raw = flat(outputs)
    raw = torch.cat([raw[..., :4], raw[..., 4:].sigmoid()], dim=-1).flatten().double()
    return {
        "sum": float(raw.sum()),
        "absolute": float(raw.abs().sum()),
        "values": raw[torch.linspace(0, len(raw) - 1, 16).long()].tolist(),
    }


def _same(found: dict[str, Any], reference: dict[str, Any]) -> bool:
    return found["values"] == pytest.approx(reference["values"], abs=1e-4) and all(
        found[key] == pytest.approx(reference[key], rel=1e-5) for key in ("sum", "absolute")
    )


@pytest.fixture(scope="module")
def compared(options: Options) -> Callable[[str], dict[str, Any]]:
    """Return what models with the reference's values make of the reference's pictures and objects."""

    @cache
    def make(name: str) -> dict[str, Any]:
        model: Any = build(options(name), 80)
        model.load_state_dict({key: _values(_original_name(key), t.shape) for key, t in model.state_dict().items()})
        images, targets = _images(), _targets(3, 17, 80, 3)
        with torch.inference_mode():
            evaluation = _numbers(model.eval().raw(images))
            training = _numbers(model.train().raw(images))
            model.head.use_l1 = True
            outputs = model.raw(images)
            losses = model.losses(outputs, targets, SIZE)
            after = _numbers(model.eval().raw(images))
            return {
                "evaluation": evaluation,
                "training": training,
                "after": after,
                "losses": {key: float(value) for key, value in losses.items()},
                "assignment": _assignment(outputs, targets[0]),
            }

    return make


def _assignment(outputs: list[Tensor], target: dict[str, Tensor]) -> dict[str, Any]:
    """Return how one picture's outputs are assigned."""
    raw, (corners, strides) = flat(outputs), grid(outputs)
    boxes = target["boxes"]
    objects = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1)
    predicted, cells = decoded(raw, corners, strides)[0], (corners + 0.5) * strides
    found = assign(predicted, raw[0, :, 5:], raw[0, :, 4], cells, strides[:, 0], objects, target["labels"] - 1)
    return {
        "predictions": found.foreground.nonzero().flatten().tolist(),
        "objects": found.objects.tolist(),
        "ious": found.ious.tolist(),
    }


@pytest.mark.parametrize("mode", ["evaluation", "training", "after"])
@pytest.mark.parametrize("name", COMPARED)
def test_with_the_same_weights_the_raw_outputs_are_the_originals(
    name: str, mode: str, compared: Callable[[str], dict[str, Any]]
) -> None:
    found, reference = compared(name)[mode], REFERENCE[name][mode]
    assert _same(found, reference), (found, reference)


@pytest.mark.parametrize("name", COMPARED)
def test_with_the_same_weights_and_objects_assignment_and_losses_are_the_originals(
    name: str, compared: Callable[[str], dict[str, Any]]
) -> None:
    found, reference = compared(name), REFERENCE[name]
    assert found["assignment"]["predictions"] == reference["assignment"]["predictions"]
    assert found["assignment"]["objects"] == reference["assignment"]["objects"]
    assert found["assignment"]["ious"] == pytest.approx(reference["assignment"]["ious"], abs=1e-4)
    assert found["losses"] == pytest.approx(reference["losses"], abs=1e-4, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("yolox_nano", 0.91),
        ("yolox_tiny", 5.06),
        ("yolox_s", 8.97),
        ("yolox_m", 25.33),
        ("yolox_l", 54.21),
        ("yolox_x", 99.07),
        ("yolox_darknet53", 63.72),
    ],
)
def test_with_80_classes_there_are_as_many_parameters_as_published(
    name: str, millions: float, options: Options
) -> None:
    with torch.device("meta"):
        model = build(options(name), 80)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize("name", COMPARED)
def test_the_tensors_are_those_of_the_official_checkpoint(name: str, options: Options) -> None:
    if not CHECKPOINTS.is_dir():
        pytest.skip("shared/data is not here")
    official = json.loads((CHECKPOINTS / f"{name}_keys.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        model = build(options(name), 80)
    assert {_original_name(key): list(tensor.shape) for key, tensor in model.state_dict().items()} == official


# ---- pictures


@pytest.mark.parametrize("name", COMPARED)
def test_pictures_enter_as_the_published_weights_expect_them(name: str) -> None:
    entry = get(name)
    [foreign] = entry.formats
    assert entry.preprocessing == foreign.preprocessing == BGR
    assert torch.allclose(BGR(torch.tensor([0.1, 0.2, 1.0])[:, None, None]).flatten(), torch.tensor([255, 51, 25.5]))


# ---- losses by hand


def _detector(options: Options, classes: int, **changes: Any) -> Any:
    torch.manual_seed(0)
    return build(options("yolox_nano", **changes), classes)


def test_losses_worked_out_by_hand(options: Options) -> None:
    """Of 21 predictions at 32 x 32 one overlaps the object, four times as large, so by 0.25; all logits are 0."""
    outputs = [torch.zeros(1, 5 + 2, side, side) for side in (4, 2, 1)]
    for level in outputs:
        level[:, 2:4] = -20  # boxes of no size
    outputs[0][0, :4, 1, 1] = torch.tensor([0.5, 0.5, math.log(2), math.log(2)])  # centre (12, 12), 16 x 16
    target = {"boxes": torch.tensor([[8.0, 8.0, 16.0, 16.0]]), "labels": torch.tensor([2])}
    model = _detector(options, 2)
    expected = {"iou": 5 * (1 - 0.25**2), "objectness": 21 * math.log(2), "classification": 2 * math.log(2)}
    losses = model.losses(outputs, [target], (32, 32))
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(expected, rel=1e-5)

    model.head.use_l1 = True
    losses = model.losses(outputs, [target], (32, 32))
    assert losses["l1"].item() == pytest.approx(2 * math.log(2), rel=1e-5)


def test_a_prediction_of_one_class_and_box_has_the_score_class_times_objectness(options: Options) -> None:
    outputs = [torch.full((1, 5 + 2, side, side), -9.0) for side in (4, 2, 1)]
    outputs[1][0, :, 0, 1] = torch.tensor([0.25, 0.5, 0.0, math.log(0.5), math.log(3), 0.0, -math.log(3)])
    boxes, scores = _detector(options, 2).decode(outputs, (32, 32))
    place = 16 + 1  # the cell from (16, 0) to (32, 16)
    assert boxes.shape == (1, 21, 4)
    assert boxes[0, place].tolist() == pytest.approx([20 - 8, 8 - 4, 20 + 8, 8 + 4])
    assert scores[0, place].tolist() == pytest.approx([0.75 * 0.5, 0.75 * 0.25])


def test_pictures_without_objects_teach_objectness_alone(options: Options) -> None:
    model = _detector(options, 3)
    empty = _targets()
    losses = model.train()(list(_images()), empty)
    sum(losses.values()).backward()
    assert {name: loss.item() > 0 for name, loss in losses.items()} == {
        "iou": False,
        "objectness": True,
        "classification": False,
    }
    for level in range(3):
        for name, learns in (("obj", True), ("cls", False), ("reg", False)):
            gradient = model.head.get_parameter(f"{name}_preds.{level}.weight").grad
            assert gradient.isfinite().all()
            assert bool(gradient.any()) is learns


def test_sides_beyond_all_bounds_give_finite_boxes_losses_and_gradients(options: Options) -> None:
    model = _detector(options, 3).train()
    raw = torch.zeros(2, 8, 8, 12)
    raw[:, 2:4] = 100.0
    outputs = [raw.requires_grad_(), torch.full((2, 8, 4, 6), 100.0).requires_grad_(), torch.zeros(2, 8, 2, 3)]
    losses = model.losses(outputs, _targets(1, 2, 3), SIZE)
    sum(losses.values()).backward()
    assert all(bool(loss.isfinite()) for loss in losses.values()), losses
    assert all(bool(output.grad.isfinite().all()) for output in outputs[:2] if output.grad is not None)
    boxes = decoded(flat(outputs), *grid(outputs))
    assert float(boxes[0, 0, 2].detach()) == pytest.approx(8 * 1000)


def test_under_autocast_losses_and_boxes_are_float32(options: Options) -> None:
    model = _detector(options, 3).train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model.raw(_images())
        losses = model.losses(outputs, _targets(1, 2, 3), SIZE)
        boxes, scores = model.decode(outputs, SIZE)
    plain = model.losses([level.float() for level in outputs], _targets(1, 2, 3), SIZE)
    assert outputs[0].dtype == torch.bfloat16
    assert {boxes.dtype, scores.dtype, *(loss.dtype for loss in losses.values())} == {torch.float32}
    assert {name: loss.item() for name, loss in losses.items()} == {name: loss.item() for name, loss in plain.items()}


def test_untrained_heads_score_a_hundredth_each_for_objectness_and_class() -> None:
    head = Head(4, (8, 8, 8), 8)
    for name in ("obj_preds", "cls_preds"):
        for level in range(3):
            assert head.get_parameter(f"{name}.{level}.bias").sigmoid().tolist() == pytest.approx(
                [0.01] * (1 if name == "obj_preds" else 4)
            )


@pytest.mark.parametrize("name", ["yolox_nano", "yolox_darknet53"])
def test_another_backbone_bears_the_same_neck_and_heads(name: str, options: Options) -> None:
    model: Any = build(options(name, backbone="resnet18"), 3)
    losses = model.train()(list(_images()), _targets(1, 2, 3))
    sum(losses.values()).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    assert "backbone.body.layer1.0.conv1.weight" in model.state_dict()
    assert [level.shape[1:] for level in model.raw(_images())] == [(8, 8, 12), (8, 4, 6), (8, 2, 3)]
