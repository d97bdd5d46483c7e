"""TFRecord files of the TensorFlow Object Detection API, one picture a record, read as a stream without TensorFlow.

Keys: research/object_detection/g3doc/using_your_own_dataset.md and core/standard_fields.py (TfExampleFields) of
tensorflow/models. Corners are float32 shares of the picture's size.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from reprolens.config.data import Labelled
from reprolens.convert.formats.entries import EntryError, attempt, chosen, collect, folder_of, side
from reprolens.convert.formats.example import Feature, RecordError, parse_example, read_records
from reprolens.convert.formats.label_map import LabelMap, nearest_map, read_label_map
from reprolens.convert.formats.outlines import EXACT, decode_png, run_length
from reprolens.convert.picture import shown_size
from reprolens.convert.source import (
    NotANumberError,
    Problem,
    Source,
    SourceImage,
    Task,
    decimal,
    make_object,
    split_named,
    split_of_folder,
)
from reprolens.convert.tree import PICTURES, Tree
from reprolens.errors import DataError
from reprolens.voc import Object, Record
from reprolens.voc.records import Corners

_FILE = re.compile(r"(\.(tfrecords?|tfrec|record)(-\d+-of-\d+)?|-\d{5}-of-\d{5})(\.gz)?$", re.IGNORECASE)

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_MARKS = (
    ("difficult", "difficult"),
    ("truncated", "truncated"),
    ("occluded", "occluded"),
    ("is_crowd", "crowd"),
    ("group_of", "group"),
)
"""Features of an object, and the marks that they set; a group is a crowd as well."""
_SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"BM": ".bmp", b"RIFF": ".webp"}


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like TFRecord files of pictures, or None."""
    for file in islice(filter(_FILE.search, tree.files), 3):
        features = _first(tree, file)
        if features and any(name.startswith("image/") for name in features):
            return f"{file} holds pictures as the TensorFlow Object Detection API keeps them"
    return None


def read(tree: Tree, options: Labelled) -> Source:
    """Open the TFRecord files of a folder, with the label_map.pbtxt next to them where there is one.

    Raises DataError where there is no such file.
    """
    files = [file for file in chosen(tree, options, "") if _FILE.search(file)]
    if not files:
        wanted = f" that fits {options.annotations}" if options.annotations else " (*.tfrecord, *.record)"
        raise DataError(f"{tree.root}: holds no TFRecord file{wanted}; set data to the right format")
    maps: dict[str, LabelMap] = {}
    problems: list[Problem] = []
    for file in tree.ending(".pbtxt"):
        outcome = attempt(tree, file, read_label_map)
        if isinstance(outcome, Problem):
            problems.append(outcome)
        else:
            maps[file] = outcome
    declared = [maps[place] for place in dict.fromkeys(nearest_map(file, maps) for file in files) if place]
    classes = tuple(dict.fromkeys(name for labels in declared for name in labels.classes))
    return Source(_images(tree, files, maps, problems), classes or None, _task(tree, files))


def _first(tree: Tree, file: str) -> dict[str, Feature] | None:
    try:
        data = next(read_records(tree.path(file)), None)
        return None if data is None else parse_example(data)
    except RecordError:
        return None


def _task(tree: Tree, files: Sequence[str]) -> Task:
    names = next(filter(None, (_first(tree, file) for file in files[:3])), {})
    whole = any(name.startswith("image/class/") for name in names)
    return "classification" if whole and not any(name.startswith("image/object/") for name in names) else "detection"


def _images(
    tree: Tree, files: Sequence[str], maps: dict[str, LabelMap], problems: list[Problem]
) -> Iterator[SourceImage | Problem]:
    yield from problems
    for file in files:
        labels = maps.get(nearest_map(file, maps) or "", LabelMap({}))
        number = 0
        try:
            for number, data in enumerate(read_records(tree.path(file)), 1):
                entry = _Entry(tree, file, number, labels)
                try:
                    yield from _read_picture(entry, parse_example(data))
                except RecordError as error:
                    yield Problem("unreadable_annotation", file, entry.place, str(error))
        except RecordError as error:
            yield Problem("unreadable_annotation", file, tree.place(file, f"after record {number}"), str(error))


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a record stands, and the class names that hold for it."""

    tree: Tree
    file: str
    number: int
    labels: LabelMap

    @property
    def place(self) -> str:
        return self.tree.place(self.file, f"record {self.number}")


def _read_picture(entry: _Entry, features: dict[str, Feature]) -> Iterator[SourceImage | Problem]:
    """Yield what is wrong with single objects of a record, then its picture. Raises RecordError for the whole of it."""
    encoded = (_texts(features, "image/encoded") or [b""])[0]
    name = next(filter(None, (_text(features, f"image/{key}") for key in ("filename", "source_id"))), "")
    name = name or f"{PurePosixPath(entry.file).name.partition('.')[0]}-{entry.number:05}"
    if encoded and not name.lower().endswith(PICTURES):
        name += next((suffix for start, suffix in _SUFFIXES.items() if encoded.startswith(start)), ".jpg")
    near = folder_of(entry.file)
    width, height = _size(entry, features, encoded, name, near)
    objects, problems = collect(*_objects(entry, features, width, height), name, entry.place)
    yield from problems
    labels: list[str] = []
    try:
        count, class_of = _classes(entry, features, "image/class", None)
        labels = [class_of(index) for index in range(count)]
    except EntryError as error:
        yield Problem(error.kind, name, entry.place, f"the picture as a whole: {error.reason}")
    record = Record("", name, width, height, objects=tuple(objects), labels=tuple(dict.fromkeys(labels)))
    yield SourceImage(record, _split(entry.file), encoded or None, near, entry.place)


def _size(entry: _Entry, features: dict[str, Feature], encoded: bytes, name: str, near: str) -> tuple[int, int]:
    """Return width and height as the record has them, else the picture's own, else zeros."""
    width, height = (side((_integers(features, f"image/{key}") or [0])[0]) for key in ("width", "height"))
    if width and height:
        return width, height
    if encoded:
        return shown_size(encoded) or (0, 0)
    found = entry.tree.images.find(name, near)
    return (len(found) == 1 and shown_size(entry.tree.images.path(found[0]))) or (0, 0)


def _objects(
    entry: _Entry, features: dict[str, Feature], width: int, height: int
) -> tuple[range, Callable[[int], Iterator[Object]]]:
    """Return how many objects a record has, and what reads one; that raises EntryError or NotANumberError."""
    columns = [_floats(features, f"image/object/bbox/{key}") for key in _CORNERS]
    count = len(columns[0])
    marks = {name: _integers(features, f"image/object/{key}") for key, name in _MARKS}
    views = _texts(features, "image/object/view")
    masks = _masks(features, count, width, height)
    lists: list[tuple[str, Sequence[Any]]] = [("view", views), ("mask", masks), *marks.items()]
    lists += zip((f"bbox/{key}" for key in _CORNERS), columns, strict=True)
    for name, values in lists:
        if len(values) != count and (values or name.startswith("bbox/")):
            raise RecordError(f"image/object/{name} has {len(values)} values for {count} boxes")
    _, class_of = _classes(entry, features, "image/object/class", count)
    corners = relative_corners(np.array(columns, np.float32).T, width, height)

    def read_object(index: int) -> Iterator[Object]:
        name, box = class_of(index), corners[index]
        if isinstance(box, NotANumberError):
            raise box
        found: dict[str, Any] = {name: bool(values[index]) for name, values in marks.items() if values}
        found["crowd"] = found.pop("group", False) or found.get("crowd", False)
        if views and views[index]:
            found["pose"] = views[index].decode("utf-8", "replace")
        yield make_object(name, box, segmentation=_outline(masks[index], width, height) if masks else "", **found)

    return range(count), read_object


def relative_corners(shares: np.ndarray[Any, Any], width: int, height: int) -> list[Corners | NotANumberError]:
    """Return the corners in pixels of boxes (n, 4) float32, which are shares of the width and the height in pixels.

    Corners on whole pixels k come back as such: if float32(k / size), or float32(k) / float32(size), the two ways that
    programs write them, is what the file has for all four. Else each is the shortest decimal that names the float32,
    times the size. Without a size the shares are taken as they are. NotANumberError stands for what is not finite.
    """
    sizes = np.array([width or 1, height or 1] * 2, np.float64)
    with np.errstate(all="ignore"):
        pixels = np.rint(shares.astype(np.float64) * sizes)
        single = pixels.astype(np.float32) / sizes.astype(np.float32)
        whole = (((pixels / sizes).astype(np.float32) == shares) | (single == shares)).all(axis=1)
    boxes: list[Corners | NotANumberError] = []
    for row, integers, exact in zip(shares, pixels.tolist(), whole.tolist(), strict=True):
        try:
            if exact and width and all(map(math.isfinite, integers)):
                numbers = [Decimal(int(pixel)) for pixel in integers]
            else:
                values = (decimal(str(share)) for share in row)
                numbers = [EXACT.multiply(value, int(size)) for value, size in zip(values, sizes, strict=True)]
        except NotANumberError as error:
            boxes.append(error)
        else:
            boxes.append((numbers[0], numbers[1], numbers[2], numbers[3]))
    return boxes


def _classes(
    entry: _Entry, features: dict[str, Feature], key: str, count: int | None
) -> tuple[int, Callable[[int], str]]:
    """Return how many classes there are, and a function that names one: by its text, else its number in the label map.

    The function raises EntryError.
    """
    texts = _texts(features, f"{key}/text")
    numbers = _integers(features, f"{key}/label")
    count = max(len(texts), len(numbers)) if count is None else count
    for kind, length in (("text", len(texts)), ("label", len(numbers))):
        if length not in (0, count):
            raise RecordError(f"{key}/{kind} has {length} values for {count}")

    def class_of(index: int) -> str:
        text = texts[index] if texts else b""
        try:
            return entry.labels.name(text.decode("utf-8").strip(), numbers[index] if numbers else None)
        except UnicodeDecodeError:
            raise EntryError("unknown_class", f"the name of its class is not UTF-8: {str(text)[2:42]}") from None

    return count, class_of


def _masks(features: dict[str, Feature], count: int, width: int, height: int) -> Sequence[Any]:
    """Return a mask an object: the bytes of a PNG, or an array (height, width) where masks are kept as numbers."""
    values = features.get("image/object/mask", [])
    if values and isinstance(values[0], float):
        if len(values) != count * height * width:
            raise RecordError(f"image/object/mask has {len(values)} values for {count} masks of {width} x {height}")
        return list(np.array(values, np.float32).reshape(count, height, width) > 0)
    return _texts(features, "image/object/mask")


def _outline(mask: bytes | np.ndarray[Any, Any], width: int, height: int) -> str:
    """Return a mask as COCO's run-length code. Raises EntryError."""
    values = decode_png(mask) if isinstance(mask, bytes) else mask
    if values.shape != (height, width):
        reason = f"its mask has {values.shape[1]} x {values.shape[0]} pixels, the picture {width} x {height}"
        raise EntryError("unreadable_mask", reason)
    return run_length(values, 0, 0, width, height)


def _split(file: str) -> str | None:
    """Return the split in the name of a file, such as coco_val.record-00001-of-00010, else of a folder above it."""
    words = re.split(r"[^a-z]+", PurePosixPath(file).name.lower())
    found = {split for word in words if (split := split_named(word))}
    if found == {"train", "val"}:
        return "trainval"
    return found.pop() if len(found) == 1 else split_of_folder(file)


def _text(features: dict[str, Feature], key: str) -> str:
    return b"".join(_texts(features, key)[:1]).decode("utf-8", "surrogateescape")


def _texts(features: dict[str, Feature], key: str) -> list[bytes]:
    return _typed(features, key, bytes, "text")


def _integers(features: dict[str, Feature], key: str) -> list[int]:
    return _typed(features, key, int, "whole numbers")


def _floats(features: dict[str, Feature], key: str) -> list[float]:
    return _typed(features, key, float, "float32 numbers")


def _typed(features: dict[str, Feature], key: str, kind: type, name: str) -> list[Any]:
    values = features.get(key, [])
    if values and not isinstance(values[0], kind):
        raise RecordError(f"{key} is not {name}")
    return values
