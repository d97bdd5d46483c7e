"""Faster R-CNN: torchvision's models to the letter, and the same on other backbones."""

from collections.abc import Callable
from inspect import isfunction
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList

from reprolens.config import Model
from reprolens.models import build
from reprolens.models.heads import class_rows

NAMES = ("fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2")


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"])
def test_on_a_backbone_by_the_name_of_its_own_it_is_the_same_model(name: str, options: Callable[..., Model]) -> None:
    stock, composed = (_few(build(options(name, backbone=backbone), 3)) for backbone in (None, "resnet50"))
    composed.load_state_dict(stock.state_dict())
    for training in (True, False):
        first, second = (_run(model, training) for model in (stock, composed))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_on_another_backbone_proposals_and_boxes_are_chosen_as_in_torchvisions_own(
    name: str, options: Callable[..., Model]
) -> None:
    with torch.device("meta"):
        stock, composed = (build(options(name, backbone=backbone), 3) for backbone in (None, "resnet18"))
    for part in ("rpn", "roi_heads"):
        assert _settings(stock.get_submodule(part)) == _settings(composed.get_submodule(part))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("objects", [1, 0])
def test_another_backbone_learns_with_and_without_objects(
    name: str, objects: int, options: Callable[..., Model]
) -> None:
    model = _few(build(options(name, backbone="mobilenet_v3_small"), 3)).train()
    targets = [_target(objects), _target(0)]
    sum(model([torch.rand(3, 64, 64)] * 2, targets).values()).backward()
    gradients = [parameter.grad for parameter in model.parameters() if objects or parameter.grad is not None]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    assert any(bool(gradient.any()) for gradient in gradients if gradient is not None)


@pytest.mark.parametrize("name", NAMES)
def test_anchors_of_every_level_are_torchvisions(name: str, options: Callable[..., Model]) -> None:
    """Squares of 32 to 512 pixels, one size for each level of strides 4 to 64; the quick form has all on every one."""
    with torch.device("meta"):
        model = build(options(name, backbone="resnet18", image_size=[256, 256]), 3)
        images = ImageList(torch.zeros(1, 3, 256, 256), [(256, 256)])
        maps = list(model.get_submodule("backbone")(images.tensors).values())
    generator: Any = model.get_submodule("rpn.anchor_generator")
    widths = [cells[1::3, 2] - cells[1::3, 0] for cells in generator.cell_anchors]  # of the squares
    strides = [256 // level.shape[-1] for level in maps]
    sizes = [32, 64, 128, 256, 512]
    if name == "fasterrcnn_mobilenet_v3_large_fpn":
        assert strides == [16, 32, 64]
        assert [len(cells) for cells in generator.cell_anchors] == [15] * 3
    else:
        assert strides == [4, 8, 16, 32, 64]
        assert [width.tolist() for width in widths] == [[size] for size in sizes]


def test_the_rows_of_the_classes_are_known_with_another_backbone_too(options: Callable[..., Model]) -> None:
    rows = class_rows(options("fasterrcnn_resnet50_fpn_v2", backbone="resnet18"))
    assert {key: (row.before, row.leading, row.after) for key, row in rows.items()} == {
        "roi_heads.box_predictor.cls_score.weight": (1, 1, 1),
        "roi_heads.box_predictor.cls_score.bias": (1, 1, 1),
        "roi_heads.box_predictor.bbox_pred.weight": (1, 1, 4),
        "roi_heads.box_predictor.bbox_pred.bias": (1, 1, 4),
    }


def _settings(part: nn.Module) -> dict[str, Any]:
    """Return the numbers that a part of the detector works with, those of its coder, matcher and sampler included."""
    own = {name: value for name, value in vars(part).items() if name not in vars(nn.Module()) and value is not None}
    return {
        name: value if isinstance(value, int | float | dict) else vars(value)  # no more than these kinds of things
        for name, value in own.items()
        if not isfunction(value)
    }


def _few(model: Any) -> nn.Module:
    """Return the model with few proposals, which is quicker."""
    model.rpn._post_nms_top_n = {"training": 20, "testing": 20}
    model.roi_heads.fg_bg_sampler.batch_size_per_image = 8
    return model


def _run(model: nn.Module, training: bool) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    with torch.no_grad():
        found = model.train(training)([torch.rand(3, 64, 64)] * 2, [_target(1), _target(0)])
    return found if training else found[0]


def _target(count: int) -> dict[str, torch.Tensor]:
    boxes = torch.tensor([[8.0, 8.0, 40.0, 44.0]])[:count]
    return {"boxes": boxes, "labels": torch.ones(count, dtype=torch.int64)}
