"""Networks that detectors look through, by their torchvision or timm names."""

from reprolens.models.backbones.body import Body, body
from reprolens.models.backbones.published import preprocessing_of, published
from reprolens.models.backbones.pyramid import Pyramid, pyramid

__all__ = ["Body", "Pyramid", "body", "preprocessing_of", "published", "pyramid"]
