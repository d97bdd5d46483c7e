"""SSD: single shot multibox detector (Liu et al., 2016, arXiv:1512.02325), and SSDLite, its form for phones

(Sandler et al., 2018, arXiv:1801.04381; on MobileNetV3: Howard et al., 2019, arXiv:1905.02244). torchvision's code;
SSD512 is put together of its parts, with the layers and default boxes of the authors' release. Of another backbone the
maps of strides 8, 16 and 32 take the place of VGG's and of the first extra layer's; the layers that follow are the
paper's.
"""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import vgg16
from torchvision.models.detection import ssd300_vgg16, ssdlite320_mobilenet_v3_large
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD, SSDFeatureExtractorVGG, SSDHead
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops.misc import Conv2dNormActivation

from reprolens.config import Model
from reprolens.errors import ConfigError
from reprolens.models.backbones import Body, body
from reprolens.models.preprocessing import Preprocessing
from reprolens.models.registry import Size, register
from reprolens.models.thresholds import thresholds

_VGG = Preprocessing((0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255))
_HALVES = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class _Layout:
    """SSD for pictures of `side` x `side` pixels.

    Of its maps, the largest first: the `ratios` of the default boxes' sides beside 1, the `steps` between their
    centres in pixels, and their `scales` in shares of the picture, with one more, whose mean with the last is that of
    the last map's additional square. `cut`: no box is wider or higher than the picture, as torchvision has it for its
    SSD300, unlike the authors. `extra` are kernel, stride and padding of the layers that make the maps after that of
    stride 32.
    """

    side: int
    ratios: tuple[tuple[int, ...], ...]
    scales: tuple[float, ...]
    steps: tuple[int, ...]
    cut: bool
    extra: tuple[tuple[int, int, int], ...]

    def default_boxes(self, maps: int) -> DefaultBoxGenerator:
        """Return the default boxes of the last `maps` maps."""
        ratios = [list(ratios) for ratios in self.ratios[-maps:]]
        scales, steps = list(self.scales[-maps - 1 :]), list(self.steps[-maps:])
        return DefaultBoxGenerator(ratios, scales=scales, steps=steps, clip=self.cut)


_SSD300 = _Layout(  # maps of 38, 19, 10, 5, 3 and 1
    side=300,
    ratios=((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    scales=(0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
    steps=(8, 16, 32, 64, 100, 300),
    cut=True,
    extra=((3, 2, 1), (3, 1, 0), (3, 1, 0)),
)
_SSD512 = _Layout(  # maps of 64, 32, 16, 8, 4, 2 and 1
    side=512,
    ratios=((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    scales=(0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05),
    steps=(8, 16, 32, 64, 128, 256, 512),
    cut=False,
    extra=((3, 2, 1), (3, 2, 1), (3, 2, 1), (4, 1, 1)),
)
_EXTRA_CHANNELS = 256
_LITE_CHANNELS = (512, 256, 256, 128)


@register(
    "ssd300_vgg16",
    paper="arXiv:1512.02325",
    licence="BSD-3-Clause",
    weights="VGG16_Weights.IMAGENET1K_FEATURES",
    weights_licence="CC-BY-4.0",
    preprocessing=_VGG,
    backbones=True,
    fixed_size=True,
)
def build_ssd300_vgg16(classes: int, size: Size, options: Model) -> nn.Module:
    """Build SSD300 on VGG16 or another backbone. Raises ConfigError at another size than 300 x 300."""
    _check_size(options, _SSD300)
    if options.backbone:
        return _ssd(options.backbone, classes, options, _SSD300)
    return ssd300_vgg16(weights_backbone=None, num_classes=classes + 1, **thresholds(options))


@register(
    "ssd512_vgg16",
    paper="arXiv:1512.02325",
    licence="BSD-3-Clause",
    weights="VGG16_Weights.IMAGENET1K_FEATURES",
    weights_licence="CC-BY-4.0",
    preprocessing=_VGG,
    backbones=True,
    fixed_size=True,
)
def build_ssd512_vgg16(classes: int, size: Size, options: Model) -> nn.Module:
    """Build SSD512 on VGG16 or another backbone. Raises ConfigError at another size than 512 x 512.

    torchvision has layers for it that make maps of 6 x 6 and 4 x 4 behind that of 8 x 8, without boxes for them. The
    authors' are 4, 2 and 1 wide, which makes 24,564 default boxes.
    """
    _check_size(options, _SSD512)
    if options.backbone:
        return _ssd(options.backbone, classes, options, _SSD512)
    backbone = SSDFeatureExtractorVGG(vgg16(weights=None).features, highres=False)
    # conv4_3, fc7, conv8_2 and conv9_2 are SSD300's, what follows is not.
    backbone.extra = nn.ModuleList([*backbone.extra[:3], *_extra(_EXTRA_CHANNELS, _SSD512.extra[1:])])
    channels = [512, 1024, 512, *[_EXTRA_CHANNELS] * len(_SSD512.extra)]
    return _detector(backbone, channels, classes, options, _SSD512)


def _check_size(options: Model, layout: _Layout) -> None:
    if options.image_size != [layout.side, layout.side]:
        wanted = [layout.side, layout.side]
        raise ConfigError(f"model.image_size: {options.name} works at {wanted} only, not {options.image_size}")


def _ssd(name: str, classes: int, options: Model, layout: _Layout) -> nn.Module:
    """Build SSD on the backbone `name`."""
    levels = _levels(name)
    # One that ends at stride 16, as VGG's convolutions do, needs a layer more.
    further = layout.extra if levels.strides[-1] == 32 else ((3, 2, 1), *layout.extra)
    extra = _extra(levels.channels[-1], further)
    channels = [*levels.channels, *[_EXTRA_CHANNELS] * len(extra)]
    rescaled = name.removeprefix("timm/").startswith("vgg")
    return _detector(_Extended(levels, extra, rescaled), channels, classes, options, layout)


def _levels(name: str) -> Body:
    """Return the backbone with its maps of strides 8, 16 and 32, or without the first or the last if it lacks it."""
    try:
        return body(name, (8, 16, 32))
    except ConfigError:
        for strides in ((16, 32), (8, 16)):
            with suppress(ConfigError):
                return body(name, strides)
        raise


def _detector(backbone: nn.Module, channels: list[int], classes: int, options: Model, layout: _Layout) -> nn.Module:
    boxes = layout.default_boxes(len(channels))
    head = SSDHead(channels, boxes.num_anchors_per_location(), classes + 1)
    size = (layout.side, layout.side)
    return SSD(backbone, boxes, size, classes + 1, head=head, **thresholds(options))


def _extra(channels: int, shapes: tuple[tuple[int, int, int], ...]) -> nn.ModuleList:
    """Return layers that make a smaller map each, of 256 channels, of one of `channels`: the paper's figure 2."""
    blocks = nn.ModuleList()
    for kernel, stride, padding in shapes:
        blocks.append(
            nn.Sequential(
                nn.Conv2d(channels, _EXTRA_CHANNELS // 2, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(_EXTRA_CHANNELS // 2, _EXTRA_CHANNELS, kernel, stride, padding),
                nn.ReLU(inplace=True),
            )
        )
        channels = _EXTRA_CHANNELS
    for layer in blocks.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return blocks


class _Extended(nn.Module):
    """A body's maps `(N, C, h / stride, w / stride)`, then those of `extra`, each made of the one before.

    `rescaled`: the first map has a norm of 20 at every place, learnt for each channel from there on (section 3.1 of the
    paper; Liu et al., 2015, arXiv:1506.04579). VGG's needs it, being so much larger than the others.
    """

    scale_weight: nn.Parameter | None

    def __init__(self, body: Body, extra: nn.ModuleList, rescaled: bool = False) -> None:
        super().__init__()
        self.body, self.extra = body, extra
        scale = nn.Parameter(torch.full((body.channels[0],), 20.0)) if rescaled else None
        self.register_parameter("scale_weight", scale)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = self.body(images)
        last = maps[str(len(maps) - 1)]
        if self.scale_weight is not None:
            maps["0"] = self.scale_weight[:, None, None] * functional.normalize(maps["0"])
        for block in self.extra:
            last = block(last)
            maps[str(len(maps))] = last
        return maps


@register(
    "ssdlite320_mobilenet_v3_large",
    paper="arXiv:1905.02244",
    licence="BSD-3-Clause",
    weights="MobileNet_V3_Large_Weights.IMAGENET1K_V1",
    weights_licence="BSD-3-Clause",
    preprocessing=_HALVES,
    backbones=True,
)
def build_ssdlite320_mobilenet_v3_large(classes: int, size: Size, options: Model) -> nn.Module:
    """Build SSDLite on MobileNetV3-Large or another backbone, whose maps of strides 16 and 32 it takes.

    Its default boxes are shares of the picture, so other sizes than 320 x 320 work too.
    """
    if options.backbone:
        return _ssdlite(options.backbone, classes, size, options)
    return ssdlite320_mobilenet_v3_large(weights_backbone=None, num_classes=classes + 1, **thresholds(options))


def _ssdlite(name: str, classes: int, size: Size, options: Model) -> nn.Module:
    """Build on the backbone `name` what torchvision builds on MobileNetV3-Large."""
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    levels = body(name, (16, 32))
    channels = [*levels.channels, *_LITE_CHANNELS]
    boxes = DefaultBoxGenerator([[2, 3]] * len(channels), min_ratio=0.2, max_ratio=0.95)
    head = SSDLiteHead(channels, boxes.num_anchors_per_location(), classes + 1, norm)
    backbone = _Extended(levels, _lite_extra(levels.channels[-1], norm))
    size_in_torchvision = (size[1], size[0])
    return SSD(backbone, boxes, size_in_torchvision, classes + 1, head=head, topk_candidates=300, **thresholds(options))


def _lite_extra(channels: int, norm: partial[nn.BatchNorm2d]) -> nn.ModuleList:
    """Return the depthwise form of the extra layers (arXiv:1801.04381, section 6.2), four of them."""
    blocks = nn.ModuleList()
    for out in _LITE_CHANNELS:
        layer = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.ReLU6)
        hidden = out // 2
        blocks.append(
            nn.Sequential(
                layer(channels, hidden, kernel_size=1),
                layer(hidden, hidden, kernel_size=3, stride=2, groups=hidden),
                layer(hidden, out, kernel_size=1),
            )
        )
        channels = out
    for convolution in blocks.modules():
        if isinstance(convolution, nn.Conv2d):
            nn.init.normal_(convolution.weight, std=0.03)
    return blocks
