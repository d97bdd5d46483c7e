"""The XML of the old LabelMe web tool (labelme.csail.mit.edu): Annotations/, Images/ and Masks/ with the same folders.

Coordinates are taken as continuous pixels from the picture's top-left corner.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from lxml import etree

from reprolens.convert.documents import read_bytes, read_xml
from reprolens.convert.formats import outlines
from reprolens.convert.formats.entries import (
    EntryError,
    attempt,
    class_name,
    collect,
    folder_of,
    is_true,
    opening,
    side,
)
from reprolens.convert.source import Problem, Source, SourceImage, around, decimal, make_object, split_of_folder
from reprolens.convert.tree import Tree
from reprolens.errors import DataError
from reprolens.voc import Object, Record

_OWN = frozenset(("Masks", "Scribbles"))
"""Folders of pictures that are part of the annotations."""


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like the web tool's, or None."""
    for file in tree.ending(".xml")[:3]:
        head = opening(tree.path(file))
        if b"<annotation>" in head and b"<bndbox>" not in head and (b"<pt>" in head or b"<segm>" in head):
            return f"{file} has <annotation> with polygons of <pt>, as the LabelMe web tool writes them"
    return None


def read(tree: Tree, files: tuple[str, ...]) -> Source:
    """Open the XML files of the web tool."""
    own = frozenset(file for file in tree.images.pictures if not _OWN.isdisjoint(PurePosixPath(file).parts[:-1]))
    masks: dict[str, list[str]] = {}
    for file in tree.ending(".png"):
        masks.setdefault(PurePosixPath(file).name, []).append(file)

    def images() -> Iterator[SourceImage | Problem]:
        for file in files:
            outcome = attempt(tree, file, _read)
            if isinstance(outcome, Problem):
                yield outcome
            else:
                yield from _picture(outcome, file, tree, masks)

    return Source(images(), not_pictures=own)


def _read(path: Path) -> etree._Element:
    root = read_xml(path)
    if root.tag != "annotation":
        raise DataError(f"{path}: its root is <{str(root.tag)[:40]}>, not <annotation>")
    return root


def _picture(
    root: etree._Element, file: str, tree: Tree, masks: dict[str, list[str]]
) -> Iterator[SourceImage | Problem]:
    name = _text(root, "filename") or PurePosixPath(file).stem
    folder = _text(root, "folder").replace("\\", "/").strip("/")
    picture, place = f"{folder}/{name}" if folder else name, tree.place(file)
    size = side(_text(root, "imagesize/ncols")), side(_text(root, "imagesize/nrows"))
    size = size if all(size) else (0, 0)
    entries = [item for item in root.iterfind("object") if not is_true(_text(item, "deleted"))]

    def parse(item: etree._Element) -> list[Object]:
        return [_object(item, size, lambda mask: _mask_file(tree, masks, mask, folder))]

    objects, problems = collect(entries, parse, picture, place)
    yield from problems
    record = Record("", picture, *size, objects=tuple(objects))
    yield SourceImage(record, split_of_folder(file), near=folder_of(file), place=place)


def _text(element: etree._Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _object(item: etree._Element, size: tuple[int, int], mask_file: Any) -> Object:
    name = class_name(_text(item, "name"))
    marks = {"occluded": True} if is_true(_text(item, "occluded")) else {}
    segment = item.find("segm")
    if segment is not None:
        corners = tuple(decimal(_text(segment, f"box/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax"))
        path = mask_file(_text(segment, "mask"))
        segmentation = _segmentation(path, size) if path is not None else ""
        return make_object(name, corners, segmentation=segmentation, **marks)  # type: ignore[arg-type]
    points = [(decimal(_text(point, "x")), decimal(_text(point, "y"))) for point in item.iterfind("polygon/pt")]
    if len(points) == 2 and _text(item, "type") != "bounding_box":
        raise EntryError("unsupported_shape", "a line has no area")
    if len(points) < 2:
        raise EntryError("unsupported_shape", f"a polygon of {len(points)} points has no area")
    box = _text(item, "type") == "bounding_box" and len({x for x, _ in points}) == len({y for _, y in points}) == 2
    return make_object(name, around(points), segmentation="" if box else outlines.polygons([points]), **marks)


def _mask_file(tree: Tree, masks: dict[str, list[str]], name: str, folder: str) -> Path | None:
    """Return the file of a mask in the folder of masks that belongs to the picture's, or None if there is none."""
    found = masks.get(PurePosixPath(name.replace("\\", "/")).name, [])
    beside = [file for file in found if f"/{folder_of(file)}".endswith(f"/{folder}")]
    return tree.path(beside[0]) if len(beside) == 1 else tree.path(found[0]) if len(found) == 1 else None


def _segmentation(path: Path, size: tuple[int, int]) -> str:
    try:
        mask = outlines.decode_png(read_bytes(path))
    except DataError as error:
        raise EntryError("unreadable_mask", str(error)) from None
    if mask.shape != size[::-1]:
        reason = f"its mask has {mask.shape[1]} x {mask.shape[0]} pixels, the picture {size[0]} x {size[1]}"
        raise EntryError("unreadable_mask", reason)
    return outlines.run_length(mask, 0, 0, *size)
