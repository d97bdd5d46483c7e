"""BatchNorm behind a convolution becomes part of it: at inference both are one linear map.

Jacob et al., 2018, arXiv:1712.05877, equation 14. onnxruntime would do it each time it loads a file; done once and for
all, it is in every format, and the 8-bit weights are those of the convolution that really runs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from reprolens.export.following import sole_followers
from reprolens.models.mask_rcnn import without_masks


def fuse_norms(network: nn.Module, size: Sequence[int]) -> nn.Module:
    """Return `network`, a detector in evaluation mode, with its BatchNorms in the convolutions before them, in place.

    `size` is (height, width) of what it sees. A BatchNorm that does not directly follow a convolution stays.
    """
    picture = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))

    def run() -> None:
        with without_masks(network):
            network([picture])

    names = {layer: name for name, layer in network.named_modules()}
    for convolution, norm in list(sole_followers(network, run, nn.Conv2d, nn.BatchNorm2d)):
        _fuse(convolution, norm)
        parent, _, name = names[norm].rpartition(".")
        setattr(network.get_submodule(parent), name, _rest(norm))
    return network


def _fuse(convolution: Any, norm: Any) -> None:
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )


def _rest(norm: Any) -> nn.Module:
    """Return what is left of a BatchNorm: of timm's the activation that is part of it."""
    return nn.Sequential(norm.drop, norm.act) if hasattr(norm, "act") else nn.Identity()
