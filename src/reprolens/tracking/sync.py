"""Runs that lie in wandb/ are sent to the server: whole, once, and believed only when the server says so.

`wandb sync` does the sending. It reports success when a file that was staged for an artifact is gone, or when the
server did not take the history; stops at a record that a killed process left half written; and sends rows again that
the server has. So a run is checked and mended before, it is given only what lacks, and the server is asked after.
"""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from reprolens.errors import TrackingError
from reprolens.tracking.run import UnreachableError, one_line
from reprolens.tracking.server import connect, hold, lacking, mark_best, refusals
from reprolens.tracking.session import session
from reprolens.tracking.transaction_log import (
    PICTURES,
    RunLog,
    is_synced,
    mark_synced,
    missing_files,
    read_log,
    repair,
    write_rest,
)

if TYPE_CHECKING:
    from wandb.apis.public import Api

REST = "rest-of-"
"""What the name of a log begins with that holds what the server lacks. One that a killed process left is replaced."""

QUIET = 60.0
"""Seconds without a change after which a run that was never closed is taken as dead."""

SETTLED = 10.0
"""Seconds after which what the server does not show is taken as not there."""

ATTEMPTS = 9
"""How many runs of one id there may be, because the first was deleted, or is of a training that ended otherwise."""


class Fate(StrEnum):
    """What became of a run: it is whole on the server, it is left for later, or something is wrong with it."""

    sent = "sent"
    waits = "waits"
    failed = "failed"


@dataclass(frozen=True)
class Sent:
    """What became of a run, and why, in words. `url` is where it is to be seen, `cut` what repair cut off, in bytes."""

    folder: Path
    name: str
    fate: Fate
    reason: str = ""
    url: str = ""
    cut: int = 0


def unsent(folder: Path) -> list[Path]:
    """Return the transaction logs in a folder of runs that are not marked as sent, oldest first."""
    return sorted(path for path in folder.glob("*run-*/run-*.wandb") if not is_synced(path))


def send(logs: Sequence[Path], timeout: float) -> Iterator[Sent]:
    """Send the runs of transaction logs, and yield what became of each as soon as it is known.

    `timeout` is in seconds, for the upload of each. Of several logs of one run (attempts at a training, a failure, the
    results) the last one counts, that of the results before all others; the rest are passed over. A run that is being
    written, or sent by another process, is left for later. One of which the server has a part is gone on with. Once the
    server does not answer, nothing more is tried.
    """
    if not logs:
        return
    opened, passed = _opened(), []
    with session():
        api, trouble = None, ""
        for path in logs:
            newest = _newest(path, opened)
            if newest is None:
                yield _result(path, Fate.waits, "another attempt at it is being written")
            elif newest != path:
                passed.append((path, newest))
            elif trouble:
                yield _result(path, Fate.failed, trouble)
            else:
                try:
                    api = api or connect()
                    yield _sent(api, path, opened, timeout)
                except UnreachableError as error:
                    trouble = str(error)
                    yield _result(path, Fate.failed, trouble)
                except TrackingError as error:
                    yield _result(path, Fate.failed, f"{error}; dvc repro -f track writes it again")
                except refusals() as error:
                    api = None  # asked anew for the next
                    yield _result(path, Fate.failed, _told(error))
    for path, newest in passed:
        if is_synced(newest):
            mark_synced(path)


def _sent(api: "Api", path: Path, opened: set[Path], timeout: float) -> Sent:
    """Send a run, unless it is being written or another process is at it."""
    with _alone(path.parent) as alone:
        if not alone:
            return _result(path, Fate.waits, "another process is sending it")
        if _is_written(path, opened):
            return _result(path, Fate.waits, "is being written")
        cut = repair(path)
        log = read_log(path)
        if gone := missing_files(log):
            raise TrackingError(f"{len(gone)} of its files are gone or changed, as {gone[0]}")
        missing, log = _uploaded(api, log, timeout)
        if missing:
            return replace(_result(path, Fate.failed, f"the server {', '.join(missing)}; try again"), cut=cut)
        with _alone(path.parents[1], wait=True):  # two that look for the best at once might both be it
            mark_best(api, log)
        if log.is_published and log.exit_code is None:
            raise TrackingError("its writing was cut off; what there is was sent")
        mark_synced(path)
    held = hold(api, log, patience=0)
    return Sent(path.parent, log.name, Fate.sent, url=held.run.url if held else "", cut=cut)


def _uploaded(api: "Api", log: RunLog, timeout: float) -> tuple[list[str], RunLog]:
    """Upload what the server lacks of a run; return what it lacks then, and the log under the id that it has there."""
    given, missing = log.id, ["lacks the run"]
    for attempt in range(1, ATTEMPTS + 1):
        log = replace(log, id=given if attempt == 1 else f"{given}-{attempt}")
        held = hold(api, log, SETTLED)
        if held and held.is_another(log):
            continue
        if held and not lacking(api, log, patience=0):
            return [], log
        rest = log.path.with_name(f"{REST}{log.path.name}")
        epochs, lines, shown = (held.epochs, held.lines, held.pictures) if held else ((), 0, None)
        pictures = log.is_published and shown != str(log.summary[PICTURES])
        try:
            write_rest(log, rest, api.default_entity or "", epochs, lines, pictures)
            said = _upload(rest, timeout)
        finally:
            for left in rest.parent.glob(f"{rest.name}*"):
                left.unlink(missing_ok=True)
        if held is None and "previously created and deleted" in said:  # W&B never takes the id of a deleted run again
            continue
        missing = lacking(api, log, SETTLED)
        break
    return missing, log


def _upload(path: Path, timeout: float) -> str:
    """Give a log to `wandb sync`, and return what it says; of its success that tells nothing."""
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", "--include-synced", str(path)]
    # Its own logs go where the session's do. Silent it would not say that the id is a deleted run's.
    environment = os.environ | {"WANDB_DIR": os.environ["WANDB_CACHE_DIR"], "WANDB_SILENT": "false"}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout + done.stderr


def _newest(path: Path, opened: set[Path]) -> Path | None:
    """Return the log of a run that counts among all of that run in the folder; None while one of them is written."""
    every = sorted(path.parents[1].glob(f"*run-*/{path.name}"), key=lambda other: _time(other.parent))
    if any(other.resolve() in opened for other in every if other != path):
        return None
    with suppress(TrackingError, OSError):
        project = read_log(path).project
        ranks: list[tuple[bool, int, Path]] = []
        for other in every:
            with suppress(TrackingError, OSError):
                log = read_log(other)
                if log.project == project:
                    ranks.append((log.is_published and log.exit_code == 0, len(ranks), other))
        return max(ranks)[2]
    return path


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return f"the server does not answer ({one_line(error)}); try again"


def _time(folder: Path) -> str:
    return folder.name.partition("run-")[2]


def _is_written(path: Path, opened: set[Path]) -> bool:
    """Return whether a process has a log open, or it was never closed and changed a moment ago.

    Then the process may be another machine's that shares the folder.
    """
    if path.resolve() in opened:
        return True
    if time.time() - path.stat().st_mtime > QUIET:
        return False
    with suppress(TrackingError):
        return read_log(path).exit_code is None
    return True


def _opened() -> set[Path]:
    """Return the transaction logs that processes of this machine have open."""
    paths = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            paths |= {Path(file.path) for file in process.open_files() if file.path.endswith(".wandb")}
    return paths


def _result(path: Path, fate: Fate, reason: str) -> Sent:
    name = path.parent.name
    with suppress(TrackingError, OSError):
        name = read_log(path).name
    return Sent(path.parent, name, fate, reason)


@contextmanager
def _alone(folder: Path, wait: bool = False) -> Iterator[bool]:
    """Yield whether no other process of this machine is at what lies in `folder`, and keep them away."""
    with (folder / ".sync.lock").open("w") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            yield False
        else:
            yield True
