"""Detections as COCO results (https://cocodataset.org/#format-results): a list of `image_id`, `category_id`, `bbox`
(left, top, width, height in pixels), `score`, and `segmentation` where there are outlines.

A file may also be a whole COCO file with `images` and `categories` of its own, whose `annotations` have a score, as the
older tools of the field write it.
"""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from reprolens.convert.documents import read_json
from reprolens.convert.segmentation import check_outline, draw, hull
from reprolens.errors import DataError
from reprolens.evaluation.predictions.coco_files import Category, GroundTruth, Image, corners
from reprolens.evaluation.predictions.picture_names import picture_names
from reprolens.evaluation.predictions.refusals import FURTHEST, fault_of, quoted, shown
from reprolens.evaluation.predictions.result_ids import Id, Table, find_classes, find_pictures
from reprolens.evaluation.predictions.rows import Rows, first_row, from_first_pixel
from reprolens.voc import Record

TRUTH_BESIDE = "ground_truth.json"
"""The file beside the predictions that says what their ids stand for: the evaluate stage writes both."""

_SHORTEST = 20
"""Bytes; what is shorter may be an empty outline written with blanks."""
_NO_OUTLINE = (b"", b"[]", b"[[]]", b"null", b"{}")
_LONGEST_ID = 1000
_FORM = "COCO results are a list of detections, each with image_id, category_id, bbox and score"


class _Row(msgspec.Struct, gc=False):
    image_id: int | float | str | None = None
    category_id: int | float | str | None = None
    bbox: list[float | str | None] | None = None
    score: float | str | None = None
    file_name: str | None = None
    segmentation: msgspec.Raw = msgspec.Raw(b"")


class _Document(msgspec.Struct):
    annotations: list[_Row] | None = None
    images: list[Image] = []
    categories: list[Category] = []


class _Listing(msgspec.Struct):
    images: list[Image] = []
    categories: list[Category] = []


class _Code(msgspec.Struct):
    counts: str | list[int]


def read_results(
    path: Path,
    records: Sequence[Record],
    classes: Sequence[str],
    annotations: Path | None = None,
    first_pixel: int = 0,
    truth: GroundTruth | None = None,
) -> tuple[Rows, list[str]]:
    """Read COCO results for the pictures of a split, and say in notes how their ids were understood.

    `image_id` is, the first that fits, for all rows: the id in the COCO file `annotations`; in ground_truth.json beside
    the predictions; in the file's own `images`; in `truth`, the COCO file that is measured against (in a file, the
    picture is known by its `file_name`). Else pictures are told by the rows' `file_name`; by a text, which is the name
    of a file, with or without suffix, or a VOC id; by a number, which is a file's name (leading zeros aside) or the
    place in the split, from 1. `category_id` is the id in the same file's `categories`; else, if text, the class's
    name; else the place in labels.txt, from 0 where a 0 occurs, and otherwise from 1.

    Raises DataError, naming the file and the row (counted from 0), if a row is not as the format has it, is of a
    picture or class that is not there, or if its ids could mean two things.
    """
    given = None if annotations is None else _given(annotations)
    document = _read(path)
    rows = document.annotations or []
    if not rows:
        return Rows(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64)), []
    _check_complete(path, rows)
    boxes = corners(_boxes(path, rows))
    scores = _numbers(path, "score", [row.score for row in rows])
    files = [row.file_name or "" for row in rows]
    ids: list[Id] = [row.image_id if row.image_id is not None else row.file_name or "" for row in rows]
    table = given or _table(path, document, truth, {*ids})
    named = all(files) and not table.images
    places, id_note = find_pictures(path, files if named else ids, picture_names(records), len(records), table)
    categories: list[Id] = [row.category_id for row in rows if row.category_id is not None]
    labels, class_note = find_classes(path, categories, classes, table)
    masks, notes = _masks(path, rows, places, records)
    notes = [f"{'file_name' if named else 'image_id'} is {id_note}", f"category_id is {class_note}", *notes]
    found = np.array(places, dtype=np.int64), np.array(labels, dtype=np.int64)
    return Rows(found[0], from_first_pixel(boxes, first_pixel), scores, found[1], masks), notes


def _read(path: Path) -> _Document:
    try:
        found = read_json(path, list[_Row] | _Document)
    except DataError as error:
        if path.is_file() and not path.stat().st_size:
            raise DataError(f"{path}: empty; a detector that found nothing writes []") from None
        raise DataError(f"{error}; {_FORM}") from None
    if isinstance(found, list):
        return _Document(found)
    if found.annotations is None:
        raise DataError(f"{path}: holds no list of detections; {_FORM}")
    return found


def _check_complete(path: Path, rows: Sequence[_Row]) -> None:
    if all(row.score is None for row in rows):
        raise DataError(f"{path}: no row has a score, as in the truth of a data set; give a detector's results")
    for number, row in enumerate(rows):
        lacks = [key for key in ("category_id", "score") if getattr(row, key) is None]
        if row.image_id is None and not row.file_name:
            lacks.insert(0, "image_id")
        if lacks:
            raise DataError(f"{path}: row {number} has no {lacks[0]}; {_FORM}")
        for key in ("image_id", "category_id"):
            if isinstance(id := getattr(row, key), str) and len(id) > _LONGEST_ID:
                raise DataError(
                    f"{path}: row {number} has the {key} {quoted(id)} of {len(id)} characters, which names nothing"
                )


def _given(annotations: Path) -> Table:
    listing = read_json(annotations, _Listing)
    if not listing.images:
        raise DataError(f"{annotations}: lists no images; --annotations is the COCO file that the ids are of")
    return _listed(annotations.name, listing, binding=True)


def _table(path: Path, document: _Document, truth: GroundTruth | None, ids: set[Id]) -> Table:
    """Return what says what the ids stand for; a file that nobody named counts only if it knows some of them."""
    beside = path.with_name(TRUTH_BESIDE)
    if beside.is_file() and beside != path:
        table = _listed(TRUTH_BESIDE, read_json(beside, _Listing), binding=False)
        if not ids.isdisjoint(table.images):
            return table
    if document.images:
        return _listed(path.name, document, binding=True)
    if document.categories or truth is None:
        return Table(path.name, {}, {category.id: category.name for category in document.categories})
    known = not ids.isdisjoint(truth.image_ids)
    images: dict[Id, str | int] = {id: place for place, id in enumerate(truth.image_ids)} if known else {}
    return Table("the truth", images, dict(zip(truth.category_ids, truth.classes, strict=True)))


def _listed(source: str, listing: _Document | _Listing, binding: bool) -> Table:
    images: dict[Id, str | int] = {image.id: image.voc_id or image.file_name for image in listing.images}
    return Table(source, images, {category.id: category.name for category in listing.categories}, binding)


def _boxes(path: Path, rows: Sequence[_Row]) -> NDArray[np.float64]:
    """Return the bbox of every row, `(N, 4)`; where a row has an outline alone, the one around that."""
    given = [row.bbox or _around(path, number, row) for number, row in enumerate(rows)]
    for number, box in enumerate(given):
        if len(box) != 4:
            raise DataError(f"{path}: row {number} has a bbox of {len(box)} numbers, not left, top, width, height")
    boxes = _numbers(path, "bbox", given)
    negative = first_row((boxes[:, 2] < 0) | (boxes[:, 3] < 0))
    if negative is not None:
        box = boxes[negative].tolist()
        raise DataError(f"{path}: row {negative} has the bbox {box}, whose width or height (the last two) is negative")
    return boxes


def _around(path: Path, number: int, row: _Row) -> list[Any]:
    outline = _outline(row)
    if outline in _NO_OUTLINE:
        raise DataError(f"{path}: row {number} has neither a bbox nor a segmentation; {_FORM}")
    try:
        x0, y0, x1, y1 = hull(outline.decode())
    except DataError as error:
        raise DataError(f"{path}: row {number} has no bbox, and its segmentation {error}") from None
    return [float(x0), float(y0), float(x1 - x0), float(y1 - y0)]


def _numbers(path: Path, key: str, values: Sequence[Any]) -> NDArray[np.float64]:
    """Return numbers as an array. Raises DataError with the first row where one is text, null, NaN or too large."""
    flat = chain.from_iterable(values) if key == "bbox" else values
    if {*map(type, flat)} <= {float}:
        found = np.array(values, dtype=np.float64)
        if (np.abs(found) <= FURTHEST).all():
            return found
    for row, value in enumerate(values):
        for part in value if isinstance(value, list) else [value]:
            if fault := fault_of(part):
                raise DataError(f"{path}: row {row} has the {key} {shown(value)}, {fault}")
    raise AssertionError(f"{path}: no row of {key} is at fault")


def _masks(
    path: Path, rows: Sequence[_Row], places: Sequence[int], records: Sequence[Record]
) -> tuple[list[bytes] | None, list[str]]:
    """Return each row's outline as a run-length code, or None where some row has none, and a note if only some have."""
    outlines = [_outline(row) for row in rows]
    outlined = sum(outline not in _NO_OUTLINE for outline in outlines)
    if outlined < len(outlines):
        partly = f"{outlined} of {len(outlines)} detections have outlines, so boxes alone are measured"
        return None, [partly] if outlined else []
    masks = []
    for number, (outline, place) in enumerate(zip(outlines, places, strict=True)):
        try:
            masks.append(_mask(outline.decode(), records[place]))
        except DataError as error:
            raise DataError(f"{path}: row {number}: its segmentation {error}") from None
    return masks, []


def _outline(row: _Row) -> bytes:
    """Return a row's segmentation, without the blanks that may be in an empty one."""
    outline = bytes(row.segmentation)
    return outline if len(outline) > _SHORTEST else b"".join(outline.split())


def _mask(outline: str, record: Record) -> bytes:
    """Return an outline as a run-length code of the picture's size. Raises DataError if it is damaged.

    What comes after the last run of a code is not the object's, as in pycocotools.
    """
    from hotcoco import mask

    code = _code(outline) if outline.startswith("{") else None
    if code is not None and isinstance(code.counts, list) and min(code.counts, default=0) < 0:
        raise DataError(f"has a run of {min(code.counts)} pixels, and none is below 0")
    check_outline(outline, record.height, record.width)
    if code is not None and isinstance(code.counts, str) and not _fits(code.counts, record.height * record.width - 1):
        return code.counts.encode("ascii")
    drawn = draw(outline, record.height, record.width)
    return bytes(mask.encode(np.asfortranarray(drawn, dtype=np.uint8))["counts"])


def _code(outline: str) -> _Code | None:
    try:
        return msgspec.json.decode(outline, type=_Code)
    except msgspec.DecodeError:  # what is wrong with it, check_outline says
        return None


def _fits(counts: str, pixels: int) -> bool:
    """Return whether the runs of a code are no more than so many pixels, which is where hotcoco takes the code."""
    from hotcoco import mask

    try:
        mask.area({"size": [1, pixels], "counts": counts.encode("ascii")})
    except ValueError:
        return False
    return True
