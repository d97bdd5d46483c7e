"""A detour around a fault of oneDNN, which computes torch's convolutions on CPUs.

The gradient of the weights of a 1 x 1 convolution that has a stride and fewer than 16 channels to read, as the stems of
RepVGG and MobileOne have, is written beyond its memory where pictures are channels last (torch 2.15, oneDNN's
jit_1x1 kernels): the process dies at some later moment, or other tensors change. Compiled networks are always so.
"""

from torch import Tensor, nn
from torch.nn import functional

_BLOCK = 16
"""The channels that those kernels take at a time."""


class SampledConv2d(nn.Conv2d):
    """A strided 1 x 1 convolution as one without a stride on every n-th pixel, which is the same."""

    def forward(self, images: Tensor) -> Tensor:
        down, right = self.stride
        seen = images[..., ::down, ::right]
        return functional.conv2d(seen, self.weight, self.bias, dilation=self.dilation, groups=self.groups)


def sample_pointwise(network: nn.Module) -> None:
    """Make the convolutions of `network` that oneDNN gets wrong `SampledConv2d`, in place; their tensors stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_concerned(module):
            module.__class__ = SampledConv2d


def _is_concerned(layer: nn.Conv2d) -> bool:
    pointwise = layer.kernel_size == (1, 1) and layer.padding in ((0, 0), "valid")
    return pointwise and max(layer.stride) > 1 and layer.in_channels // layer.groups < _BLOCK
