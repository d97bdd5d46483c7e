"""Files of weights: the same bytes for the same weights, and nothing but weights is ever read."""

import io
import pickle
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from reprolens.config import Model
from reprolens.errors import WeightsError
from reprolens.models import build, load_trained, save_trained
from reprolens.models.checkpoint import FORMAT, read_tensors
from reprolens.models.preprocessing import IMAGENET, Preprocessing

STATE = {"stem.weight": torch.arange(12.0).reshape(3, 4), "stem.steps": torch.tensor(7)}


class _Trap:
    """Its pickle, once it is loaded with pickle's full powers, makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


def _saved(legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(STATE, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def _refused(path: Path) -> str:
    """Return the line with which reading `path` as weights is refused."""
    with pytest.raises(WeightsError) as caught:
        read_tensors(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_the_same_weights_give_the_same_bytes_under_any_name(options: Callable[..., Model], tmp_path: Path) -> None:
    for name in ("a.pt", "another.pt"):
        save_trained(tmp_path / name, STATE, options("fcos_mobilenet_v2"), ("x", "y"))
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "another.pt").read_bytes()


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights.safetensors"])
def test_tensors_come_back_from_every_kind_of_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path)
    read = read_tensors(path)
    assert set(read) == set(STATE)
    assert all(torch.equal(read[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_file_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    assert "there is no such file" in _refused(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"hello\n", "is no weights file, it is a text"),
        (b"<html>404 \xe2\x82\xac</html>", "is no weights file, it is a text"),
        (b"PK\x03\x04", "damaged"),
        (bytes(100), "damaged"),
    ],
)
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_what_is_no_file_of_weights_is_refused_in_one_line(
    name: str, content: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert reason.replace("damaged", "get it again" if "safe" in name else "damaged") in _refused(tmp_path / name)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_folder_is_called_one(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert "is a folder; name a file in it" in _refused(tmp_path / name)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_file_is_refused_in_one_line_wherever_it_ends(legacy: bool, tmp_path: Path) -> None:
    whole, path = _saved(legacy), tmp_path / "weights.pth"
    for end in range(1, len(whole) - 1, max(1, len(whole) // 60)):
        path.write_bytes(whole[:end])
        _refused(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_bytes_end_in_one_line_or_in_tensors_but_in_nothing_else(legacy: bool, tmp_path: Path) -> None:
    whole, path, draw = _saved(legacy), tmp_path / "weights.pth", random.Random(4)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            assert isinstance(read_tensors(path), dict)
        except WeightsError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("writer", ["pickle", "torch", "legacy torch"])
def test_code_in_a_file_is_refused_and_does_not_run(writer: str, tmp_path: Path) -> None:
    path, sprung = tmp_path / "weights.pth", tmp_path / "sprung"
    content = {"a": torch.zeros(1), "trap": _Trap(sprung)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=writer == "torch")
    assert "more than tensors" in _refused(path)
    assert not sprung.exists()
    if writer != "pickle":  # and it would have run: the trap is a real one
        torch.load(path, weights_only=False)
        assert sprung.exists()


def test_a_list_of_tensors_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "weights.pth")
    assert "holds a list" in _refused(tmp_path / "weights.pth")


def test_weights_that_the_train_stage_did_not_write_are_no_trained_model(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="not a model that the train stage wrote"):
        load_trained(tmp_path / "model.pt")


@pytest.mark.parametrize("damage", ["tensor missing", "option unknown", "option missing", "name unknown", "no classes"])
def test_a_trained_model_of_another_version_is_refused_in_one_line(
    damage: str, options: Callable[..., Model], tmp_path: Path
) -> None:
    small = options("fcos_mobilenet_v2")
    content = {"format": FORMAT, "model": asdict(small), "classes": ["x"], "state_dict": build(small, 1).state_dict()}
    match damage:
        case "tensor missing":
            content["state_dict"].popitem()
        case "option unknown":
            content["model"]["depth"] = 3
        case "option missing":
            del content["model"]["nms_threshold"]
        case "name unknown":
            content["model"]["name"] = "fcos_of_tomorrow"
        case _:
            del content["classes"]
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="does not fit this version") as caught:
        load_trained(tmp_path / "model.pt")
    assert "\n" not in str(caught.value)


def test_a_model_comes_back_with_what_its_weights_expect(options: Callable[..., Model], tmp_path: Path) -> None:
    small = options("fcos_mobilenet_v2")
    state, swapped = build(small, 1).state_dict(), Preprocessing((103.5, 116.3, 123.7), (1.0, 1.0, 1.0), 255.0, "BGR")
    save_trained(tmp_path / "other.pt", state, small, ("x",), swapped)
    assert load_trained(tmp_path / "other.pt").module.get_submodule("transform").preprocessing == swapped
    save_trained(tmp_path / "own.pt", state, small, ("x",))
    assert load_trained(tmp_path / "own.pt").module.get_submodule("transform").preprocessing == IMAGENET


def test_a_model_of_before_backbones_could_be_exchanged_is_read(options: Callable[..., Model], tmp_path: Path) -> None:
    small = options("fcos_mobilenet_v2")
    model = {key: value for key, value in asdict(small).items() if key != "backbone"}
    content = {"format": FORMAT, "model": model, "classes": ["x"], "state_dict": build(small, 1).state_dict()}
    torch.save(content, tmp_path / "model.pt")
    trained = load_trained(tmp_path / "model.pt")
    assert trained.options == small
    assert trained.module.get_submodule("transform").preprocessing == IMAGENET


def test_a_preprocessing_that_makes_no_sense_is_refused(options: Callable[..., Model], tmp_path: Path) -> None:
    small = options("fcos_mobilenet_v2")
    content = {"format": FORMAT, "model": asdict(small), "classes": ["x"], "preprocessing": {"mean": [0.5]}}
    torch.save(content | {"state_dict": build(small, 1).state_dict()}, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="what it says of preprocessing makes no sense"):
        load_trained(tmp_path / "model.pt")
