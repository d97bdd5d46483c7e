"""Detections as text files, one a picture: the form of the field's older tools, and of ultralytics' `save_txt`.

A line is `class score` and four numbers (rafaelpadilla's and Cartucho's tools: left, top, right, bottom, or left, top,
width, height, in pixels; or the relative centre, width and height), or `class`, the relative centre, width and height,
`score` (ultralytics). Which of these it is is found out for the whole folder at once, and only where the numbers leave
no doubt. A class is its name, or its 0-based place in a list of names (`class_lists`), without one in labels.txt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reprolens.convert.documents import read_text
from reprolens.errors import DataError, suggest
from reprolens.evaluation.predictions.class_lists import ClassList, find_list, is_list
from reprolens.evaluation.predictions.coco_files import corners
from reprolens.evaluation.predictions.picture_names import PictureNames, picture_names
from reprolens.evaluation.predictions.refusals import check_numbers, quoted
from reprolens.evaluation.predictions.rows import Rows, first_row, from_first_pixel
from reprolens.voc import Record

LABELS = "labels.txt"
"""Where the classes of a VOC folder are listed, in the order that its models count them in."""

BOXES = ("auto", "xyxy", "xywh", "cxcywh", "yolo")
"""The forms of a line's box: corners; left, top, width, height; centre, width, height; the same, before the score."""

_EDGE = 0.5
"""How far beyond its picture, in widths of it, a relative coordinate may lie; one in pixels lies far beyond that."""
_OVER = 0.05
"""How far beyond its picture, in widths of it, the box of a detector may lie that does not cut boxes off."""
_LINE = "a line is: class score and four numbers"


@dataclass(frozen=True)
class _Lines:
    """The lines of a folder: for each its file (a place in `files`) and number, its class, and its five numbers."""

    files: Sequence[Path]
    file: NDArray[np.int64]
    number: Sequence[int]
    names: Sequence[str]
    values: NDArray[np.float64]

    def where(self, row: int) -> str:
        return f"{self.files[int(self.file[row])]}, line {self.number[row]}"


def read_texts(
    folder: Path,
    records: Sequence[Record],
    classes: Sequence[str],
    boxes: str = "auto",
    first_pixel: int | None = None,
    annotations: Path | None = None,
    home: str = LABELS,
) -> tuple[Rows, list[str]]:
    """Read one text file a picture, called after the picture, and say in notes how the lines were understood.

    `boxes` is one of `BOXES`; `auto` finds it out. `first_pixel` 1, as for the numbers of VOC and these tools, makes
    x0 = xmin - 1 of the corners, and xmax = left + width; 0 takes them as they are; None is 1 for pixels and 0 for
    relative numbers. A picture without a file has no detections. `home` is where `classes` are listed, in words: only
    labels.txt has the order of classes that a detector was trained with, so of other classes numbers need a list.

    Raises DataError, naming the file and the line, if a line is not of this form, is of a picture or class that is not
    there, or if it cannot be told what its numbers, or the numbers of classes, are.
    """
    owners, lists = _files(folder, picture_names(records))
    listed = find_list(folder, lists, annotations)
    lines = _read(list(owners.values()))
    labels, class_notes = _labels(folder, lines, classes, listed, home)
    places = np.array(list(owners), dtype=np.int64)[lines.file]
    without = len(records) - len(owners)
    notes = [f"{without} of {len(records)} pictures have no file, so no detections"] if without else []
    notes += class_notes
    if not len(places):
        return Rows(places, np.zeros((0, 4)), np.zeros(0), labels), notes
    sizes = np.array([(record.width, record.height) for record in records], dtype=np.float64)[places]
    form, relative = _form(folder, lines, sizes, boxes)
    if first_pixel is None:
        first_pixel = 0 if relative else 1
    unit = "relative" if relative else "in pixels, the first of which is " + str(first_pixel)
    notes.append(f"boxes are {_WORDS[form]}, {unit}")
    found = from_first_pixel(_corners(lines, form, sizes if relative else None), first_pixel)
    scores = lines.values[:, 4 if form == "yolo" else 0]
    return Rows(places, found, scores, labels), notes


def _files(folder: Path, names: PictureNames) -> tuple[dict[int, Path], list[Path]]:
    """Return the text files by their pictures' places, and the lists of class names."""
    owners: dict[int, Path] = {}
    lists = [path for path in folder.rglob("*.names") if is_list(path)]
    for path in sorted(folder.rglob("*.txt")):
        name = path.relative_to(folder).as_posix().removesuffix(".txt")
        if is_list(path) and names.place(name) is None:
            lists.append(path)
            continue
        place = names.find(name, str(path))
        if place in owners:
            raise DataError(f"{path}: is of the same picture as {owners[place]}; leave one of them out")
        owners[place] = path
    if not owners:
        raise DataError(f"{folder}: holds no text file of a picture; where nothing was found at all, give a file of []")
    return owners, lists


_WORDS = {
    "xyxy": "left, top, right, bottom",
    "xywh": "left, top, width, height",
    "cxcywh": "centre, width, height",
    "yolo": "centre, width, height, then the score",
}


def _read(files: Sequence[Path]) -> _Lines:
    owner, numbers, names, values = [], [], [], []
    for place, path in enumerate(files):
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            parts = line.split()
            if not parts:
                continue
            if len(parts) < 6:
                lacks = ", one too few: has it no score?" if len(parts) == 5 else ""
                raise DataError(f"{path}, line {number}: {len(parts)} values{lacks}; {_LINE}")
            try:
                values.append([float(part) for part in parts[-5:]])
            except ValueError:
                raise DataError(f"{path}, line {number}: {line.strip()[:60]!r}: {_LINE}") from None
            owner.append(place)
            numbers.append(number)
            names.append(" ".join(parts[:-5]))
    lines = _Lines(files, np.array(owner, dtype=np.int64), numbers, names, np.array(values).reshape(-1, 5))
    check_numbers(lines.values, lines.where, _LINE)
    return lines


def _labels(
    folder: Path, lines: _Lines, classes: Sequence[str], given: ClassList | None, home: str
) -> tuple[NDArray[np.int64], list[str]]:
    """Return the class of each line: by name if all are names, a blank in which may be written _, else by number.

    A number is the place of a name in the list that is given, or else in labels.txt; a note says which. Raises
    DataError with the first line of a class that is not there.
    """
    spelled = {name.replace(" ", "_"): place for place, name in enumerate(classes)}
    spelled |= {name: place for place, name in enumerate(classes)}
    named = {name: spelled.get(name) for name in dict.fromkeys(lines.names)}
    numbers = {name: int(name) for name in named if name.isascii() and name.isdigit() and len(name) < 9}
    listed = given or ClassList(classes if home == LABELS else (), LABELS)
    if numbers and None in named.values() and not listed.names:
        raise DataError(
            f"{lines.where(lines.names.index(next(iter(numbers))))}: its class is a number, and {home} have no order "
            f"that a detector's numbers go by; put a classes.txt (a name a line, first that of class 0) into {folder}, "
            "or give --annotations, whose categories are counted from 0 in the order of their ids"
        )
    meant = {name: listed.names[number] for name, number in numbers.items() if number < len(listed.names)}
    numbered = {name: spelled.get(meant.get(name, "")) for name in named}
    by_name, by_number = (None not in found.values() for found in (named, numbered))
    if by_name and by_number and named != numbered:
        raise DataError(
            f"{folder}: whether {lines.names[0]!r} is a class's name or its place in {listed.source} cannot be told; "
            "give COCO results, with --annotations"
        )
    found = named if by_name or not numbers else numbered
    for name, place in found.items():
        if place is None:
            where = lines.where(lines.names.index(name))
            if name in numbers and name not in meant:
                count = f"there are {len(listed.names)} classes, counted from 0, in {listed.source}"
                raise DataError(f"{where}: class {name}, but {count}")
            but = f", although {listed.source} has it as {name}" if name in meant and listed.source != home else ""
            name = meant.get(name, name)
            raise DataError(f"{where}: class {quoted(name)} is not in {home}{but}; {suggest(name, classes)}")
    return np.array([found[name] for name in lines.names], dtype=np.int64), [listed.note()] if found is numbered else []


def _form(folder: Path, lines: _Lines, sizes: NDArray[np.float64], boxes: str) -> tuple[str, bool]:
    """Return which of `BOXES` the lines are, and whether their numbers are relative to the picture's size."""
    first, last = (_is_relative(lines.values[:, start : start + 4]) for start in (1, 0))
    relative = last if boxes == "yolo" else first
    if relative and not sizes.all():
        raise DataError(f"{folder}: its boxes are relative to pictures' sizes, which --data does not say")
    if boxes != "auto":
        return boxes, relative
    if first and last:
        fitting = [form for form in ("cxcywh", "yolo") if _fits(_corners(lines, form, np.ones_like(sizes)))]
        if len(fitting) != 1:
            raise DataError(
                f"{folder}: whether a line's score comes before or after its box cannot be told; give --boxes cxcywh "
                "(before) or yolo (after)"
            )
        return fitting[0], True
    if first or last:
        return ("cxcywh" if first else "yolo"), True
    return _pixel_form(folder, lines, sizes), False


def _pixel_form(folder: Path, lines: _Lines, sizes: NDArray[np.float64]) -> str:
    """Return xyxy or xywh: the one that the numbers speak for, if they do not also speak for the other."""
    scores, last = lines.values[:, 0], lines.values[:, 4]
    if _within(last, 0, 1) and not _within(scores, 0, 1):
        raise DataError(f"{folder}: the last number of each line looks like its score; {_LINE}")
    box = lines.values[:, 1:]
    inverted = (box[:, 2:] < box[:, :2]).any(axis=1)
    outside = (box[:, :2] + box[:, 2:] > sizes * (1 + _OVER) + 1).any(axis=1) & sizes.all(axis=1)
    if inverted.any() == outside.any():
        reason = "both fit all lines"
        if inverted.any():
            one, other = (lines.where(int(np.argmax(bad))) for bad in (inverted, outside))
            reason = f"{one} is no xyxy, {other} leaves the picture as xywh"
        raise DataError(f"{folder}: whether boxes are xyxy or xywh cannot be told ({reason}); give --boxes")
    return "xywh" if inverted.any() else "xyxy"


def _corners(lines: _Lines, form: str, scale: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return corners `(N, 4)` in pixels; `scale` `(N, 2)` is what relative numbers are multiplied with."""
    start = 0 if form == "yolo" else 1
    box = lines.values[:, start : start + 4]
    if scale is not None:
        box = box * np.concatenate([scale, scale], axis=1)
    negative = first_row((box[:, 2:] < (box[:, :2] if form == "xyxy" else 0)).any(axis=1))
    if negative is not None:
        shown = lines.values[negative, start : start + 4].tolist()
        raise DataError(f"{lines.where(negative)}: the box {shown} as {_WORDS[form]} has a negative width or height")
    if form == "xyxy":
        return box
    if form == "xywh":
        return corners(box)
    return np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], axis=1)


def _fits(boxes: NDArray[np.float64]) -> bool:
    return _within(boxes, -_OVER, 1 + _OVER)


def _is_relative(box: NDArray[np.float64]) -> bool:
    return _within(box, -_EDGE, 1 + _EDGE) and bool((box != np.rint(box)).any())


def _within(values: NDArray[np.float64], low: float, high: float) -> bool:
    return bool(((values >= low) & (values <= high)).all())
