"""Signals to a real training process, and the times at which checkpoints are saved."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor, nn

from reprolens.config import Config
from reprolens.errors import ReprolensError, TrainingError
from reprolens.training import detection
from reprolens.training.checkpoint import load_checkpoint
from reprolens.training.detection import train_detector
from reprolens.training.interruption import noted_signals
from reprolens.voc import Folder

Compose = Callable[..., Config]
FORK = multiprocessing.get_context("fork")  # real processes, without the seconds that importing torch takes
LONG = ["trainer.max_epochs=1000", "trainer.channels_last=false", "trainer.checkpoint_minutes=60"]


def _measure(*arguments: Any) -> dict[str, float]:
    return {"map50": 0.0, "map": 0.0}


class Process:
    """A training in a process and a process group of its own."""

    def __init__(self, config: Config, data: Folder, initial: Path, folder: Path) -> None:
        self.config, self.data, self.initial, self.folder = config, data, initial, folder
        self.errors, self.batches = folder / "stderr.txt", folder / "batches"
        self.pause_at: int | None = None
        folder.mkdir(exist_ok=True)
        self.errors.write_text("")
        self.batches.write_bytes(b"")
        self.process = FORK.Process(target=self._train)

    def _train(self) -> None:
        os.setsid()
        sys.stderr = self.errors.open("w", buffering=1)  # a traceback is to go there too
        os.dup2(sys.stderr.fileno(), 2)
        torch.set_num_threads(1)
        detection.losses = self._losses  # this process ends with the test
        arguments = (self.config, self.data, self.initial, self.folder / "history.csv", _measure)
        try:
            train_detector(*arguments, self.folder / "checkpoints")
        except ReprolensError as error:  # as pipelines/stage.py does
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None

    def _losses(self, model: nn.Module, images: Tensor, targets: list[dict[str, Tensor]]) -> Mapping[str, Tensor]:
        with self.batches.open("ab") as file:
            file.write(b".")
        if self.taken() == self.pause_at:
            time.sleep(3)
        return model(images, targets)

    def taken(self) -> int:
        """Return how many batches were begun."""
        return self.batches.stat().st_size

    def wait_for(self, batches: int) -> None:
        limit = time.monotonic() + 60
        while self.taken() < batches:
            assert self.process.is_alive(), self.errors.read_text()
            assert time.monotonic() < limit
            time.sleep(0.005)

    def lines(self) -> list[str]:
        """Wait for the end, and return what the process said on stderr."""
        self.process.join(60)
        assert not self.process.is_alive()
        return self.errors.read_text().splitlines()

    def kill(self) -> None:
        if self.process.pid:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.join()


@pytest.fixture
def start(configure: Compose, digits: Folder, initial: Path, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Return a starter of trainings that go on for long, one after the other in the same folder."""
    started = []

    def run(*knobs: str, pause_at: int | None = None) -> Process:
        made = Process(configure(*LONG, *knobs), digits, initial, tmp_path / "run")
        made.pause_at = pause_at
        started.append(made)
        made.process.start()
        return made

    yield run
    for process in started:
        process.kill()


def _saved_step(process: Process) -> int:
    [marker] = process.folder.glob("checkpoints/*/fingerprint.json")
    content = load_checkpoint(marker.parent)
    assert content is not None
    return content["progress"]["step"]


@pytest.mark.parametrize(
    ("number", "workers", "group"),
    [
        (signal.SIGTERM, 0, False),
        pytest.param(signal.SIGINT, 0, False, marks=pytest.mark.slow),
        (signal.SIGINT, 2, True),  # Ctrl-C in a terminal
        (signal.SIGTERM, 2, True),  # what Slurm sends
    ],
)
def test_a_signal_ends_a_training_after_its_step_with_a_line_and_a_checkpoint_to_go_on_from(
    number: signal.Signals, workers: int, group: bool, start: Callable[..., Process]
) -> None:
    training = start(f"trainer.workers={workers}")
    training.wait_for(6)
    before = training.taken()
    (os.killpg if group else os.kill)(training.process.pid or 0, number)
    lines = training.lines()
    assert len(lines) == 1, lines
    [line] = lines
    step = _saved_step(training)
    assert line == f"error: stopped by {number.name} at step {step}; the same command goes on from there"
    assert training.process.exitcode == 2
    assert before <= step == training.taken() <= before + 2
    again = start(f"trainer.workers={workers}")
    again.wait_for(2)
    again.process.terminate()
    first, last = again.lines()
    assert first.startswith(f"train: goes on at step {step}, epoch ")
    assert f"at step {step + again.taken()};" in last


def test_a_second_ctrl_c_kills_at_once(start: Callable[..., Process]) -> None:
    training = start(pause_at=3)  # for three seconds
    training.wait_for(3)
    began = time.monotonic()
    os.kill(training.process.pid or 0, signal.SIGINT)
    time.sleep(0.3)
    assert training.process.is_alive()
    os.kill(training.process.pid or 0, signal.SIGINT)
    assert training.lines() == []
    assert training.process.exitcode == -signal.SIGINT
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("pause_at", [None, pytest.param(6, marks=pytest.mark.slow)])
def test_a_loader_process_that_is_killed_ends_the_training_in_one_line(
    pause_at: int | None, start: Callable[..., Process]
) -> None:
    training = start("trainer.workers=2", "trainer.checkpoint_steps=1", pause_at=pause_at)
    training.wait_for(6)
    worker = psutil.Process(training.process.pid).children()[0]
    worker.kill()  # as the system does when memory runs out; with a pause it is in the middle of a step
    lines = training.lines()
    assert len(lines) == 1, lines
    [line] = lines
    assert line.startswith("error: trainer.workers: a process that loads pictures died (")
    assert line.endswith("; try fewer")
    assert training.process.exitcode == 2
    assert 5 <= _saved_step(training) <= training.taken()


@pytest.mark.slow
def test_loader_processes_end_soon_after_a_killed_training_and_do_not_hold_it_up(
    start: Callable[..., Process],
) -> None:
    training = start("trainer.workers=2", "trainer.checkpoint_steps=1")
    training.wait_for(6)
    workers = psutil.Process(training.process.pid).children()
    training.process.kill()
    training.process.join()
    assert len(workers) == 2
    again = start("trainer.workers=2")  # at once
    again.wait_for(1)
    again.process.terminate()
    assert again.lines()[0].startswith("train: goes on at step")
    assert psutil.wait_procs(workers, timeout=15)[1] == []


def _steps_saved(folder: Path, *knobs: str, configure: Compose, digits: Folder, initial: Path) -> list[int]:
    """Return the steps at which a training of two epochs of four steps found a new checkpoint before the next step."""
    seen = dict[str, int]()

    def losses(model: nn.Module, images: Tensor, targets: list[dict[str, Tensor]]) -> Mapping[str, Tensor]:
        for path in sorted(folder.glob("*/step-*.pt")):
            seen.setdefault(path.name, int(path.name.split("-")[1]))
        return model(images, targets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection, "losses", losses)
        config = configure("trainer.channels_last=false", *knobs)
        train_detector(config, digits, initial, folder.with_suffix(".csv"), _measure, folder)
    return list(seen.values())


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        (["checkpoint_steps=3", "checkpoint_minutes=null"], [3, 6]),
        (["checkpoint_steps=null", "checkpoint_minutes=1e-9"], [1, 2, 3, 4, 4, 5, 6, 7]),
        (["checkpoint_steps=null", "checkpoint_minutes=null"], []),
    ],
)
def test_checkpoints_are_saved_after_so_many_steps_or_minutes(
    knobs: list[str], expected: list[int], tmp_path: Path, configure: Compose, digits: Folder, initial: Path
) -> None:
    folder = tmp_path / "checkpoints"
    saved = _steps_saved(
        folder, *(f"trainer.{knob}" for knob in knobs), configure=configure, digits=digits, initial=initial
    )
    assert saved == expected
    [run] = folder.glob("*/fingerprint.json")
    content = load_checkpoint(run.parent)
    assert content is not None
    assert content["progress"]["finished"]  # whatever was asked for, the end is kept


def test_signals_are_noted_once_and_handled_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with noted_signals() as interruption:
        assert interruption.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.received == "SIGTERM"
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_thread_that_cannot_take_signals_trains_without_them() -> None:
    seen = []

    def enter() -> None:
        with noted_signals() as interruption:
            seen.append(interruption.received)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [None]


def test_a_signal_while_validating_is_heeded_after_it(
    tmp_path: Path, configure: Compose, digits: Folder, initial: Path
) -> None:
    def measure(*arguments: Any) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {"map50": 0.0, "map": 0.5}

    config = configure("trainer.channels_last=false")
    with pytest.raises(TrainingError, match="at step 4"):
        train_detector(config, digits, initial, tmp_path / "history.csv", measure, tmp_path / "run")
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_loader_process_that_dies_while_validating_ends_the_training_in_one_line(
    tmp_path: Path, configure: Compose, digits: Folder, initial: Path
) -> None:
    def measure(model: nn.Module, batches: Any, classes: tuple[str, ...], gather: Any) -> dict[str, float]:
        iterator = iter(batches)
        for worker in psutil.Process().children():
            worker.kill()
        return {"map50": 0.0, "map": float(len(list(iterator)))}

    config = configure("trainer.channels_last=false", "trainer.workers=1", "trainer.max_steps=1")
    with pytest.raises(TrainingError, match=r"trainer\.workers: a process that loads pictures died"):
        train_detector(config, digits, initial, tmp_path / "history.csv", measure, tmp_path / "run")
