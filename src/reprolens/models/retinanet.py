"""RetinaNet: focal loss for dense object detection (Lin et al., 2017, arXiv:1708.02002), torchvision's code.

Version 2 follows Zhang et al., 2019 (arXiv:1912.02424): GroupNorm in the heads, the highest levels of the pyramid made
from the backbone's output.
"""

from torch import nn
from torchvision.models.detection import retinanet_resnet50_fpn_v2

from reprolens.config import Model
from reprolens.models.background import silence_background
from reprolens.models.registry import register


@register(
    "retinanet_resnet50_fpn_v2",
    paper="arXiv:1708.02002",
    licence="BSD-3-Clause",
    backbone_weights="ResNet50_Weights.IMAGENET1K_V1",
)
def build_retinanet_resnet50_fpn_v2(classes: int, options: Model, backbone_weights: str | None) -> nn.Module:
    """Build RetinaNet on ResNet-50."""
    model = retinanet_resnet50_fpn_v2(
        weights=None,
        weights_backbone=backbone_weights,
        num_classes=classes,
        trainable_backbone_layers=5 if backbone_weights else None,
        score_thresh=options.score_threshold,
        nms_thresh=options.nms_threshold,
        detections_per_img=options.detections_per_image,
    )
    return silence_background(model, classes)
