"""KITTI's 2D object labels: label_2/*.txt beside image_2/, a line an object, 15 columns (Geiger et al., CVPR 2012).

Columns (KITTI's devkit, readme.txt): type, truncated 0 to 1, occluded 0 to 3 (3 = unknown), alpha, then left, top,
right, bottom in 0-based pixels, then size, place and angle in space, which are not read. NVIDIA TAO writes the same.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from reprolens.config.data import Labelled
from reprolens.convert.documents import read_text
from reprolens.convert.source import (
    NotANumberError,
    Problem,
    Source,
    SourceImage,
    decimal,
    make_object,
    split_of_folder,
)
from reprolens.convert.tree import Tree
from reprolens.errors import DataError
from reprolens.voc import Object, Record

COLUMNS = 15
SAMPLES = 8
"""Label files that `detect` opens at most."""

_FOLDERS = ("label_2", "label_02", "label_3", "label_03", "labels", "label", "annotations")
_PICTURES = {"label_2": "image_2", "label_02": "image_02", "label_3": "image_3", "label_03": "image_03"}


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like KITTI's, or None."""
    for file in _labels(tree, None)[:SAMPLES]:
        try:
            lines = [line.split() for line in read_text(tree.path(file)).split("\n") if line.strip()]
        except DataError:
            continue
        if lines:
            good = all(len(line) in (COLUMNS, COLUMNS + 1) and _is_object(line) for line in lines)
            return f"{file} has lines of a class and 14 numbers, as KITTI has" if good else None
    return None


def read(tree: Tree, options: Labelled) -> Source:
    """Open a KITTI data set. Raises DataError if there is no label file."""
    labels = _labels(tree, options.annotations)
    if not labels:
        raise DataError(f"{tree.root}: holds no label_2/*.txt of KITTI; set data.path or data.format")
    return Source(_images(tree, labels))


def _labels(tree: Tree, pattern: str | None) -> list[str]:
    texts = tree.ending(".txt")
    if pattern is not None:
        return [file for file in texts if PurePosixPath(file).match(pattern)]
    return [file for file in texts if PurePosixPath(file).parent.name.lower() in _FOLDERS]


def _is_object(fields: list[str]) -> bool:
    try:
        numbers = list(map(float, fields[1:]))
    except ValueError:
        return False
    return numbers[1] in (-1, 0, 1, 2, 3) and not fields[0][:1].isdecimal()


def _images(tree: Tree, labels: list[str]) -> Iterator[SourceImage | Problem]:
    for file in labels:
        path = PurePosixPath(file)
        near = str(path.parent.with_name(_PICTURES.get(path.parent.name.lower(), "images"))) if path.parent.name else ""
        found = tree.images.find(path.stem, near)
        name = found[0] if len(found) == 1 else f"{path.stem}.png"
        try:
            text = read_text(tree.path(file))
        except DataError as error:
            yield Problem("unreadable_annotation", name, tree.place(file), str(error).partition(": ")[2])
            continue
        objects: list[Object] = []
        for number, line in enumerate(text.split("\n"), 1):
            item = _object(line.split())
            if isinstance(item, Object):
                objects.append(item)
            elif item:
                yield Problem(item[0], name, tree.place(file, f"line {number}"), item[1])
        split = split_of_folder(file)
        record = Record("", name, 0, 0, objects=tuple(objects))
        yield SourceImage(record, split, near="" if len(found) == 1 else near, place=tree.place(file))


def _object(fields: list[str]) -> Object | tuple[str, str] | None:
    """Return the object of a line, or the kind and reason of a problem; None for a blank line."""
    if not fields:
        return None
    if len(fields) == COLUMNS + 1:
        return "unreadable_annotation", "16 columns: a detection with its score is no label"
    if len(fields) != COLUMNS:
        return "unreadable_annotation", f"{len(fields)} columns, where KITTI has {COLUMNS}"
    if fields[0] == "DontCare":
        return "ignored_region", "DontCare: a region that its author excludes"
    try:
        truncated, occluded, x0, y0, x1, y1 = map(decimal, (*fields[1:3], *fields[4:8]))
    except NotANumberError as error:
        return "invalid_box", str(error)
    return make_object(fields[0], (x0, y0, x1, y1), truncated=truncated > 0, occluded=occluded in (1, 2))
