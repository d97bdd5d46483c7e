"""The annotations of a VOC folder in one compact file beside it, so that 100,000 pictures open in under a second.

The folder stays the truth. The file is used only while every annotation that the image sets name has the size, the time
of change and the inode that it had when it was parsed, and classes and image sets are the same; otherwise, or if it is
damaged, it is built again. Where it cannot be written, the annotations are parsed each time.
"""

import hashlib
import json
import os
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np

from reprolens.errors import DataError
from reprolens.files import atomic
from reprolens.progress import track
from reprolens.voc import Folder, Object, Record

FORMAT = "reprolens-index-1"
TAIL = 4096
"""Bytes of each picture's end that `Index.digest` reads: with the size they tell compressed pictures apart."""

_CLOCK_STEP = 0.02
"""Seconds: more than a step of the clock that files get their times from (10 ms at most on Linux)."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """All that the annotations of N pictures with M objects say, as arrays that pickle and fork without cost.

    The pictures are those of all image sets, one set behind the other. Strings are numbers of a table of T texts: first
    those of the objects, each once, then the N file names. Text i is `text[text_ends[i - 1]:text_ends[i]]`, in UTF-8.
    """

    sizes: np.ndarray  # (N, 3) int64: width, height, depth
    object_ends: np.ndarray  # (N,) int64: where the objects of each picture end
    boxes: np.ndarray  # (M, 4) float64
    names: np.ndarray  # (M,) int64: numbers of the class names
    poses: np.ndarray  # (M,) int64: numbers of the poses
    flags: np.ndarray  # (M,) uint8: 1 difficult, 2 truncated, 4 occluded, 8 crowd
    text: np.ndarray  # (bytes,) uint8
    text_ends: np.ndarray  # (T,) int64

    def file(self, row: int) -> str:
        """Return the file name of a picture."""
        return self._text(len(self.text_ends) - len(self.sizes) + row)

    def objects(self, row: int) -> tuple[Object, ...]:
        """Return the objects of a picture."""
        rows = slice(int(self.object_ends[row - 1]) if row else 0, int(self.object_ends[row]))
        columns = (self.names[rows], self.boxes[rows], self.flags[rows], self.poses[rows])
        return tuple(
            Object(
                name=self._words[name],
                box=(x0, y0, x1, y1),
                difficult=bool(flags & 1),
                truncated=bool(flags & 2),
                occluded=bool(flags & 4),
                crowd=bool(flags & 8),
                pose=self._words[pose],
            )
            for name, (x0, y0, x1, y1), flags, pose in zip(*(column.tolist() for column in columns), strict=True)
        )

    @cached_property
    def _words(self) -> tuple[str, ...]:
        return tuple(self._text(place) for place in range(len(self.text_ends) - len(self.sizes)))

    def _text(self, place: int) -> str:
        start = int(self.text_ends[place - 1]) if place else 0
        return self.text[start : int(self.text_ends[place])].tobytes().decode()


_COLUMNS = tuple(field.name for field in fields(Annotations))


@dataclass(frozen=True, eq=False)
class Index:
    """The records of a VOC folder, opened at once and built on access."""

    folder: Folder
    annotations: Annotations

    def records(self, split: str) -> Sequence[Record]:
        """Return the records of a split in the order of its image set, each as `folder.record` reads it."""
        first = 0
        for name, ids in self.folder.splits.items():
            if name == split:
                return _Records(self.annotations, first, ids)
            first += len(ids)
        raise KeyError(split)

    def digest(self) -> str:
        """Return a SHA-256 of classes, image sets, annotations and each picture's name, size in bytes and last 4 KiB.

        It depends on neither times nor the place of the folder. Raises DataError if a picture cannot be read.
        """
        digest = hashlib.sha256(_contents(self.folder))
        for name in _COLUMNS:
            values: np.ndarray = getattr(self.annotations, name)
            digest.update(f"{name} {values.dtype} {values.shape} ".encode() + values.tobytes())
        for row in track(range(len(self.annotations.sizes)), "check pictures"):
            path = self.folder.image(Record("", self.annotations.file(row), 0, 0))
            try:
                with path.open("rb", buffering=0) as file:
                    size = file.seek(0, os.SEEK_END)
                    file.seek(max(size - TAIL, 0))
                    end = file.read(TAIL)
            except OSError:
                raise DataError(f"{path}: cannot be read; run the convert stage again") from None
            digest.update(f"{size} {len(end)} ".encode() + end)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class _Records(Sequence[Record]):
    annotations: Annotations
    first: int
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        places = range(len(self.ids))[index]
        return [self._record(place) for place in places] if isinstance(places, range) else self._record(places)

    def __iter__(self) -> Iterator[Record]:
        return map(self._record, range(len(self.ids)))

    def _record(self, place: int) -> Record:
        row = self.first + place
        width, height, depth = self.annotations.sizes[row].tolist()
        file, objects = self.annotations.file(row), self.annotations.objects(row)
        return Record(self.ids[place], file, width, height, depth, objects)


def open_index(folder: Folder) -> Index:
    """Return the index of a VOC folder: the file beside it if it still holds, else what the annotations say now.

    Raises DataError as `folder.record` does, for any annotation that an image set names.
    """
    path, stamp = beside(folder.root) / "annotations.npz", _stamp(folder)
    annotations = _load(path, stamp) if stamp else None
    if annotations is None:
        # A file that is changed after it was parsed shall have a later time than the stamp saw, not the same one.
        time.sleep(_CLOCK_STEP)
        annotations = _parse(folder)
        if stamp:
            _save(path, stamp, annotations)
    return Index(folder, annotations)


def beside(root: Path) -> Path:
    """Return the folder of what loading keeps between runs: beside the VOC folder, which DVC hashes, not in it."""
    root = root.absolute()
    return root.with_name(f".{root.name}.index")


def _stamp(folder: Folder) -> str | None:
    """Return what tells this state of the folder from others, or None if an annotation is not there."""
    digest = hashlib.sha256(_contents(folder))
    annotations = str(folder.root / "Annotations")
    for ids in folder.splits.values():
        found = []
        for id in ids:
            if "/../" in f"/{id}/":  # may lead out of the folder, which Folder.record judges
                return None
            try:
                status = os.stat(f"{annotations}/{id}.xml")  # noqa: PTH116 (a Path each would double the time)
            except (OSError, ValueError):
                return None
            found.append(f"{status.st_size} {status.st_mtime_ns} {status.st_ino}\n")
        digest.update("".join(found).encode())
    return digest.hexdigest()


def _contents(folder: Folder) -> bytes:
    splits = [[name, list(ids)] for name, ids in folder.splits.items()]
    return json.dumps([FORMAT, list(folder.classes), splits]).encode()


def _parse(folder: Folder) -> Annotations:
    ids = [id for split in folder.splits.values() for id in split]
    sizes, object_ends, names, poses = array("q"), array("q"), array("q"), array("q")
    boxes, flags = array("d"), array("B")
    words: dict[str, int] = {}
    files = []
    for id in track(ids, "index"):
        record = folder.record(id)
        try:
            sizes.extend((record.width, record.height, record.depth))
        except OverflowError:
            path = folder.root / "Annotations" / f"{id}.xml"
            raise DataError(f"{path}: <size> is no picture's; run the convert stage again") from None
        files.append(record.file)
        for item in record.objects:
            names.append(words.setdefault(item.name, len(words)))
            poses.append(words.setdefault(item.pose, len(words)))
            boxes.extend(item.box)
            flags.append(item.difficult | item.truncated << 1 | item.occluded << 2 | item.crowd << 3)
        object_ends.append(len(names))
    texts = [text.encode() for text in (*words, *files)]
    return Annotations(
        sizes=np.array(sizes, "<i8").reshape(-1, 3),
        object_ends=np.array(object_ends, "<i8"),
        boxes=np.array(boxes, "<f8").reshape(-1, 4),
        names=np.array(names, "<i8"),
        poses=np.array(poses, "<i8"),
        flags=np.array(flags, "u1"),
        text=np.frombuffer(bytearray(b"".join(texts)), "u1"),
        text_ends=np.cumsum([len(text) for text in texts], dtype="<i8"),
    )


def _load(path: Path, stamp: str) -> Annotations | None:
    try:
        with np.load(path, allow_pickle=False) as file:  # reading checks the CRC of each array
            if file["stamp"].item() != stamp:
                return None
            return Annotations(**{name: file[name] for name in _COLUMNS})
    except Exception:  # a damaged file raises many kinds; they all mean that it has to be built again
        return None


def _save(path: Path, stamp: str, annotations: Annotations) -> None:
    try:
        with atomic(path) as temporary:
            np.savez(temporary, stamp=np.array(stamp), **{name: getattr(annotations, name) for name in _COLUMNS})
    except OSError:  # a folder that may not be written, or a full disk: the next opening parses again
        return
