"""A deep network gets the layers that it shares with a shallower relative, stage by stage."""

from collections.abc import Callable

import pytest
import torch
from torchvision.models.vgg import cfgs, make_layers

from reprolens.config import Config
from reprolens.errors import ConfigError, WeightsError
from reprolens.models import build
from reprolens.models.backbones import body
from reprolens.training.pretrain import starting_weights
from reprolens.training.shallower import grow
from reprolens.voc import Folder

STRIDES = (8, 16, 32)
Compose = Callable[..., Config]
STILL = ["pretrain=classify", "pretrain.crop_size=32", "pretrain.max_epochs=1", "pretrain.lr=1e-30"]
"""A training whose steps are too small to change a parameter."""

# Table 1 of arXiv:1409.1556: columns A and D, as places in torchvision's `features`.
A_TO_D = {
    0: 0,  # conv1_1
    3: 5,  # conv2_1
    6: 10,  # conv3_1
    8: 12,  # conv3_2
    11: 17,  # conv4_1
    13: 19,  # conv4_2
    16: 24,  # conv5_1
    18: 26,  # conv5_2
}
A_TO_D_BN = {0: 0, 4: 7, 8: 14, 11: 17, 15: 24, 18: 27, 22: 34, 25: 37}


def test_vgg16_gets_the_first_convolutions_of_each_stage_of_vgg11() -> None:
    shallower, deeper = make_layers(cfgs["A"]), make_layers(cfgs["D"])
    own = shallower.state_dict()
    expected = {f"{to}.{kind}": own[f"{of}.{kind}"] for of, to in A_TO_D.items() for kind in ("weight", "bias")}
    grown = grow(shallower, deeper)
    assert grown.keys() == expected.keys()
    assert all(torch.equal(grown[name], value) for name, value in expected.items())


def test_batch_norm_goes_with_its_convolution_and_takes_its_statistics_along() -> None:
    shallower, deeper = make_layers(cfgs["A"], batch_norm=True), make_layers(cfgs["D"], batch_norm=True)
    shallower.train()(torch.rand(2, 3, 32, 32))  # moves the running statistics
    own = shallower.state_dict()
    norms = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {f"{to}.{kind}": own[f"{of}.{kind}"] for of, to in A_TO_D_BN.items() for kind in ("weight", "bias")}
    expected |= {f"{to + 1}.{kind}": own[f"{of + 1}.{kind}"] for of, to in A_TO_D_BN.items() for kind in norms}
    grown = grow(shallower, deeper)
    assert grown.keys() == expected.keys()
    assert all(torch.equal(grown[name], value) for name, value in expected.items())
    assert int(grown["1.num_batches_tracked"]) == 1


def test_a_convolution_comes_without_the_norm_that_the_shallower_lacks() -> None:
    grown = grow(make_layers(cfgs["A"]), make_layers(cfgs["D"], batch_norm=True))
    assert grown.keys() == {f"{to}.{kind}" for to in A_TO_D_BN.values() for kind in ("weight", "bias")}


def test_resnet34_gets_the_first_two_blocks_of_each_stage_of_resnet18() -> None:
    shallower, deeper = body("resnet18", STRIDES), body("resnet34", STRIDES)
    grown = grow(shallower, deeper)
    own = shallower.state_dict()
    assert grown.keys() == own.keys()  # the same names, by the way both are numbered
    assert all(torch.equal(grown[name], value) for name, value in own.items())


def test_bodies_of_two_libraries_share_layers() -> None:
    grown = grow(body("timm/resnet18", STRIDES), body("resnet34", STRIDES))
    assert grown.keys() == body("resnet18", STRIDES).state_dict().keys()


def test_squeezed_layers_belong_to_the_stage_of_what_they_squeeze() -> None:
    """b1 repeats blocks of b0, each with two layers on maps of one pixel: all that b0 has finds its place."""
    shallower = body("efficientnet_b0", STRIDES)
    assert len(grow(shallower, body("efficientnet_b1", STRIDES))) == len(shallower.state_dict())


def test_ssd_gets_the_layers_of_vgg_that_lie_in_its_backbone(configure: Compose) -> None:
    config = configure("model=ssd300_vgg16", "model.image_size=[300,300]")
    backbone = build(config.model, 3).get_submodule("backbone")
    grown = grow(make_layers(cfgs["A"]), backbone)
    places = ["features.0", "features.5", "features.10", "features.12", "features.17", "features.19"]
    places += ["extra.0.1", "extra.0.3"]  # conv5_1, conv5_2
    assert grown.keys() == {f"{place}.{kind}" for place in places for kind in ("weight", "bias")}


def test_growing_changes_neither_network() -> None:
    shallower, deeper = body("resnet18", STRIDES), body("resnet34", STRIDES).train()
    deeper.get_submodule("layer1").eval()
    modes = [module.training for module in deeper.modules()]
    before = [{name: value.clone() for name, value in net.state_dict().items()} for net in (shallower, deeper)]
    grow(shallower, deeper)
    assert [module.training for module in deeper.modules()] == modes
    for net, old in zip((shallower, deeper), before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in net.state_dict().items())


def test_a_deeper_backbone_starts_with_the_layers_that_were_trained(configure: Compose, digits: Folder) -> None:
    still = [*STILL, "model.backbone=resnet34"]
    alone = starting_weights(configure(*still), digits)
    config = configure(*still, "pretrain.shallower=resnet18")
    grown = starting_weights(config, digits)
    names = {f"backbone.body.{name}" for name in body("resnet18", STRIDES).state_dict()}
    changed = {name for name, value in alone.state.items() if not torch.equal(value, grown.state[name])}
    weights = {name for name in alone.state if alone.state[name].ndim > 1}
    assert changed & weights == names & weights
    assert grown.origin["shallower"] == "resnet18"
    assert grown.origin["shallower/tensors"] == len(names)
    assert 0 <= grown.origin["shallower/accuracy"] <= 1


def test_a_network_without_a_layer_alike_is_refused_before_training(configure: Compose, digits: Folder) -> None:
    config = configure(*STILL, "pretrain.shallower=resnet18", "pretrain.max_epochs=100000")
    with pytest.raises(WeightsError, match=r"^pretrain\.shallower: resnet18 has no layer like those of the backbone"):
        starting_weights(config, digits)


def test_an_unknown_shallower_network_is_refused_under_its_own_key(configure: Compose, digits: Folder) -> None:
    config = configure(*STILL, "pretrain.shallower=resnet17")
    with pytest.raises(ConfigError, match=r"^pretrain\.shallower: .*resnet1"):
        starting_weights(config, digits)
