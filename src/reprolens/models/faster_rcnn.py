"""Faster R-CNN: towards real-time object detection with region proposal networks (Ren et al., 2015, arXiv:1506.01497),

torchvision's code, with a feature pyramid (Lin et al., 2017, arXiv:1612.03144). Version 2 follows Li et al., 2021
(arXiv:2111.11429): BatchNorm in the pyramid, two convolutions for the proposals, four and a hidden layer for the boxes.
"""

from torch import nn
from torchvision.models.detection import (
    FasterRCNN,
    fasterrcnn_mobilenet_v3_large_fpn,
    fasterrcnn_resnet50_fpn,
    fasterrcnn_resnet50_fpn_v2,
)
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.rpn import RPNHead

from reprolens.config import Model
from reprolens.models.backbones import pyramid
from reprolens.models.registry import Size, register
from reprolens.models.thresholds import thresholds

_CLASS_MAJOR = ("roi_heads.box_predictor.bbox_pred",)
_SIZES = (32, 64, 128, 256, 512)
"""Of the anchors, in pixels: one for each level of strides 4 to 64."""
_RATIOS = (0.5, 1.0, 2.0)
"""Heights of the anchors by their widths."""


@register(
    "fasterrcnn_resnet50_fpn",
    paper="arXiv:1506.01497",
    licence="BSD-3-Clause",
    weights="ResNet50_Weights.IMAGENET1K_V1",
    weights_licence="BSD-3-Clause",
    backbones=True,
    class_major=_CLASS_MAJOR,
)
def build_fasterrcnn_resnet50_fpn(classes: int, size: Size, options: Model) -> nn.Module:
    """Build Faster R-CNN on ResNet-50 or another backbone, its levels of strides 4 to 64."""
    if not options.backbone:
        return fasterrcnn_resnet50_fpn(weights_backbone=None, num_classes=classes + 1, **thresholds(options, "box_"))
    backbone = pyramid(options.backbone, (4, 8, 16, 32), extra="pool")
    return FasterRCNN(backbone, classes + 1, rpn_anchor_generator=_anchors(), **thresholds(options, "box_"))


@register(
    "fasterrcnn_resnet50_fpn_v2",
    paper="arXiv:2111.11429",
    licence="BSD-3-Clause",
    weights="ResNet50_Weights.IMAGENET1K_V1",
    weights_licence="BSD-3-Clause",
    backbones=True,
    class_major=_CLASS_MAJOR,
)
def build_fasterrcnn_resnet50_fpn_v2(classes: int, size: Size, options: Model) -> nn.Module:
    """Build version 2 on ResNet-50 or another backbone, its levels of strides 4 to 64."""
    if not options.backbone:
        return fasterrcnn_resnet50_fpn_v2(weights_backbone=None, num_classes=classes + 1, **thresholds(options, "box_"))
    backbone = pyramid(options.backbone, (4, 8, 16, 32), extra="pool", norm=nn.BatchNorm2d)
    channels = backbone.out_channels
    return FasterRCNN(
        backbone,
        classes + 1,
        rpn_anchor_generator=_anchors(),
        rpn_head=RPNHead(channels, len(_RATIOS), conv_depth=2),
        box_head=FastRCNNConvFCHead((channels, 7, 7), [256] * 4, [1024], norm_layer=nn.BatchNorm2d),
        **thresholds(options, "box_"),
    )


@register(
    "fasterrcnn_mobilenet_v3_large_fpn",
    paper="arXiv:1506.01497",
    licence="BSD-3-Clause",
    weights="MobileNet_V3_Large_Weights.IMAGENET1K_V1",
    weights_licence="BSD-3-Clause",
    backbones=True,
    class_major=_CLASS_MAJOR,
)
def build_fasterrcnn_mobilenet_v3_large_fpn(classes: int, size: Size, options: Model) -> nn.Module:
    """Build the quick form: few levels, each with anchors of all sizes.

    torchvision takes two maps of MobileNetV3-Large, both of stride 32, and pools the last once more. Of another
    backbone they are those of strides 16 and 32: for the levels from 4 on take `fasterrcnn_resnet50_fpn` with it.
    """
    if not options.backbone:
        return fasterrcnn_mobilenet_v3_large_fpn(
            weights_backbone=None, num_classes=classes + 1, **thresholds(options, "box_")
        )
    backbone = pyramid(options.backbone, (16, 32), extra="pool")
    return FasterRCNN(
        backbone,
        classes + 1,
        rpn_anchor_generator=AnchorGenerator((_SIZES,) * 3, (_RATIOS,) * 3),
        rpn_score_thresh=0.05,
        **thresholds(options, "box_"),
    )


def _anchors() -> AnchorGenerator:
    return AnchorGenerator(tuple((size,) for size in _SIZES), (_RATIOS,) * len(_SIZES))
