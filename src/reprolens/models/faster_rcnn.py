"""Faster R-CNN: towards real-time object detection with region proposal networks (Ren et al., 2015, arXiv:1506.01497),

torchvision's code, with a feature pyramid (Lin et al., 2017, arXiv:1612.03144) on MobileNetV3-Large.
"""

from torch import nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_fpn

from reprolens.config import Model
from reprolens.models.registry import register


@register(
    "fasterrcnn_mobilenet_v3_large_fpn",
    paper="arXiv:1506.01497",
    licence="BSD-3-Clause",
    backbone_weights="MobileNet_V3_Large_Weights.IMAGENET1K_V1",
    class_major=("roi_heads.box_predictor.bbox_pred",),
)
def build_fasterrcnn_mobilenet_v3_large_fpn(classes: int, options: Model, backbone_weights: str | None) -> nn.Module:
    """Build Faster R-CNN on MobileNetV3-Large."""
    return fasterrcnn_mobilenet_v3_large_fpn(
        weights=None,
        weights_backbone=backbone_weights,
        num_classes=classes,
        trainable_backbone_layers=6 if backbone_weights else None,
        box_score_thresh=options.score_threshold,
        box_nms_thresh=options.nms_threshold,
        box_detections_per_img=options.detections_per_image,
    )
