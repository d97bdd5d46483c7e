"""YOLOv3's numbers worked out by hand: who has to find an object, what each term of the loss is, where boxes lie."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from reprolens.config import Model
from reprolens.models import build
from reprolens.models.yolov3 import YOLOv3

SIZE = (64, 64)
GRIDS = [(8, 8), (4, 4), (2, 2)]
LN2 = math.log(2)


@pytest.fixture(scope="module")
def model(options: Callable[..., Model]) -> YOLOv3:
    """Return YOLOv3 for two classes: three rows in each of 64, 16 and 4 cells, 252 in all."""
    model = build(options("yolov3"), 2)
    assert isinstance(model, YOLOv3)
    return model


def _outputs(pictures: int = 1, classes: int = 2) -> list[Tensor]:
    """Return raw outputs that are all 0: every probability is one half, every box its anchor in its cell's middle."""
    return [torch.zeros(pictures, 3 * (5 + classes), *grid) for grid in GRIDS]


def _set(outputs: list[Tensor], level: int, anchor: int, cell: tuple[int, int], values: list[float]) -> None:
    """Set what the first picture's outputs say at an anchor of a cell (column, row): x, y, w, h, object, classes."""
    outputs[level].unflatten(1, (3, -1))[0, anchor, :, cell[1], cell[0]] = torch.tensor(values)


def _target(*objects: tuple[float, float, float, float, int]) -> dict[str, Tensor]:
    boxes = torch.tensor([item[:4] for item in objects]).reshape(-1, 4)
    return {"boxes": boxes, "labels": torch.tensor([item[4] for item in objects], dtype=torch.int64)}


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


@pytest.mark.parametrize(("name", "parameters"), [("yolov3", 61_949_149), ("yolov3_tiny", 8_852_366)])
def test_with_the_classes_of_coco_the_parameters_are_those_published(
    name: str, parameters: int, options: Callable[..., Model]
) -> None:
    with torch.device("meta"):
        model = build(options(name), 80)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("box", "size", "row"),
    [
        # 32 x 24 is most like 33 x 23, the last anchor of stride 8; centre (26, 24): column 3, row 3 of 8
        ((10, 12, 42, 36), (64, 64), (3 * 8 + 3) * 3 + 2),
        # 60 x 64 is most like 62 x 45, the second of stride 16; centre (30, 32): column 1, row 2 of 4
        ((0, 0, 60, 64), (64, 64), 64 * 3 + (2 * 4 + 1) * 3 + 1),
        # 120 x 95 is most like 116 x 90, the first of stride 32; centre (160, 147.5): column 5, row 4 of 13
        ((100, 100, 220, 195), (416, 416), (52 * 52 + 26 * 26) * 3 + (4 * 13 + 5) * 3),
        # in a picture twice as wide, rows of cells are twice as long; centre (90, 30): column 11, row 3 of 16
        ((85, 23, 95, 37), (64, 128), (3 * 16 + 11) * 3),
        # its centre lies on the picture's last corner, which belongs to the last cell
        ((59, 57, 69, 71), (64, 64), 63 * 3),
    ],
)
def test_an_object_is_given_to_the_one_anchor_most_like_it_in_the_cell_of_its_centre(
    model: YOLOv3, box: tuple[float, ...], size: tuple[int, int], row: int
) -> None:
    grids = [(size[0] // stride, size[1] // stride) for stride in (8, 16, 32)]
    rows, objects = model.assign(torch.tensor([box], dtype=torch.float32), grids, size)
    assert (rows.tolist(), objects.tolist()) == ([row], [0])


def test_rows_are_of_the_objects_that_are_named_beside_them(model: YOLOv3) -> None:
    boxes = torch.tensor([[0.0, 0, 60, 64], [10, 12, 42, 36]])
    rows, objects = model.assign(boxes, GRIDS, SIZE)
    assert rows.tolist() == [64 * 3 + (2 * 4 + 1) * 3 + 1, (3 * 8 + 3) * 3 + 2]
    assert objects.tolist() == [0, 1]


# ---- tiny: 81 x 82 is the last anchor of stride 16 and the first of stride 32

TINY_SIZE = (128, 128)
BOTH = ((3 * 8 + 4) * 3 + 2, 64 * 3 + (1 * 4 + 2) * 3)
"""Rows of 81 x 82 about (75, 60): column 4, row 3 of 8 x 8 cells, column 2, row 1 of 4 x 4."""


@pytest.fixture(scope="module")
def tiny(options: Callable[..., Model]) -> YOLOv3:
    """Return YOLOv3-tiny for two classes: three rows in each of 64 and 16 cells, 240 in all, at 128 x 128."""
    model = build(options("yolov3_tiny"), 2)
    assert isinstance(model, YOLOv3)
    return model


def test_where_two_levels_have_the_best_anchor_both_have_to_find_the_object(tiny: YOLOv3) -> None:
    # between an object that only 37 x 58 and one that only 135 x 169 is most like
    boxes = torch.tensor([[40.0, 40, 76, 96], [35, 20, 115, 100], [0, 0, 128, 128]])
    rows, objects = tiny.assign(boxes, [(8, 8), (4, 4)], TINY_SIZE)
    assert rows.tolist() == [(4 * 8 + 3) * 3 + 1, *BOTH, 64 * 3 + (2 * 4 + 2) * 3 + 1]
    assert objects.tolist() == [0, 1, 1, 2]


def test_both_levels_of_an_anchor_learn_the_object(tiny: YOLOv3) -> None:
    outputs = [torch.zeros(1, 3 * 7, side, side, requires_grad=True) for side in (8, 4)]
    losses = tiny.losses(outputs, [_target((35, 20, 115, 100, 2))], TINY_SIZE)
    scale = 2 - 80 * 80 / 128**2
    assert float(losses["wh"].detach()) == pytest.approx(
        scale * (math.log(80 / 81) ** 2 + math.log(80 / 82) ** 2), rel=1e-3
    )
    assert float(losses["classification"].detach()) == pytest.approx(4 * LN2, rel=1e-5)
    sum(losses.values()).backward()
    found = [output.grad for output in outputs if output.grad is not None]
    gradients = torch.cat([level.unflatten(1, (3, 7)).permute(0, 3, 4, 1, 2).flatten(0, 3) for level in found])
    for row in BOTH:
        torch.testing.assert_close(
            gradients[row, 4:], torch.tensor([-0.5, 0.5, -0.5])
        )  # an object, of the second class
    assert [row for row in range(240) if gradients[row, 4] < 0] == list(BOTH)


def test_the_row_that_an_object_is_given_to_decodes_to_its_cell_and_anchor(model: YOLOv3) -> None:
    outputs = _outputs()
    _set(outputs, 1, 1, (1, 2), [_logit(0.875), _logit(0.25), math.log(30 / 62), math.log(40 / 45), 3.0, 1.0, -1.0])
    boxes, scores = model.decode(outputs, SIZE)
    assert boxes.shape == (1, 252, 4)
    assert scores.shape == (1, 252, 2)
    # centre (1.875, 2.25) cells of 16 pixels: (30, 36); sides 30 x 40
    row = int(model.assign(torch.tensor([[0.0, 0.0, 60.0, 64.0]]), GRIDS, SIZE)[0])
    torch.testing.assert_close(boxes[0, row], torch.tensor([15.0, 16.0, 45.0, 56.0]))
    objectness, classes = torch.tensor(3.0).sigmoid(), torch.tensor([1.0, -1.0]).sigmoid()
    torch.testing.assert_close(scores[0, row], objectness * classes)


def test_every_term_of_the_loss_is_as_worked_out_by_hand(model: YOLOv3) -> None:
    losses = model.losses(_outputs(), [_target((10, 12, 42, 36, 2))], SIZE)
    scale = 2 - 32 * 24 / 64**2
    # The centre is a quarter of the cell from its left side and on its upper side; one half is predicted for both.
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert float(losses["xy"]) == pytest.approx(scale * ((LN2 - entropy) + LN2), rel=1e-5)
    assert float(losses["wh"]) == pytest.approx(scale / 2 * (math.log(32 / 33) ** 2 + math.log(24 / 23) ** 2), rel=1e-4)
    # The same anchor in the cells at the left (IoU 0.51), above (0.64) and both (0.51) is no background either.
    assert float(losses["objectness"]) == pytest.approx((252 - 3) * LN2, rel=1e-5)
    assert float(losses["classification"]) == pytest.approx(2 * LN2, rel=1e-5)


def test_the_gradient_of_a_box_is_what_darknet_propagates(model: YOLOv3) -> None:
    outputs = [output.requires_grad_() for output in _outputs()]
    losses = model.losses(outputs, [_target((10, 12, 42, 36, 2))], SIZE)
    (losses["xy"] + losses["wh"]).backward()
    gradient = outputs[0].grad
    assert gradient is not None
    own = gradient.unflatten(1, (3, -1))[0, 2, :4, 3, 3]
    scale = 2 - 32 * 24 / 64**2  # times prediction less truth
    expected = [scale * (0.5 - 0.25), scale * 0.5, -scale * math.log(32 / 33), -scale * math.log(24 / 23)]
    torch.testing.assert_close(own, torch.tensor(expected))
    assert int(gradient.count_nonzero()) == 4
    assert outputs[1].grad is None or not outputs[1].grad.any()


def test_a_prediction_that_is_right_costs_nothing(model: YOLOv3) -> None:
    outputs = _outputs()
    for output in outputs:
        output.unflatten(1, (3, -1))[:, :, 4] = -30.0
    right = [_logit(0.25), _logit(0.5), math.log(32 / 33), math.log(24 / 23), 30.0, -30.0, 30.0]
    _set(outputs, 0, 2, (3, 3), right)
    losses = model.losses(outputs, [_target((10, 16, 42, 40, 2))], SIZE)
    assert all(abs(float(loss)) < 1e-5 for loss in losses.values()), losses
    _set(outputs, 0, 2, (3, 3), [*right[:4], -30.0, *right[5:]])  # its overlap of 1 does not excuse it from its object
    assert float(model.losses(outputs, [_target((10, 16, 42, 40, 2))], SIZE)["objectness"]) == pytest.approx(30.0)


def test_two_objects_of_one_prediction_have_it_name_both_classes(model: YOLOv3) -> None:
    outputs = _outputs()
    _set(outputs, 0, 2, (3, 3), [0.0, 0.0, 0.0, 0.0, 0.0, 30.0, 30.0])
    losses = model.losses(outputs, [_target((10, 12, 42, 36, 1), (10, 13, 42, 36, 2))], SIZE)
    assert float(losses["classification"]) < 1e-5


def test_pictures_without_objects_teach_that_there_is_none_and_count_as_pictures(model: YOLOv3) -> None:
    full, empty = _target((10, 12, 42, 36, 2)), _target()
    nothing = model.losses(_outputs(), [empty], SIZE)
    assert {name: float(loss) for name, loss in nothing.items() if name != "objectness"} == {
        "xy": 0.0,
        "wh": 0.0,
        "classification": 0.0,
    }
    assert float(nothing["objectness"]) == pytest.approx(252 * LN2, rel=1e-5)
    alone, both = model.losses(_outputs(), [full], SIZE), model.losses(_outputs(2), [full, empty], SIZE)
    for name, loss in both.items():
        assert float(loss) == pytest.approx((float(alone[name]) + float(nothing[name])) / 2, rel=1e-5)


def test_outputs_beyond_all_bounds_give_finite_boxes_and_losses(model: YOLOv3) -> None:
    outputs = [torch.full_like(output, 1e4) for output in _outputs()]
    assert bool(model.decode(outputs, SIZE)[0].isfinite().all())
    losses = model.losses(outputs, [_target((10, 12, 10, 12, 1))], SIZE)  # and an object without an extent
    assert all(bool(loss.isfinite()) for loss in losses.values()), losses


@pytest.mark.parametrize(("name", "backbone"), [("yolov3", "resnet18"), ("yolov3_tiny", "mobilenet_v3_small")])
def test_another_backbone_takes_the_place_of_the_body_alone(
    name: str, backbone: str, options: Callable[..., Model]
) -> None:
    torch.manual_seed(0)
    plain, other = (build(options(name, backbone=choice), 2) for choice in (None, backbone))
    behind = {key: value.shape for key, value in plain.state_dict().items() if not key.startswith("backbone.body.")}
    differing = [key for key, value in other.state_dict().items() if behind.get(key, value.shape) != value.shape]
    assert behind.keys() <= other.state_dict().keys()
    assert all(key.endswith(".conv.weight") for key in differing)
    assert len(differing) <= 3  # the convolutions that take the body's maps, of each level one
    losses: Any = other.train()([torch.rand(3, 64, 96) for _ in range(2)], [_target((8, 8, 40, 40, 1)), _target()])
    sum(losses.values()).backward()
    used = {key: parameter.grad for key, parameter in other.named_parameters()}
    assert [key for key, gradient in used.items() if gradient is None or not bool(gradient.isfinite().all())] == []


@pytest.mark.parametrize(("name", "outputs"), [("yolov3", [9, 9, 9]), ("yolov3_tiny", [9, 9])])
def test_objectness_begins_at_a_hundredth(name: str, outputs: list[int], options: Callable[..., Model]) -> None:
    model = build(options(name), 4)
    biases = [value for key, value in model.named_parameters() if key.startswith("head") and key.endswith("1.bias")]
    assert [len(bias) // 3 for bias in biases] == outputs
    for bias in biases:
        rows = bias.detach().view(3, -1).sigmoid()
        torch.testing.assert_close(rows[:, 4], torch.full((3,), 0.01))
        torch.testing.assert_close(rows[:, 5:], torch.full((3, 4), 0.5))
