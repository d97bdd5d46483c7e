"""`reprolens selftest resume`: on this machine, does a training that is killed end in the bits of one that is not?

A small detector is trained on scenes of digits, with mosaic, mixup and multi-scale on, once in peace and once killed
(SIGKILL) again and again at random moments, one of them while a checkpoint is being written. Then weights, moving
average, optimizer, generators and history are compared bit by bit.
"""

import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprolens.config.compose import compose
from reprolens.errors import TrainingError

PARAMS = """\
defaults: [data: digits, model: fcos_mobilenet_v2, pretrain: random, transfer: full, augment: mosaic, optimizer: adamw,
  schedule: cosine, trainer: default, evaluate: default, export: onnx, tracking: disabled, sweep: default, _self_]
seed: 1
data: {path: '%s', image_size: 96, train: 40, val: 4, test: 1, max_digits: 3, max_size: 40}
model: {image_size: [96, 96]}
augment: {multi_scale: [0.67, 1.34], mix_off: 0.25}
trainer: {max_epochs: 4, batch_size: 4, device: cpu, threads: 1, checkpoint_steps: 2, workers: %d}
"""
STEPS = 40


@dataclass(frozen=True)
class Kill:
    """One kill: the step, epoch and batch that the last checkpoint knew of, and whether one was just being written."""

    step: int
    epoch: int
    batch: int
    writing: bool


def resume(root: Path, workers: int, kills: int, seed: int) -> list[Kill]:
    """Return the kills that a training with `workers` loader processes survived.

    `root` is the repository. Raises TrainingError if anything differs in the end, or a training fails of itself.
    """
    with tempfile.TemporaryDirectory(prefix="reprolens-selftest-") as name:
        folder = Path(name)
        (folder / "conf").symlink_to((root / "conf").resolve())
        (folder / "params.yaml").write_text(PARAMS % ((root / "data/digits").resolve(), workers), encoding="utf-8")
        _prepare(folder)
        _finish(folder, "peace")
        draws = random.Random(seed)
        steps = sorted(draws.sample(range(1, STEPS - 4), kills))
        writing = draws.randrange(kills)
        done = []
        for number, step in enumerate(steps):
            done.append(_kill(folder, step, number == writing, draws))
            while number == writing and not done[-1].writing and done[-1].step < STEPS - 6:
                done.append(_kill(folder, done[-1].step, True, draws))  # the checkpoint was whole before it was killed
        _finish(folder, "killed")
        if differing := list(_differences(folder / "peace", folder / "killed")):
            raise TrainingError(f"after {len(done)} kills these differ: {', '.join(differing[:5])}")
        return done


def _prepare(folder: Path) -> None:
    from reprolens.convert import convert
    from reprolens.models.weights import random_weights, save_starting_weights

    config = compose(folder)
    convert(config.data, config.seed, folder / "voc")
    save_starting_weights(folder / "initial.pt", random_weights())


@contextmanager
def _training(folder: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    """Start, or go on with, the training of that name; it is killed when the block ends."""
    command = [sys.executable, "-m", "reprolens.selftest", str(folder), name]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its loader processes too


def _finish(folder: Path, name: str) -> None:
    with _training(folder, name) as process:
        _, errors = process.communicate()
        if process.returncode != 0:
            raise TrainingError(f"a training ended with status {process.returncode}: {errors.strip()[-500:]}")


def _kill(folder: Path, step: int, writing: bool, draws: random.Random) -> Kill:
    """Kill the training once its checkpoints are past `step`: a little later, or while the next one is written."""
    checkpoints = folder / "killed"
    checkpoints.mkdir(exist_ok=True)
    with _training(folder, "killed") as process:
        while not _torn(checkpoints) if writing and _last_step(checkpoints) >= step else _last_step(checkpoints) < step:
            if process.poll() is not None:
                raise TrainingError(f"a training ended too early: {(process.stderr or sys.stdin).read()[-500:]}")
            time.sleep(0.0005)
        if not writing:
            time.sleep(draws.uniform(0, 0.3))
    torn = _torn(checkpoints)
    progress = _content(checkpoints)["progress"]
    return Kill(progress["step"], progress["epoch"], progress["batch"], torn)


def _torn(checkpoints: Path) -> bool:
    return any(checkpoints.glob("*/.step-*.tmp"))


def _last_step(checkpoints: Path) -> int:
    return max((int(path.name.split("-")[1]) for path in checkpoints.glob("*/step-*.pt")), default=-1)


def _content(checkpoints: Path) -> dict[str, Any]:
    """Return the newest checkpoint of the one run in a folder."""
    from reprolens.training.checkpoint import load_checkpoint

    runs = [marker.parent for marker in checkpoints.glob("*/fingerprint.json")]
    content = load_checkpoint(runs[0]) if len(runs) == 1 else None
    if content is None:
        reason = "no whole checkpoint is left" if len(runs) == 1 else "the sources were changed meanwhile"
        raise TrainingError(f"{checkpoints}: {reason}")
    return content


def _differences(first: Path, second: Path) -> Iterator[str]:
    """Yield the names of all that is not the same in two runs' last checkpoints and histories, bit by bit."""
    from reprolens.training.loop import CLOCKED

    yield from _unequal("", _content(first), _content(second), (*CLOCKED, "waited"))
    histories = []
    for folder in (first, second):
        with folder.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
            histories.append([{k: v for k, v in row.items() if k not in CLOCKED} for row in csv.DictReader(file)])
    if histories[0] != histories[1]:
        yield "history.csv"


def _unequal(name: str, first: Any, second: Any, clocked: tuple[str, ...]) -> Iterator[str]:
    from torch import Tensor

    if isinstance(first, dict):
        for key in first.keys() | second.keys():
            if key not in clocked and key != "measured":
                yield from _unequal(f"{name}/{key}", first.get(key), second.get(key), clocked)
    elif isinstance(first, list | tuple):
        if len(first) != len(second):
            yield name
        for number, pair in enumerate(zip(first, second, strict=False)):
            yield from _unequal(f"{name}/{number}", *pair, clocked)
    elif isinstance(first, Tensor):
        same_shape = isinstance(second, Tensor) and first.dtype == second.dtype and first.shape == second.shape
        if not same_shape or first.numpy().tobytes() != second.numpy().tobytes():
            yield name
    elif first != second:
        yield name


def _train(folder: Path, name: str) -> None:
    """Train in this process; the parent kills it."""
    from reprolens.evaluation.predict import validation_metrics
    from reprolens.training.detection import train_detector
    from reprolens.voc import read_folder

    initial, history = folder / "initial.pt", folder / f"{name}.csv"
    train_detector(compose(folder), read_folder(folder / "voc"), initial, history, validation_metrics, folder / name)


if __name__ == "__main__":
    os.environ.setdefault("GOMP_SPINCOUNT", "6000")
    _train(Path(sys.argv[1]), sys.argv[2])
