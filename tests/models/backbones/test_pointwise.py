"""Strided 1 x 1 convolutions of few channels: the same numbers, and no memory is written beyond its end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reprolens.models.backbones import body
from reprolens.models.backbones.pointwise import SampledConv2d, sample_pointwise
from reprolens.models.reparameterize import reparameterize

STEP = """
import torch
from reprolens.models.backbones import body

torch.manual_seed(0)
network = body("repvgg_a0", (8, 16, 32)).to(memory_format=torch.channels_last)
for _ in range(6):
    pictures = torch.rand(4, 3, 96, 96).to(memory_format=torch.channels_last)
    sum(level.mean() for level in network(pictures).values()).backward()
    network.zero_grad()
"""
"""Training on pictures that are channels last."""


def _gradients(layer: nn.Conv2d, images: Tensor) -> list[Tensor]:
    images = images.clone().requires_grad_()
    found = layer(images)
    (found * torch.linspace(-1, 1, found.numel()).reshape(found.shape)).sum().backward()
    assert images.grad is not None
    return [found.detach(), images.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
@pytest.mark.parametrize(("stride", "groups", "bias"), [(2, 1, False), ((3, 1), 3, True)])
def test_outputs_and_gradients_are_those_of_the_convolution(
    size: tuple[int, int], stride: int | tuple[int, int], groups: int, bias: bool
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 6, 1, stride, groups=groups, bias=bias)
    sampled = nn.Conv2d(3, 6, 1, stride, groups=groups, bias=bias)
    sampled.load_state_dict(layer.state_dict())
    sample_pointwise(sampled)
    assert type(sampled) is SampledConv2d
    images = torch.rand(2, 3, *size)
    for own, others in zip(_gradients(sampled, images), _gradients(layer, images), strict=True):
        torch.testing.assert_close(own, others)


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(16, 8, 1, 2), nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 3, 2), nn.Conv2d(3, 8, 1, 2, padding=1)]
)
def test_other_convolutions_stay(layer: nn.Conv2d) -> None:
    sample_pointwise(layer)
    assert type(layer) is nn.Conv2d


def test_a_stem_of_many_branches_is_sampled_and_folds_as_before() -> None:
    torch.manual_seed(0)
    network = body("repvgg_a0", (8, 16, 32)).eval()
    assert sum(type(module) is SampledConv2d for module in network.modules()) == 1
    images, folded = torch.rand(1, 3, 64, 64), reparameterize(network)
    assert not any(type(module) is SampledConv2d for module in folded.modules())
    with torch.no_grad():
        for own, others in zip(folded(images).values(), network(images).values(), strict=True):
            torch.testing.assert_close(own, others, rtol=1e-4, atol=1e-5)


def test_training_on_pictures_that_are_channels_last_leaves_memory_whole() -> None:
    source = Path(__file__).parents[3] / "src"
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(source)}
    done = subprocess.run([sys.executable, "-c", STEP], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
