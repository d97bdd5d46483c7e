"""SSD: single shot multibox detector (Liu et al., 2016, arXiv:1512.02325), and SSDLite, its form for phones

(Sandler et al., 2018, arXiv:1801.04381; on MobileNetV3: Howard et al., 2019, arXiv:1905.02244). torchvision's code.
"""

from typing import Any

from torch import nn
from torchvision.models.detection import ssd300_vgg16, ssdlite320_mobilenet_v3_large

from reprolens.config import Model
from reprolens.errors import ConfigError
from reprolens.models.registry import register


@register(
    "ssd300_vgg16",
    paper="arXiv:1512.02325",
    licence="BSD-3-Clause",
    backbone_weights="VGG16_Weights.IMAGENET1K_FEATURES",
    fixed_size=True,
)
def build_ssd300_vgg16(classes: int, options: Model, backbone_weights: str | None) -> nn.Module:
    """Build SSD300 on VGG16. Raises ConfigError at another size: its anchors and layers are laid out for 300 x 300."""
    if options.image_size != [300, 300]:
        raise ConfigError(f"model.image_size: ssd300_vgg16 works at [300, 300] only, not {options.image_size}")
    return ssd300_vgg16(
        weights=None,
        weights_backbone=backbone_weights,
        num_classes=classes,
        trainable_backbone_layers=5 if backbone_weights else None,
        **_postprocessing(options),
    )


@register(
    "ssdlite320_mobilenet_v3_large",
    paper="arXiv:1905.02244",
    licence="BSD-3-Clause",
    backbone_weights="MobileNet_V3_Large_Weights.IMAGENET1K_V1",
)
def build_ssdlite320_mobilenet_v3_large(classes: int, options: Model, backbone_weights: str | None) -> nn.Module:
    """Build SSDLite on MobileNetV3-Large; its anchors are shares of the picture, so other sizes work too."""
    return ssdlite320_mobilenet_v3_large(
        weights=None,
        weights_backbone=backbone_weights,
        num_classes=classes,
        trainable_backbone_layers=6 if backbone_weights else None,
        **_postprocessing(options),
    )


def _postprocessing(options: Model) -> dict[str, Any]:
    return {
        "score_thresh": options.score_threshold,
        "nms_thresh": options.nms_threshold,
        "detections_per_img": options.detections_per_image,
    }
