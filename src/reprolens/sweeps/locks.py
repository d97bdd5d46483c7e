"""Locks that end with the process that holds them, also on the file systems that the machines of a cluster share."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reprolens.errors import SweepError


class SweepBusyError(SweepError):
    """Another living process works on just this."""


@contextmanager
def held(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path` for the length of the block. Raises SweepBusyError if another process does.

    With `wait` it is waited for instead. A process has a lock only once: it must not take it again, nor open the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:  # lockf, because flock means nothing to some network file systems
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as the system likes
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise SweepBusyError(f"{path.parent}: {owner} is working on it; wait for it, or stop it") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def is_held(path: Path) -> bool:
    """Return whether another process holds the lock file."""
    try:
        with path.open("r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except (BlockingIOError, PermissionError):
        return True
    return False
