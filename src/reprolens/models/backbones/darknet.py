"""Darknet-53 (Redmon and Farhadi, 2018, arXiv:1804.02767, table 1) and the body of YOLOv3-tiny (yolov3-tiny.cfg).

They are the layers of darknet's configuration files in their order, cut behind the last map that a detector uses.
Convolutions have no bias: BatchNorm's `eps` of 1e-5 is that of darknet's CUDA kernels, with which the published weights
were trained (its C code and OpenCV have 1e-6). Running statistics follow at torch's 0.1 a step instead of darknet's
0.01, which wants thousands of steps before they fit.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.1
"""Of the leaky ReLU below 0."""


class Convolution(nn.Module):
    """Convolution, BatchNorm, leaky ReLU: `(N, inputs, h, w)` to `(N, outputs, h / stride, w / stride)`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        nn.init.kaiming_normal_(self.conv.weight, SLOPE)

    def forward(self, maps: Tensor) -> Tensor:
        return functional.leaky_relu(self.norm(self.conv(maps)), SLOPE)


class Residual(nn.Module):
    """Half the channels by 1 x 1, back to all by 3 x 3, and what came in added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = Convolution(channels, channels // 2, 1)
        self.expand = Convolution(channels // 2, channels, 3)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.expand(self.reduce(maps))


class Darknet53(nn.Module):
    """Images `(N, 3, h, w)` to maps of strides 8, 16 and 32 called "0", "1", "2"; 40.6 M parameters."""

    strides = (8, 16, 32)
    channels = (256, 512, 1024)

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, 3)
        for stage, blocks in enumerate((1, 2, 8, 8, 4), start=1):
            channels = 32 * 2**stage
            residuals = (Residual(channels) for _ in range(blocks))
            self.add_module(f"stage{stage}", nn.Sequential(Convolution(channels // 2, channels, 3, 2), *residuals))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.stem(images)
        found: dict[str, Tensor] = {}
        for stage in range(1, 6):
            maps = self.get_submodule(f"stage{stage}")(maps)
            if stage >= 3:
                found[str(len(found))] = maps
        return found


class DarknetTiny(nn.Module):
    """Images `(N, 3, h, w)` to maps of strides 16 and 32 called "0" and "1"; 6.3 M parameters."""

    strides = (16, 32)
    channels = (256, 1024)

    def __init__(self) -> None:
        super().__init__()
        for layer in range(1, 8):
            inputs = 3 if layer == 1 else 2 ** (layer + 2)
            self.add_module(f"conv{layer}", Convolution(inputs, 2 ** (layer + 3), 3))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = images
        for layer in range(1, 6):
            maps = self.get_submodule(f"conv{layer}")(functional.max_pool2d(maps, 2) if layer > 1 else maps)
        last = self.get_submodule("conv6")(functional.max_pool2d(maps, 2))
        return {"0": maps, "1": self.get_submodule("conv7")(_max_pool_of_stride_1(last))}


def _max_pool_of_stride_1(maps: Tensor) -> Tensor:
    """Return the largest of every 2 x 2 values, the size kept: `(N, C, h, w)` is continued at the right and the bottom.

    The last column and row once more change no maximum, as darknet's lowest float does not, and stay of the values'
    range, which quantisation measures.
    """
    maps = torch.cat([maps, maps[..., -1:]], dim=-1)
    return functional.max_pool2d(torch.cat([maps, maps[..., -1:, :]], dim=-2), 2, stride=1)
