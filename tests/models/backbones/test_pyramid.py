"""Bodies with pyramids: torchvision's, whatever the body."""

import pytest
import torch
from torch import nn
from torchvision.models.detection import fcos_resnet50_fpn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from reprolens.models.backbones import pyramid


def test_a_pyramid_on_resnet_is_torchvisions() -> None:
    torch.manual_seed(0)
    ours = pyramid("resnet18", extra="pool").eval()
    theirs = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, trainable_layers=5, norm_layer=nn.BatchNorm2d
    ).eval()
    ours.load_state_dict(theirs.state_dict())
    pictures = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected, found = theirs(pictures), ours(pictures)
    assert list(found) == list(expected) == ["0", "1", "2", "3", "pool"]
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_the_pyramid_of_one_stage_detectors_has_torchvisions_names_too() -> None:
    with torch.device("meta"):
        theirs = fcos_resnet50_fpn(weights=None, weights_backbone=None).backbone
    ours = pyramid("resnet50", (8, 16, 32), extra="p6p7")
    expected = {key: value.shape for key, value in theirs.state_dict().items()}
    counters = {key for key in ours.state_dict() if key.endswith("num_batches_tracked")}  # theirs are frozen
    assert {key: value.shape for key, value in ours.state_dict().items() if key not in counters} == {
        key: shape for key, shape in expected.items() if not key.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize(
    ("extra", "more"), [(None, []), ("pool", [("pool", 1)]), ("p6p7", [("p6", 1), ("p7", 1)])], ids=str
)
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "repvgg_a0"])
def test_levels_are_halved_from_map_to_map(name: str, extra: str | None, more: list[tuple[str, int]]) -> None:
    network = pyramid(name, (8, 16, 32), channels=16, extra=extra).eval()
    maps = network(torch.rand(1, 3, 64, 64))
    expected = [("0", 8), ("1", 4), ("2", 2), *more]
    assert [(key, level.shape[-1]) for key, level in maps.items()] == expected
    assert {level.shape[1] for level in maps.values()} == {network.out_channels} == {16}


def test_maps_are_normalised_by_what_norm_makes() -> None:
    norms = [
        module for module in pyramid("resnet18", norm=nn.BatchNorm2d).fpn.modules() if type(module) is nn.BatchNorm2d
    ]
    assert len(norms) == 8


def test_levels_that_nobody_knows_are_an_error() -> None:
    with pytest.raises(ValueError, match="'p8'"):
        pyramid("resnet18", extra="p8")
