"""A VOC folder as YOLO: data.yaml, images/{train,val,test}/ and labels/{train,val,test}/.

YOLO's numbers are relative to the picture's size, and most pixels have no short relative number. Each line gets as few
decimals as read back, by this project's reader, as the very same float64 coordinates; at least the usual six.
"""

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import yaml

from reprolens.convert.export_pictures import check_replaceable, copy_picture, numbered, source_name, take
from reprolens.convert.formats.relative import corners_of, pixels, printed
from reprolens.convert.formats.yolo_folder import FOLDERS
from reprolens.convert.source import split_named
from reprolens.errors import DataError
from reprolens.files import atomic_folder
from reprolens.progress import track
from reprolens.voc import Folder, Object, Record

FEWEST, MOST = 6, 25
"""Decimals of a number that is written as short as it can be."""


def write_yolo(folder: Folder, out: Path, decimals: int | None = None) -> dict[str, Any]:
    """Write a VOC folder as YOLO at `out`, replacing what is there, and return what was written and what was lost.

    With `decimals` every number has exactly so many. Objects are written as segments where every object of the data set
    has exactly one polygon, of at least three points, whose hull is its box; else as boxes.

    Returns the counts of images, boxes and classes; `form`, segments or boxes; `inexact`, the objects whose coordinates
    do not read back as they are; `renamed`, the pictures that could not keep their names, since YOLO tells label files
    apart by the name without its suffix; `outlines lost`, those that boxes leave out; and `lost`, how many objects
    have a mark that YOLO cannot say.

    Raises DataError if a picture or annotation is missing, or an object's class is not in labels.txt.
    """
    classes = {name: index for index, name in enumerate(folder.classes)}
    if decimals is not None and not 1 <= decimals <= MOST:
        raise DataError(f"--decimals {decimals}: must be from 1 to {MOST}")
    check_replaceable(folder, out, frozenset({"data.yaml", "images", "labels"}))
    segments = _all_segments(folder)
    counts = {"images": 0, "boxes": 0, "inexact": 0, "renamed": 0, "outlines lost": 0, "lost": 0}
    with atomic_folder(out) as place:
        for split in folder.splits:
            taken: set[str] = set()
            for record in track(folder.records(split), f"write {split}"):
                name = _take(taken, record.file)
                copy_picture(folder, record, place / "images" / split / name)
                label = (place / "labels" / split / name).with_suffix(".txt")
                label.parent.mkdir(parents=True, exist_ok=True)
                lines, inexact = _lines(record, classes, segments, decimals)
                label.write_text("".join(f"{line}\n" for line in lines), encoding="ascii", newline="\n")
                counts["images"] += 1
                counts["boxes"] += len(lines)
                counts["inexact"] += inexact
                counts["renamed"] += name != _own_name(record.file)
                counts["lost"] += sum(map(_says_more, record.objects))
                counts["outlines lost"] += 0 if segments else sum(bool(item.segmentation) for item in record.objects)
        splits = {split: f"images/{split}" for split, ids in folder.splits.items() if ids}
        settings = {**splits, "names": dict(enumerate(map(source_name, folder.classes)))}
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=10**6)
        (place / "data.yaml").write_text(text, encoding="utf-8", newline="\n")
    form = "segments" if segments else "boxes"
    return {**counts, "classes": len(classes), "form": form, "path": str(out)}


def _lines(record: Record, classes: dict[str, int], segments: bool, decimals: int | None) -> tuple[list[str], int]:
    """Return the lines of a label file, and how many of them do not read back as they are."""
    if record.objects and not (record.width and record.height):
        raise DataError(f"{record.id}: its width and height are not known; run the convert stage again")
    lines, inexact = [], 0
    for item in record.objects:
        if item.name not in classes:
            raise DataError(f"{record.id}: its class {item.name!r} is not in labels.txt; run the convert stage again")
        numbers, exact = (_segment if segments else _box)(item, record, decimals)
        lines.append(" ".join((str(classes[item.name]), *numbers)))
        inexact += not exact
    return lines, inexact


def _box(item: Object, record: Record, decimals: int | None) -> tuple[Sequence[str], bool]:
    """Return YOLO's numbers of a box, and whether they read back as it is."""
    corners = item.exact or tuple(Decimal(repr(edge)) for edge in item.box)

    def reads_back(numbers: Sequence[str]) -> bool:
        return tuple(map(float, corners_of(numbers, record.width, record.height))) == item.box

    numbers: Sequence[str] = ()
    for digits in _digits(decimals):
        if digits < MOST and decimals is None and _is_hopeless(corners, record, digits):
            continue
        numbers = printed(corners, record.width, record.height, digits)
        if reads_back(numbers):
            return numbers, True
        touching = _touching(numbers, corners, record)
        if decimals is None and touching != numbers and reads_back(touching):
            return touching, True
    return numbers, False


def _touching(numbers: Sequence[str], corners: Sequence[Decimal], record: Record) -> tuple[str, ...]:
    """Return the numbers with a length that lets an edge at the picture's edge read back as being right there.

    Centre and length, rounded each for itself, put it a little beside: at 1e-20, which is another float64 than 0.
    """
    found = list(numbers)
    for axis, size in enumerate((record.width, record.height)):
        centre = Decimal(numbers[axis])
        if corners[axis] == 0:
            found[axis + 2] = f"{2 * centre:f}"
        elif corners[axis + 2] == size:
            found[axis + 2] = f"{2 - 2 * centre:f}"
    return tuple(found)


def _is_hopeless(corners: Sequence[Decimal], record: Record, digits: int) -> bool:
    """Return whether so many decimals cannot read back as a box: a quick look that saves most attempts.

    A box that has a broken edge and touches none of the picture's is read as its numbers stand. Its centre is then off
    by what printing takes from it, which must be below the step of float64 at the picture's far edge.
    """
    x0, y0, x1, y1 = corners
    if not (0 < x0 < x1 < record.width and 0 < y0 < y1 < record.height) or all(edge == int(edge) for edge in corners):
        return False
    for doubled, size in ((x0 + x1, record.width), (y0 + y1, record.height)):
        above, below = doubled.as_integer_ratio()
        below *= 2 * size
        rest = above * 10**digits % below
        if min(rest, below - rest) * size * round(1 / math.ulp(size)) > below * 10**digits:
            return True
    return False


def _segment(item: Object, record: Record, decimals: int | None) -> tuple[Sequence[str], bool]:
    """Return YOLO's numbers of an object's polygon, and whether they read back as they are."""
    points = _polygon(item) or []
    sizes = [record.width, record.height] * (len(points) // 2)
    numbers: list[str] = []
    for digits in _digits(decimals):
        numbers = [_relative(point, size, digits) for point, size in zip(points, sizes, strict=True)]
        if list(map(float, pixels(numbers, sizes, together=True))) == points:
            return numbers, True
    return numbers, False


def _relative(value: float, size: int, digits: int) -> str:
    """Return a coordinate relative to a side, rounded to nearest, with so many decimals."""
    above, below = Decimal(repr(value)).as_integer_ratio()
    scaled = round(Fraction(above * 10**digits, below * size))
    text = f"{abs(scaled):0{digits + 1}d}"
    sign = "-" if scaled < 0 else ""
    return f"{sign}{text[:-digits]}.{text[-digits:]}" if digits else f"{sign}{text}"


def _digits(decimals: int | None) -> Iterator[int]:
    yield from range(FEWEST, MOST + 1) if decimals is None else (decimals,)


def _take(taken: set[str], file: str) -> str:
    """Return a picture's name whose label file is no other's. A folder called images would mislead YOLO's readers."""

    def free() -> Iterator[str]:
        for name in chain((_own_name(file),), numbered(file)):
            path = PurePosixPath(name)
            yield str(PurePosixPath(*(f"{part}_" if part == "images" else part for part in path.parts[:-1]), path.name))

    return take(taken, free(), key=lambda name: str(PurePosixPath(name).with_suffix("")))


def _own_name(file: str) -> str:
    """Return a picture's name without the folders that YOLO has for all pictures, and for those of a split."""
    *folders, name = source_name(file).split("/")
    while folders and (folders[0].lower() in FOLDERS or split_named(folders[0])):
        folders.pop(0)
    return "/".join((*folders, name))


def _all_segments(folder: Folder) -> bool:
    """Return whether every object of a data set is one polygon, and there is one."""
    found = False
    for split in folder.splits:
        for record in folder.records(split):
            for item in record.objects:
                found = True
                if _polygon(item) is None:
                    return False
    return found


def _polygon(item: Object) -> list[float] | None:
    """Return the numbers of an object's only polygon if its hull is the object's box; else None."""
    if not item.segmentation.startswith("[["):
        return None
    try:
        polygons = msgspec.json.decode(item.segmentation, type=list[list[float]])
    except (msgspec.DecodeError, RecursionError):
        return None
    if len(polygons) != 1 or len(polygons[0]) < 6 or len(polygons[0]) % 2:
        return None
    xs, ys = polygons[0][::2], polygons[0][1::2]
    return polygons[0] if (min(xs), min(ys), max(xs), max(ys)) == item.box else None


def _says_more(item: Object) -> bool:
    return item.difficult or item.truncated or item.occluded or item.crowd or item.pose != "Unspecified"
