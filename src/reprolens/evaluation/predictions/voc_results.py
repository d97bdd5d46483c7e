"""Detections as the PASCAL VOC development kit has them: one text file a class, `comp3_det_test_car.txt`, whose lines
are the picture's id, the score, and xmin, ymin, xmax, ymax (VOC2012 development kit, section 4.2).
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reprolens.convert.documents import read_text
from reprolens.errors import DataError, suggest
from reprolens.evaluation.predictions.picture_names import picture_names
from reprolens.evaluation.predictions.refusals import check_numbers
from reprolens.evaluation.predictions.rows import Rows, first_row, from_first_pixel
from reprolens.voc import Record
from reprolens.voc.folder import plain_name

_FILE = re.compile(r"comp\d+_(?:.+_)?det_(.+)\.txt")
_LINE = "a line is: id score xmin ymin xmax ymax"


def class_files(folder: Path) -> list[Path]:
    """Return the files of a folder that are called as the development kit calls a class's results."""
    return [path for path in sorted(folder.glob("comp*.txt")) if _FILE.fullmatch(path.name)]


def read_class_files(
    files: Sequence[Path],
    records: Sequence[Record],
    classes: Sequence[str],
    first_pixel: int = 1,
    home: str = "labels.txt",
) -> tuple[Rows, list[str]]:
    """Read the results of all classes; a class without a file has no detections. VOC counts pixels from 1.

    `home` is where the classes are listed, in words.

    Raises DataError, naming the file and the line, if a line is not of this form, or is of a picture or class that is
    not there.
    """
    names = picture_names(records)
    owners: dict[int, Path] = {}
    places, labels = list[int](), list[int]()
    values: list[list[float]] = []
    lines: list[str] = []
    known: dict[str, int] = {}
    for path in files:
        label = _label(path, classes, home)
        if label in owners:
            raise DataError(f"{path}: is of the same class as {owners[label]}; leave one of them out")
        owners[label] = path
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            if not (parts := line.rsplit(None, 5)):
                continue
            where = f"{path}, line {number}"
            try:
                id, *numbers = parts[0].strip(), *map(float, parts[1:])
            except ValueError:
                numbers = []
            if len(numbers) != 5:
                raise DataError(f"{where}: {line.strip()[:60]!r}: {_LINE}")
            if id not in known:
                known[id] = names.find(id, where)
            places.append(known[id])
            labels.append(label)
            values.append(numbers)
            lines.append(where)
    table = np.array(values, dtype=np.float64).reshape(-1, 5)
    check_numbers(table, lines.__getitem__, _LINE)
    if (row := first_row((table[:, 3:] < table[:, 1:3]).any(axis=1))) is not None:
        raise DataError(f"{lines[row]}: {table[row].tolist()} has a box of negative width or height; {_LINE}")
    notes = [f"boxes are VOC's corners in pixels, the first of which is {first_pixel}"]
    notes += _left_out(files, len(owners), len(classes))
    boxes = from_first_pixel(table[:, 1:], first_pixel)
    return Rows(np.array(places, np.int64), boxes, table[:, 0], np.array(labels, np.int64)), notes


def _left_out(files: Sequence[Path], found: int, classes: int) -> list[str]:
    """Return notes on classes without a file, and on text files that are not called as results are."""
    notes = [f"{classes - found} of {classes} classes have no file, so no detections"] if found < classes else []
    if others := sorted({path.name for path in files[0].parent.glob("*.txt")} - {path.name for path in files}):
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        notes.append(f"{others[0]}{more} left out: the kit's results are called comp3_det_test_CLASS.txt")
    return notes


def _label(path: Path, classes: Sequence[str], home: str) -> int:
    """Return the class that a file's name ends in, the longest that fits: behind `det_` comes the image set's name."""
    match = _FILE.fullmatch(path.name)
    rest = match[1] if match else path.stem
    spelled = [(len(name), place, name) for place, name in enumerate(classes)]
    spelled += [(len(plain_name(name)), place, plain_name(name)) for place, name in enumerate(classes)]
    fitting = [(length, place) for length, place, name in spelled if f"_{rest}".endswith(f"_{name}")]
    if not fitting:
        name = rest.rpartition("_")[2]
        raise DataError(f"{path}: its class {name!r} is not in {home}; {suggest(name, classes)}")
    return max(fitting)[1]
