"""Which tensors of a file enter a model: the whole body of the same network, or parts beside it, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import get_model, mobilenet_v2, resnet18, resnet34, vgg

from models.saying import equal, of_file, refused, state_on_file
from reprolens.config import Model
from reprolens.models import build, save_trained
from reprolens.models.heads import without_memory
from reprolens.models.weights import file_weights, report
from reprolens.models.weights.naming import fitting, fitting_backbone

DEFAULT = "fcos_mobilenet_v2"


@pytest.mark.parametrize(
    ("classifier", "name", "backbone", "reason"),
    [
        (
            resnet18,
            "fcos_resnet50_fpn",
            None,
            "of fcos_resnet50_fpn: 77 of its 102 tensors have a place there, 77 of the backbone's 265 are filled",
        ),
        (resnet34, "fcos_resnet50_fpn", "resnet18", "100 of the backbone's 100 are filled"),
        (vgg.vgg11, "ssd300_vgg16", None, "2 of the backbone's 20 are filled"),
    ],
)
def test_another_network_than_the_backbone_is_refused_in_numbers(
    classifier: Callable[[], nn.Module],
    name: str,
    backbone: str | None,
    reason: str,
    options: Callable[..., Model],
    tmp_path: Path,
) -> None:
    choice = options(name, backbone=backbone)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in classifier().state_dict().items()}
    path = state_on_file({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, tmp_path / "other.pth")
    message = refused(path, choice)
    assert "holds another network than the backbone" in message and reason in message, message


def test_of_a_stranger_to_the_backbone_nothing_fits(options: Callable[..., Model], tmp_path: Path) -> None:
    """Not even the counters of BatchNorms, of which some have the same names."""
    path = state_on_file(mobilenet_v2().state_dict(), tmp_path / "other.pth")
    assert "none of its 314 tensors" in refused(path, options(DEFAULT, backbone="mobilenet_v3_large"))


def test_a_trained_model_on_another_network_does_not_give_its_heads_alone(
    options: Callable[..., Model], tmp_path: Path
) -> None:
    source = options("fcos_resnet50_fpn", backbone="resnet18")
    save_trained(tmp_path / "model.pt", build(source, 2).state_dict(), source, ("x", "y"))
    assert "0 of the backbone's" in refused(tmp_path / "model.pt", options("fcos_resnet50_fpn", backbone="vgg11"))


@pytest.mark.parametrize("left_out", ["backbone.body.3", "backbone.body.17.conv.3"])
def test_a_file_of_a_part_of_the_body_is_refused(left_out: str, options: Callable[..., Model], tmp_path: Path) -> None:
    state = build(options(DEFAULT), 1).state_dict()
    part = {key: value for key, value in state.items() if not key.startswith(left_out)}
    assert len(part) < len(state)
    assert "holds another network" in refused(state_on_file(part, tmp_path / "part.pth"), options(DEFAULT))


@pytest.mark.parametrize("part", ["head.", "backbone.fpn.", "backbone.body."])
def test_a_whole_part_of_a_detector_is_enough(part: str, options: Callable[..., Model], tmp_path: Path) -> None:
    state = {key: value for key, value in build(options(DEFAULT), 1).state_dict().items() if key.startswith(part)}
    weights = file_weights(of_file(state_on_file(state, tmp_path / "part.pth")), options(DEFAULT))
    assert (set(weights.state), weights.given) == (set(state), len(state))
    assert report(weights)["tensors"] == report(weights)["tensors_in_file"] == len(state)


@pytest.mark.parametrize(("name", "suffix"), [(DEFAULT, "pth"), ("yolox_nano", "pth"), (DEFAULT, "safetensors")])
def test_a_state_of_parallel_training_enters_as_if_it_were_not(
    name: str, suffix: str, options: Callable[..., Model], tmp_path: Path
) -> None:
    state = build(options(name), 2).state_dict()
    path = state_on_file({f"module.{key}": value for key, value in state.items()}, tmp_path / f"parallel.{suffix}")
    assert equal(file_weights(of_file(path), options(name)).state, state)


def test_tensors_sorted_by_name_enter_as_in_their_layers_order(options: Callable[..., Model], tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in vgg.vgg16().state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    shapes |= {key: torch.Size([1]) for key in shapes if key.startswith("classifier")}
    state = {key: torch.rand(shape, generator=generator) for key, shape in shapes.items()}
    states = [
        file_weights(of_file(state_on_file(state, tmp_path / name)), options("ssd300_vgg16")).state
        for name in ("vgg.pth", "vgg.safetensors")
    ]
    assert len(states[0]) == 26 and equal(states[0], states[1])


@pytest.mark.parametrize(
    ("given", "backbone"),
    [("vgg11", "vgg13"), ("vgg13", "vgg13_bn"), ("densenet169", "densenet121"), ("densenet121", "densenet169")],
)
def test_a_relative_whose_layers_come_in_the_same_order_is_refused(
    given: str, backbone: str, options: Callable[..., Model]
) -> None:
    with torch.device("meta"):
        states = {name: get_model(name, weights=None).state_dict() for name in (given, backbone)}
    own = without_memory(options(DEFAULT, backbone=backbone), 1).state_dict()
    for fit in (fitting, fitting_backbone):
        assert fit(states[given], own) == {}
        assert len(fit(states[backbone], own)) == len([key for key in own if key.startswith("backbone.body.")])
