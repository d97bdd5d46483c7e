"""FCOS: torchvision's model to the letter, the small one as it always was, and both on other backbones."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2

from reprolens.config import Model
from reprolens.models import build
from reprolens.models.heads import class_rows

NAMES = ("fcos_mobilenet_v2", "fcos_resnet50_fpn")


def test_the_small_one_keeps_its_tensors_and_the_order_in_which_they_are_drawn(options: Callable[..., Model]) -> None:
    torch.manual_seed(0)
    model = build(options("fcos_mobilenet_v2"), 10)
    torch.manual_seed(0)
    body = mobilenet_v2(weights=None).features[:18].state_dict()
    state = model.state_dict()
    assert (len(state), sum(parameter.numel() for parameter in model.parameters())) == (340, 2_108_816)
    assert [key for key in state if key.startswith("backbone.body.")] == [f"backbone.body.{key}" for key in body]
    assert all(torch.equal(state[f"backbone.body.{key}"], tensor) for key, tensor in body.items())


def test_on_a_backbone_by_the_name_of_its_own_it_is_the_same_model(options: Callable[..., Model]) -> None:
    """Levels, places, heads, losses and what is kept of the boxes."""
    stock, composed = (
        build(options("fcos_resnet50_fpn", backbone=backbone, score_threshold=0.0, detections_per_image=20), 3)
        for backbone in (None, "resnet50")
    )
    composed.load_state_dict(stock.state_dict())
    for training in (True, False):
        first, second = (_run(model, training) for model in (stock, composed))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(("backbone", "objects"), [("mobilenet_v3_small", 0), ("timm/repvgg_a0", 1)])
@pytest.mark.parametrize("name", NAMES)
def test_another_backbone_learns_with_and_without_objects(
    name: str, backbone: str, objects: int, options: Callable[..., Model]
) -> None:
    model = build(options(name, backbone=backbone), 3).train()
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


def test_the_small_one_stays_light_on_another_backbone(options: Callable[..., Model]) -> None:
    with torch.device("meta"):
        model: Any = build(options("fcos_mobilenet_v2", backbone="resnet18"), 3)
        maps = model.backbone(torch.zeros(1, 3, 128, 128))
    assert [tuple(level.shape[1:]) for level in maps.values()] == [(64, 16, 16), (64, 8, 8), (64, 4, 4)]
    assert len(model.head.classification_head.conv) == 2 * 3  # convolution, GroupNorm, ReLU


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_of_the_classes_are_known_with_another_backbone_too(name: str, options: Callable[..., Model]) -> None:
    rows = class_rows(options(name, backbone="resnet18"))
    names = [f"head.classification_head.cls_logits.{kind}" for kind in ("weight", "bias")]
    assert {key: (row.before, row.leading, row.after) for key, row in rows.items()} == dict.fromkeys(names, (1, 1, 1))


def _run(model: nn.Module, training: bool) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    with torch.no_grad():
        found = model.train(training)([torch.rand(3, 64, 64)] * 2, [_target(1), _target(0)])
    return found if training else found[0]


def _target(count: int) -> dict[str, torch.Tensor]:
    boxes = torch.tensor([[8.0, 8.0, 40.0, 44.0]])[:count]
    return {"boxes": boxes, "labels": torch.ones(count, dtype=torch.int64)}
