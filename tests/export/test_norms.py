"""BatchNorms become part of the convolutions before them, and nothing that comes out changes."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from reprolens.export.following import sole_followers
from reprolens.export.norms import fuse_norms
from reprolens.models import TrainedModel


class Network(nn.Module):
    """Two convolutions with a BatchNorm each; `forward` is the test's own."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))
        self.norm, self.other = (nn.BatchNorm2d(3) for _ in range(2))
        self._forward = forward

    def forward(self, images: list[Tensor]) -> Tensor:
        return self._forward(self, images[0][None])


def _pairs(forward: Callable[[Any, Tensor], Tensor]) -> set[tuple[str, str]]:
    network = Network(forward).eval()
    names = {layer: name for name, layer in network.named_modules()}
    pairs = sole_followers(network, lambda: network([torch.rand(3, 8, 8)]), nn.Conv2d, nn.BatchNorm2d)
    return {(names[one], names[other]) for one, other in pairs}


def test_a_layer_whose_output_goes_straight_into_another_is_followed_by_it() -> None:
    assert _pairs(lambda net, x: net.other(net.second(net.norm(net.first(x)).relu()))) == {
        ("first", "norm"),
        ("second", "other"),
    }


def test_layers_of_many_pictures_count_as_of_one() -> None:
    assert _pairs(lambda net, x: net.norm(net.first(x)) + net.norm(net.first(x[..., :4, :4])).mean()) == {
        ("first", "norm")
    }


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda net, x: net.norm(net.first(x).relu()), id="an activation between"),
        pytest.param(lambda net, x: (lambda y: net.norm(y) + y)(net.first(x)), id="a connection around"),
        pytest.param(lambda net, x: net.norm(functional.pad(net.first(x), (1, 1))), id="padding between"),
        pytest.param(lambda net, x: net.norm(net.first(x)) + net.norm(net.second(x)), id="two into one"),
        pytest.param(lambda net, x: (lambda y: net.norm(y) + net.other(y))(net.first(x)), id="one into two"),
        pytest.param(lambda net, x: net.norm(x) + net.first(x), id="from the picture itself"),
        pytest.param(lambda net, x: net.norm(net.first(x)) + net.norm(x), id="from the picture too"),
    ],
)
def test_a_layer_that_anything_else_comes_into_follows_none(forward: Callable[[Any, Tensor], Tensor]) -> None:
    assert _pairs(forward) == set()


@pytest.mark.parametrize("name", ["fcos_mobilenet_v2", "yolox_nano", "ssdlite320_mobilenet_v3_large"])
def test_a_fused_network_finds_what_it_found_before_and_has_no_norms(
    name: str, lively: Callable[..., TrainedModel], pictures: list[Any]
) -> None:
    trained = lively(name)
    images = [torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255 for pixels in pictures]
    fused = fuse_norms(copy.deepcopy(trained.module), trained.options.image_size)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in trained.module.modules())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fused.modules())
    with torch.inference_mode():
        for before, after in zip(trained.module(images), fused(images), strict=True):
            assert len(before["scores"]) == len(after["scores"])
            assert (before["scores"] - after["scores"]).abs().max() < 1e-4


def test_norms_of_timm_leave_their_activation(lively: Callable[..., TrainedModel], pictures: list[Any]) -> None:
    trained = lively("fcos_mobilenet_v2", backbone="mobilenetv3_small_050")
    image = torch.from_numpy(pictures[0].copy()).permute(2, 0, 1) / 255
    fused = fuse_norms(copy.deepcopy(trained.module), trained.options.image_size)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fused.modules())
    with torch.inference_mode():
        [before], [after] = trained.module([image]), fused([image])
    assert torch.allclose(before["scores"], after["scores"], atol=1e-4)
