"""LabelMe: the desktop tool's JSON (github.com/wkentaro/labelme), one file a picture, and the old web tool's XML.

Coordinates are continuous pixels from the picture's top-left corner. A mask's box is given by its first and its last
pixel. X-AnyLabeling's JSON is the same with some shapes more.
"""

import base64
import binascii
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from reprolens.config.data import Labelled
from reprolens.convert.documents import read_json, read_lines
from reprolens.convert.formats import labelme_web, outlines
from reprolens.convert.formats.entries import (
    EntryError,
    attempt,
    chosen,
    class_name,
    collect,
    folder_of,
    is_true,
    mapping,
    marks_of,
    opening,
    sequence,
    side,
    text,
)
from reprolens.convert.picture import shown_size
from reprolens.convert.source import Problem, Source, SourceImage, around, make_object, split_of_folder
from reprolens.convert.tree import Tree
from reprolens.errors import DataError
from reprolens.voc import Object, Record

_OUTLINES = ("polygon", "oriented_rectangle", "rotation", "quadrilateral")
_NO_AREA = {"point", "points", "line", "linestrip"}
_IGNORED = "__ignore__"
_BACKGROUND = "_background_"


class _File(msgspec.Struct):
    """The keys of a LabelMe file that are used; the picture in it stays undecoded until it is needed."""

    shapes: Any = msgspec.UNSET
    flags: Any = None
    imagePath: Any = None  # noqa: N815 (LabelMe's own names)
    imageData: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815
    imageHeight: Any = None  # noqa: N815
    imageWidth: Any = None  # noqa: N815


@dataclass(frozen=True)
class _Part:
    """A polygon that is one of several parts of an object: its class, marks, group and points."""

    name: str
    marks: dict[str, bool]
    group: str
    points: list[outlines.Point]


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like LabelMe's, or None."""
    for file in tree.ending(".json")[:3]:
        head = opening(tree.path(file))
        if head.lstrip()[:1] == b"{" and (b'"imageData"' in head or (b'"imagePath"' in head and b'"shapes"' in head)):
            return f"{file} has shapes and imagePath, as LabelMe writes them"
    return labelme_web.detect(tree)


def read(tree: Tree, options: Labelled) -> Source:
    """Open a folder of LabelMe's JSON files, or of the old web tool's XML files. Raises DataError if it holds neither.

    A labels.txt that begins with __ignore__ or _background_, as LabelMe's own converters want it, declares the classes.
    """
    files = chosen(tree, options, ".json")
    if not files:
        pages = chosen(tree, options, ".xml")
        if not pages:
            raise DataError(f"{tree.root}: holds no .json file, and no .xml file either; LabelMe writes one a picture")
        return labelme_web.read(tree, pages)
    classes = _declared(tree)

    def images() -> Iterator[SourceImage | Problem]:
        for file in files:
            outcome = attempt(tree, file, _read)
            if isinstance(outcome, Problem):
                yield outcome
            else:
                yield from _picture(outcome, file, tree, classes)

    return Source(images(), classes, _task(tree, files))


def _read(path: Path) -> _File:
    document: _File = read_json(path, _File)
    if document.shapes is msgspec.UNSET:
        raise DataError(f'{path}: has no "shapes", as LabelMe\'s files have')
    if not isinstance(document.shapes, list):
        raise DataError(f'{path}: its "shapes" are no list')
    return document


def _declared(tree: Tree) -> tuple[str, ...] | None:
    if "labels.txt" not in tree.files:
        return None
    try:
        lines = read_lines(tree.path("labels.txt"))
    except DataError:
        return None
    if not lines or lines[0] not in (_IGNORED, _BACKGROUND):
        return None
    return tuple(dict.fromkeys(line for line in lines if line not in (_IGNORED, _BACKGROUND)))


def _task(tree: Tree, files: Iterable[str]) -> Any:
    """Return classification if the first files with anything in them have flags and no shapes."""
    flagged = False
    for file in list(files)[:20]:
        outcome = attempt(tree, file, _read)
        if isinstance(outcome, _File):
            if outcome.shapes:
                return "detection"
            flagged = flagged or any(is_true(value) for value in mapping(outcome.flags).values())
    return "classification" if flagged else "detection"


def _picture(
    document: _File, file: str, tree: Tree, classes: tuple[str, ...] | None
) -> Iterator[SourceImage | Problem]:
    near, place = folder_of(file), tree.place(file)
    picture, found = _name(document, file, tree)
    size = side(document.imageWidth), side(document.imageHeight)
    if not all(size):
        size = (shown_size(tree.images.path(found[0])) if len(found) == 1 else None) or (0, 0)
    known = frozenset(classes) if classes is not None else None
    shapes, problems = collect(document.shapes, lambda entry: [_shape(mapping(entry), size, known)], picture, place)
    yield from problems
    labels = tuple(text(key) for key, value in mapping(document.flags).items() if is_true(value) and text(key))
    record = Record("", picture, *size, objects=tuple(_joined(shapes)), labels=labels)
    image = None if found else _embedded(document.imageData)
    yield SourceImage(record, split_of_folder(file) or split_of_folder(picture), image, near, place)


def _name(document: _File, file: str, tree: Tree) -> tuple[str, list[str]]:
    """Return the picture's name, and where it lies: imagePath, which goes stale, else what is called as the JSON is."""
    stem, near = PurePosixPath(file).stem, folder_of(file)
    name = text(document.imagePath).replace("\\", "/")
    found = tree.images.find(name, near) if name else []
    if not found and (beside := tree.images.find(stem, near)):
        return (name if name and PurePosixPath(name).stem == stem else beside[0]), beside
    return name or stem, found


def _embedded(data: msgspec.Raw) -> bytes | None:
    """Return the picture that the file itself holds, or None."""
    try:
        return base64.b64decode(msgspec.json.decode(data, type=str)) or None
    except (msgspec.DecodeError, binascii.Error, ValueError):
        return None


def _joined(shapes: Iterable[Object | _Part]) -> list[Object]:
    """Join the polygons of one class and group_id, which are the parts of one object; the first keeps its place."""
    groups: dict[Any, list[Object | _Part]] = defaultdict(list)
    for number, shape in enumerate(shapes):
        groups[(shape.name, shape.group) if isinstance(shape, _Part) else number].append(shape)
    joined = []
    for members in groups.values():
        parts = [member for member in members if isinstance(member, _Part)]
        joined += [member for member in members if isinstance(member, Object)]
        if parts:
            corners = around(point for part in parts for point in part.points)
            marks = {key: True for part in parts for key in part.marks}
            segmentation = outlines.polygons(part.points for part in parts)
            joined.append(make_object(parts[0].name, corners, segmentation=segmentation, **marks))
    return joined


def _shape(entry: dict[str, Any], size: tuple[int, int], known: frozenset[str] | None) -> Object | _Part:
    """Read a shape. Raises EntryError, or NotANumberError for coordinates that are none."""
    kind = text(entry.get("shape_type")) or "polygon"
    if text(entry.get("label")) == _IGNORED:
        raise EntryError("ignored_region", f"it is labelled {_IGNORED}")
    if kind in _NO_AREA:
        raise EntryError("unsupported_shape", f"a {kind} has no area")
    name = class_name(entry.get("label"), known)
    marks = marks_of([*mapping(entry.get("flags")).items(), ("difficult", entry.get("difficult"))])
    points = sequence(entry.get("points"))
    if kind == "rectangle":
        return _rectangle(name, points, marks)
    if kind == "mask":
        return _mask(name, outlines.points_of(points), marks, entry.get("mask"), size)
    if kind == "circle":
        if len(points) != 2:
            reason = f"a circle of {len(points)} points; it takes the centre and one on it"
            raise EntryError("unsupported_shape", reason)
        centre, other = outlines.points_of(points)
        radius = outlines.distance(centre, other)
        corners, segmentation = outlines.ellipse(centre, (radius, radius))
        return make_object(name, corners, segmentation=segmentation, **marks)
    if kind not in _OUTLINES:
        raise EntryError("unsupported_shape", f"{kind[:40]!r} is not a shape with an area that is known")
    group = text(entry.get("group_id"))
    if not group:
        return outlines.outlined(name, points, marks)
    if len(points) < 3:
        raise EntryError("unsupported_shape", f"a polygon of {len(points)} points has no area")
    return _Part(name, marks, group, outlines.points_of(points))


def _rectangle(name: str, points: list[Any], marks: dict[str, bool]) -> Object:
    """Return a rectangle of two opposite corners, in any order, or of all four, which may be a turned one."""
    if len(points) == 2:
        return outlines.spanned(name, points, marks)
    if len(points) != 4:
        raise EntryError("unsupported_shape", f"a rectangle of {len(points)} points; it takes two or four")
    exact = outlines.points_of(points)
    if all(a[0] == b[0] or a[1] == b[1] for a, b in pairwise(exact)):
        return make_object(name, around(exact), **marks)
    return outlines.outlined(name, points, marks)


def _mask(name: str, points: list[outlines.Point], marks: dict[str, bool], data: Any, size: tuple[int, int]) -> Object:
    """Return a mask: a PNG in base64 that covers the box from its first pixel to its last."""
    if not points:
        raise EntryError("unsupported_shape", "a mask without the points that say where it lies")
    try:
        patch = outlines.decode_png(base64.b64decode(text(data)))
    except ValueError:
        raise EntryError("unreadable_mask", "its mask is not in base64") from None
    x0, y0, _, _ = around(points)
    if abs(x0) > outlines.LARGEST_SIDE or abs(y0) > outlines.LARGEST_SIDE:
        raise EntryError("unreadable_mask", "its mask lies far outside the picture")
    left, top = math.floor(x0), math.floor(y0)
    segmentation = outlines.run_length(patch, left, top, *size)
    corners = outlines.corners_of(left, top, patch.shape[1], patch.shape[0])
    return make_object(name, corners, segmentation=segmentation, **marks)
