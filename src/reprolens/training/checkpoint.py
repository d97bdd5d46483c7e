"""Checkpoints of a run that is not finished: `.checkpoints/<fingerprint>/step-<number>-<SHA-256>.pt`.

They are not the result of a training (weights/model.pt is), only what an interrupted one goes on from. A file is
written beside its place, forced to the disk, and renamed to a name that holds its own digest; so a file under such a
name is whole, or shows that it is not. The last two are kept.
"""

import fcntl
import hashlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from reprolens.errors import TrainingError
from reprolens.files import sha256

KEPT = 2
UNFINISHED = 4
"""How many runs that were interrupted are kept: those of settings that were tried since may be gone on with later."""
_DIGITS = 16  # of the digest, in the file's name
_held = set[tuple[int, Path]]()  # processes and the folders that they have locked


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a checkpoint folder, so that never two processes write one run. Raises TrainingError if one does already."""
    folder.mkdir(parents=True, exist_ok=True)
    place = (os.getpid(), folder.resolve())
    if place in _held:  # lockf refuses no process its own lock, and closing the file once more would give it up
        raise TrainingError(_busy(folder, str(os.getpid())))
    with (folder / "lock").open("a+") as file:
        try:
            # Not flock: loader processes that outlive their killed parent would go on holding that.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise TrainingError(_busy(folder, file.read().strip())) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        _held.add(place)
        for leftover in folder.glob(".step-*.tmp"):  # of a process that was killed while it wrote
            leftover.unlink(missing_ok=True)
        try:
            yield
        finally:
            _held.remove(place)


def _busy(folder: Path, owner: str) -> str:
    return f"{folder}: process {owner} is training just this; wait for it, or stop it"


def save_checkpoint(folder: Path, step: int, content: dict[str, Any]) -> bool:
    """Write a checkpoint, then remove all but the last two; where that fails, say so, keep the old, return False."""
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=folder, prefix=".step-", suffix=".tmp")
        temporary = Path(name)
        with _Digest(handle) as file:
            torch.save(content, file)
            file.flush()
            os.fsync(handle)
            digest = file.hexdigest()
        _make_newest(temporary, folder)
        temporary.replace(folder / f"step-{step:08d}-{digest[:_DIGITS]}.pt")
        _sync_folder(folder)
    except (OSError, RuntimeError) as error:  # torch's writer wraps the system's errors
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        print(f"warning: {folder}: no checkpoint at step {step} ({error}); training goes on", file=sys.stderr)
        return False
    for old in _by_age(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return True


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the newest whole checkpoint of a folder; None if there is none. Damaged ones are named and passed over."""
    for path in reversed(_by_age(folder)):
        if sha256(path)[:_DIGITS] == path.stem.rpartition("-")[2]:
            content = torch.load(path, map_location="cpu", weights_only=True)
            assert isinstance(content, dict)
            return content
        print(f"warning: {path}: damaged; the checkpoint before it is taken", file=sys.stderr)
    return None


def discard_checkpoints(folder: Path) -> None:
    """Remove the folder of a run that is finished and whose results are written."""
    shutil.rmtree(folder, ignore_errors=True)


def discard_oldest(root: Path, kept: int) -> None:
    """Remove the runs of `root` but for the `kept` that were written to last and those that are being trained."""
    folders = sorted((path.parent for path in root.glob("*/lock")), key=lambda path: path.stat().st_mtime_ns)
    for folder in folders[: max(0, len(folders) - kept)]:
        with suppress(TrainingError), locked(folder):
            discard_checkpoints(folder)


def _by_age(folder: Path) -> list[Path]:
    """Return the checkpoints, the newest last: a step may have two, before and after its epoch was closed."""
    return sorted(folder.glob("step-*-*.pt"), key=lambda path: path.stat().st_mtime_ns)


def _make_newest(path: Path, folder: Path) -> None:
    """Give a file a later time than all checkpoints have, even if the clock was set back or has not ticked since."""
    latest = max((other.stat().st_mtime_ns for other in _by_age(folder)), default=-1)
    if path.stat().st_mtime_ns <= latest:
        os.utime(path, ns=(latest + 1, latest + 1))


def _sync_folder(folder: Path) -> None:
    """Force the folder's entries to the disk: a renamed file survives a power cut only then."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Digest(io.FileIO):
    """A file that hashes what is written to it. torch.save writes front to back, so the digest is the file's."""

    def __init__(self, handle: int) -> None:
        super().__init__(handle, "wb")
        self._digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view):  # a raw write may take only a part
            written += super().write(view[written:]) or 0
        self._digest.update(view)
        return written

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
