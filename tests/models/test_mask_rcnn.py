"""Mask R-CNN: its outlines, in training and in what it finds."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reprolens.config import Model
from reprolens.models.mask_rcnn import (
    build_maskrcnn_resnet50_fpn,
    build_maskrcnn_resnet50_fpn_v2,
    paste,
    small_masks,
    without_masks,
)
from reprolens.models.preprocessing import IMAGENET
from reprolens.models.transform import FixedSizeTransform

SIDE = 64
BUILDERS = {
    "maskrcnn_resnet50_fpn": build_maskrcnn_resnet50_fpn,
    "maskrcnn_resnet50_fpn_v2": build_maskrcnn_resnet50_fpn_v2,
}


def _build(name: str, classes: int, backbone: str | None = None) -> nn.Module:
    model = BUILDERS[name](classes, (SIDE, SIDE), Model(name, backbone, [SIDE, SIDE], 0.05, 0.5, 20))
    model.transform = FixedSizeTransform((SIDE, SIDE), IMAGENET, 32)
    return model


def _discs(count: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return pictures with a red disc each, and their targets."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    images, targets = [], []
    for place in range(count):
        x, y, radius = 24 + 8 * place, 30, 16 + 2 * place
        disc = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 < radius**2
        image = torch.full((3, SIDE, SIDE), 0.5)
        image[:, disc] = torch.tensor([1.0, 0.0, 0.0])[:, None]
        box = torch.tensor([[x - radius, y - radius, x + radius, y + radius]], dtype=torch.float32)
        images.append(image)
        targets.append({"boxes": box, "labels": torch.tensor([1]), "masks": disc[None].to(torch.uint8)})
    return images, targets


@pytest.fixture(scope="module")
def lively() -> Any:
    """Return a small model that finds a few things, though untrained."""
    torch.manual_seed(3)
    model = _build("maskrcnn_resnet50_fpn", 2, "mobilenet_v3_small").eval()
    with torch.no_grad():
        model.roi_heads.box_predictor.bbox_pred.weight.mul_(20)
        for parameter in (model.roi_heads.mask_predictor.mask_fcn_logits.weight, *model.backbone.fpn.parameters()):
            parameter.mul_(3)
    model.rpn._post_nms_top_n = {"training": 50, "testing": 50}
    return model


@pytest.mark.parametrize(
    ("name", "published", "batch_norms"),
    [("maskrcnn_resnet50_fpn", 44_401_393, 53_120), ("maskrcnn_resnet50_fpn_v2", 46_359_409, 0)],
)
def test_parameters_are_the_published_ones(name: str, published: int, batch_norms: int) -> None:
    with torch.device("meta"):
        model = _build(name, 90)
    # torchvision counts the BatchNorms of its first version as constants, because its weights come with them frozen.
    assert sum(parameter.numel() for parameter in model.parameters()) == published + batch_norms


@pytest.mark.parametrize("name", BUILDERS)
def test_another_backbone_leaves_all_that_follows_it_as_it_is(name: str) -> None:
    with torch.device("meta"):
        stock, other = (
            {key: tensor.shape for key, tensor in _build(name, 3, backbone).state_dict().items()}
            for backbone in (None, "mobilenet_v3_small")
        )
    body = "backbone.body."
    assert {key for key in other if key.startswith(body)} != {key for key in stock if key.startswith(body)}
    inner = "backbone.fpn.inner_blocks."  # as wide as the backbone's maps
    rest = [{key: shape for key, shape in one.items() if not key.startswith((body, inner))} for one in (stock, other)]
    assert rest[0] == rest[1]


def test_without_masks_the_boxes_are_the_same_and_the_masks_come_back(lively: Any) -> None:
    images, _ = _discs(2)
    with torch.inference_mode():
        before = lively(images)
        with without_masks(lively):
            plain = lively(images)
        after = lively(images)
    for one, two, three in zip(before, plain, after, strict=True):
        assert len(one["boxes"]) > 0
        assert set(two) == {"boxes", "scores", "labels"}
        assert all(torch.equal(one[name], two[name]) for name in two)
        assert torch.equal(one["masks"], three["masks"])


def test_small_masks_pasted_one_by_one_are_those_that_the_model_pastes(lively: Any) -> None:
    images = [torch.rand(3, 90, 50), torch.rand(3, SIDE, SIDE)]
    with torch.inference_mode():
        whole = lively(images)
        with small_masks(lively) as small:
            drawn = lively(images)
        assert small
        assert lively(images)[0]["masks"].shape == whole[0]["masks"].shape
    for image, one, two in zip(images, whole, drawn, strict=True):
        size = (image.shape[1], image.shape[2])
        assert one["masks"].shape == (len(one["boxes"]), 1, *size)
        assert two["masks"].shape == (len(one["boxes"]), 1, 28, 28)
        for expected, mask, box in zip(one["masks"], two["masks"], two["boxes"], strict=True):
            assert torch.equal(paste(mask, box, size), expected[0] > 0.5)
    assert any(bool((found["masks"] > 0.5).any()) for found in whole)


def test_models_without_masks_go_through_both_untouched() -> None:
    with small_masks(nn.Linear(1, 1)) as small, without_masks(nn.Linear(1, 1)):
        assert not small


def test_a_picture_without_objects_teaches_masks_nothing_and_breaks_nothing(lively: Any) -> None:
    images, targets = _discs(2)
    nothing = {name: value[:0] for name, value in targets[0].items()}
    lively.roi_heads.fg_bg_sampler.batch_size_per_image = 8
    for both in ([nothing, targets[1]], [nothing, nothing]):
        lively.zero_grad()
        losses = lively.train()(images, both)
        sum(losses.values()).backward()
        gradient = lively.roi_heads.mask_predictor.mask_fcn_logits.weight.grad
        assert gradient.isfinite().all()
        assert bool(gradient.any()) == (both[1] is not nothing)
    lively.eval()


def test_outlines_are_learnt_by_heart() -> None:
    torch.manual_seed(0)
    model = _build("maskrcnn_resnet50_fpn", 1, "mobilenet_v3_small").train()
    model.roi_heads.fg_bg_sampler.batch_size_per_image = 8
    model.rpn._post_nms_top_n["training"] = 50
    images, targets = _discs(2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    history = []
    for _ in range(12):
        losses = model(images, targets)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append(float(losses["loss_mask"].detach()))
    assert sum(history[-3:]) / 3 < 0.1 * history[0], history
