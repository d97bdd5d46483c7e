"""Bodies of torchvision and timm: maps where their strides say, nothing in them that has no use, clear refusals."""

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from reprolens.errors import ConfigError
from reprolens.models.backbones import Body, body

STRIDES = (4, 8, 16, 32)
WITH_LINEAR = ("convnext_tiny", "swin_t", "pvt_v2_b0")
"""Networks whose blocks have linear layers; in all others they only serve classification."""
TORCHVISION = {  # channels: of the same layers that torchvision's own detectors take, where it has one
    "resnet18": (64, 128, 256, 512),
    "resnext50_32x4d": (256, 512, 1024, 2048),
    "mobilenet_v2": (24, 32, 96, 1280),
    "mobilenet_v3_large": (24, 40, 112, 960),
    "efficientnet_b0": (24, 40, 112, 1280),
    "regnet_y_800mf": (64, 144, 320, 784),
    "convnext_tiny": (96, 192, 384, 768),
    "densenet121": (256, 512, 1024, 1024),
    "shufflenet_v2_x1_0": (24, 116, 232, 1024),
    "mnasnet1_0": (24, 40, 96, 1280),
    "googlenet": (192, 480, 832, 1024),
    "swin_t": (96, 192, 384, 768),
    "vgg16_bn": (256, 512, 512, 512),
}
TIMM = ["resnet50d", "seresnet50", "repvgg_a0", "mobilenetv3_large_100", "timm/resnet18.tv_in1k", "fastvit_t8"]
TIMM += ["ghostnet_100", "pvt_v2_b0"]


def _maps(network: Body, height: int, width: int, pictures: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    found: dict[str, Tensor] = network(torch.rand(pictures, 3, height, width, generator=generator))
    return found


@pytest.mark.parametrize("name", [*TORCHVISION, *TIMM])
def test_maps_are_where_strides_and_channels_say_and_every_parameter_has_a_use(name: str) -> None:
    torch.manual_seed(0)
    network = body(name, STRIDES)
    assert network.training
    assert network.strides == STRIDES
    maps = _maps(network, 64, 96)
    pairs = zip(network.channels, STRIDES, strict=True)
    shapes = [(2, channels, 64 // stride, 96 // stride) for channels, stride in pairs]
    assert [tuple(level.shape) for level in maps.values()] == shapes
    assert list(maps) == ["0", "1", "2", "3"]
    torch.stack([level.square().mean() for level in maps.values()]).sum().backward()
    gradients = {key: value.grad for key, value in network.named_parameters()}
    assert [key for key, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []
    assert any(isinstance(module, nn.Linear) for module in network.modules()) == (name in WITH_LINEAR)
    if name in TORCHVISION:
        assert network.channels == TORCHVISION[name]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "regnet_y_400mf", "timm/resnet18", "repvgg_a0"])
@pytest.mark.parametrize("strides", [(8, 16), (4,), (16, 32)])
def test_a_body_ends_at_its_last_stride(name: str, strides: tuple[int, ...]) -> None:
    network, whole = body(name, strides), body(name, STRIDES)
    maps = _maps(network, 64, 64)
    assert [64 // level.shape[-1] for level in maps.values()] == list(strides)
    torch.stack([level.square().mean() for level in maps.values()]).sum().backward()
    assert all(value.grad is not None for value in network.parameters())
    assert network.state_dict().keys() <= whole.state_dict().keys()
    fewer = len(network.state_dict()) < len(whole.state_dict())
    assert fewer == (32 not in strides)


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("resnet18", ["layer1", "layer2", "layer3", "layer4"]),
        ("regnet_y_400mf", [f"trunk_output.block{number}" for number in (1, 2, 3, 4)]),
        ("mobilenet_v3_small", ["features.1", "features.3", "features.8", "features.12"]),
        ("squeezenet1_1", ["features.4", "features.7", "features.12"]),
    ],
)
def test_a_torchvision_body_computes_what_the_classifier_of_the_same_weights_does(name: str, nodes: list[str]) -> None:
    network = body(name, STRIDES[: len(nodes)]).eval()
    classifier = torchvision.models.get_model(name, weights=None).eval()
    prefix = "features." if nodes[0].startswith("features.") else ""
    known = classifier.state_dict()
    network.load_state_dict({key: known[prefix + key] for key in network.state_dict()})
    pictures = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = create_feature_extractor(classifier, nodes)(pictures)
        found = network(pictures)
    for level, node in zip(found.values(), nodes, strict=True):
        whole = expected[node]  # without the zeros at the border that a body puts where the classifier loses it
        assert torch.equal(level[..., : whole.shape[-2], : whole.shape[-1]], whole)


@pytest.mark.parametrize("name", ["repvgg_a0", "mobilenetv3_large_100"])
def test_a_timm_body_computes_what_timms_own_features_are_under_timms_own_names(name: str) -> None:
    network = body(name, STRIDES).eval()
    classifier = timm.create_model(name).eval()
    known = {f"net.{key}": value for key, value in classifier.state_dict().items()}
    network.load_state_dict({key: known[key] for key in network.state_dict()})
    pictures = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = classifier.forward_intermediates(pictures, intermediates_only=True)
        found = network(pictures)
    assert all(torch.equal(level, whole) for level, whole in zip(found.values(), expected[1:], strict=True))


def test_cells_that_a_network_without_padding_loses_at_the_border_are_zeros() -> None:
    network = body("squeezenet1_0", (8, 16)).eval()
    with torch.no_grad():
        level = network(torch.rand(1, 3, 64, 64))["0"]
    assert level.shape[-2:] == (8, 8)
    assert level[..., :7, :7].abs().sum() > 0
    assert level[..., 7, :].abs().sum() == level[..., 7].abs().sum() == 0


@pytest.mark.parametrize("name", ["resnet18", "swin_t", "timm/resnet18"])
def test_a_picture_alone_gives_what_it_gives_in_a_batch(name: str) -> None:
    network = body(name, (8, 16)).eval()
    with torch.no_grad():
        pictures = torch.rand(3, 3, 64, 64)
        together, alone = network(pictures), network(pictures[1:2])
    for key in together:
        torch.testing.assert_close(alone[key][0], together[key][1], rtol=1e-4, atol=1e-4)


def test_torchvisions_network_wins_where_both_have_the_name() -> None:
    assert "conv1.weight" in body("resnet18", (8,)).state_dict()
    assert "net.conv1.weight" in body("timm/resnet18", (8,)).state_dict()


def test_the_same_seed_gives_the_same_values() -> None:
    states = []
    for name in ("resnet18", "repvgg_a0") * 2:
        torch.manual_seed(3)
        states.append(body(name, (8,)).state_dict())
    for first, second in ((states[0], states[2]), (states[1], states[3])):
        assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "strides", "line"),
    [
        ("resnet5O", STRIDES, "model.backbone: neither torchvision nor timm has 'resnet5O'; did you mean resnet50 or"),
        ("nosuchthing", STRIDES, "neither torchvision nor timm has 'nosuchthing'; valid: resnet50, repvgg_a0"),
        ("timm/repvgg_a9", STRIDES, "has 'timm/repvgg_a9'; did you mean timm/repvgg_a"),
        ("timm/resnet50.nonsense", STRIDES, "timm has no weights 'nonsense' of resnet50; did you mean timm/resnet50."),
        ("fasterrcnn_resnet50_fpn", STRIDES, "neither torchvision nor timm has 'fasterrcnn_resnet50_fpn'"),
        ("vit_b_16", STRIDES, "vit_b_16 cannot be one here: it is no plain sequence of layers"),
        ("vit_tiny_patch16_224", STRIDES, "vit_tiny_patch16_224 cannot be one here: it is no plain sequence of layers"),
        ("squeezenet1_1", STRIDES, "it has maps of 2, 4, 8, 16, not of 32 as this detector needs"),
        ("inception_v3", (8, 16), "inception_v3 cannot be one here: it has maps of 2, 4, 16, 32, not of 8"),
    ],
)
def test_what_cannot_be_a_body_is_refused_in_one_line(name: str, strides: tuple[int, ...], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        body(name, strides)
    assert line in str(error.value)
    assert "model.backbone: " in str(error.value)
    assert "\n" not in str(error.value)
