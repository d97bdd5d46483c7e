"""What training a detector sets from epoch to epoch."""

import csv
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from reprolens.config import Config
from reprolens.errors import StoppedError
from reprolens.training.detection import train_detector
from reprolens.training.loop import CLOCKED
from reprolens.voc import Folder

YOLOX = ("model=yolox_nano", "model.image_size=[64,64]", "augment.mosaic=1.0", "trainer.max_epochs=3")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: value for key, value in row.items() if key not in CLOCKED} for row in csv.DictReader(file)]


def _never(*rest: object) -> dict[str, float]:
    return {"map": 0.0}


@pytest.mark.parametrize(("mix_off", "epochs"), [(0.0, []), (0.34, [2, 3]), (1.0, [1, 2, 3])])
def test_yolox_has_its_l1_loss_in_the_epochs_without_mosaic(
    mix_off: float, epochs: list[int], configure: Callable[..., Config], digits: Folder, initial: Path, tmp_path: Path
) -> None:
    history = tmp_path / "history.csv"
    train_detector(configure(*YOLOX, f"augment.mix_off={mix_off}"), digits, initial, history, _never)
    rows = _rows(history)
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [int(row["epoch"]) for row in rows if row.get("train/l1")] == epochs
    for row in rows:
        terms = [float(row.get(f"train/{name}") or 0) for name in ("iou", "objectness", "classification", "l1")]
        assert sum(terms) == pytest.approx(float(row["train/loss"]), rel=1e-4)


def test_a_training_that_goes_on_with_the_epochs_without_mosaic_has_the_l1_loss_too(
    configure: Callable[..., Config], digits: Folder, initial: Path, tmp_path: Path
) -> None:
    config = configure(*YOLOX, "augment.mix_off=0.34")

    def stop(*rest: object) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {"map": 0.0}

    whole, resumed = tmp_path / "whole.csv", tmp_path / "resumed.csv"
    train_detector(config, digits, initial, whole, _never, tmp_path / "whole")
    with pytest.raises(StoppedError):
        train_detector(config, digits, initial, resumed, stop, tmp_path / "resumed")
    assert len(_rows(resumed)) == 1
    assert "train/l1" not in _rows(resumed)[0]
    train_detector(config, digits, initial, resumed, _never, tmp_path / "resumed")
    assert _rows(resumed) == _rows(whole)
    assert [bool(row["train/l1"]) for row in _rows(resumed)] == [False, True, True]
