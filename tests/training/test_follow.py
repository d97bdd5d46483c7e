"""Laws of whoever follows a training: told of every epoch once its row is written, and of the end in every case."""

import csv
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reprolens.config import Config
from reprolens.errors import StoppedError, TrainingError
from reprolens.training.detection import Trained, train_detector
from reprolens.voc import Folder

Compose = Callable[..., Config]


def measure(*arguments: Any) -> dict[str, float]:
    return {"map50": 0.5, "map": 0.5}


@dataclass
class Follower:
    """Keeps what it is told: the fingerprint, the epochs in history.csv at each call, and how each training ended."""

    history: Path
    begun: list[str] = field(default_factory=list)
    seen: list[list[int]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    call: Callable[[], None] = lambda: None

    @contextmanager
    def __call__(self, fingerprint: str) -> Iterator[Callable[[], None]]:
        self.begun.append(fingerprint)
        try:
            yield self.epoch_over
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        self.ended.append("finished")

    def epoch_over(self) -> None:
        with self.history.open(newline="", encoding="utf-8") as file:
            self.seen.append([int(row["epoch"]) for row in csv.DictReader(file)])
        self.call()


@pytest.fixture
def follower(tmp_path: Path) -> Follower:
    return Follower(tmp_path / "history.csv")


@pytest.fixture
def train(digits: Folder, initial: Path, tmp_path: Path, follower: Follower) -> Callable[..., Trained]:
    """Return a training that is followed, with checkpoints in one folder."""

    def run(config: Config) -> Trained:
        return train_detector(config, digits, initial, follower.history, measure, tmp_path / "checkpoints", follower)

    return run


def test_every_epoch_is_told_of_once_with_its_row_in_the_history(
    train: Callable[..., Trained], follower: Follower, configure: Compose
) -> None:
    trained = train(configure("trainer.max_epochs=3"))
    assert follower.seen == [[1], [1, 2], [1, 2, 3]]
    assert follower.ended == ["finished"]
    assert trained.checkpoints is not None
    assert follower.begun == [trained.report["fingerprint"]] == [trained.checkpoints.name]


def test_another_sitting_has_the_same_fingerprint_and_tells_of_its_own_epochs(
    train: Callable[..., Trained], follower: Follower, configure: Compose
) -> None:
    config = configure("trainer.max_epochs=3")
    follower.call = lambda: signal.raise_signal(signal.SIGTERM)
    with pytest.raises(StoppedError):
        train(config)
    follower.call = lambda: None
    train(config)
    assert follower.begun[0] == follower.begun[1]
    assert follower.seen == [[1], [1, 2], [1, 2, 3]]
    assert follower.ended == ["StoppedError", "finished"]


def test_a_finished_training_that_is_asked_for_again_tells_of_no_epoch(
    train: Callable[..., Trained], follower: Follower, configure: Compose
) -> None:
    first = train(configure())
    again = train(configure())
    assert len(follower.seen) == 2 and follower.begun[0] == follower.begun[1]
    assert again.report["fingerprint"] == first.report["fingerprint"]


def test_a_failure_is_told_as_the_error_that_it_is(
    train: Callable[..., Trained], follower: Follower, configure: Compose
) -> None:
    hopeless = ["optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip=0", "schedule.warmup_epochs=0"]
    with pytest.raises(TrainingError, match="not finite"):
        train(configure(*hopeless))
    assert (follower.seen, follower.ended) == ([], ["TrainingError"])


def test_another_configuration_is_another_fingerprint(
    train: Callable[..., Trained], follower: Follower, configure: Compose
) -> None:
    train(configure("trainer.max_epochs=1"))
    train(configure("trainer.max_epochs=1", "seed=2"))
    assert follower.begun[0] != follower.begun[1]


def test_a_fresh_training_removes_the_history_of_an_earlier_one(
    train: Callable[..., Trained], follower: Follower, configure: Compose
) -> None:
    follower.history.write_text("epoch,global_step\n1,1\n2,2\n3,3\n")
    hopeless = ["optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip=0", "schedule.warmup_epochs=0"]
    with pytest.raises(TrainingError, match="not finite"):
        train(configure(*hopeless))  # in its first epoch
    assert not follower.history.exists()


def test_without_checkpoints_nobody_follows_and_there_is_no_fingerprint(
    digits: Folder, initial: Path, follower: Follower, configure: Compose
) -> None:
    config = configure("trainer.max_epochs=1")
    trained = train_detector(config, digits, initial, follower.history, measure, None, follower)
    assert follower.begun == [] and "fingerprint" not in trained.report
