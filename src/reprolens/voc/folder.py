"""A VOC folder: Annotations/, JPEGImages/, ImageSets/Main/ and labels.txt."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reprolens.errors import DataError
from reprolens.voc.annotation import format_annotation, parse_annotation
from reprolens.voc.records import Record

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Folder:
    """An opened VOC folder. `classes` holds the class names in index order, `splits` the picture ids of each split."""

    root: Path
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]

    def record(self, id: str) -> Record:
        """Read the annotation of one picture. Raises DataError if it is missing, damaged or outside the folder."""
        path = _inside(self.root / "Annotations", f"{id}.xml")
        try:
            data = path.read_bytes()
        except (OSError, ValueError):  # ValueError: a NUL in the name
            raise DataError(f"{path}: cannot be read; run the convert stage again") from None
        return replace(parse_annotation(data, str(path)), id=id)

    def records(self, split: str) -> Iterator[Record]:
        """Read the annotations of a split in the order of its image set."""
        for id in self.splits[split]:
            yield self.record(id)

    def image(self, record: Record) -> Path:
        """Return the path of a record's picture. Raises DataError if it would leave the folder."""
        return _inside(self.root / "JPEGImages", record.file)


def read_folder(root: Path) -> Folder:
    """Open the VOC folder that the convert stage wrote. Raises DataError if it is missing or incomplete."""
    classes = _lines(root / "labels.txt")
    return Folder(root, classes, {split: _lines(root / "ImageSets" / "Main" / f"{split}.txt") for split in SPLITS})


def write_folder(root: Path, classes: Sequence[str], splits: Mapping[str, Sequence[Record]]) -> None:
    """Write the annotations, image sets and class names of a data set; the pictures are the caller's to place.

    The per-class image sets say, as VOC's do, 1 for a picture that shows the class, 0 where it shows only difficult
    objects of it, and -1 elsewhere. Raises DataError for a name that the files cannot hold.
    """
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    sets = root / "ImageSets" / "Main"
    sets.mkdir(parents=True, exist_ok=True)
    for split, records in splits.items():
        for record in records:
            path = root / "Annotations" / f"{record.id}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(format_annotation(record))
        shown = [_shown(record) for record in records]
        ids = "".join(f"{record.id}\n" for record in records)
        (sets / f"{split}.txt").write_text(ids, encoding="utf-8", newline="\n")
        for name in classes:
            pairs = zip(records, shown, strict=True)
            lines = "".join(f"{record.id} {classes_shown.get(name, -1):2d}\n" for record, classes_shown in pairs)
            (sets / f"{_set_name(name)}_{split}.txt").write_text(lines, encoding="utf-8", newline="\n")
    (root / "labels.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8", newline="\n")


def plain_name(name: str) -> str:
    """Return a file's name as an id that a line of an image set can hold.

    Line breaks and other control characters, bytes that are not UTF-8, and blanks at the ends become %XX; so does a %
    that could be taken for such a code, so that different names stay different.
    """
    codes = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]|^\s|\s\Z|%(?=[0-9A-Fa-f]{2})")
    return codes.sub(lambda found: "".join(f"%{byte:02X}" for byte in os.fsencode(found[0])), name)


def _set_name(name: str) -> str:
    """Return a class name as part of a file name."""
    return plain_name(name).replace("/", "%2F").replace("\\", "%5C")


def _shown(record: Record) -> dict[str, int]:
    """Return the classes that a picture shows: 1, or 0 where all objects of a class are difficult."""
    shown: dict[str, int] = {}
    for item in record.objects:
        shown[item.name] = max(shown.get(item.name, 0), int(not item.difficult))
    return shown


def _inside(folder: Path, name: str) -> Path:
    """Return `folder`/`name`. Raises DataError if the name leads out; links do not count, because DVC may make them."""
    path = folder / name
    if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(folder)):
        raise DataError(f"{name!r} lies outside {folder}; run the convert stage again")
    return path


def _lines(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        raise DataError(f"{path}: not found; run the convert stage (dvc repro -f convert)") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; run the convert stage again (dvc repro -f convert)") from None
    return tuple(line for line in text.splitlines() if line)
