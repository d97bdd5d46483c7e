"""`reprolens selftest resume`: it survives real kills, and it would see a single wrong bit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reprolens import selftest
from reprolens.config import Config
from reprolens.training.checkpoint import load_checkpoint, save_checkpoint
from reprolens.training.detection import train_detector
from reprolens.voc import Folder

ROOT = Path(__file__).parents[2]


class Finished:
    """A finished training's checkpoints, and its history beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.history = folder, folder.with_suffix(".csv")
        [marker] = folder.glob("*/fingerprint.json")
        self.run = marker.parent

    def content(self) -> dict[str, Any]:
        content = load_checkpoint(self.run)
        assert content is not None
        return content


@pytest.fixture
def pair(configure: Callable[..., Config], digits: Folder, initial: Path, tmp_path: Path) -> tuple[Finished, Finished]:
    """Return two finished trainings with the same bits."""
    config = configure("trainer.channels_last=false", "trainer.max_steps=2")
    metrics = {"map50": 0.0, "map": 0.0}
    train_detector(config, digits, initial, tmp_path / "1.csv", lambda *arguments: metrics, tmp_path / "1")
    shutil.copytree(tmp_path / "1", tmp_path / "2")
    shutil.copy(tmp_path / "1.csv", tmp_path / "2.csv")
    assert list(selftest._differences(tmp_path / "1", tmp_path / "2")) == []
    return Finished(tmp_path / "1"), Finished(tmp_path / "2")


def _flip(value: Tensor) -> None:
    bits = value.view(torch.int32)
    bits[(0,) * bits.ndim] ^= 1


@pytest.mark.parametrize("part", ["model", "average", "best"])
def test_the_selftest_sees_and_names_a_single_bit(part: str, pair: tuple[Finished, Finished]) -> None:
    content = pair[1].content()
    name = next(name for name, value in content[part].items() if value.ndim > 1)
    _flip(content[part][name])
    save_checkpoint(pair[1].run, 99, content)
    assert list(selftest._differences(pair[0].folder, pair[1].folder)) == [f"/{part}/{name}"]


def test_the_selftest_sees_other_moments_generators_and_progress(pair: tuple[Finished, Finished]) -> None:
    content = pair[1].content()
    _flip(content["optimizer"]["state"][0]["exp_avg"])
    content["random"][0]["torch"][100] ^= 1
    content["schedule"]["last_epoch"] += 1
    content["progress"]["batch"] += 1
    content["progress"]["rows"][0]["seconds"] += 1  # a clock's, which may differ
    save_checkpoint(pair[1].run, 99, content)
    named = set(selftest._differences(pair[0].folder, pair[1].folder))
    assert named == {"/optimizer/state/0/exp_avg", "/random/0/torch", "/schedule/last_epoch", "/progress/batch"}


def test_the_selftest_sees_another_cell_of_the_history(pair: tuple[Finished, Finished]) -> None:
    history = pair[1].history
    history.write_text(history.read_text().replace("train/loss", "train/losses"))
    assert list(selftest._differences(pair[0].folder, pair[1].folder)) == ["history.csv"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_for_real_at_random_moments_it_ends_in_the_same_bits(workers: int) -> None:
    kills = selftest.resume(ROOT, workers, 5, workers + 1)
    assert len({kill.step for kill in kills}) >= 5
    assert any(kill.writing for kill in kills)
    assert any(kill.batch > 0 for kill in kills)
