"""The pretrain stage: each source gives starting weights and says where they come from."""

from collections.abc import Callable
from pathlib import Path

import torch

from reprolens.config import Config
from reprolens.models import build
from reprolens.training.pretrain import starting_weights
from reprolens.voc import Folder

Compose = Callable[..., Config]


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
