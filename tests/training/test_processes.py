"""Two processes of one training (DDP over gloo on the CPU): one result, in the same bits after an interruption."""

import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

from reprolens import selftest
from reprolens.config import Config
from reprolens.config.compose import to_yaml
from reprolens.errors import ReprolensError
from reprolens.training.detection import train_detector
from reprolens.training.processes import place
from reprolens.voc import Folder

Compose = Callable[..., Config]
FORK = multiprocessing.get_context("fork")  # real processes, without the seconds that importing torch takes
KNOBS = ["trainer.processes=2", "trainer.channels_last=false", "trainer.checkpoint_steps=1", "trainer.batch_size=2"]


def _measure(model: nn.Module, batches: Iterable[Any], classes: tuple[str, ...], gather: Any) -> dict[str, float]:
    """Say how many pictures all saw together, and a number that every bit of every process's model decides."""
    seen = gather([record.id for _, records in batches for record in records])
    assert len(set(seen)) == len(seen)
    total = sum(float(value.double().sum()) for value in model.state_dict().values())
    return {"map50": float(len(seen)), "map": sum(gather([total])) % 1}


class Pair:
    """Two processes that train together in a folder, as torchrun starts them."""

    def __init__(self, config: Config, data: Folder, initial: Path, folder: Path) -> None:
        self.config, self.data, self.initial, self.folder = config, data, initial, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        folder.mkdir(exist_ok=True)
        self.errors = folder.with_suffix(".err")
        self.errors.write_text("")
        self.processes = [FORK.Process(target=self._train, args=(rank,)) for rank in range(2)]
        for process in self.processes:
            process.start()

    def _train(self, rank: int) -> None:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(self.port)}
        sys.stderr = self.errors.open("a", buffering=1)
        os.dup2(sys.stderr.fileno(), 2)
        torch.set_num_threads(1)
        AcceleratorState._reset_state(reset_partial_state=True)  # the forked test process may have trained alone
        history = self.folder.with_suffix(".csv")
        try:
            trained = train_detector(self.config, self.data, self.initial, history, _measure, self.folder)
        except ReprolensError as error:  # as pipelines/stage.py does
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        torch.save((trained.state, trained.report), self.folder.with_name(f"{self.folder.name}-{rank}.pt"))

    def wait_for(self, step: int) -> None:
        """Wait until a checkpoint of at least this step lies there."""
        limit = time.monotonic() + 120
        while selftest._last_step(self.folder) < step:
            assert all(process.is_alive() for process in self.processes), self.errors.read_text()
            assert time.monotonic() < limit
            time.sleep(0.001)

    def join(self) -> list[int | None]:
        """Wait for the end, and return the exit statuses."""
        for process in self.processes:
            process.join(120)
        return [process.exitcode for process in self.processes]

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
        self.join()


@pytest.fixture
def start(digits: Folder, initial: Path, tmp_path: Path) -> Iterator[Callable[[Config, str], Pair]]:
    started = []

    def run(config: Config, name: str) -> Pair:
        started.append(Pair(config, digits, initial, tmp_path / name))
        return started[-1]

    yield run
    for pair in started:
        with suppress(ProcessLookupError):
            pair.kill()


def _result(pair: Pair, rank: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return torch.load(pair.folder.with_name(f"{pair.folder.name}-{rank}.pt"), weights_only=False)


def _together(pair: Pair, rank: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    assert pair.join() == [0, 0], pair.errors.read_text()
    return _result(pair, rank)


@pytest.mark.slow
def test_both_train_on_their_share_and_end_in_one_result(start: Callable[..., Pair], configure: Compose) -> None:
    pair = start(configure(*KNOBS, "trainer.max_epochs=3"), "run")
    (state, report), (other, _) = _together(pair), _together(pair, rank=1)
    assert (report["processes"], report["steps"], report["epochs"]) == (2, 12, 3)
    assert report["val/map50"] == 4  # pictures of the val split, each seen once
    assert all(bool(value.isfinite().all()) for value in state.values())
    assert all(torch.equal(value, other[name]) for name, value in state.items())
    assert len(pair.folder.with_suffix(".csv").read_text().splitlines()) == 4
    assert pair.errors.read_text() == ""


@pytest.mark.slow
@pytest.mark.parametrize("knobs", [[], ["trainer.ema_decay=0", "trainer.accumulate=2"]])
def test_both_killed_and_started_again_end_in_the_same_bits(
    knobs: list[str], start: Callable[..., Pair], configure: Compose
) -> None:
    config = configure(*KNOBS, "trainer.max_epochs=3", *knobs)
    _together(start(config, "peace"))
    for step in (1, 3, 5):
        pair = start(config, "killed")
        pair.wait_for(step)
        pair.kill()
    killed = start(config, "killed")
    _together(killed)
    assert "goes on at step" in killed.errors.read_text()
    assert list(selftest._differences(killed.folder.with_name("peace"), killed.folder)) == []


@pytest.mark.slow
def test_a_signal_to_one_of_them_stops_both_after_the_same_step(start: Callable[..., Pair], configure: Compose) -> None:
    config = configure(*KNOBS, "trainer.max_epochs=1000")
    pair = start(config, "run")
    pair.wait_for(3)
    os.kill(pair.processes[1].pid or 0, signal.SIGTERM)
    assert pair.join() == [2, 2]
    [line] = pair.errors.read_text().splitlines()
    step = selftest._last_step(pair.folder)
    stopped = "error: stopped by a signal to another process at step"
    assert line == f"{stopped} {step}; the same command goes on from there"
    again = start(config, "run")
    again.wait_for(step + 2)
    [line] = again.errors.read_text().splitlines()
    assert line.startswith(f"train: goes on at step {step},")


def test_a_process_alone_is_the_first_of_one() -> None:
    assert place() == (0, 1)


class Stage:
    """A copy of the repository in which the train stage is run as DVC runs it."""

    def __init__(self, root: Path, data: Folder, initial: Path) -> None:
        self.root = root
        shutil.copytree(data.root, root / "data" / "voc")
        (root / "weights").mkdir(exist_ok=True)
        shutil.copy(initial, root / "weights" / "initial.pt")

    def start(self, config: Config) -> subprocess.Popen[str]:
        (self.root / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        command = [sys.executable, "-m", "pipelines.train"]
        environment = {**os.environ, "PYTHONPATH": "src"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=self.root, env=environment, text=True, **pipes)  # type: ignore[call-overload, no-any-return]

    def step(self) -> int:
        return selftest._last_step(self.root / ".checkpoints")


@pytest.fixture
def stage(repository: Path, digits: Folder, initial: Path) -> Stage:
    return Stage(repository, digits, initial)


@pytest.mark.slow
def test_the_stage_starts_both_stops_them_on_a_signal_and_goes_on(stage: Stage, configure: Compose) -> None:
    stop, go_on = configure(*KNOBS, "trainer.max_steps=3000", "trainer.max_epochs=3000"), configure(*KNOBS)
    with stage.start(stop) as process:
        while stage.step() < 2 and process.poll() is None:
            time.sleep(0.01)
        process.terminate()
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (2, ""), errors
    step = stage.step()
    lines = errors.splitlines()
    assert len(lines) == 1, errors
    assert lines[0] == f"error: stopped by SIGTERM at step {step}; the same command goes on from there"
    with stage.start(go_on) as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    [line] = output.splitlines()
    assert line.startswith("train: epoch ")


@pytest.mark.slow
def test_a_loss_that_is_not_finite_in_a_process_ends_the_stage_without_a_traceback(
    stage: Stage, configure: Compose
) -> None:
    sgd = ["optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip=0", "schedule.warmup_epochs=0"]
    with stage.start(configure(*KNOBS, *sgd)) as process:
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (2, "")
    assert "Traceback" not in errors
    assert errors.count("the loss is not finite at step 2") >= 1
    assert all(line.startswith("error: ") for line in errors.splitlines())
