"""A VOC folder: Annotations/, JPEGImages/, ImageSets/ and labels.txt; SegmentationClass/ and SegmentationObject/."""

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reprolens.errors import DataError
from reprolens.voc.annotation import format_annotation, parse_annotation
from reprolens.voc.records import Record

SPLITS = ("train", "val", "test")

MOST_LINES = 10_000_000
"""Lines of a split's per-class image sets, at most; beyond, pictures without the class are left out of its set."""


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


def write_folder(
    root: Path, classes: Sequence[str], splits: Mapping[str, Sequence[Record]], segmented: Collection[str] = ()
) -> None:
    """Write the annotations, image sets and class names of a data set; pictures and masks are the caller's to place.

    The per-class image sets say, as VOC's do, 1 for a picture that shows the class or bears it as a label, 0 where it
    shows only difficult objects of it, and -1 elsewhere; where that would be more than MOST_LINES, -1 is not written.
    `segmented` are the ids of pictures that have masks; their image sets are in ImageSets/Segmentation.

    Raises DataError for a name that the files cannot hold.
    """
    annotations, sets = root / "Annotations", root / "ImageSets" / "Main"
    sets.mkdir(parents=True, exist_ok=True)
    made: set[str] = set()
    for split, records in splits.items():
        for record in records:
            folder = f"{annotations}/{record.id}".rpartition("/")[0]
            if folder not in made:
                Path(folder).mkdir(parents=True, exist_ok=True)
                made.add(folder)
            with open(f"{annotations}/{record.id}.xml", "wb", buffering=0) as file:  # noqa: PTH123 a third faster
                file.write(format_annotation(record))
        _write_lines(sets / f"{split}.txt", [record.id for record in records])
        _write_class_sets(sets, split, classes, records)
        if segmented:
            ids = [record.id for record in records if record.id in segmented]
            _write_lines(root / "ImageSets" / "Segmentation" / f"{split}.txt", ids)
    _write_lines(root / "labels.txt", classes)


def _write_class_sets(sets: Path, split: str, classes: Sequence[str], records: Sequence[Record]) -> None:
    shown: dict[str, dict[int, int]] = {name: {} for name in classes}
    for row, record in enumerate(records):
        for name, value in _shown(record).items():
            if name in shown:
                shown[name][row] = value
    absent = [f"{record.id} -1" for record in records]
    if len(classes) * len(records) > MOST_LINES:
        for name, rows in shown.items():
            _write_lines(sets / f"{_set_name(name)}_{split}.txt", (f"{records[row].id} {rows[row]:2d}" for row in rows))
        return
    for name, rows in shown.items():
        lines = absent.copy()
        for row, value in rows.items():
            lines[row] = f"{records[row].id} {value:2d}"
        _write_lines(sets / f"{_set_name(name)}_{split}.txt", lines)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


_CODES = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]|^\s|\s\Z|%(?=[0-9A-Fa-f]{2})")


def plain_name(name: str) -> str:
    """Return a file's or class's name as one that a line of an image set can hold; `original_name` undoes it.

    Line breaks and other control characters, bytes that are not UTF-8, and blanks at the ends become %XX; so does a %
    that could be taken for such a code, so that different names stay different.
    """
    return _CODES.sub(lambda found: "".join(f"%{byte:02X}" for byte in _bytes(found[0])), name)


def original_name(name: str) -> str:
    """Return the name that `plain_name` made into this one."""
    return re.sub("(?:%[0-9A-F]{2})+", lambda found: os.fsdecode(bytes.fromhex(found[0].replace("%", ""))), name)


def _bytes(text: str) -> bytes:
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # half of a pair of UTF-16, which JSON can hold and no file name
        return text.encode("utf-8", "surrogatepass")


def fitting(name: str, longest: int = 200) -> str:
    """Return a file's name that is no longer than file systems allow; a shortened one ends in a hash of the whole."""
    data = _bytes(name)
    if len(data) <= longest:
        return name
    return f"{data[: longest - 17].decode(errors='ignore')}~{hashlib.sha256(data).hexdigest()[:16]}"


def _set_name(name: str) -> str:
    """Return a class name as part of a file name."""
    return fitting(plain_name(name).replace("/", "%2F").replace("\\", "%5C"))


def _shown(record: Record) -> dict[str, int]:
    """Return the classes that a picture shows: 1, or 0 where all objects of a class are difficult."""
    shown = dict.fromkeys(record.labels, 1)
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
