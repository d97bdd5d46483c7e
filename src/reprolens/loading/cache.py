"""Decoded pictures of one size, kept in memory or on disk and shared by all loader workers, forked or spawned.

Either kind is one file, mapped for reading: in memory one without a name (memfd), on disk one with a name, which the
next run finds again. It holds a digest of what it is for, a table with a mark for each picture, and the pictures. The
mark is a checksum, written after its picture, and a picture is given out only if the two agree: so neither a worker
that reads while another writes, nor a file torn by a crash, shows half a picture.
"""

import hashlib
import json
import mmap
import os
import tempfile
import weakref
import zlib
from collections.abc import Callable
from multiprocessing import reduction
from pathlib import Path
from typing import Any

import numpy as np

from reprolens.files import atomic

FORMAT = "reprolens-pictures-1"
_HEADER = 32
"""Bytes of the digest at the file's start; the table behind it has 8 bytes a picture."""


class PictureCache:
    """The first pictures of a data set that fit in `limit_mb` (of 2**20 bytes), each `(height, width, 3)` uint8.

    `kind` is none, memory or disk. `key` names the data and how it was decoded: a file on disk that was made for
    another key, count, size or limit is not used but replaced. `capacity` is how many pictures fit; it is 0 where there
    is no cache, be it that none was asked for, not even one picture fits, or the place cannot be written.
    """

    def __init__(self, kind: str, path: Path, key: str, count: int, size: tuple[int, int], limit_mb: float) -> None:
        self._shape = (*size, 3)
        room = (int(limit_mb * 2**20) - _HEADER) // (_bytes(self._shape) + 8)
        self.capacity = 0 if kind == "none" else max(0, min(count, room))
        self._descriptor: int | None = None
        if self.capacity:
            header = hashlib.sha256(json.dumps([FORMAT, key, count, self._shape, self.capacity]).encode()).digest()
            length = _HEADER + self.capacity * (_bytes(self._shape) + 8)
            try:
                self._attach(_memory(header, length) if kind == "memory" else _disk(path, header, length))
            except OSError:  # a place that may not be written, or a full disk: work goes on, only slower
                self.capacity = 0

    def get(self, index: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return picture `index`, a copy of the caller's own: from the cache if it is there, else made and kept.

        `make` has to give the same pixels each time.
        """
        if index >= self.capacity:
            return make()
        pixels = self._read(index)
        if pixels is None:
            pixels = make()
            self._write(index, pixels)
        return pixels

    def __getstate__(self) -> dict[str, Any]:
        """Pickle for a spawned worker, which gets the same open file and maps it anew."""
        kept = {name: getattr(self, name) for name in ("_shape", "capacity", "_descriptor")}
        return kept if self._descriptor is None else kept | {"_descriptor": reduction.DupFd(self._descriptor)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if state["_descriptor"] is not None:
            self._attach(state["_descriptor"].detach())

    def _attach(self, descriptor: int) -> None:
        """Map an open file of `capacity` pictures, and close it when this cache goes."""
        weakref.finalize(self, os.close, descriptor)
        mapping = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        self._descriptor = descriptor
        self._marks = np.frombuffer(mapping, np.uint64, self.capacity, _HEADER)
        self._pictures = np.frombuffer(mapping, np.uint8, offset=_HEADER + 8 * self.capacity)
        self._pictures = self._pictures.reshape(self.capacity, *self._shape)
        self._checked = np.zeros(self.capacity, bool)
        self._full = False

    def _read(self, index: int) -> np.ndarray | None:
        mark = int(self._marks[index])
        if mark == 0:
            return None
        pixels = self._pictures[index].copy()
        if not self._checked[index]:  # once a process: what was whole stays so
            if _mark(pixels) != mark:
                return None
            self._checked[index] = True
        return pixels

    def _write(self, index: int, pixels: np.ndarray) -> None:
        """Keep a picture, its mark last. By pwrite: a full disk would end a process that writes a mapping (SIGBUS)."""
        if pixels.shape != self._shape or pixels.dtype != np.uint8:
            raise ValueError(f"a picture of the cache is uint8 {self._shape}, not {pixels.dtype} {pixels.shape}")
        if self._full or self._descriptor is None:
            return
        place = _HEADER + 8 * self.capacity + pixels.nbytes * index
        try:
            if os.pwrite(self._descriptor, np.ascontiguousarray(pixels).data, place) == pixels.nbytes:
                os.pwrite(self._descriptor, np.uint64(_mark(pixels)).tobytes(), _HEADER + 8 * index)
            else:
                self._full = True
        except OSError:
            self._full = True


def _bytes(shape: tuple[int, int, int]) -> int:
    return shape[0] * shape[1] * shape[2]


def _mark(pixels: np.ndarray) -> int:
    """Return a picture's checksum plus 1, so that 0 says that there is none."""
    return zlib.crc32(np.ascontiguousarray(pixels).data) + 1


def _memory(header: bytes, length: int) -> int:
    """Return a new file in memory, of which unused pages cost nothing. Not in /dev/shm, which containers keep small."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("reprolens-pictures")
    else:  # only Linux has it
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    return _prepared(descriptor, header, length)


def _disk(path: Path, header: bytes, length: int) -> int:
    """Return the file at `path`, a new one if it is missing or was made for something else."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        descriptor = None
    if descriptor is not None:
        if os.pread(descriptor, _HEADER, 0) == header and os.fstat(descriptor).st_size == length:
            return descriptor
        os.close(descriptor)
    with atomic(path) as temporary:  # those who use the old file keep it until they end
        return _prepared(os.open(temporary, os.O_RDWR), header, length)


def _prepared(descriptor: int, header: bytes, length: int) -> int:
    try:
        os.ftruncate(descriptor, length)
        os.pwrite(descriptor, header, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
