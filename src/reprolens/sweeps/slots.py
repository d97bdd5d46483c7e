"""Places on a machine: trials side by side share its cores and GPUs evenly, whichever launcher started them.

A trial takes the lowest free of so many numbered places and waits where none is. A place is a locked file, so it is
free again at the moment its holder dies, however it dies.
"""

import fcntl
import hashlib
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from reprolens.errors import ConfigError, SweepError

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""The variables by which the arithmetic libraries are told how many threads to start."""

_POLL = 0.2  # seconds between two looks for a free place
_TOPOLOGY = Path("/sys/devices/system/cpu")
_held = set[tuple[int, Path]]()  # processes and the places that they hold or are trying
_lock = threading.Lock()  # of _held

Item = TypeVar("Item")


@dataclass(frozen=True)
class Slot:
    """A place: its number, the CPUs that belong to it, and its CUDA_VISIBLE_DEVICES, None on a machine without GPUs.

    No two places share a CPU or a GPU, unless there are more places than those.
    """

    number: int
    cores: frozenset[int]
    gpus: str | None


@contextmanager
def slot(folder: Path, workers: int) -> Iterator[Slot]:
    """Hold the lowest free of `workers` places of this machine; wait while none is free.

    `folder` may be one that several machines share: each has its own files in it, as have sets of CPUs that a scheduler
    keeps apart. Raises SweepError where the folder cannot be written or its file system knows no locks.
    """
    if workers < 1:
        raise SweepError(f"{workers} trials side by side: at least 1 is needed")
    cores = usable_cores()
    name = hashlib.sha256(f"{socket.gethostname()} {sorted(cores)}".encode()).hexdigest()[:8]
    while True:
        for number in range(workers):
            with _place(folder / f"{name}-{number}.lock") as free:
                if free:
                    yield Slot(number, frozenset(share(cores, workers, number)), _gpus(workers, number))
                    return
        time.sleep(_POLL)


def environment(slot: Slot) -> dict[str, str]:
    """Return the variables for a place's trial: its threads, where the user has not set them, and its GPUs.

    joblib and Ray set the threads in their own workers, to the same share; that counts as set.
    """
    threads = {name: str(len(slot.cores)) for name in THREADS if name not in os.environ}
    return threads if slot.gpus is None else {**threads, "CUDA_VISIBLE_DEVICES": slot.gpus}


def side_by_side(launcher: Mapping[str, Any]) -> int:
    """Return how many trials Hydra's launcher, the mapping hydra.launcher, means to run at once on this machine.

    joblib says so (`n_jobs`); Slurm and Ray say how many cores a trial gets; the basic launcher runs one after another.
    """
    cores = len(usable_cores())
    if "n_jobs" in launcher:
        jobs = int(launcher["n_jobs"])
        return jobs if jobs > 0 else max(1, cores + 1 + jobs)  # joblib counts from the end: -1 is all cores
    remote = launcher["ray"].get("remote") or {} if "ray" in launcher else {}
    needed = launcher.get("cpus_per_task") or remote.get("num_cpus")
    return max(1, int(cores / needed)) if needed else 1


def at_once(sweeper: Mapping[str, Any], launcher: Mapping[str, Any]) -> int:
    """Return how many trials run at a time: as a search's `workers` asks, else as the launcher takes them.

    Raises ConfigError where more are asked than the launcher can run.
    """
    most = int(launcher.get("array_parallelism") or side_by_side(launcher))
    workers = sweeper.get("workers")
    if workers and int(workers) > 1 and str(launcher.get("_target_")).endswith(".BasicLauncher"):
        raise ConfigError("hydra.sweeper.workers: hydra/launcher=basic runs one trial at a time; take joblib")
    return int(workers) if workers else most


def usable_cores() -> list[int]:
    """Return the CPUs that this process may use, those of one physical core side by side."""
    if not hasattr(os, "sched_getaffinity"):  # macOS pins nothing
        return list(range(os.cpu_count() or 1))
    return sorted(os.sched_getaffinity(0), key=lambda core: (_first_sibling(core), core))


def share(items: Sequence[Item], workers: int, number: int) -> Sequence[Item]:
    """Return the part of `items` that falls to a place: consecutive ones, their numbers differ by one at most.

    With more places than items each place gets one, in turn.
    """
    if workers >= len(items):
        return [items[number % len(items)]] if items else []
    return items[len(items) * number // workers : len(items) * (number + 1) // workers]


def visible_gpus(allowed: str | None, listing: str | None) -> list[str]:
    """Return the names of the GPUs that CUDA would show, as CUDA_VISIBLE_DEVICES takes them.

    `allowed` is that variable's present value, `listing` what `nvidia-smi -L` prints, None where there is no such
    program. Like CUDA (Programming Guide, "CUDA Environment Variables"), a list ends at the first name that is no
    device's.
    """
    present = _listed(listing or "")
    if allowed is None:
        return present
    found: list[str] = []
    for entry in allowed.split(","):
        name = entry.strip()
        if name.isdecimal():
            known = listing is None or int(name) < len(present)
        else:  # a UUID, or the beginning of one
            known = name.startswith(("GPU-", "MIG-")) and (
                listing is None or any(device.startswith(name) for device in re.findall(r"UUID: ([^)\s]+)", listing))
            )
        if not known:
            break
        found.append(name)
    return found


@contextmanager
def _place(path: Path) -> Iterator[bool]:
    """Hold a place and yield True, or yield False at once where somebody else does."""
    place = (os.getpid(), path.absolute())
    # lockf refuses no process its own lock, and closing the file once more would give it up: so a place is this
    # thread's before its file is opened, and until it is closed.
    with _lock:
        taken = place in _held
        _held.add(place)
    if taken:
        yield False
        return
    try:
        with _open(path) as file:
            yield _locked(file, path)
    finally:
        with _lock:
            _held.discard(place)


def _open(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a")
    except OSError as error:
        raise _unusable(path, error) from None


def _locked(file: IO[str], path: Path) -> bool:
    try:
        # Not flock: what outlives its killed parent would go on holding that.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as the system likes
        return False
    except OSError as error:  # a file system without locks: to wait would not help
        raise _unusable(path, error) from None
    return True


def _unusable(path: Path, error: OSError) -> SweepError:
    return SweepError(f"{path.parent}: no place for a trial can be locked here ({error.strerror}); make it writable")


def _gpus(workers: int, number: int) -> str | None:
    devices = visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), _listing())
    return ",".join(share(devices, workers, number)) if devices else None


def _listing() -> str | None:
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _listed(listing: str) -> list[str]:
    """Return the UUIDs in what `nvidia-smi -L` prints: of a GPU that is divided (MIG), those of its parts."""
    devices: list[str] = []
    whole: str | None = None
    for indent, uuid in re.findall(r"^(\s*)\S.*\(UUID: ([^)\s]+)\)", listing, flags=re.MULTILINE):
        if indent and whole in devices:
            devices.remove(whole)
        if not indent:
            whole = uuid
        devices.append(uuid)
    return devices


def _first_sibling(core: int) -> int:
    """Return the lowest CPU of the physical core to which a CPU belongs; itself where the system does not say."""
    try:
        siblings = (_TOPOLOGY / f"cpu{core}" / "topology" / "thread_siblings_list").read_text()
        return int(re.split(r"[,-]", siblings.strip())[0])
    except (OSError, ValueError):
        return core
