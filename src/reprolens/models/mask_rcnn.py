"""Mask R-CNN (He et al., 2017, arXiv:1703.06870), torchvision's code: Faster R-CNN that draws each object's outline.

Version 2 follows Li et al., 2021 (arXiv:2111.11429): BatchNorm in the pyramid and the heads, deeper heads.
Training takes `masks (N, h, w)` in the targets; predictions have `masks (N, 1, H, W)`, probabilities in the picture.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.models.detection.rpn import RPNHead

from reprolens.config import Model
from reprolens.models.backbones import pyramid
from reprolens.models.registry import Size, register
from reprolens.models.thresholds import thresholds

TASK = "instance segmentation"
"""The task of models that learn from outlines and draw them."""


@register(
    "maskrcnn_resnet50_fpn",
    paper="arXiv:1703.06870",
    licence="BSD-3-Clause",
    weights="ResNet50_Weights.IMAGENET1K_V1",
    weights_licence="BSD-3-Clause",
    task=TASK,
    backbones=True,
    class_major=("roi_heads.box_predictor.bbox_pred",),
)
def build_maskrcnn_resnet50_fpn(classes: int, size: Size, options: Model) -> nn.Module:
    """Build Mask R-CNN on ResNet-50, or on `options.backbone`."""
    if options.backbone:
        return MaskRCNN(pyramid(options.backbone, extra="pool"), classes + 1, **thresholds(options, "box_"))
    return maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=classes + 1,
        trainable_backbone_layers=None,
        **thresholds(options, "box_"),
    )


@register(
    "maskrcnn_resnet50_fpn_v2",
    paper="arXiv:1703.06870",
    licence="BSD-3-Clause",
    weights="ResNet50_Weights.IMAGENET1K_V1",
    weights_licence="BSD-3-Clause",
    task=TASK,
    backbones=True,
    class_major=("roi_heads.box_predictor.bbox_pred",),
)
def build_maskrcnn_resnet50_fpn_v2(classes: int, size: Size, options: Model) -> nn.Module:
    """Build Mask R-CNN, version 2, on ResNet-50, or on `options.backbone`."""
    if options.backbone:
        backbone = pyramid(options.backbone, extra="pool", norm=nn.BatchNorm2d)
        channels = backbone.out_channels
        return MaskRCNN(
            backbone,
            classes + 1,
            rpn_head=RPNHead(channels, 3, conv_depth=2),  # of three shapes of anchors
            box_head=FastRCNNConvFCHead((channels, 7, 7), [256] * 4, [1024], norm_layer=nn.BatchNorm2d),
            mask_head=MaskRCNNHeads(channels, [256] * 4, 1, norm_layer=nn.BatchNorm2d),
            **thresholds(options, "box_"),
        )
    return maskrcnn_resnet50_fpn_v2(
        weights=None,
        weights_backbone=None,
        num_classes=classes + 1,
        trainable_backbone_layers=None,
        **thresholds(options, "box_"),
    )


@contextmanager
def small_masks(model: nn.Module) -> Iterator[bool]:
    """Let a Mask R-CNN give its masks as it draws them, `(N, 1, m, m)` each in its box; yield whether it is one.

    Pasted into the picture they are as many floats as it has pixels, each: 100 of a photograph of 12 megapixels take
    4.8 GB. `paste` makes them one by one.
    """
    if not isinstance(model, MaskRCNN):
        yield False
        return
    model.transform.paste = False
    try:
        yield True
    finally:
        model.transform.paste = True


@contextmanager
def without_masks(model: nn.Module) -> Iterator[None]:
    """Let a Mask R-CNN find boxes alone, which spares the masks' time; any other model does as ever."""
    if not isinstance(model, MaskRCNN):
        yield
        return
    heads = model.roi_heads
    pool, heads.mask_roi_pool = heads.mask_roi_pool, None
    try:
        yield
    finally:
        heads.mask_roi_pool = pool


def paste(mask: Tensor, box: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a small mask `(1, m, m)` of probabilities, drawn in `box (4,)`, as `(H, W)` bool: where it is above 0.5.

    It is what torchvision makes of it, above 0.5 (section 3.1 of the paper).
    """
    pasted: Tensor = paste_masks_in_image(mask[None], box[None], size)
    return torch.gt(pasted[0, 0], 0.5)
