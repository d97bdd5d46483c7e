"""COCO JSON: boxes, polygons, run-length masks and crowds (https://cocodataset.org/#format-data).

`bbox` is `[x, y, width, height]` in pixels, 0-based and continuous. The right edge is x + width in decimal arithmetic,
on the numbers as the file writes them, so that width comes back digit by digit.
"""

import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import msgspec

from reprolens.config.data import Labelled
from reprolens.convert.documents import read_json
from reprolens.convert.formats.coco_files import (
    AnnotationFile,
    Header,
    entries,
    find_files,
    identity,
    looks_like_coco,
    picture_split,
)
from reprolens.convert.formats.entries import LONGEST_SIDE, MARKS, EntryError, is_true, mapping, marks_of, side, text
from reprolens.convert.formats.outlines import EXACT
from reprolens.convert.segmentation import hull
from reprolens.convert.source import NotANumberError, Problem, Source, SourceImage, Task, decimal, make_object
from reprolens.convert.tree import Tree
from reprolens.errors import DataError
from reprolens.voc import Object, Record

# How many files `detect` opens at most.
_LOOKS = 8

_LIKELY = re.compile(r"coco|instances|annotations|keypoints|panoptic|image_info|captions|labels|train|val|test")
_NUMBERS = frozenset((int, float))
_BLANKS = b" \t\r\n"
_NO_OUTLINE = (b"[]", b"", b"[[]]", b"null", b"{}")


class _Image(msgspec.Struct):
    id: Any = None
    file_name: Any = None
    width: Any = None
    height: Any = None


class _Annotation(msgspec.Struct, gc=False):
    id: Any = None
    image_id: Any = None
    category_id: Any = None
    bbox: Any = None
    segmentation: msgspec.Raw = msgspec.Raw(b"")
    segments_info: msgspec.Raw = msgspec.Raw(b"")
    iscrowd: Any = None
    ignore: Any = None
    attributes: Any = None
    keypoints: msgspec.Raw = msgspec.Raw(b"")


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like COCO, or None."""

    def unlikely(file: str) -> tuple[bool, int]:
        return not _LIKELY.search(PurePosixPath(file).name.lower()), file.count("/")

    for file in sorted(tree.ending(".json"), key=unlikely)[:_LOOKS]:
        if found := looks_like_coco(tree.path(file)):
            return f"{file} has {found}"
    return None


def read(tree: Tree, options: Labelled) -> Source:
    """Open a COCO data set: every file of it that has objects, or those that `options.annotations` matches.

    Where several files describe the same pictures, as in COCO's own annotations/, instances_* is read and the others
    are reported. A picture without annotations is one without objects. Classes are in the order of the category ids.

    Raises DataError where there is no COCO file.
    """
    files, problems = find_files(tree, options.annotations)
    classes = tuple(dict.fromkeys(name for file in files for name in file.names.values()))
    labelled = any(file.content == "labels" for file in files)
    objects = any(file.content in ("objects", "panoptic") for file in files)
    pngs = tree.images.ending(".png")
    masks = frozenset(file for file in pngs if "panoptic" in PurePosixPath(file).parent.name.lower())
    task: Task = "classification" if labelled and not objects else "detection"
    return Source(_images(tree, files, problems), classes or None, task, masks)


def _images(tree: Tree, files: list[AnnotationFile], problems: list[Problem]) -> Iterator[SourceImage | Problem]:
    yield from problems
    named: set[tuple[str, str]] = set()  # what the other files of the split describe; kept only for lists of pictures
    listing = any(file.extra for file in files)
    for file in files:
        for item in _read_file(tree, file):
            if listing and isinstance(item, SourceImage):
                name = (item.near, item.record.file)
                if file.extra and name in named:
                    continue
                named.add(name)
            yield item


def _read_file(tree: Tree, file: AnnotationFile) -> Iterator[SourceImage | Problem]:
    """Yield the pictures of one file, then the annotations that belong to none."""
    path = tree.path(file.file)
    try:
        header = read_json(path, Header)
        images = entries(header.images, _Image)
        annotations = entries(header.annotations, _Annotation)
    except DataError as error:
        yield Problem("unreadable_annotation", file.file, tree.place(file.file), str(error).removeprefix(f"{path}: "))
        return
    by_image: dict[Any, list[_Annotation]] = {}
    not_kept: Counter[str] = Counter()
    for number, annotation in enumerate(annotations):
        if isinstance(annotation, str):
            place = tree.place(file.file, f"annotations[{number}]")
            yield Problem("unreadable_annotation", file.file, place, annotation)
            continue
        if annotation.keypoints:
            not_kept["key points"] += 1
        if annotation.attributes:
            not_kept.update(f"the attribute {name[:40]!r}" for name in _unknown(annotation.attributes))
        id = annotation.image_id
        owned = by_image.setdefault(id if type(id) is int else identity(id), [])
        if annotation.segments_info:
            yield from _add_segments(tree, file, annotation, owned)
        elif file.content in ("objects", "labels"):
            owned.append(annotation)
    for what, times in not_kept.items():
        reason = f"{what} of {times} annotation{'' if times == 1 else 's'}: VOC has no place for it"
        yield Problem("not_kept", file.file, tree.place(file.file), reason)
    del annotations, header
    used: set[int | str] = set()
    file_place = tree.place(file.file)
    for number, image in enumerate(images):
        if isinstance(image, str):
            place = tree.place(file.file, f"images[{number}]")
            yield Problem("unreadable_annotation", file.file, place, image)
        else:
            yield from _picture(tree, file, file_place, image, used, by_image)
    for image_id, lost in by_image.items():
        if image_id not in used and lost:
            place = tree.place(file.file, f"annotation {_short(lost[0].id)}")
            count = "an annotation" if len(lost) == 1 else f"{len(lost)} annotations"
            reason = f"{count} of image {_short(lost[0].image_id)}, which the file does not list"
            yield Problem("missing_image", _short(lost[0].image_id), place, reason)


def _picture(
    tree: Tree,
    file: AnnotationFile,
    file_place: str,
    image: _Image,
    used: set[int | str],
    by_image: dict[Any, list[_Annotation]],
) -> Iterator[SourceImage | Problem]:
    """Yield what is wrong with one picture's entry and its objects, then the picture."""
    id, name = identity(image.id), image.file_name
    place = f"{file_place}, image {_short(image.id)}"
    if not isinstance(name, str) or not name.strip():
        yield Problem("missing_image", _short(image.id), place, f"its file_name is {_short(name)}")
        if id is not None:
            used.add(id)
        return
    if id is None or id in used:
        reason = f"image id {_short(image.id)} " + ("is no id" if id is None else "is given to two pictures")
        yield Problem("unreadable_annotation", name, place, reason)
        return
    used.add(id)
    objects: list[Object] = []
    labels: dict[str, None] = {}
    faults: list[tuple[_Annotation, str, str]] = []
    for annotation in by_image.pop(id, ()):
        try:
            if file.content == "labels":
                labels[_class(annotation, file)] = None
            else:
                objects.append(_object(annotation, _class(annotation, file), _outline(annotation, faults)))
        except EntryError as error:
            faults.append((annotation, error.kind, error.reason))
    for annotation, kind, reason in faults:
        where = place if annotation.id is None else f"{file_place}, annotation {_short(annotation.id)}"
        yield Problem(kind, name, where, reason)
    record = Record("", name, _side(image.width), _side(image.height), 3, tuple(objects), tuple(labels))
    split = file.split or picture_split(name)
    if split is None and file.look and len(found := tree.images.find(name, file.near)) == 1:
        split = picture_split(found[0])
    yield SourceImage(record, split, near=file.near, place=place)


def _add_segments(
    tree: Tree, file: AnnotationFile, annotation: _Annotation, owned: list[_Annotation]
) -> Iterator[Problem]:
    """Add the segments of one picture of a panoptic file as its annotations."""
    try:
        segments = entries(annotation.segments_info, _Annotation)
    except DataError as error:
        segments = [f"segments_info {error}"]
    for segment in segments:
        if isinstance(segment, str):
            place = tree.place(file.file, f"image {_short(annotation.image_id)}")
            yield Problem("unreadable_annotation", file.file, place, segment)
        else:
            segment.image_id = annotation.image_id
            owned.append(segment)


def _class(annotation: _Annotation, file: AnnotationFile) -> str:
    """Return an annotation's class. Raises EntryError if the file's categories have none of its id."""
    id = annotation.category_id
    if type(id) is not int:
        id = identity(id)
    name = file.names.get(id)
    if name is None:
        unknown = f"category {_short(annotation.category_id)} is not in the file's categories"
        raise EntryError("unknown_class", unknown if id is None else file.unclear.get(id, unknown))
    return name


def _object(annotation: _Annotation, name: str, outline: str) -> Object:
    """Return an annotation as an object. Raises EntryError."""
    attributes = annotation.attributes
    marks = _marks(attributes) if attributes else {}
    if annotation.ignore and _flag(annotation.ignore):
        marks["difficult"] = True
    if annotation.iscrowd and _flag(annotation.iscrowd):
        marks["crowd"] = True
    bbox = annotation.bbox
    if isinstance(bbox, list) and len(bbox) == 4:
        if (box := _plain(bbox)) is not None:
            return Object(name, box, segmentation=outline, **marks)
        try:
            x, y, width, height = (
                # A float needs none of what `decimal` does for texts.
                Decimal(repr(n)) if type(n) is float and 1e-300 < abs(n) < 1e299 else decimal(n)
                for n in bbox
            )
        except NotANumberError as error:
            raise EntryError("invalid_box", str(error)) from None
        return make_object(name, (x, y, EXACT.add(x, width), EXACT.add(y, height)), segmentation=outline, **marks)
    if bbox is not None and bbox != []:
        raise EntryError("invalid_box", f"bbox is {_short(bbox)}, not [x, y, width, height]")
    if not outline:
        raise EntryError("unsupported_shape", "has neither a bbox nor a segmentation")
    try:
        return make_object(name, hull(outline), segmentation=outline, **marks)
    except (DataError, NotANumberError) as error:
        raise EntryError("invalid_box", f"has no bbox, and its segmentation {error}") from None


def _flag(value: Any) -> bool:
    return value == 1 or is_true(value)


def _marks(attributes: Any) -> dict[str, Any]:
    """Return what the attributes say that CVAT, datumaro and this project's own exporter write beside a box."""
    found: dict[str, Any] = marks_of(mapping(attributes).items())
    if pose := " ".join(text(mapping(attributes).get("pose")).split()):
        found["pose"] = pose
    return found


def _unknown(attributes: Any) -> list[str]:
    """Return the names of the attributes that `_marks` has no use for, and that say something."""
    said = mapping(attributes).items()
    return [str(name) for name, value in said if text(name).lower() not in (*MARKS, "pose") and value not in (None, "")]


def _plain(bbox: list[Any]) -> tuple[float, float, float, float] | None:
    """Return the corners of a box of at most four decimals, and None for any other.

    Such a number, of at most 15 digits, is a whole number of ten-thousandths, which float64 adds without an error; and
    the quotient by 10,000 is the float64 that the decimal sum names.
    """
    if not _NUMBERS.issuperset(map(type, bbox)):
        return None
    x, y, w, h = bbox
    if not (-1e10 < x < 1e10 and -1e10 < y < 1e10 and -1e10 < w < 1e10 and -1e10 < h < 1e10):
        return None
    a, b, c, d = round(x * 1e4), round(y * 1e4), round(w * 1e4), round(h * 1e4)
    if a / 1e4 != x or b / 1e4 != y or c / 1e4 != w or d / 1e4 != h:
        return None
    return a / 1e4, b / 1e4, (a + c) / 1e4, (b + d) / 1e4


def _outline(annotation: _Annotation, faults: list[tuple[_Annotation, str, str]]) -> str:
    """Return a segmentation's text without blanks, "" if there is none; one that is no outline goes to `faults`."""
    data = bytes(annotation.segmentation).translate(None, _BLANKS)
    if data in _NO_OUTLINE:
        return ""
    if data[:1] == b"[" and (data[1:2].isdigit() or data[1:2] == b"-"):  # one polygon, as some tools write it
        data = b"[" + data + b"]"
    shown = data.decode("ascii", "replace")
    if (data[:2] == b"[[" or data[:1] == b"{") and data.isascii() and shown.isprintable():
        return shown
    reason = f"its segmentation is neither polygons nor a run-length code: {shown[:40]!r}"
    faults.append((annotation, "unreadable_mask", reason))
    return ""


def _side(value: Any) -> int:
    return value if type(value) is int and 0 < value <= LONGEST_SIDE else side(value)


def _short(value: Any) -> str:
    """Return a value as a problem shows it."""
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
