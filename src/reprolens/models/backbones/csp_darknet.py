"""YOLOX's bodies: CSPDarknet (Wang et al., 2019, arXiv:1911.11929) and Darknet-53 with pyramid pooling.

After the code of Ge et al., 2021 (Megvii-BaseDetection/YOLOX, Apache-2.0); layers have the names that they have there,
so that its checkpoints fit. BatchNorms have its eps and momentum, 1e-3 and 0.03.
"""

from typing import Literal

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
"""Of the maps that both bodies give."""

Activation = Literal["silu", "lrelu"]


class Darknet(nn.Module):
    """What both bodies have in common: a stem and four stages."""

    stem: nn.Module
    dark2: nn.Module
    dark3: nn.Module
    dark4: nn.Module
    dark5: nn.Module
    strides = STRIDES
    channels: tuple[int, int, int]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return for images `(N, 3, h, w)` the maps at strides 8, 16 and 32, called "0", "1" and "2"."""
        small = self.dark3(self.dark2(self.stem(images)))
        middle = self.dark4(small)
        return {"0": small, "1": middle, "2": self.dark5(middle)}


class CSPDarknet(Darknet):
    """A focus layer and four stages of cross-stage partial layers; `width` and `depth` are shares of YOLOX-L's."""

    def __init__(self, depth: float, width: float, depthwise: bool = False) -> None:
        super().__init__()
        base, blocks = int(width * 64), max(round(depth * 3), 1)
        self.channels = (base * 4, base * 8, base * 16)
        self.stem = Focus(3, base)
        self.dark2 = nn.Sequential(
            convolution(base, base * 2, 3, 2, depthwise=depthwise),
            CSPLayer(base * 2, base * 2, blocks, depthwise=depthwise),
        )
        self.dark3 = nn.Sequential(
            convolution(base * 2, base * 4, 3, 2, depthwise=depthwise),
            CSPLayer(base * 4, base * 4, blocks * 3, depthwise=depthwise),
        )
        self.dark4 = nn.Sequential(
            convolution(base * 4, base * 8, 3, 2, depthwise=depthwise),
            CSPLayer(base * 8, base * 8, blocks * 3, depthwise=depthwise),
        )
        self.dark5 = nn.Sequential(
            convolution(base * 8, base * 16, 3, 2, depthwise=depthwise),
            SPPBottleneck(base * 16, base * 16),
            CSPLayer(base * 16, base * 16, blocks, shortcut=False, depthwise=depthwise),
        )


class DarknetSPP(Darknet):
    """YOLOv3's Darknet-53 (Redmon and Farhadi, 2018, arXiv:1804.02767) with spatial pyramid pooling at its end."""

    channels = (256, 512, 512)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNormAct(3, 32, 3, activation="lrelu"), *_residuals(32, 1))
        self.dark2 = nn.Sequential(*_residuals(64, 2))
        self.dark3 = nn.Sequential(*_residuals(128, 8))
        self.dark4 = nn.Sequential(*_residuals(256, 8))
        self.dark5 = nn.Sequential(
            *_residuals(512, 4),
            ConvNormAct(1024, 512, 1, activation="lrelu"),
            ConvNormAct(512, 1024, 3, activation="lrelu"),
            SPPBottleneck(1024, 512, "lrelu"),
            ConvNormAct(512, 1024, 3, activation="lrelu"),
            ConvNormAct(1024, 512, 1, activation="lrelu"),
        )


def _residuals(channels: int, count: int) -> list[nn.Module]:
    """Return a convolution that halves the map and doubles its `channels`, and `count` residual layers."""
    halving = ConvNormAct(channels, channels * 2, 3, 2, activation="lrelu")
    return [halving, *(ResLayer(channels * 2) for _ in range(count))]


class ConvNormAct(nn.Module):
    """A convolution that keeps the map's size (or divides it by `stride`), BatchNorm and an activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        activation: Activation = "silu",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU(inplace=True) if activation == "silu" else nn.LeakyReLU(0.1, inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(N, outputs, h / stride, w / stride)` of `(N, inputs, h, w)`."""
        return self.act(self.bn(self.conv(maps)))


class Separable(nn.Module):
    """A depthwise convolution and a pointwise one, with BatchNorm and activation each."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.dconv = ConvNormAct(inputs, inputs, kernel, stride, groups=inputs)
        self.pconv = ConvNormAct(inputs, outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(N, outputs, h / stride, w / stride)` of `(N, inputs, h, w)`."""
        return self.pconv(self.dconv(maps))


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, *, depthwise: bool = False, activation: Activation = "silu"
) -> ConvNormAct | Separable:
    """Return a convolution, depthwise separable (always with SiLU) if asked for."""
    if depthwise:
        return Separable(inputs, outputs, kernel, stride)
    return ConvNormAct(inputs, outputs, kernel, stride, activation=activation)


class Focus(nn.Module):
    """Every 2 x 2 pixels become one of four times the channels; then a convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvNormAct(inputs * 4, outputs, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Return `(N, outputs, h / 2, w / 2)` of `(N, inputs, h, w)`."""
        above, below = images[..., ::2, :], images[..., 1::2, :]
        return self.conv(torch.cat([above[..., ::2], below[..., ::2], above[..., 1::2], below[..., 1::2]], dim=1))


class SPPBottleneck(nn.Module):
    """Spatial pyramid pooling: the greatest values of 5, 9 and 13 pixels around, beside the map itself."""

    def __init__(self, inputs: int, outputs: int, activation: Activation = "silu") -> None:
        super().__init__()
        hidden, kernels = inputs // 2, (5, 9, 13)
        self.conv1 = ConvNormAct(inputs, hidden, 1, activation=activation)
        self.m = nn.ModuleList(nn.MaxPool2d(kernel, 1, kernel // 2) for kernel in kernels)
        self.conv2 = ConvNormAct(hidden * (len(kernels) + 1), outputs, 1, activation=activation)

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(N, outputs, h, w)` of `(N, inputs, h, w)`."""
        maps = self.conv1(maps)
        return self.conv2(torch.cat([maps, *(pool(maps) for pool in self.m)], dim=1))


class CSPLayer(nn.Module):
    """A cross-stage partial layer: half of the channels go through `count` bottlenecks, the others around them."""

    def __init__(
        self, inputs: int, outputs: int, count: int, *, shortcut: bool = True, depthwise: bool = False
    ) -> None:
        super().__init__()
        hidden = outputs // 2
        self.conv1 = ConvNormAct(inputs, hidden, 1)
        self.conv2 = ConvNormAct(inputs, hidden, 1)
        self.conv3 = ConvNormAct(2 * hidden, outputs, 1)
        self.m = nn.Sequential(*(Bottleneck(hidden, shortcut, depthwise) for _ in range(count)))

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(N, outputs, h, w)` of `(N, inputs, h, w)`."""
        return self.conv3(torch.cat([self.m(self.conv1(maps)), self.conv2(maps)], dim=1))


class Bottleneck(nn.Module):
    """A pointwise and a 3 x 3 convolution, added to their input if `shortcut`."""

    def __init__(self, channels: int, shortcut: bool, depthwise: bool) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(channels, channels, 1)
        self.conv2 = convolution(channels, channels, 3, depthwise=depthwise)
        self.shortcut = shortcut

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(N, channels, h, w)` of the same."""
        found = self.conv2(self.conv1(maps))
        return found + maps if self.shortcut else found


class ResLayer(nn.Module):
    """Darknet's residual layer: to half of the channels and back by a 3 x 3 convolution, added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer1 = ConvNormAct(channels, channels // 2, 1, activation="lrelu")
        self.layer2 = ConvNormAct(channels // 2, channels, 3, activation="lrelu")

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(N, channels, h, w)` of the same."""
        return maps + self.layer2(self.layer1(maps))
