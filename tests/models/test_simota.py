"""SimOTA, by hand and against the original."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from reprolens.models.simota import assign, classification_costs, iou, match


def _cells(side: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return the centres of `side` x `side` cells and their strides."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return (torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5) * stride, torch.full((side * side,), float(stride))


def _assigned(predicted: Tensor, boxes: Tensor, side: int = 8) -> list[tuple[int, int]]:
    """Return (prediction, object) of an assignment where all scores are the same; cells of 8 pixels."""
    count = side * side
    zeros = torch.zeros(count)
    found = assign(predicted, zeros[:, None], zeros, *_cells(side, 8), boxes, torch.zeros(len(boxes)).long())
    return list(zip(found.foreground.nonzero().flatten().tolist(), found.objects.tolist(), strict=True))


def test_an_object_takes_as_many_predictions_as_its_ten_best_overlaps_add_up_to() -> None:
    costs = torch.arange(12.0).repeat(2, 1)
    ious = torch.tensor([[0.9, 0.8, 0.7, 0.5] + [0.0] * 8, [0.25] * 12])  # 2.9 and, of the ten best, 2.5
    assert match(costs[:1], ious[:1]).sum(1).tolist() == [2]
    assert match(costs[:1], ious[1:]).sum(1).tolist() == [2]
    assert match(costs[:1], ious[:1] * 0.1).nonzero().tolist() == [[0, 0]]  # at least the cheapest


def test_a_contested_prediction_goes_to_the_object_to_which_it_is_cheapest() -> None:
    costs = torch.tensor([[1.0, 5.0, 9.0], [2.0, 6.0, 3.0], [0.5, 0.1, 0.2]])
    ious = torch.full((3, 3), 0.3)
    # Each takes one: the first and the second object both the first prediction, the third the second. The contested
    # one is cheapest to the third object, which did not take it.
    assert match(costs, ious).nonzero().tolist() == [[2, 0], [2, 1]]


def test_of_equal_costs_the_first_wins() -> None:
    assert match(torch.ones(1, 40), torch.full((1, 40), 0.31)).nonzero().tolist() == [[0, i] for i in range(3)]
    assert match(torch.ones(2, 40), torch.full((2, 40), 0.1)).nonzero().tolist() == [[0, 0]]


def test_cells_in_the_box_and_near_its_middle_come_before_better_ones_elsewhere() -> None:
    box = torch.tensor([[20.0, 20.0, 12.0, 12.0]])  # holds the one cell centre (20, 20), which is cell 2 + 2 * 8
    predicted = box.repeat(64, 1)
    predicted[18] = torch.tensor([20.0, 20.0, 2.0, 2.0])
    found = _assigned(predicted, box)
    assert (18, 0) in found
    assert len(found) == 10  # this one and nine of the perfect ones
    near = {x + 8 * y for x in range(5) for y in range(5)}  # centres within 20 pixels of (20, 20), the border left out
    assert {place for place, _ in found} <= near


def test_a_large_box_has_candidates_far_from_its_middle_if_nothing_near_is_left() -> None:
    box = torch.tensor([[32.0, 32.0, 60.0, 60.0]])
    predicted = torch.tensor([[100.0, 100.0, 1.0, 1.0]]).repeat(64, 1)
    predicted[0] = box[0]
    assert _assigned(predicted, box) == [(18, 0)]  # near the middle, though cell 0 in the corner of the box is perfect


def test_no_objects_and_objects_outside_the_picture_are_assigned_nothing() -> None:
    predicted = torch.tensor([[20.0, 20.0, 8.0, 8.0]]).repeat(64, 1)
    assert _assigned(predicted, torch.zeros(0, 4)) == []
    assert _assigned(predicted, torch.tensor([[500.0, 500.0, 10.0, 10.0]])) == []


def test_overlaps_are_those_of_boxes_around_their_centres() -> None:
    first = torch.tensor([[10.0, 10.0, 4.0, 4.0], [10.0, 10.0, 4.0, 4.0], [0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 0.0, 0.0]])
    second = torch.tensor([[10.0, 10.0, 4.0, 4.0], [12.0, 10.0, 4.0, 4.0], [9.0, 9.0, 2.0, 2.0], [1.0, 1.0, 0.0, 0.0]])
    assert iou(first, second).tolist() == pytest.approx([1.0, 8 / 24, 0.0, 0.0])


def test_classification_costs_are_binary_cross_entropies_of_the_root_of_class_times_objectness() -> None:
    draw = torch.Generator().manual_seed(1)
    logits, objectness = torch.randn(9, 5, generator=draw) * 4, torch.randn(9, generator=draw) * 4
    classes = torch.tensor([0, 4, 2, 2])
    scores = torch.sqrt(logits.sigmoid() * objectness[:, None].sigmoid()).expand(4, 9, 5)
    wanted = functional.one_hot(classes, 5).float()[:, None].expand(4, 9, 5)
    expected = functional.binary_cross_entropy(scores, wanted, reduction="none").sum(-1)
    assert torch.allclose(classification_costs(logits, objectness, classes), expected, atol=1e-4)


def test_classification_costs_of_certain_predictions_are_bounded() -> None:
    logits = torch.tensor([[200.0, -200.0]])
    costs = classification_costs(logits, torch.tensor([200.0]), torch.tensor([0, 1]))
    assert costs.flatten().tolist() == pytest.approx([0.0, 200.0])  # as torch bounds logarithms, by 100 each


def test_a_crowd_is_assigned_as_the_original_assigns_it() -> None:
    """`crowd` in yolox_reference.json is what `YOLOXHead.get_assignments` of yolox 0.3.0 made of this."""
    reference = json.loads((Path(__file__).parent / "yolox_reference.json").read_text(encoding="utf-8"))["crowd"]
    draw = np.random.default_rng(8)
    maps = [(16, 20, 8), (8, 10, 16), (4, 5, 32)]
    count = sum(height * width for height, width, _ in maps)
    boxes = np.concatenate([draw.random((20, 2)) * [160, 128], 8 + draw.random((20, 2)) ** 2 * 90], axis=1).round(1)
    classes = torch.from_numpy(draw.integers(0, 7, 20))
    predicted = boxes[draw.integers(0, 20, count)] + (draw.random((count, 4)) - 0.5) * [8, 8, 14, 14]
    predicted[:, 2:] = predicted[:, 2:].clip(1)
    logits, objectness = draw.random((count, 7)) * 6 - 4, draw.random(count) * 6 - 4
    corners = [
        np.stack([*np.indices((height, width))[::-1]], -1).reshape(-1, 2) * stride + stride / 2
        for height, width, stride in maps
    ]
    strides = np.concatenate([np.full(height * width, stride) for height, width, stride in maps])
    arrays = (predicted, logits, objectness, np.concatenate(corners), strides, boxes)
    first, second, third, fourth, fifth, sixth = (torch.from_numpy(array).float() for array in arrays)
    second.requires_grad_()

    found = assign(first, second, third, fourth, fifth, sixth, classes)

    assert found.foreground.nonzero().flatten().tolist() == reference["predictions"]
    assert found.objects.tolist() == reference["objects"]
    assert found.ious.tolist() == pytest.approx(reference["ious"], abs=1e-5)
    assert not found.ious.requires_grad
