"""The process that runs DVC in a trial's workspace: python -m reprolens.sweeps.reproduce < order.json

It goes through the stages one by one, each under a lock whose name is the stage's key. DVC itself would compute a stage
that several trials share once in each; so the first computes it, and the others find it in the cache.

Importing this imports DVC; only the process itself does.
"""

import json
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from dvc.dependency.base import Dependency
from dvc.exceptions import DvcException
from dvc.repo import Repo

from reprolens.files import write_json
from reprolens.parent import die_with_parent
from reprolens.sweeps.locks import held, is_held
from reprolens.sweeps.process import DONE, RUNNING, STOPPED, Order

_stopped: list[int] = []  # the signal that came


@dataclass(frozen=True)
class Cost:
    """What the result of one stage key cost when it was computed. `objects` are its outputs' names in DVC's cache."""

    seconds: float
    bytes: int
    objects: list[str]


def main() -> int:
    """Reproduce the stages of the order on standard input; return an exit status."""
    order = Order(**json.load(sys.stdin))
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm's notice goes to every process; the trial's own acts on it
    die_with_parent(order.parent, signal.SIGTERM)
    if order.cores is not None:
        os.sched_setaffinity(0, order.cores)
    try:
        with held(RUNNING, wait=True):
            _repair()
            reproduce(order)
    except (DvcException, OSError) as error:
        if _stopped:
            return STOPPED
        causes: list[BaseException] = [error]
        while (cause := causes[-1].__cause__) is not None:
            causes.append(cause)
        print("ERROR: " + " - ".join(" ".join(str(cause).split()) for cause in causes), flush=True)
        return 2
    return 0


def reproduce(order: Order) -> None:
    """Bring every stage up to date in the workspace that is the current folder."""
    done: dict[str, dict[str, float | bool]] = {}
    _hash_once()
    executed = _Executed()
    logging.getLogger("dvc.stage.run").addHandler(executed)
    with Repo() as repo:
        for stage, key in order.keys.items():
            place = Path(order.results) / f"{stage}-{key}"
            lock = place.with_suffix(".lock")
            if is_held(lock):
                print(f"Waiting for another trial that is computing '{stage}'", flush=True)
            with held(lock, wait=True):
                started = time.monotonic()
                repo.reproduce([stage], single_item=True)
                seconds = round(time.monotonic() - started, 2)
                if stage in executed.stages:
                    write_json(place.with_suffix(".json"), asdict(_cost(repo, stage, seconds)))
            if _stopped:
                raise SystemExit(STOPPED)
            done[stage] = {"seconds": seconds, "executed": stage in executed.stages}
            write_json(DONE, done)


def _stop(number: int, frame: object) -> None:
    """Pass SIGTERM on to the stage that runs, and let it end by itself: a training then writes a checkpoint.

    If this process died of it, the stage would be killed with it. A second signal is passed on no more: it would kill a
    training that is just saving. While that goes on, the stage's lock is held, and a new start waits for it.
    """
    signal.signal(number, signal.SIG_IGN)
    _stopped.append(number)
    stages = _below_shells(psutil.Process())
    for stage in stages:
        with suppress(psutil.NoSuchProcess):
            stage.terminate()
    if not stages:
        raise SystemExit(STOPPED)


def _below_shells(process: psutil.Process) -> list[psutil.Process]:
    """Return the children of a process, in a shell's place the shell's: it would end and not wait for them."""
    children = process.children()
    shells = [child for child in children if child.name() in ("ash", "bash", "dash", "fish", "ksh", "sh", "zsh")]
    return [child for child in children if child not in shells] + [each for it in shells for each in _below_shells(it)]


def _repair() -> None:
    """Remove what a kill in the middle of DVC's own writing left half written; what dvc.lock said is in the cache too.

    Nothing else runs DVC here, so its file of who reads and writes what can only be an old one.
    """
    Path(".dvc/tmp/rwlock").unlink(missing_ok=True)
    lock = Path("dvc.lock")
    try:
        whole = not lock.exists() or "stages" in yaml.safe_load(lock.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, TypeError):
        whole = False
    if not whole:
        lock.unlink()


def _hash_once() -> None:
    """Let DVC hash a dependency once in this process, not eight times a stage: with 10,000 files that is 0.35 s each.

    Nothing changes a dependency any more when the first stage looks at it: the stages before it have run.
    """
    hashed: dict[str, Any] = {}
    measure = Dependency._get_hash_meta

    def once(dependency: Any) -> Any:
        if dependency.fs_path not in hashed:
            hashed[dependency.fs_path] = measure(dependency)
        return hashed[dependency.fs_path]

    Dependency._get_hash_meta = once


def _cost(repo: Repo, stage: str, seconds: float) -> Cost:
    outputs = [output for item in repo.stage.collect(stage) for output in item.outs]
    objects = [output.hash_info.value for output in outputs if output.use_cache and output.hash_info]
    return Cost(seconds, sum(output.meta.size or 0 for output in outputs), objects)


class _Executed(logging.Handler):
    """Collects the stages that DVC says it runs, rather than finds unchanged or in its cache."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith("Running stage") and isinstance(record.args, tuple):
            self.stages.add(str(record.args[0]))


if __name__ == "__main__":
    sys.exit(main())
