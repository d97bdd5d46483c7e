"""The pretrain stage: each source gives starting weights and says where they come from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reprolens.config import Config
from reprolens.errors import ConfigError, DataError
from reprolens.models import build
from reprolens.models.weights import load_starting_weights, save_starting_weights
from reprolens.training.pretrain import starting_weights
from reprolens.voc import Folder

Compose = Callable[..., Config]
CLASSIFY = ["pretrain=classify", "pretrain.crop_size=32", "pretrain.batch_size=8"]


def test_random_gives_no_tensors(configure: Compose, digits: Folder) -> None:
    weights = starting_weights(configure("pretrain=random"), digits)
    assert (weights.state, weights.classes, weights.origin) == ({}, (), {"source": "random"})


def test_the_file_is_read_from_its_path(configure: Compose, digits: Folder, tmp_path: Path) -> None:
    config = configure("pretrain=file", f"pretrain.path={tmp_path}/weights.pth")
    state = build(config.model, 10).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    weights = starting_weights(config, digits)
    assert all(torch.equal(weights.state[name], value) for name, value in state.items())
    assert (weights.origin["source"], weights.origin["file"]) == ("file", "weights.pth")


def test_classifying_crops_gets_better_than_chance(configure: Compose, digits: Folder) -> None:
    seen = replace(digits, splits=digits.splits | {"val": digits.splits["train"]})  # too few to name unseen ones
    learnt = starting_weights(configure(*CLASSIFY, "pretrain.max_epochs=30"), seen).origin
    assert learnt["crops"] == sum(len(record.objects) for record in digits.records("train"))
    assert learnt["accuracy"] > 0.5  # chance is about 0.1


def test_a_classifying_backbone_enters_the_detector(configure: Compose, digits: Folder, tmp_path: Path) -> None:
    config = configure(*CLASSIFY, "pretrain.max_epochs=1")
    weights = starting_weights(config, digits)
    save_starting_weights(tmp_path / "initial.pt", weights)
    torch.manual_seed(config.seed)
    fresh, model = build(config.model, len(digits.classes)), build(config.model, len(digits.classes))
    match = load_starting_weights(tmp_path / "initial.pt", model, config.model, digits.classes)
    assert match.mismatched == ()
    assert set(match.kept) == {name for name in model.state_dict() if name.startswith("backbone.")}
    own = model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in weights.state.items())
    learnt = [name for name, value in fresh.backbone.named_parameters() if torch.equal(value, own[f"backbone.{name}"])]
    assert learnt == []


def test_the_same_seed_classifies_to_the_same_bits(configure: Compose, digits: Folder) -> None:
    first, second = (starting_weights(configure(*CLASSIFY, "pretrain.max_epochs=1"), digits) for _ in range(2))
    assert all(torch.equal(value, second.state[name]) for name, value in first.state.items())


def test_crops_too_small_for_the_backbone_are_refused(configure: Compose, digits: Folder) -> None:
    config = configure(*CLASSIFY, "model=ssd300_vgg16", "model.image_size=[300,300]")
    with pytest.raises(ConfigError, match=r"pretrain\.crop_size: 32 is too small for ssd300_vgg16"):
        starting_weights(config, digits)


def test_a_train_split_without_objects_is_refused(configure: Compose, digits: Folder) -> None:
    nothing = replace(digits, splits={**digits.splits, "train": ()})
    with pytest.raises(DataError, match="train split has 0 objects, too few for pretrain: classify"):
        starting_weights(configure(*CLASSIFY), nothing)
