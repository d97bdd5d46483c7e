"""Weights from a file: whose they are, what of them fits, and what they expect of a picture."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet50, vgg

from models.saying import NOTHING, names, of_file, refused, state_on_file
from reprolens.config import Channels, Expected, Model
from reprolens.errors import WeightsError
from reprolens.files import sha256
from reprolens.models import build, load_trained, save_trained
from reprolens.models.preprocessing import IMAGENET, UNCHANGED, Preprocessing
from reprolens.models.registry import get
from reprolens.models.weights import (
    file_weights,
    load_starting_weights,
    random_weights,
    save_starting_weights,
)
from reprolens.models.weights.files import COCO

DEFAULT = "fcos_mobilenet_v2"
FIRST = "backbone.body.0.0.weight"
SWAPPED = Preprocessing((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), 255.0, "BGR")
"""ImageNet's mean, but of blue, green and red from 0 to 255, and no deviation: Caffe's."""


def test_a_trained_model_is_a_file_of_weights_with_its_classes(options: Callable[..., Model], tmp_path: Path) -> None:
    source = build(options(DEFAULT), 3)
    save_trained(tmp_path / "model.pt", source.state_dict(), options(DEFAULT), ("x", "y", "z"))
    weights = file_weights(of_file(tmp_path / "model.pt"), options(DEFAULT))
    assert weights.classes == ("x", "y", "z")
    assert weights.origin["sha256"] == sha256(tmp_path / "model.pt")
    assert all(torch.equal(weights.state[key], value) for key, value in source.state_dict().items())


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_a_plain_state_dict_enters_the_model_whole(suffix: str, options: Callable[..., Model], tmp_path: Path) -> None:
    source, target = build(options(DEFAULT), 4), build(options(DEFAULT), 4)
    path = state_on_file(source.state_dict(), tmp_path / f"weights{suffix}")
    save_starting_weights(tmp_path / "initial.pt", file_weights(of_file(path), options(DEFAULT)))
    match = load_starting_weights(tmp_path / "initial.pt", target, options(DEFAULT), ("a", "b", "c", "d"))
    assert (match.mismatched, match.new) == ((), ())
    assert all(torch.equal(target.state_dict()[key], value) for key, value in source.state_dict().items())


@pytest.mark.parametrize("inside", [None, "state_dict", "model"])
@pytest.mark.parametrize("name", ["yolox_nano", "yolov3_tiny"])
def test_a_family_with_a_foreign_format_reads_plain_files_of_its_own_names_too(
    name: str, inside: str | None, options: Callable[..., Model], tmp_path: Path
) -> None:
    source, target = build(options(name), 4), build(options(name), 4)
    path, state = tmp_path / "weights.pt", source.state_dict()
    torch.save(state if inside is None else {inside: state}, path)
    weights = file_weights(of_file(path), options(name))
    assert "format" not in weights.origin
    save_starting_weights(tmp_path / "initial.pt", weights)
    match = load_starting_weights(tmp_path / "initial.pt", target, options(name), ("a", "b", "c", "d"))
    assert (match.mismatched, match.new, match.head) == ((), (), "position")
    assert all(torch.equal(target.state_dict()[key], value) for key, value in state.items())


@pytest.mark.parametrize("name", ["yolox_nano", "yolov3_tiny"])
def test_a_trained_model_of_a_family_with_a_foreign_format_is_read_with_its_classes(
    name: str, options: Callable[..., Model], tmp_path: Path
) -> None:
    source = build(options(name), 3)
    save_trained(tmp_path / "model.pt", source.state_dict(), options(name), ("x", "y", "z"), SWAPPED)
    weights = file_weights(of_file(tmp_path / "model.pt"), options(name))
    assert (weights.classes, weights.preprocessing) == (("x", "y", "z"), SWAPPED)
    assert all(torch.equal(weights.state[key], value) for key, value in source.state_dict().items())


@pytest.mark.parametrize(
    ("classifier", "name", "least"),
    [
        (mobilenet_v2, DEFAULT, 300),
        (resnet50, "fcos_resnet50_fpn", 300),
        (lambda: torch.nn.ModuleDict({"features": vgg.make_layers(vgg.cfgs["D"])}), "ssd300_vgg16", 18),
    ],
)
def test_a_classifier_of_its_kind_fills_the_backbone(
    classifier: Callable[[], torch.nn.Module], name: str, least: int, options: Callable[..., Model], tmp_path: Path
) -> None:
    source = classifier().state_dict()
    path = state_on_file(source, tmp_path / "classifier.pth")
    weights = file_weights(of_file(path), options(name))
    given = {(tuple(value.shape), float(value.double().sum())) for value in source.values()}
    assert len(weights.state) >= least
    assert all((tuple(value.shape), float(value.double().sum())) in given for value in weights.state.values())
    assert all(key.startswith("backbone.") for key in weights.state)


def test_the_state_inside_a_training_checkpoint_is_found(options: Callable[..., Model], tmp_path: Path) -> None:
    state = build(options(DEFAULT), 2).state_dict()
    for key in ("state_dict", "model"):
        path = tmp_path / f"{key}.pth"
        torch.save({"epoch": 3, key: state}, path)
        assert set(file_weights(of_file(path), options(DEFAULT)).state) == set(state)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"some.weight": torch.zeros(3)}, f"none of its 1 tensors has a name and shape that {DEFAULT} knows"),
        ({FIRST: torch.zeros(1, 1)}, f"none of its 1 tensors has a name and shape that {DEFAULT} knows"),
        ({}, "holds no tensors"),
        ({1: torch.zeros(2), "epoch": 4}, "holds no tensors"),
        ({"state_dict": 3}, "holds no tensors"),
    ],
)
def test_a_file_of_which_nothing_fits_is_refused(
    content: dict[object, object], reason: str, options: Callable[..., Model], tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "other.pth")
    assert refused(tmp_path / "other.pth", options(DEFAULT)).startswith(f"{tmp_path / 'other.pth'}: {reason}")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", [DEFAULT, "yolox_nano"])
def test_numbers_that_are_none_are_refused_by_the_tensors_name(
    name: str, value: float, options: Callable[..., Model], tmp_path: Path
) -> None:
    state = build(options(name), 2).state_dict()
    key = next(key for key in state if key.endswith("running_var"))
    state[key][0] = value
    message = refused(state_on_file(state, tmp_path / "diverged.pth"), options(name))
    names(message, f"diverged.pth: {key} holds NaN or infinity")


def test_what_the_pretrain_stage_wrote_is_no_file_to_start_it_with(
    options: Callable[..., Model], tmp_path: Path
) -> None:
    save_starting_weights(tmp_path / "initial.pt", random_weights())
    names(refused(tmp_path / "initial.pt", options(DEFAULT)), "pretrain stage's own output", "weights/model.pt")


def test_a_folder_is_called_one(options: Callable[..., Model], tmp_path: Path) -> None:
    names(refused(tmp_path, options(DEFAULT)), "is a folder; name a file in it")


@pytest.mark.parametrize("name", [DEFAULT, "yolox_nano"])
def test_darknets_files_are_called_so_where_the_model_is_not_darknets(
    name: str, options: Callable[..., Model], tmp_path: Path
) -> None:
    path = _darknet_file(tmp_path / "yolov3-tiny.weights", build(options("yolov3_tiny"), 2))
    names(refused(path, options(name)), "a darknet file, which is for yolov3 and yolov3_tiny")
    path.write_bytes(b"")
    names(refused(path, options(name)), "is empty")


def test_a_trained_backbone_starts_another_detector_on_the_same_network(
    options: Callable[..., Model], tmp_path: Path
) -> None:
    source = options("retinanet_resnet50_fpn_v2", backbone="resnet18")
    state = build(source, 3).state_dict()
    save_trained(tmp_path / "model.pt", state, source, ("x", "y", "z"), SWAPPED)
    target = options("fcos_resnet50_fpn", backbone="resnet18")
    weights = file_weights(of_file(tmp_path / "model.pt"), target)
    body = {key for key in state if key.startswith("backbone.body.")}
    assert body and body <= set(weights.state)
    assert weights.preprocessing == SWAPPED


# ---- what a file expects of a picture


def test_a_trained_model_says_what_it_expects(options: Callable[..., Model], tmp_path: Path) -> None:
    state = build(options(DEFAULT), 1).state_dict()
    save_trained(tmp_path / "model.pt", state, options(DEFAULT), ("x",), SWAPPED)
    assert file_weights(of_file(tmp_path / "model.pt"), options(DEFAULT)).preprocessing == SWAPPED
    same = Expected(list(SWAPPED.mean), None, 255.0, Channels.BGR)
    assert file_weights(of_file(tmp_path / "model.pt", same), options(DEFAULT)).preprocessing == SWAPPED
    with pytest.raises(WeightsError) as caught:
        file_weights(of_file(tmp_path / "model.pt", replace(NOTHING, order=Channels.RGB)), options(DEFAULT))
    names(str(caught.value), "pretrain.expects.order", "model.pt itself says BGR", "set it to null")


def test_a_trained_model_of_before_expects_what_its_kind_does(options: Callable[..., Model], tmp_path: Path) -> None:
    model = asdict(options("ssdlite320_mobilenet_v3_large"))
    del model["backbone"]
    state = build(options("ssdlite320_mobilenet_v3_large"), 1).state_dict()
    content = {"format": "reprolens-model-1", "model": model, "classes": ["x"], "state_dict": state}
    torch.save(content, tmp_path / "model.pt")
    halves = get("ssdlite320_mobilenet_v3_large").preprocessing
    weights = file_weights(of_file(tmp_path / "model.pt"), options("ssdlite320_mobilenet_v3_large"))
    assert weights.preprocessing == halves != IMAGENET
    assert load_trained(tmp_path / "model.pt").module.get_submodule("transform").preprocessing == halves


def test_a_plain_file_says_nothing(options: Callable[..., Model], tmp_path: Path) -> None:
    path = state_on_file(build(options(DEFAULT), 1).state_dict(), tmp_path / "plain.pth")
    assert file_weights(of_file(path), options(DEFAULT)).preprocessing is None


@pytest.mark.parametrize(
    ("model", "expects", "expected"),
    [
        (DEFAULT, Expected([1, 2, 3], [4, 5, 6], 255, Channels.BGR), Preprocessing((1, 2, 3), (4, 5, 6), 255, "BGR")),
        (DEFAULT, Expected([0.1, 0.2, 0.3], None, None, None), Preprocessing((0.1, 0.2, 0.3), IMAGENET.std)),
        (DEFAULT, Expected(None, None, 1.0, None), IMAGENET),
        (  # the mean of blue stays the mean of blue
            DEFAULT,
            Expected(None, None, None, Channels.BGR),
            Preprocessing((0.406, 0.456, 0.485), (0.225, 0.224, 0.229), 1.0, "BGR"),
        ),
    ],
)
def test_the_user_says_part_by_part_what_a_plain_file_expects(
    model: str, expects: Expected, expected: Preprocessing, options: Callable[..., Model], tmp_path: Path
) -> None:
    path = state_on_file(build(options(model), 1).state_dict(), tmp_path / "plain.pth")
    assert file_weights(of_file(path, expects), options(model)).preprocessing == expected


def test_another_range_without_the_mean_in_it_is_refused(options: Callable[..., Model], tmp_path: Path) -> None:
    path = state_on_file(build(options(DEFAULT), 1).state_dict(), tmp_path / "plain.pth")
    with pytest.raises(WeightsError) as caught:
        file_weights(of_file(path, replace(NOTHING, range=255.0)), options(DEFAULT))
    names(str(caught.value), "pretrain.expects.range: 255", "say mean and std too")


def _in_swapped_units(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of the same network, made for pictures as `SWAPPED` gives them.

    Its input is `255 * std` times the other one's, blue first; so the first layer is divided and its channels turned.
    """
    state = {key: value.clone() for key, value in model.state_dict().items()}
    scale = 255 * torch.tensor(IMAGENET.std)[None, :, None, None]
    state[FIRST] = (state[FIRST] / scale).flip(1)
    return state


@pytest.mark.parametrize("file", ["model.pt", "plain.pth"])
def test_a_network_made_for_other_pictures_finds_the_same_in_the_same_pictures(
    file: str, options: Callable[..., Model], lively: Callable[[str], nn.Module], tmp_path: Path
) -> None:
    original, classes = lively(DEFAULT), tuple("abcdefghij")
    state = _in_swapped_units(original)
    expects = Expected(list(SWAPPED.mean), list(SWAPPED.std), 255.0, Channels.BGR)
    if file == "model.pt":
        save_trained(tmp_path / file, state, options(DEFAULT), classes, SWAPPED)
        expects = NOTHING
    else:
        torch.save(state, tmp_path / file)
    weights = file_weights(of_file(tmp_path / file, expects), options(DEFAULT))
    save_starting_weights(tmp_path / "initial.pt", weights)
    started = build(options(DEFAULT), 10)
    load_starting_weights(tmp_path / "initial.pt", started, options(DEFAULT), classes)
    preprocessing = started.get_submodule("transform").preprocessing
    save_trained(tmp_path / "trained.pt", started.state_dict(), options(DEFAULT), classes, preprocessing)  # type: ignore[arg-type]
    again = load_trained(tmp_path / "trained.pt").module
    pictures = [torch.rand(3, 64, 64), torch.rand(3, 50, 80)]
    with torch.inference_mode():
        wanted = original(pictures)
        for model in (started.eval(), again):
            for found, there in zip(model(pictures), wanted, strict=True):
                assert len(there["scores"]) > 5
                torch.testing.assert_close(found["scores"], there["scores"], rtol=1e-3, atol=1e-5)
                torch.testing.assert_close(found["boxes"], there["boxes"], rtol=1e-3, atol=1e-2)
        started.get_submodule("transform").preprocessing = IMAGENET  # type: ignore[assignment]
        assert not all(
            len(one["scores"]) == len(there["scores"])
            and torch.allclose(one["scores"], there["scores"], rtol=1e-3, atol=1e-5)
            for one, there in zip(started(pictures), wanted, strict=True)
        )


# ---- files of the program that a family comes from


def test_cocos_classes_are_eighty_in_its_order() -> None:
    assert (len(COCO), COCO[0], COCO[11], COCO[79]) == (80, "person", "stop sign", "toothbrush")
    assert {"N/A", "__background__"} & set(COCO) == set()


def _darknet_file(path: Path, model: nn.Module) -> Path:
    """Write a `.weights` file of as many random values as the model has."""
    counted = (
        tensor for key, tensor in model.state_dict().items() if tensor.is_floating_point() and "anchors" not in key
    )
    values = np.random.default_rng(1).random(sum(tensor.numel() for tensor in counted), np.float32) / 100
    path.write_bytes(np.array([0, 2, 5, 0, 0], "<i4").tobytes() + values.tobytes())
    return path


@pytest.mark.parametrize(("classes", "known"), [(80, COCO), (3, ())])
def test_a_foreign_file_brings_its_format_and_cocos_classes_where_it_has_eighty(
    classes: int, known: tuple[str, ...], options: Callable[..., Model], tmp_path: Path
) -> None:
    choice = options("yolov3_tiny")
    path = _darknet_file(tmp_path / "yolov3-tiny.weights", build(choice, classes))
    weights = file_weights(of_file(path), choice)
    assert (weights.classes, weights.preprocessing) == (known, UNCHANGED)
    assert "arknet" in weights.origin["format"]
    assert ("COCO" in weights.origin.get("classes", "")) == bool(known)
    save_starting_weights(tmp_path / "initial.pt", weights)
    data_set = ("zebra", "person", "new") if known else ("a", "b", "c")
    match = load_starting_weights(tmp_path / "initial.pt", build(choice, 3), choice, data_set)
    assert match.classes_kept == (("zebra", "person") if known else ())
    assert match.head == ("name" if known else "position")
    assert match.mismatched == ()


def test_a_user_knows_better_what_a_foreign_file_expects(options: Callable[..., Model], tmp_path: Path) -> None:
    choice = options("yolov3_tiny")
    path = _darknet_file(tmp_path / "old.weights", build(choice, 2))
    weights = file_weights(of_file(path, Expected(None, None, 255.0, Channels.BGR)), choice)
    assert weights.preprocessing == Preprocessing((0, 0, 0), (1, 1, 1), 255.0, "BGR")
