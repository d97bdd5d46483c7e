"""RetinaNet: focal loss for dense object detection (Lin et al., 2017, arXiv:1708.02002), torchvision's code.

Version 2 follows Zhang et al., 2019 (arXiv:1912.02424): GroupNorm in the heads, a loss of generalised IoU for the
boxes, and the highest levels of the pyramid made from the backbone's output.
"""

from functools import partial

from torch import nn
from torchvision.models.detection import RetinaNet, retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from reprolens.config import Model
from reprolens.models.backbones import pyramid
from reprolens.models.background import silence_background
from reprolens.models.registry import Size, register
from reprolens.models.thresholds import thresholds

_STRIDES = (8, 16, 32)
"""Of the pyramid's levels that come from the backbone; two more, of 64 and 128, are made of the last.

torchvision's anchors for the five are 32 to 512 pixels, in three octave scales and three ratios each.
"""
_ANCHORS = 9


@register(
    "retinanet_resnet50_fpn",
    paper="arXiv:1708.02002",
    licence="BSD-3-Clause",
    weights="ResNet50_Weights.IMAGENET1K_V1",
    weights_licence="BSD-3-Clause",
    backbones=True,
)
def build_retinanet_resnet50_fpn(classes: int, size: Size, options: Model) -> nn.Module:
    """Build RetinaNet on ResNet-50 or another backbone."""
    if options.backbone:
        backbone = pyramid(options.backbone, _STRIDES, extra="p6p7")
        model = RetinaNet(backbone, classes + 1, **thresholds(options))
    else:
        model = retinanet_resnet50_fpn(weights_backbone=None, num_classes=classes + 1, **thresholds(options))
    return silence_background(model, classes + 1)


@register(
    "retinanet_resnet50_fpn_v2",
    paper="arXiv:1912.02424",
    licence="BSD-3-Clause",
    weights="ResNet50_Weights.IMAGENET1K_V1",
    weights_licence="BSD-3-Clause",
    backbones=True,
)
def build_retinanet_resnet50_fpn_v2(classes: int, size: Size, options: Model) -> nn.Module:
    """Build version 2 on ResNet-50 or another backbone."""
    if options.backbone:
        model = _version_2(options.backbone, classes, options)
    else:
        model = retinanet_resnet50_fpn_v2(weights_backbone=None, num_classes=classes + 1, **thresholds(options))
    return silence_background(model, classes + 1)


def _version_2(name: str, classes: int, options: Model) -> RetinaNet:
    """Build on the backbone `name` what torchvision builds on ResNet-50."""
    backbone = pyramid(name, _STRIDES)
    backbone.fpn.extra_blocks = LastLevelP6P7(backbone.body.channels[-1], backbone.out_channels)
    head = RetinaNetHead(backbone.out_channels, _ANCHORS, classes + 1, norm_layer=partial(nn.GroupNorm, 32))
    head.regression_head._loss_type = "giou"  # torchvision has no other way to say it
    return RetinaNet(backbone, classes + 1, head=head, **thresholds(options))
