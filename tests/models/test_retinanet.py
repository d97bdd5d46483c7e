"""RetinaNet: torchvision's models to the letter, and the same on other backbones."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from reprolens.config import Model
from reprolens.models import build
from reprolens.models.heads import class_rows

NAMES = ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2")


@pytest.mark.parametrize("name", NAMES)
def test_on_a_backbone_by_the_name_of_its_own_it_is_the_same_model(name: str, options: Callable[..., Model]) -> None:
    """Levels, anchors, heads, losses and what is kept of the boxes."""
    stock, composed = (
        build(options(name, backbone=backbone, score_threshold=0.0, detections_per_image=20), 3)
        for backbone in (None, "resnet50")
    )
    composed.load_state_dict(stock.state_dict())
    for training in (True, False):
        first, second = (_run(model, training) for model in (stock, composed))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("objects", [1, 0])
def test_another_backbone_learns_with_and_without_objects(
    name: str, objects: int, options: Callable[..., Model]
) -> None:
    model = build(options(name, backbone="mobilenet_v3_small"), 3).train()
    sum(model([torch.rand(3, 64, 64)] * 2, [_target(objects), _target(0)]).values()).backward()
    gradients = [parameter.grad for parameter in model.parameters() if objects or parameter.grad is not None]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    assert any(bool(gradient.any()) for gradient in gradients if gradient is not None)


@pytest.mark.parametrize("name", NAMES)
def test_on_another_backbone_it_does_not_name_the_background(name: str, options: Callable[..., Model]) -> None:
    model = build(options(name, backbone="mobilenet_v3_small", score_threshold=0.0), 3).eval()
    with torch.inference_mode():
        [found] = model([torch.rand(3, 64, 64)])
    assert len(found["labels"]) > 0
    assert set(found["labels"].tolist()) <= {1, 2, 3}


def test_the_highest_levels_of_version_2_come_from_the_backbone_and_those_of_version_1_from_the_pyramid(
    options: Callable[..., Model],
) -> None:
    with torch.device("meta"):
        models = [build(options(name, backbone="resnet18"), 3) for name in NAMES]
    layers: list[Any] = [model.get_submodule("backbone.fpn.extra_blocks.p6") for model in models]
    assert [layer.in_channels for layer in layers] == [256, 512]


def test_the_rows_of_the_classes_are_known_with_another_backbone_too(options: Callable[..., Model]) -> None:
    rows = class_rows(options("retinanet_resnet50_fpn_v2", backbone="resnet18"))
    names = [f"head.classification_head.cls_logits.{kind}" for kind in ("weight", "bias")]
    assert {key: (row.before, row.leading, row.after) for key, row in rows.items()} == dict.fromkeys(names, (9, 1, 1))


def _run(model: nn.Module, training: bool) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    with torch.no_grad():
        found = model.train(training)([torch.rand(3, 64, 64)] * 2, [_target(1), _target(0)])
    return found if training else found[0]


def _target(count: int) -> dict[str, torch.Tensor]:
    boxes = torch.tensor([[8.0, 8.0, 40.0, 44.0]])[:count]
    return {"boxes": boxes, "labels": torch.ones(count, dtype=torch.int64)}
