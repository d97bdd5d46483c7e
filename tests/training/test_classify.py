"""A backbone learns to name what pictures show, and enters the detector."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reprolens.config import Config
from reprolens.errors import ConfigError, DataError
from reprolens.models import build
from reprolens.models.registry import get
from reprolens.models.weights import load_starting_weights, save_starting_weights
from reprolens.training.pretrain import starting_weights
from reprolens.voc import Folder

Compose = Callable[..., Config]
CLASSIFY = ["pretrain=classify", "pretrain.crop_size=32", "pretrain.batch_size=8"]
SMALL = ["model.backbone=timm/test_resnet"]


def test_classifying_crops_gets_better_than_chance(configure: Compose, digits: Folder) -> None:
    seen = replace(digits, splits={**digits.splits, "val": digits.splits["train"]})  # too few to name unseen ones
    origin = starting_weights(configure(*CLASSIFY, *SMALL, "pretrain.max_epochs=15"), seen).origin
    assert origin["crops"] == sum(len(record.objects) for record in digits.records("train"))
    assert origin["accuracy"] > 0.5  # chance is about 0.1


def test_a_classification_set_is_learnt_much_better_than_chance(
    configure: Compose, digits: Folder, shared_data: Path
) -> None:
    data = ["pretrain.batch_size=16", "pretrain.max_epochs=4", f"pretrain.data={shared_data}/signdigits"]
    origin = starting_weights(configure(*CLASSIFY, *SMALL, *data), digits).origin
    assert (origin["pictures"], origin["pictures/val"], origin["classes"]) == (400, 50, 10)
    assert origin["accuracy"] > 0.3  # of pictures not learnt from; chance is 0.1


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
    same = [
        name
        for name, value in fresh.get_submodule("backbone").named_parameters()
        if torch.equal(value, own[f"backbone.{name}"])
    ]
    assert same == []


@pytest.mark.parametrize("model", ["yolox_nano", "yolov3_tiny", "ssdlite320_mobilenet_v3_large"])
def test_every_family_learns_all_of_its_backbone(model: str, configure: Compose, digits: Folder) -> None:
    few = replace(digits, splits={**digits.splits, "train": digits.splits["train"][:4]})
    config = configure(*CLASSIFY, f"model={model}", "model.image_size=[64,64]", "pretrain.max_epochs=1")
    state = starting_weights(config, few).state
    torch.manual_seed(config.seed)
    detector = build(config.model, len(digits.classes))
    assert state.keys() == {name for name in detector.state_dict() if name.startswith("backbone.")}
    backbone = detector.get_submodule("backbone")
    assert [name for name, value in backbone.named_parameters() if torch.equal(value, state[f"backbone.{name}"])] == []


def test_the_weights_expect_of_pictures_what_the_detector_does(configure: Compose, digits: Folder) -> None:
    few = replace(digits, splits={**digits.splits, "train": digits.splits["train"][:2]})
    config = configure(*CLASSIFY, "model=yolox_nano", "model.image_size=[64,64]", "pretrain.max_epochs=1")
    assert starting_weights(config, few).preprocessing == get("yolox_nano").preprocessing


@pytest.mark.parametrize("source", ["crops", "pictures"])
def test_the_same_seed_classifies_to_the_same_bits(
    source: str, configure: Compose, digits: Folder, tmp_path: Path
) -> None:
    data = [f"pretrain.data={noise(tmp_path / 'set')}"] if source == "pictures" else []
    config = configure(*CLASSIFY, *SMALL, *data, "pretrain.max_epochs=2")
    first, second = (starting_weights(config, digits) for _ in range(2))
    assert first.origin == second.origin
    assert all(torch.equal(value, second.state[name]) for name, value in first.state.items())


def noise(root: Path) -> Path:
    """Draw pictures of noise into a folder for each of two classes."""
    random = np.random.default_rng(0)
    for number in range(20):
        path = root / f"class {number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (24, 48, 3), dtype=np.uint8)).save(path)
    return root


def test_crops_too_small_for_the_backbone_are_refused(configure: Compose, digits: Folder) -> None:
    config = configure(*CLASSIFY, "model=ssd300_vgg16", "model.image_size=[300,300]")
    with pytest.raises(ConfigError, match=r"pretrain\.crop_size: 32 is too small for ssd300_vgg16"):
        starting_weights(config, digits)


def test_a_backbone_that_takes_more_than_pictures_is_refused(configure: Compose, digits: Folder) -> None:
    pytest.importorskip("transformers", reason="RT-DETR needs the extra reprolens[transformers]")
    config = configure(*CLASSIFY, "model=rtdetr_v2_r18", "model.image_size=[64,64]")
    with pytest.raises(ConfigError, match="classify cannot train the backbone of rtdetr_v2_r18"):
        starting_weights(config, digits)


def test_a_train_split_without_objects_is_refused(configure: Compose, digits: Folder) -> None:
    nothing = replace(digits, splits={**digits.splits, "train": ()})
    with pytest.raises(DataError, match="train split has 0 objects, too few for pretrain: classify"):
        starting_weights(configure(*CLASSIFY), nothing)
