"""A training that is stopped, in whatever way and place, and called again ends in the bits of one that is not."""

import csv
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reprolens import selftest
from reprolens.config import Config
from reprolens.errors import TrainingError
from reprolens.evaluation.predict import validation_metrics
from reprolens.models import build
from reprolens.models.weights import StartingWeights, save_starting_weights
from reprolens.training import detection
from reprolens.training.checkpoint import load_checkpoint
from reprolens.training.detection import Trained, train_detector
from reprolens.training.loop import CLOCKED
from reprolens.voc import Folder, read_folder

Compose = Callable[..., Config]


class PowerCutError(Exception):
    """Ends a training at once, without any of its own endings."""


def _measure(model: nn.Module, batches: Iterable[Any], classes: tuple[str, ...], gather: Any) -> dict[str, float]:
    """Say how good a model is by a number that its every bit decides."""
    total = sum(float(value.double().sum()) for value in model.state_dict().values())
    return {"map50": total, "map": total % 1}


class Training:
    """A training of one configuration in a folder of its own, which can be told to stop at a place and be called again.

    Its loss draws from the global generators, as some models' own do. `steps` counts the batches of all calls.
    """

    def __init__(self, config: Config, data: Folder, initial: Path, folder: Path, measure: Any = _measure) -> None:
        self.config, self.data, self.initial, self.folder, self.measure = config, data, initial, folder, measure
        self.history = folder.with_suffix(".csv")
        self.steps = 0

    def call(self, stop: Callable[[], None] | None = None, at: int = 0, validating: bool = False) -> Trained:
        """Train, or go on; call `stop` while taking batch number `at` of this call, or validating epoch `at` of it."""
        seen = {"batches": 0, "epochs": 0}

        def note(place: str) -> None:
            seen[place] += 1
            if stop and place == ("epochs" if validating else "batches") and seen[place] == at:
                stop()

        def losses(model: nn.Module, images: Tensor, targets: list[dict[str, Tensor]]) -> Mapping[str, Tensor]:
            note("batches")
            drawn = float(torch.rand(())) + random.random() + float(np.random.rand())  # of every global generator
            return model(images + drawn / 100, targets)

        def measure(*arguments: Any) -> Mapping[str, float]:
            note("epochs")
            return self.measure(*arguments)

        torch.manual_seed(torch.seed())  # what happened before must not matter
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(detection, "losses", losses)
            try:
                return train_detector(self.config, self.data, self.initial, self.history, measure, self.folder)
            finally:
                self.steps += seen["batches"]

    @property
    def run(self) -> Path:
        [marker] = self.folder.glob("*/fingerprint.json")
        return marker.parent

    def content(self) -> dict[str, Any]:
        content = load_checkpoint(self.run)
        assert content is not None
        return content

    def rows(self) -> list[dict[str, str]]:
        with self.history.open(newline="", encoding="utf-8") as file:
            return [{k: v for k, v in row.items() if k not in CLOCKED} for row in csv.DictReader(file)]


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _cut() -> None:
    raise PowerCutError


def _same(first: Training, second: Training) -> None:
    assert list(selftest._differences(first.folder, second.folder)) == []
    assert first.rows() == second.rows()


@pytest.fixture(scope="module")
def compose(configure: Compose) -> Compose:
    """Leave nothing to be measured: two trainings might choose another arithmetic."""
    return lambda *knobs: configure("trainer.channels_last=false", *knobs)


@pytest.fixture
def training(digits: Folder, initial: Path, tmp_path: Path) -> Callable[..., Training]:
    return lambda config, name, **more: Training(config, digits, more.pop("initial", initial), tmp_path / name, **more)


CASES = {
    "adamw, cosine": [],
    "sgd, steps, no average": ["optimizer=sgd", "optimizer.lr=1e-3", "schedule=step", "trainer.ema_decay=0"],
    "one cycle, two batches a step, channels last": [
        *("schedule=one_cycle", "~schedule.warmup_epochs", "trainer.accumulate=2", "trainer.max_epochs=4"),
        "trainer.channels_last=true",
    ],
    "early stopping": ["trainer.max_epochs=5", "trainer.patience=1", "schedule=constant"],
    "an end in mid-epoch, the last kept": ["trainer.max_steps=7", "trainer.keep=last"],
    "mosaic, multi-scale, no cache": [
        *("augment=mosaic", "augment.multi_scale=[0.5,1.5]", "augment.mix_off=0.5", "trainer.cache=none")
    ],
    "bf16, seldom validated": ["trainer.precision=bf16", "trainer.max_epochs=3", "trainer.evaluate_every=2"],
}

QUICK = ("adamw, cosine", "sgd, steps, no average", "mosaic, multi-scale, no cache")
MARKS = {name: pytest.mark.slow for name in CASES if name not in QUICK}


@pytest.mark.parametrize("knobs", [pytest.param(CASES[name], id=name, marks=MARKS.get(name, ())) for name in CASES])
def test_stopped_and_cut_off_it_ends_in_the_same_bits(
    knobs: list[str], training: Callable[..., Training], compose: Compose
) -> None:
    config = compose(*knobs)
    peace, stopped = training(config, "peace"), training(config, "stopped")
    peace.call()
    stopped.config = replace(config, trainer=replace(config.trainer, checkpoint_steps=2))
    with pytest.raises(TrainingError, match="stopped by SIGTERM at step 1"):
        stopped.call(_terminate, at=1)
    with pytest.raises(PowerCutError):  # what came after the checkpoint at step 3 is lost, and made good
        stopped.call(_cut, at=4 * config.trainer.accumulate)
    with pytest.raises(TrainingError, match="stopped by SIGINT at step"):
        stopped.call(_interrupt, at=1, validating=True)
    stopped.call()
    _same(peace, stopped)


@pytest.mark.slow
def test_a_model_that_draws_from_the_global_generator_goes_on_with_the_same_draws(
    training: Callable[..., Training], compose: Compose
) -> None:
    config = compose("model=fasterrcnn_mobilenet_v3_large_fpn", "trainer.max_steps=2", "trainer.batch_size=2")
    peace, stopped = training(config, "peace"), training(config, "stopped")
    peace.call()
    with pytest.raises(TrainingError, match="at step 1"):
        stopped.call(_terminate, at=1)
    stopped.call()
    _same(peace, stopped)


def test_gradual_unfreezing_goes_on_where_it_was(
    training: Callable[..., Training], compose: Compose, digits: Folder, tmp_path: Path
) -> None:
    knobs = ["transfer=last_layers", "transfer.trainable_stages=0", "transfer.unfreeze_every=1", "trainer.max_epochs=3"]
    config = compose(*knobs)
    weights = StartingWeights(build(config.model, len(digits.classes)).state_dict(), (), {})
    save_starting_weights(tmp_path / "initial.pt", weights)
    peace, stopped = (training(config, name, initial=tmp_path / "initial.pt") for name in ("peace", "stopped"))
    peace.call()
    for at in (1, 5):  # the fifth step of a call is in the next epoch
        with pytest.raises(TrainingError, match="stopped by SIGTERM"):
            stopped.call(_terminate, at=at)
    stopped.call()
    _same(peace, stopped)


def test_the_loader_may_have_other_workers_and_another_cache_than_before(
    training: Callable[..., Training], compose: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose("augment=mosaic", "trainer.max_epochs=1")
    peace, stopped = (training(config, name, measure=validation_metrics) for name in ("peace", "stopped"))
    peace.call()
    with pytest.raises(TrainingError):
        stopped.call(_terminate, at=1)
    stopped.config = compose("augment=mosaic", "trainer.max_epochs=1", "trainer.workers=2", "trainer.cache=none")
    with pytest.raises(TrainingError):
        stopped.call(_terminate, at=2)
    stopped.config = config
    stopped.call()
    _same(peace, stopped)
    assert "starts fresh" not in capsys.readouterr().err


def test_a_stop_loses_no_step_and_says_where_it_goes_on(
    training: Callable[..., Training], compose: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    run = training(compose(), "run")
    with pytest.raises(TrainingError) as caught:
        run.call(_terminate, at=6)
    assert str(caught.value) == "stopped by SIGTERM at step 6; the same command goes on from there"
    run.call()
    assert run.steps == 8
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train: ")]
    assert line == "train: goes on at step 6, epoch 2"


def test_without_a_folder_a_stop_says_that_nothing_was_kept(
    digits: Folder, initial: Path, tmp_path: Path, compose: Compose
) -> None:
    def stop(*arguments: Any) -> dict[str, float]:
        _terminate()
        return {"map50": 0.0, "map": 0.0}

    with pytest.raises(TrainingError, match=r"stopped by SIGTERM at step 4; nothing was kept$"):
        train_detector(compose(), digits, initial, tmp_path / "history.csv", stop)


def test_a_finished_training_whose_results_were_not_written_gives_them_again_without_a_step(
    training: Callable[..., Training], compose: Compose
) -> None:
    run = training(compose(), "run")
    first = run.call()
    rows, steps = run.rows(), run.steps
    run.history.unlink()  # as DVC does before it runs a stage
    again = run.call()
    assert run.steps == steps
    assert run.rows() == rows
    assert again.state.keys() == first.state.keys()
    assert all(torch.equal(again.state[name], value) for name, value in first.state.items())
    assert again.report == first.report


def test_the_history_is_written_again_before_the_next_epoch_ends(
    training: Callable[..., Training], compose: Compose
) -> None:
    run = training(compose(), "run")
    with pytest.raises(TrainingError):
        run.call(_terminate, at=5)
    rows = run.rows()
    run.history.unlink()
    with pytest.raises(PowerCutError):
        run.call(_cut, at=1)
    assert run.rows() == rows
    assert len(rows) == 1


def _other_data(run: Training, compose: Compose) -> None:
    root = run.folder.with_name("voc")
    shutil.copytree(run.data.root, root)
    names = (root / "ImageSets" / "Main" / "val.txt").read_text().splitlines()
    (root / "ImageSets" / "Main" / "val.txt").write_text("\n".join(names[1:]) + "\n")
    run.data = read_folder(root)


def _other_weights(run: Training, compose: Compose) -> None:
    run.initial = run.folder.with_name("other.pt")
    save_starting_weights(run.initial, StartingWeights({"backbone.unknown": torch.zeros(1)}, (), {}))


def _other(*knobs: str) -> Callable[[Training, Compose], None]:
    def change(run: Training, compose: Compose) -> None:
        run.config = compose("trainer.max_epochs=1", *knobs)

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_other("seed=2"), "seed"),
        (_other("optimizer=sgd", "optimizer.lr=1e-3"), "optimizer"),
        (_other("augment=none"), "augment"),
        (_other_weights, "weights"),
        (_other_data, "data"),
    ],
    ids=["seed", "optimizer", "augment", "weights", "data"],
)
def test_another_run_starts_fresh_and_says_what_differs(
    change: Any, named: str, training: Callable[..., Training], compose: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    run = training(compose("trainer.max_epochs=1"), "run")
    with pytest.raises(TrainingError):
        run.call(_terminate, at=3)
    interrupted = run.run
    change(run, compose)
    run.steps = 0
    with pytest.raises(PowerCutError):
        run.call(_cut, at=4)
    assert run.steps == 4  # all four of its own epoch
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train: ")]
    assert line == f"train: starts fresh: the unfinished run {interrupted} differs in {named}"


def test_a_damaged_newest_checkpoint_costs_steps_but_no_bit(
    training: Callable[..., Training], compose: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose("trainer.checkpoint_steps=2", "trainer.max_epochs=1")
    peace, stopped = training(config, "peace"), training(config, "stopped")
    peace.call()
    with pytest.raises(TrainingError):
        stopped.call(_terminate, at=3)
    newest = max(stopped.run.glob("step-*.pt"))
    os.truncate(newest, 1000)
    os.utime(newest)
    stopped.call()
    assert stopped.steps == 3 + 2
    assert f"{newest}: damaged" in capsys.readouterr().err
    _same(peace, stopped)


@contextmanager
def _full_disk() -> Iterator[None]:
    """Let the system refuse large files of this process: checkpoints do not fit, the history does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_does_not_stop_a_training_and_the_checkpoint_before_is_gone_on_with(
    training: Callable[..., Training], compose: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose("trainer.checkpoint_steps=1", "trainer.max_epochs=1", "trainer.cache=none")
    peace, stopped = training(config, "peace"), training(config, "stopped")
    expected = peace.call()
    with pytest.raises(TrainingError):
        stopped.call(_terminate, at=1)
    with _full_disk(), pytest.raises(PowerCutError):
        stopped.call(_cut, at=3)
    assert capsys.readouterr().err.count("training goes on") == 2
    assert stopped.content()["progress"]["step"] == 1
    with _full_disk():
        full = stopped.call()
    assert all(torch.equal(full.state[name], value) for name, value in expected.state.items())
    stopped.call()
    _same(peace, stopped)


def test_a_disk_without_room_for_the_history_stops_a_training_only_at_its_end(
    training: Callable[..., Training], compose: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    run = training(compose("trainer.cache=none"), "run")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))

    try:
        with pytest.raises(OSError, match="File too large"):
            run.call(fill, at=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert run.steps == 8
    assert capsys.readouterr().err.count(f"warning: {run.history}: not written (") == 2
    run.call()
    assert len(run.rows()) == 2
