"""CVAT XML 1.1, "for images" and "for video" (docs.cvat.ai/docs/dataset_management/formats/format-cvat).

Coordinates are continuous pixels from the picture's top-left corner. A video's tracks list every frame that they were
interpolated to; what is not `outside` there is an object of that frame.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
from lxml import etree

from reprolens.config.data import Labelled
from reprolens.convert.documents import read_xml
from reprolens.convert.formats import outlines
from reprolens.convert.formats.entries import (
    EntryError,
    chosen,
    class_name,
    collect,
    folder_of,
    is_true,
    load,
    marks_of,
    opening,
    side,
    split_of_file,
)
from reprolens.convert.source import (
    Problem,
    Source,
    SourceImage,
    around,
    decimal,
    make_object,
    split_named,
    split_of_folder,
)
from reprolens.convert.tree import Tree
from reprolens.errors import DataError
from reprolens.voc import Object, Record
from reprolens.voc.records import Corners

_SHAPES = ("box", "polygon", "ellipse", "mask", "polyline", "points", "skeleton", "cuboid")
_NO_AREA = {"polyline": "a line has no area", "points": "points have no area", "skeleton": "a skeleton has no area"}
_CUBOID = [(f"x{corner}{face}", f"y{corner}{face}") for face in "12" for corner in ("tl", "bl", "tr", "br")]
_HEAD = re.compile(rb"<annotations\b.*<(meta|image|track)\b", re.DOTALL)


@dataclass(frozen=True)
class _Document:
    """What one XML file says: the labels and subsets of its meta part, and its pictures and tracks."""

    labels: tuple[str, ...]
    subsets: dict[str, str]
    size: tuple[int, int]
    start: int
    step: int
    images: list[etree._Element]
    tracks: list[etree._Element]


@dataclass(frozen=True)
class _At:
    """Where a document lies: the source, its place there, its folder, its split; and the classes that are declared."""

    tree: Tree
    file: str
    near: str
    split: str | None
    known: frozenset[str] | None


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like CVAT XML, or None."""
    files = sorted(tree.ending(".xml"), key=lambda file: not file.endswith("annotations.xml"))
    for file in files[:3]:
        if _HEAD.search(opening(tree.path(file))):
            return f"{file} has <annotations> with <image> or <track> in it, as CVAT exports them"
    return None


def read(tree: Tree, options: Labelled) -> Source:
    """Open one or several CVAT XML files. Raises DataError if there is none, or none that can be read."""
    files = chosen(tree, options, ".xml")
    if not files:
        raise DataError(f"{tree.root}: holds no .xml file; export from CVAT as 'CVAT for images 1.1'")
    documents, problems = load(tree, files, _document)
    labels = tuple(dict.fromkeys(name for _, document in documents for name in document.labels))
    declared = all(document.labels for _, document in documents)
    known = frozenset(labels) if declared else None
    tags = any(image.find("tag") is not None for _, document in documents for image in document.images)
    drawn = any(
        document.tracks or any(child.tag in _SHAPES for image in document.images for child in image)
        for _, document in documents
    )

    def images() -> Iterator[SourceImage | Problem]:
        yield from problems
        for file, document in documents:
            at = _At(tree, file, folder_of(file), split_of_file(file), known)
            for image in document.images:
                yield from _picture(image, document, at)
            if document.tracks:
                yield from _video(document, at)

    task = "classification" if tags and not drawn else "detection"
    return Source(images(), labels if declared else None, task)  # type: ignore[arg-type]


def _document(path: Path) -> _Document:
    root = read_xml(path)
    if root.tag != "annotations":
        raise DataError(f"{path}: its root is <{str(root.tag)[:40]}>, not CVAT's <annotations>")
    labels = []
    for label in root.iterfind("meta//labels/label"):
        name = (label.findtext("name") or "").strip()
        if name and not (label.findtext("parent") or "").strip():  # the points of a skeleton are labels with a parent
            labels.append(name)
    tasks = [(task.findtext("id") or "", task.findtext("subset") or "") for task in root.iterfind("meta//task")]
    width, height = side(root.findtext("meta//original_size/width")), side(root.findtext("meta//original_size/height"))
    start = _count(root.findtext("meta//start_frame")) or 0
    step = re.search(r"step=(\d{1,6})", root.findtext("meta//frame_filter") or "")
    return _Document(
        tuple(dict.fromkeys(labels)),
        {id.strip(): subset.strip() for id, subset in tasks},
        (width, height),
        start,
        max(int(step[1]), 1) if step else 1,
        root.findall("image"),
        root.findall("track"),
    )


# ---- pictures


def _picture(image: etree._Element, document: _Document, at: _At) -> Iterator[SourceImage | Problem]:
    name = (image.get("name") or "").strip()
    place = at.tree.place(at.file, f"image {name or image.get('id') or '?'}")
    if not name:
        yield Problem("unreadable_annotation", at.file, place, "an <image> without a name")
        return
    subset = (image.get("subset") or _subset(image, document)).strip()
    file = _within(at, subset, name)
    width, height = side(image.get("width")), side(image.get("height"))
    shapes = [child for child in image if child.tag in _SHAPES]
    objects, problems = collect(shapes, lambda shape: [_object(shape, (width, height), at.known)], file, place)
    labels = []
    for tag in image.iterfind("tag"):
        try:
            labels.append(class_name(tag.get("label"), at.known))
        except EntryError as error:
            problems.append(Problem(error.kind, file, place, error.reason))
    yield from problems
    record = Record("", file, width, height, objects=tuple(objects), labels=tuple(dict.fromkeys(labels)))
    yield SourceImage(record, _split(subset, name, at), near=at.near, place=place)


def _subset(element: etree._Element, document: _Document) -> str:
    """Return the subset of the task that a picture or a track belongs to; with one task, the task's."""
    task = element.get("task_id")
    if task is not None:
        return document.subsets.get(task.strip(), "")
    return next(iter(document.subsets.values())) if len(document.subsets) == 1 else ""


def _within(at: _At, subset: str, name: str) -> str:
    """Return a picture's name with its subset's folder, in which CVAT exports it, if it lies there."""
    inside = f"{subset}/{name}"
    found = at.tree.images.find(inside, at.near) if subset else []
    return inside if len(found) == 1 and f"/{found[0]}".endswith(f"/{inside}") else name


def _split(subset: str, name: str, at: _At) -> str | None:
    return (split_named(subset) if subset else None) or split_of_folder(name) or at.split


def _object(shape: etree._Element, size: tuple[int, int], known: frozenset[str] | None, label: str = "") -> Object:
    """Return a shape as an object. Raises EntryError, or NotANumberError for coordinates that are none."""
    tag = str(shape.tag)
    if tag in _NO_AREA:
        raise EntryError("unsupported_shape", _NO_AREA[tag])
    name = class_name(label or shape.get("label"), known)
    marks = marks_of((item.get("name"), item.text) for item in shape if item.tag == "attribute") if len(shape) else {}
    if is_true(shape.get("occluded")):
        marks["occluded"] = True
    if tag == "polygon":
        pairs = (shape.get("points") or "").split(";")
        return outlines.outlined(name, [pair.split(",") for pair in pairs if pair.strip()], marks)
    if tag == "box" and shape.get("rotation") is None:
        return outlines.boxed(name, [shape.get(edge) for edge in ("xtl", "ytl", "xbr", "ybr")], marks)
    segmentation = ""
    if tag == "box":
        corners, segmentation = _turned(shape)
    elif tag == "ellipse":
        cx, cy, rx, ry = (decimal(shape.get(key)) for key in ("cx", "cy", "rx", "ry"))
        corners, segmentation = outlines.ellipse((cx, cy), (rx, ry), _angle(shape))
    elif tag == "cuboid":  # what is seen of it lies within its eight corners
        corners = around((decimal(shape.get(x)), decimal(shape.get(y))) for x, y in _CUBOID)
    else:
        corners, segmentation = _mask(shape, size)
    return make_object(name, corners, segmentation=segmentation, **marks)


def _turned(shape: etree._Element) -> tuple[Corners, str]:
    x0, y0, x1, y1 = (decimal(shape.get(edge)) for edge in ("xtl", "ytl", "xbr", "ybr"))
    corners = (x0, y0, x1, y1)
    return outlines.turned_box(corners, outlines.middle(corners), _angle(shape))


def _angle(shape: etree._Element) -> Decimal:
    return decimal(shape.get("rotation") or "0")


def _mask(shape: etree._Element, size: tuple[int, int]) -> tuple[Corners, str]:
    """Return the box and the code of a mask: run lengths by rows, zeros first, in the box left, top, width, height."""
    corners = outlines.corners_of(*(shape.get(key) for key in ("left", "top", "width", "height")))
    left, top, width, height = (_count(shape.get(key)) for key in ("left", "top", "width", "height"))
    if left is None or top is None or width is None or height is None:
        raise EntryError("unreadable_mask", "its mask's place is not in whole pixels")
    outlines.check_size(width, height)
    try:
        runs = [int(run) for run in (shape.get("rle") or "").split(",")]
    except ValueError:
        raise EntryError("unreadable_mask", "its run lengths are no whole numbers") from None
    if min(runs) < 0 or sum(runs) != width * height:
        raise EntryError("unreadable_mask", f"its run lengths do not add up to {width} x {height} pixels")
    patch = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return corners, outlines.run_length(patch, left, top, *size)


def _count(value: str | None) -> int | None:
    """Return a whole number of at most nine digits, or None."""
    return int(value) if value is not None and re.fullmatch(r"\s*-?[0-9]{1,9}\s*", value) else None


# ---- videos


def _video(document: _Document, at: _At) -> Iterator[SourceImage | Problem]:
    """Yield the frames of a video: those with shapes, and the pictures of frames that have none."""
    shapes: dict[tuple[str, int], list[tuple[str, etree._Element]]] = defaultdict(list)
    for track in document.tracks:
        subset = (track.get("subset") or _subset(track, document)).strip()
        for shape in track:
            frame = _count(shape.get("frame"))
            if shape.tag not in _SHAPES or is_true(shape.get("outside")):
                continue
            if frame is None or frame < 0:
                place = at.tree.place(at.file, f"track {track.get('id')}")
                yield Problem("unreadable_annotation", at.file, place, f"a <{shape.tag}> without a frame number")
                continue
            shapes[subset, frame].append((track.get("label") or "", shape))
    pictures = [file for file in at.tree.images.pictures if file.startswith(f"{at.near}/")] if at.near else []
    pictures = pictures or list(at.tree.images.pictures)
    if not pictures:
        reason = "the video's frames are not here; export with images, or extract them as frame_000000.png and so on"
        yield Problem("missing_image", at.file, at.tree.place(at.file), reason)
    files = _frames(shapes, pictures, document, at)
    for key in sorted({*files, *shapes}):
        yield from _frame(key, files.get(key), shapes.get(key, []), document, at)


def _frames(
    shapes: Iterable[tuple[str, int]], pictures: list[str], document: _Document, at: _At
) -> dict[tuple[str, int], str]:
    """Return the pictures by subset and frame: by the names that CVAT gives them, else in the order of the names."""
    subsets = {subset for subset, _ in shapes} | set(document.subsets.values()) or {""}
    named: dict[tuple[str, int], str] = {}
    for file in pictures:
        if match := re.search(r"(?:^|/)frame_(\d{6,9})\.[^/.]+$", file):
            inside = next((subset for subset in sorted(subsets) if subset and f"/{subset}/" in f"/{file}"), None)
            subset = inside if inside is not None else min(subsets)
            named.setdefault((subset, int(match[1])), file)
    if named or len(subsets) > 1:
        return named
    subset = next(iter(subsets))
    ordered = sorted(pictures, key=lambda file: [part.zfill(20) if part.isdigit() else part for part in _parts(file)])
    return {(subset, document.start + number * document.step): file for number, file in enumerate(ordered)}


def _parts(file: str) -> list[str]:
    return re.split(r"(\d+)", file)


def _frame(
    key: tuple[str, int], picture: str | None, shapes: list[tuple[str, etree._Element]], document: _Document, at: _At
) -> Iterator[SourceImage | Problem]:
    subset, number = key
    file = picture or f"frame_{number:06d}.png"
    place = at.tree.place(at.file, f"frame {number}")
    objects, problems = collect(
        shapes, lambda shape: [_object(shape[1], document.size, at.known, shape[0])], file, place
    )
    yield from problems
    record = Record("", file, *document.size, objects=tuple(objects))
    yield SourceImage(record, _split(subset, "", at), near=at.near, place=place)
