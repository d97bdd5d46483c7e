"""The process that runs DVC in a trial's workspace, seen from the trial that starts it, waits for it and stops it.

The program itself is reprolens.sweeps.reproduce. It is not imported here, because that would import DVC.
"""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reprolens.errors import ReprolensError
from reprolens.sweeps.workspace import dvc_environment

PROGRAM = "reprolens.sweeps.reproduce"
LOG = "dvc.log"
DONE = Path(".dvc/tmp/stages.json")
"""What was brought up to date in a workspace, written after every stage."""

RUNNING = Path(".dvc/tmp/reproduce.lock")
"""Held by the process for its whole life, which may be longer than that of the trial that started it."""

STOPPED = 128 + signal.SIGTERM
"""Its exit status after SIGTERM: the trial has not failed, the next start goes on with it."""

TAIL = 15
"""Lines of a failed trial's log that its record keeps."""

POLL = 0.5
"""Seconds between two looks at a running trial."""

GRACE = 60.0
"""Seconds that a training has to write a checkpoint when its trial is stopped."""


@dataclass(frozen=True)
class Order:
    """What is to be reproduced: the stages with their keys, in order.

    `results` is the folder where locks lie, and what each key cost. `cores` are the CPUs that may be used, None: all.
    """

    keys: dict[str, str]
    results: str
    parent: int
    cores: list[int] | None = None


class ReproductionError(ReprolensError):
    """A trial failed. `killed`: a process of it was, from outside, which says nothing about the trial."""

    def __init__(self, line: str, killed: bool = False) -> None:
        super().__init__(line)
        self.killed = killed


def reproduce(folder: Path, order: Order, environment: Mapping[str, str], watch: Callable[[Path], bool] | None) -> bool:
    """Run DVC in a workspace; return False when all is up to date, True when `watch` said to stop.

    Raises ReproductionError if a stage fails, KeyboardInterrupt if the process was told to stop by somebody else.
    """
    with (folder / LOG).open("ab") as log:
        start = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", PROGRAM],
            cwd=folder,
            env=dvc_environment(folder) | dict(environment),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,  # so that all of it can be stopped, and a Ctrl-C at the terminal is passed on by us alone
        )
        try:
            assert process.stdin is not None
            with suppress(BrokenPipeError), process.stdin as stdin:
                stdin.write(json.dumps(asdict(order)).encode())
            status = _waited(process, folder, watch)
        except BaseException:
            _stop(process)
            raise
    if status == STOPPED:
        raise KeyboardInterrupt
    if status:
        with (folder / LOG).open("rb") as log:
            log.seek(start)
            raise _failure(log.read().decode(errors="replace"), status)
    return status is None


def last_lines(folder: Path) -> tuple[str, ...]:
    """Return the end of a workspace's log."""
    with suppress(FileNotFoundError):
        return tuple((folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:])
    return ()


def stages_done(folder: Path) -> dict[str, Any]:
    """Return what is up to date in a workspace: of each stage its seconds, and whether it was executed."""
    with suppress(FileNotFoundError):
        return dict(json.loads((folder / DONE).read_text(encoding="utf-8")))
    return {}


def is_joblib_worker() -> bool:
    """Return whether this process is one of joblib's, which outlive their tasks."""
    return multiprocessing.current_process().name.startswith("LokyProcess")


@contextmanager
def sigterm_raised() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, so that a trial is stopped in good order; a launcher's own treatment is kept."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except SystemExit as error:
        if is_joblib_worker():
            os._exit(int(str(error)))  # joblib would catch it, and keep the worker
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _waited(process: subprocess.Popen[bytes], folder: Path, watch: Callable[[Path], bool] | None) -> int | None:
    """Return the exit status; None where `watch` had the process stopped."""
    while True:
        try:
            return process.wait(POLL)
        except subprocess.TimeoutExpired:
            if watch and watch(folder):
                _stop(process)
                return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let the stage that runs end, which saves a training's state, and kill what is left after the time of grace."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _failure(text: str, status: int) -> ReproductionError:
    """Return the error of a log: the line in which a stage says it, else DVC's, else the last one."""
    lines = [line for line in text.splitlines() if line.strip()]
    if status < 0 or re.search(r"exited with (-9|137)$", text.strip()):
        line = "a process of the trial was killed (out of memory?); the next start goes on with it"
        return ReproductionError(line, killed=True)
    said = [line for line in lines if line.startswith("error: ")] or [line for line in lines if "ERROR: " in line]
    return ReproductionError((said or lines or ["no output"])[-1].removeprefix("error: ").removeprefix("ERROR: "))
