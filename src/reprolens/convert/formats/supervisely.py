"""Supervisely's image projects (docs.supervisely.com, "Supervisely annotation JSON format").

A project is meta.json with the classes and tags, and data sets: folders with ann/ (a JSON file a picture) and img/.
Points are taken as continuous pixels from the picture's top-left corner; a bitmap's origin is its first pixel.
"""

import base64
import re
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from reprolens.config.data import Labelled
from reprolens.convert.documents import read_json
from reprolens.convert.formats import outlines
from reprolens.convert.formats.entries import (
    EntryError,
    attempt,
    chosen,
    class_name,
    collect,
    folder_of,
    mapping,
    marks_of,
    opening,
    sequence,
    side,
    text,
)
from reprolens.convert.source import Problem, Source, SourceImage, around, make_object, split_named, split_of_folder
from reprolens.convert.tree import PICTURES, Tree
from reprolens.errors import DataError
from reprolens.voc import Object, Record
from reprolens.voc.records import Corners

_META = "meta.json"
_NO_AREA = {"point", "line", "polyline", "graph"}
_LARGEST_PNG = 2**26
_IMAGES = re.compile(rb'"classes"\s*:')
_OTHERS = re.compile(rb'"projectType"\s*:\s*"(?!images")')


class _File(msgspec.Struct):
    """The keys of an annotation that are used."""

    objects: Any = msgspec.UNSET
    size: Any = None
    tags: Any = None


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like Supervisely's, or None."""
    annotations = _annotations(tree.files)
    for file in _metas(tree)[:2]:
        head = opening(tree.path(file), 2**20)
        if annotations and _IMAGES.search(head) and not _OTHERS.search(head):
            first = opening(tree.path(annotations[0]))
            if b'"objects"' in first or b'"size"' in first:
                return f"{file} declares classes and {annotations[0]} has objects, as Supervisely exports them"
    return None


def _annotations(files: tuple[str, ...]) -> list[str]:
    return [file for file in files if file.endswith(".json") and PurePosixPath(file).parent.name == "ann"]


def _metas(tree: Tree) -> list[str]:
    return [
        file for file in tree.files if PurePosixPath(file).name == _META and PurePosixPath(file).parent.name != "ann"
    ]


def read(tree: Tree, options: Labelled) -> Source:
    """Open a project, or one data set of it. Raises DataError if it has no annotations, or a damaged meta.json."""
    files = _annotations(chosen(tree, options, ".json"))
    if not files:
        raise DataError(f"{tree.root}: has no folder ann/ with .json files, as Supervisely's data sets have")
    metas = [mapping(read_json(tree.path(file))) for file in _metas(tree)]
    titles = [text(mapping(item).get("title")) for meta in metas for item in sequence(meta.get("classes"))]
    classes = tuple(dict.fromkeys(title for title in titles if title)) if metas else None

    def images() -> Iterator[SourceImage | Problem]:
        for file in files:
            outcome = attempt(tree, file, _read)
            if isinstance(outcome, Problem):
                yield outcome
            else:
                yield from _picture(outcome, file, tree, classes)

    if classes == ():  # nothing can be drawn then: the tags are what the pictures are labelled with
        return Source(images(), None, "classification")
    return Source(images(), classes)


def _read(path: Path) -> _File:
    document: _File = read_json(path, _File)
    if not isinstance(document.objects, list):
        raise DataError(f'{path}: has no list "objects", as Supervisely\'s annotations have')
    return document


def _picture(
    document: _File, file: str, tree: Tree, classes: tuple[str, ...] | None
) -> Iterator[SourceImage | Problem]:
    place = tree.place(file)
    dataset = folder_of(folder_of(file))
    near = f"{dataset}/img" if dataset else "img"
    stem = PurePosixPath(file).stem  # name.jpg.json names the picture, name.json leaves its suffix open
    found = tree.images.find(stem, near)
    name = stem if PurePosixPath(stem).suffix.lower() in PICTURES or not found else PurePosixPath(found[0]).name
    given = mapping(document.size)
    size = side(given.get("width")), side(given.get("height"))
    size = size if all(size) else (0, 0)
    known = frozenset(classes) if classes else None
    objects, problems = collect(document.objects, lambda entry: [_object(mapping(entry), size, known)], name, place)
    yield from problems
    tags = [(text(mapping(tag).get("name")), text(mapping(tag).get("value"))) for tag in sequence(document.tags)]
    splits = [split for tag, _ in tags if (split := split_named(tag))]
    labels = tuple(
        dict.fromkeys(f"{tag}: {value}" if value else tag for tag, value in tags if tag and not split_named(tag))
    )
    record = Record("", f"{near}/{name}", *size, objects=tuple(objects), labels=labels)
    yield SourceImage(record, splits[0] if splits else split_of_folder(file), near=near, place=place)


def _object(entry: dict[str, Any], size: tuple[int, int], known: frozenset[str] | None) -> Object:
    """Return a figure as an object. Raises EntryError, or NotANumberError for coordinates that are none."""
    bitmap, points = mapping(entry.get("bitmap")), mapping(entry.get("points"))
    kind = text(entry.get("geometryType")) or ("bitmap" if bitmap else "polygon" if points else "")
    if kind in _NO_AREA:
        raise EntryError("unsupported_shape", f"a {kind} has no area")
    name = class_name(entry.get("classTitle"), known)
    tags = [mapping(tag) for tag in sequence(entry.get("tags"))]
    marks = marks_of((tag.get("name"), True if tag.get("value") is None else tag["value"]) for tag in tags)
    if kind == "rectangle":
        exterior = sequence(points.get("exterior"))
        if len(exterior) != 2:
            raise EntryError("unsupported_shape", f"a rectangle of {len(exterior)} points; it takes two")
        return outlines.spanned(name, exterior, marks)
    if kind == "polygon" and not points.get("interior"):
        return outlines.outlined(name, sequence(points.get("exterior")), marks)
    if kind == "polygon":
        corners, segmentation = _polygon(points, size)
    elif kind in ("bitmap", "alphaMask", "alpha_mask"):
        corners, segmentation = _bitmap(bitmap or mapping(entry.get(kind)), size)
    else:
        raise EntryError("unsupported_shape", f"{kind[:40]!r} is not a shape with an area that is known")
    return make_object(name, corners, segmentation=segmentation, **marks)


def _polygon(points: dict[str, Any], size: tuple[int, int]) -> tuple[Corners, str]:
    """Return a polygon's box and outline. One with holes becomes a mask: COCO's polygons cannot have any."""
    exterior = outlines.points_of(sequence(points.get("exterior")))
    holes = [outlines.points_of(sequence(ring)) for ring in sequence(points.get("interior"))]
    segmentation = outlines.polygons([exterior])
    holes = [ring for ring in holes if len(ring) > 2]
    return around(exterior), outlines.with_holes(exterior, holes, *size) if holes else segmentation


def _bitmap(bitmap: dict[str, Any], size: tuple[int, int]) -> tuple[Corners, str]:
    """Return the box and the code of a bitmap: a PNG, packed by zlib, in base64, and the pixel where it begins."""
    origin = sequence(bitmap.get("origin"))
    if len(origin) != 2 or not all(isinstance(edge, int) and abs(edge) <= outlines.LARGEST_SIDE for edge in origin):
        raise EntryError("unreadable_mask", f"its mask begins at {str(origin)[:40]}, which is no pixel")
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(text(bitmap.get("data"))), _LARGEST_PNG)
    except (ValueError, zlib.error):
        raise EntryError("unreadable_mask", "its mask is not zlib data in base64") from None
    patch = outlines.decode_png(data)
    left, top = origin
    x0, y0, x1, y1 = outlines.hull(patch)
    corners = (x0 + left, y0 + top, x1 + left, y1 + top)
    return corners, outlines.run_length(patch, left, top, *size)
