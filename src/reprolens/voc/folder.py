"""A VOC folder: Annotations/, JPEGImages/, ImageSets/Main/ and labels.txt."""

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
        """Read the annotation of one picture. Raises DataError if it is missing or damaged."""
        path = self.root / "Annotations" / f"{id}.xml"
        try:
            data = path.read_bytes()
        except OSError:
            raise DataError(f"{path}: cannot be read; run the convert stage again") from None
        return replace(parse_annotation(data, str(path)), id=id)

    def records(self, split: str) -> Iterator[Record]:
        """Read the annotations of a split in the order of its image set."""
        for id in self.splits[split]:
            yield self.record(id)

    def image(self, record: Record) -> Path:
        """Return the path of a record's picture. Raises DataError if it would leave the folder."""
        images = self.root / "JPEGImages"
        path = images / record.file
        if not path.resolve().is_relative_to(images.resolve()):
            raise DataError(f"{record.id}: its picture {record.file!r} lies outside {images}")
        return path


def read_folder(root: Path) -> Folder:
    """Open the VOC folder that the convert stage wrote. Raises DataError if it is missing or incomplete."""
    labels = root / "labels.txt"
    if not labels.is_file():
        raise DataError(f"{labels}: not found; run the convert stage first (dvc repro convert)")
    classes = tuple(labels.read_text(encoding="utf-8").splitlines())
    splits = {}
    for split in SPLITS:
        path = root / "ImageSets" / "Main" / f"{split}.txt"
        if not path.is_file():
            raise DataError(f"{path}: not found; run the convert stage again (dvc repro -f convert)")
        splits[split] = tuple(path.read_text(encoding="utf-8").splitlines())
    return Folder(root, classes, splits)


def write_folder(root: Path, classes: Sequence[str], splits: Mapping[str, Sequence[Record]]) -> None:
    """Write the annotations, image sets and class names of a data set; the pictures are the caller's to place.

    The per-class image sets say, as VOC's do, 1 for a picture that shows the class, 0 where it shows only difficult
    objects of it, and -1 elsewhere.
    """
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    sets = root / "ImageSets" / "Main"
    sets.mkdir(parents=True, exist_ok=True)
    (root / "labels.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8", newline="\n")
    for split, records in splits.items():
        for record in records:
            path = root / "Annotations" / f"{record.id}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(format_annotation(record))
        ids = "".join(f"{record.id}\n" for record in records)
        (sets / f"{split}.txt").write_text(ids, encoding="utf-8", newline="\n")
        for name in classes:
            lines = "".join(f"{record.id} {_presence(record, name):2d}\n" for record in records)
            (sets / f"{_file_name(name)}_{split}.txt").write_text(lines, encoding="utf-8", newline="\n")


def _presence(record: Record, name: str) -> int:
    difficult = [item.difficult for item in record.objects if item.name == name]
    if not difficult:
        return -1
    return 0 if all(difficult) else 1


def _file_name(name: str) -> str:
    return name.replace("/", "_").replace("\\", "_").replace("\0", "_")
