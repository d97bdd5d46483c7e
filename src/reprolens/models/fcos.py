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
from reprolens.models.background import silence_background
from reprolens.models.registry import register

_LEVELS = {6: 8, 13: 16, 17: 32}
"""Of MobileNetV2's blocks those whose output makes a pyramid level, with its stride."""
_CHANNELS = 64
_HEAD_CONVOLUTIONS = 2


@register(
    "fcos_mobilenet_v2",
    paper="arXiv:1904.01355",
    licence="BSD-3-Clause",
    backbone_weights="MobileNet_V2_Weights.IMAGENET1K_V1",
)
def build_fcos_mobilenet_v2(classes: int, options: Model, backbone_weights: str | None) -> nn.Module:
    """Build FCOS on MobileNetV2, 2.1 M parameters."""
    blocks = mobilenet_v2(weights=backbone_weights).features[:18]  # the last block only serves classification
    backbone = BackboneWithFPN(
        blocks,
        {str(block): str(level) for level, block in enumerate(_LEVELS)},
        [blocks[block].out_channels for block in _LEVELS],
        _CHANNELS,
    )
    backbone.fpn.extra_blocks = None  # BackboneWithFPN puts max pooling where none is given
    anchors = AnchorGenerator(tuple((stride,) for stride in _LEVELS.values()), ((1.0,),) * len(_LEVELS))
    head = FCOSHead(_CHANNELS, 1, classes, _HEAD_CONVOLUTIONS)
    model = FCOS(backbone, classes, anchor_generator=anchors, head=head, **_postprocessing(options))
    return silence_background(model, classes)


@register(
    "fcos_resnet50_fpn",
    paper="arXiv:1904.01355",
    licence="BSD-3-Clause",
    backbone_weights="ResNet50_Weights.IMAGENET1K_V1",
)
def build_fcos_resnet50_fpn(classes: int, options: Model, backbone_weights: str | None) -> nn.Module:
    """Build FCOS on ResNet-50, 32.1 M parameters."""
    model = fcos_resnet50_fpn(
        weights=None,
        weights_backbone=backbone_weights,
        num_classes=classes,
        trainable_backbone_layers=5 if backbone_weights else None,
        **_postprocessing(options),
    )
    return silence_background(model, classes)


def _postprocessing(options: Model) -> dict[str, float]:
    return {
        "score_thresh": options.score_threshold,
        "nms_thresh": options.nms_threshold,
        "detections_per_img": options.detections_per_image,
    }
