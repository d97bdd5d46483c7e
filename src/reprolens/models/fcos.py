"""FCOS: fully convolutional one-stage object detection (Tian et al., 2019, arXiv:1904.01355), torchvision's code.

`fcos_mobilenet_v2` is the small one: MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381), a pyramid of three levels
(strides 8, 16, 32) with 64 channels, and heads of two convolutions instead of four.
"""

from torch import nn
from torchvision.models import mobilenet_v2
from torchvision.models.detection import FCOS, fcos_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.fcos import FCOSHead

from reprolens.config import Model
from reprolens.models.backbones import pyramid
from reprolens.models.background import silence_background
from reprolens.models.registry import Size, register
from reprolens.models.thresholds import thresholds

_STRIDES = (8, 16, 32)
"""Of the pyramid's levels that come from the backbone."""
_BLOCKS = (6, 13, 17)
"""Of MobileNetV2's blocks those whose output makes these levels."""
_CHANNELS = 64
_HEAD_CONVOLUTIONS = 2


@register(
    "fcos_mobilenet_v2",
    paper="arXiv:1904.01355",
    licence="BSD-3-Clause",
    weights="MobileNet_V2_Weights.IMAGENET1K_V1",
    weights_licence="BSD-3-Clause",
    backbones=True,
)
def build_fcos_mobilenet_v2(classes: int, size: Size, options: Model) -> nn.Module:
    """Build the small FCOS on MobileNetV2, 2.1 M parameters, or on another backbone."""
    backbone = pyramid(options.backbone, _STRIDES, _CHANNELS) if options.backbone else _mobilenet_v2()
    anchors = AnchorGenerator(tuple((stride,) for stride in _STRIDES), ((1.0,),) * len(_STRIDES))
    head = FCOSHead(_CHANNELS, 1, classes + 1, _HEAD_CONVOLUTIONS)
    model = FCOS(backbone, classes + 1, anchor_generator=anchors, head=head, **thresholds(options))
    return silence_background(model, classes + 1)


def _mobilenet_v2() -> nn.Module:
    """Build MobileNetV2 with a light pyramid."""
    blocks = mobilenet_v2(weights=None).features[:18]  # the last block only serves classification
    backbone = BackboneWithFPN(
        blocks,
        {str(block): str(level) for level, block in enumerate(_BLOCKS)},
        [blocks[block].out_channels for block in _BLOCKS],
        _CHANNELS,
    )
    backbone.fpn.extra_blocks = None  # BackboneWithFPN puts max pooling where none is given
    return backbone


@register(
    "fcos_resnet50_fpn",
    paper="arXiv:1904.01355",
    licence="BSD-3-Clause",
    weights="ResNet50_Weights.IMAGENET1K_V1",
    weights_licence="BSD-3-Clause",
    backbones=True,
)
def build_fcos_resnet50_fpn(classes: int, size: Size, options: Model) -> nn.Module:
    """Build FCOS on ResNet-50 or another backbone, its five levels of strides 8 to 128."""
    if options.backbone:
        backbone = pyramid(options.backbone, _STRIDES, extra="p6p7")
        model = FCOS(backbone, classes + 1, **thresholds(options))
    else:
        model = fcos_resnet50_fpn(weights_backbone=None, num_classes=classes + 1, **thresholds(options))
    return silence_background(model, classes + 1)
