"""Detections that Reprolens did not make, for the pictures of a split: whatever form they are in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reprolens.errors import ConfigError, DataError
from reprolens.evaluation.measures.detections import Detections
from reprolens.evaluation.predictions.coco_files import GroundTruth
from reprolens.evaluation.predictions.coco_results import read_results
from reprolens.evaluation.predictions.rows import Rows, by_picture
from reprolens.evaluation.predictions.text_results import BOXES, LABELS, read_texts
from reprolens.evaluation.predictions.voc_results import class_files, read_class_files
from reprolens.voc import Record

_FORMS = "COCO results (a .json file), or a folder of text files, one a picture or, as VOC has it, one a class"
_CATEGORIES = "the categories of the COCO file"


@dataclass(frozen=True)
class Form:
    """What someone says about their predictions, where it is not, or cannot be, found out.

    boxes: the form of a text file's boxes, one of `text_results.BOXES`.
    first_pixel: the number of the leftmost and topmost pixel, 0 or 1. With 1 the numbers are VOC's: corners are pixels
        that belong to the box, so x0 = xmin - 1 and x1 = xmax, where xmax = left + width of a box with a width. None is
        1 for text in pixels, and 0 for COCO results and relative numbers.
    annotations: the COCO file that COCO results' image_id and category_id are of, or whose categories, in the order of
        their ids, the class numbers of text files count from 0.
    """

    boxes: str = "auto"
    first_pixel: int | None = None
    annotations: Path | None = None


def read_predictions(
    path: Path,
    records: Sequence[Record],
    classes: Sequence[str],
    form: Form = Form(),
    truth: GroundTruth | None = None,
) -> tuple[list[Detections], tuple[str, ...]]:
    """Return the detections of each of `records`, in their order, and notes on how the predictions were understood.

    `path` is COCO results (`coco_results`), a folder of one text file a picture (`text_results`), or one of the VOC
    development kit's files (`voc_results`). `truth` is the COCO file that the records are from, if they are from one:
    the predictions' ids may be its own, and class numbers in text files need a list of names. No number, so no score,
    may be beyond `refusals.FURTHEST`. Detections of a picture keep the file's order, by which equal scores are ranked.
    No detections at all are `[]`, or text files without a line.

    Raises DataError in one line, naming the file and the row or line, if something cannot be read, is of a picture or
    class that is not there, or has two readings.
    """
    if form.boxes not in BOXES:
        raise DataError(f"boxes {form.boxes!r}: must be {' or '.join(BOXES)}")
    if form.first_pixel not in (None, 0, 1):
        raise DataError(f"first pixel {form.first_pixel}: must be 0 or 1")
    if path.is_dir():
        rows, notes = _read_folder(path, records, classes, form, LABELS if truth is None else _CATEGORIES)
    elif not path.exists():
        raise DataError(f"{path}: not found; give {_FORMS}")
    elif path.suffix.lower() == ".txt":
        raise DataError(f"{path}: one text file is no split's predictions; give the folder, {path.parent}")
    else:
        rows, notes = read_results(path, records, classes, form.annotations, form.first_pixel or 0, truth)
    if len(rows.scores) and (rows.scores.min() < 0 or rows.scores.max() > 1):
        span = f"{rows.scores.min():g} to {rows.scores.max():g}"
        notes.append(f"scores are from {span}, which are no probabilities, so the calibration is undefined")
    return by_picture(rows, len(records)), tuple(notes)


def check_form(path: Path, form: Form) -> None:
    """Raise ConfigError if something is said about predictions that has no meaning for their form."""
    kit = path.is_dir() and bool(class_files(path))
    results = path.is_file() and path.suffix.lower() != ".txt"
    if form.boxes != "auto" and (kit or results):
        what = "files of the VOC development kit" if kit else "COCO results"
        raise ConfigError(f"--boxes {form.boxes}: {path} holds {what}, whose boxes have one form; leave --boxes out")
    if form.annotations is not None and kit:
        raise ConfigError(
            f"--annotations {form.annotations}: {path} holds files of the VOC development kit, which name pictures and "
            "classes; leave --annotations out"
        )


def _read_folder(
    folder: Path, records: Sequence[Record], classes: Sequence[str], form: Form, home: str
) -> tuple[Rows, list[str]]:
    if files := class_files(folder):
        first_pixel = 1 if form.first_pixel is None else form.first_pixel
        return read_class_files(files, records, classes, first_pixel, home)
    if next(folder.rglob("*.txt"), None) is None:
        inside = next((path for path in sorted(folder.glob("*.json"))), None)
        hint = f"give the file, {inside}" if inside else f"give {_FORMS}"
        raise DataError(f"{folder}: holds no text files; {hint}")
    return read_texts(folder, records, classes, form.boxes, form.first_pixel, form.annotations, home)
