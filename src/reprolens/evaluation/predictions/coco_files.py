"""COCO's two files of an evaluation, its truth and its results, with which anyone can recompute COCO's numbers.

Formats: https://cocodataset.org/#format-data and #format-results. `image_id` is a picture's 1-based place in the split,
`category_id` a class's 1-based place in labels.txt, the same in both files. Boxes are left, top, width and height in
pixels, 0-based and continuous; all numbers are written in full, so that pycocotools on the two files,
`COCO(ground_truth).loadRes(predictions)`, gives the numbers of evaluation.json. Beyond COCO's keys the truth has
`ignore` (VOC's difficult, which COCO's measure does not look at), `voc_id` of a picture, and in `info` the split and
the hash of its data.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from reprolens import files
from reprolens.convert.documents import read_json
from reprolens.errors import DataError
from reprolens.evaluation.measures.detections import Truth, truth_of, xywh
from reprolens.evaluation.predictions.refusals import FURTHEST, fault_of, quoted, shown
from reprolens.voc import Object, Record

if TYPE_CHECKING:
    from reprolens.evaluation.picture import Picture

_DECIMALS = 1e6
_LARGEST = 1e8
"""Beyond, a float64 times a million is no longer sure to the last digit before the point."""


@dataclass(frozen=True)
class GroundTruth:
    """The truth of a split as a COCO file tells it; `classes` are in the order of their category ids.

    split, sha256: which split this is and the hash of its data, where the file says so, as `write_truth`'s does.
    records: the pictures in the file's order; `record.file` is the `file_name`, and `record.id` the `voc_id` or else
        the `file_name` without its suffix.
    image_ids, category_ids: the file's own ids of the pictures and classes, one for each of them.
    areas: for each picture the areas of its objects in square pixels as the file gives them, NaN where it gives none.
    """

    classes: tuple[str, ...]
    split: str | None
    sha256: str | None
    records: tuple[Record, ...]
    image_ids: tuple[int | str, ...]
    category_ids: tuple[int | str, ...]
    areas: tuple[NDArray[np.float64], ...]

    def truth(self, place: int, masks: bool = False) -> Truth:
        """Return the truth of the picture at a place; its areas, by which COCO sorts sizes, are the file's own."""
        truth = truth_of(self.records[place], self.classes, masks)
        given = self.areas[place]
        areas = np.where(np.isnan(given), truth.areas, given)
        return Truth(truth.boxes, truth.labels, truth.difficult, truth.crowd, areas, truth.masks)


class _Info(msgspec.Struct):
    split: str | None = None
    sha256: str | None = None


class Image(msgspec.Struct, gc=False):
    """An entry of `images`, of a truth or of results that bring their own."""

    id: int | str
    file_name: str = ""
    width: int | float | None = None
    height: int | float | None = None
    voc_id: str | None = None


class Category(msgspec.Struct, gc=False):
    """An entry of `categories`."""

    id: int | str
    name: str


_Number = float | str  # NaN and Infinity, which JSON lacks, come as texts


class _Annotation(msgspec.Struct, gc=False):
    image_id: int | str
    category_id: int | str
    bbox: tuple[_Number, _Number, _Number, _Number] | None = None
    area: _Number | None = None
    iscrowd: int | bool | None = None
    ignore: int | bool | None = None
    segmentation: msgspec.Raw = msgspec.Raw(b"")


class _Truth(msgspec.Struct):
    images: list[Image]
    categories: list[Category]
    annotations: list[_Annotation]
    info: msgspec.Raw = msgspec.Raw(b"")


def write_predictions(pictures: Sequence["Picture"], path: Path) -> None:
    """Write COCO results, one detection a line, with their outlines where the detections of all pictures have masks.

    Raises DataError if a number is not finite.
    """
    masked = all(picture.detections.masks is not None or not len(picture.detections) for picture in pictures)
    with _lines(path) as file:
        before = "[\n"
        for number, picture in enumerate(pictures, start=1):
            if len(picture.detections):
                file.write(before + ",\n".join(_results(picture, number, masked)))
                before = ",\n"
        file.write("\n]\n" if before != "[\n" else "[]\n")


def _results(picture: "Picture", number: int, masked: bool) -> Iterator[str]:
    found = picture.detections
    boxes = xywh(found.boxes)
    if not (np.isfinite(boxes).all() and np.isfinite(found.scores).all()):
        raise DataError(f"{picture.record.id}: a detection is not of finite numbers, and JSON has no others")
    tails = repeat("") if found.masks is None or not masked else _tails(found.masks, picture.record)
    rows = zip(boxes.tolist(), found.scores.tolist(), found.labels.tolist(), tails, strict=False)
    return (
        f'{{"image_id": {number}, "category_id": {label + 1}, "bbox": {box}, "score": {score}{tail}}}'
        for box, score, label, tail in rows
    )


@contextmanager
def _lines(path: Path) -> Iterator[TextIO]:
    """Open a file for writing that is there only when whole; its text is never in memory as a whole."""
    with (
        files.atomic(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        yield file


def _tails(masks: Sequence[bytes], record: Record) -> list[str]:
    start = f', "segmentation": {{"size": [{record.height}, {record.width}], "counts": '
    return [f"{start}{json.dumps(counts.decode('ascii'))}}}" for counts in masks]


def write_truth(
    pictures: Sequence["Picture"],
    classes: Sequence[str],
    split: str,
    sha256: str | None,
    path: Path,
    truths: Sequence[Truth] | None = None,
) -> None:
    """Write the truth of a split as COCO annotations, one entry a line; `sha256` is the hash of the split's data.

    `truths` are those that the detections were measured by; left out, they are what the pictures' records say.

    Raises DataError if an object's class is not among `classes`, or its outline is damaged.
    """
    categories = (f'{{"id": {number}, "name": {_text(name)}}}' for number, name in enumerate(classes, start=1))
    with _lines(path) as file:
        file.write(f'{{"info": {json.dumps({"split": split, "sha256": sha256})},\n"images": [\n')
        file.write(",\n".join(_image(picture.record, number) for number, picture in enumerate(pictures, start=1)))
        file.write('\n],\n"annotations": [\n')
        written = 0
        for number, picture in enumerate(pictures, start=1):
            truth = truth_of(picture.record, classes) if truths is None else truths[number - 1]
            if len(truth):
                lines = _annotations(picture.record, truth, number, written + 1)
                file.write((",\n" if written else "") + ",\n".join(lines))
                written += len(truth)
        file.write('\n],\n"categories": [\n' + ",\n".join(categories) + "\n]}\n")


def _image(record: Record, number: int) -> str:
    names = f'"file_name": {_text(record.file)}, "voc_id": {_text(record.id)}'
    return f'{{"id": {number}, {names}, "width": {record.width}, "height": {record.height}}}'


def _annotations(record: Record, truth: Truth, number: int, first: int) -> Iterator[str]:
    """Return the objects of a picture, numbered from `first`."""
    rows = zip(record.objects, xywh(truth.boxes).tolist(), truth.areas.tolist(), truth.labels.tolist(), strict=True)
    return (
        f'{{"id": {id}, "image_id": {number}, "category_id": {label + 1}, "bbox": {box}, "area": {area}, '
        f'"iscrowd": {int(item.crowd)}, "ignore": {int(item.difficult)}, '
        f'"segmentation": {item.segmentation or "[]"}}}'
        for id, (item, box, area, label) in enumerate(rows, start=first)
    )


def _text(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def read_truth(path: Path) -> GroundTruth:
    """Read the truth of a split: a file of `write_truth`, or any of COCO's annotations with boxes.

    An outline that is a run-length code shorter than its picture ends there, as in pycocotools.

    Raises DataError, naming the file and the entry, if it is no such file; if ids, a class's name or a picture's file
    are given twice, a class has no name, or ids lead nowhere; if a box, area or outline is not of finite numbers, or an
    area or a box's side is below 0.
    """
    said = read_json(path, _Truth)
    try:
        info = msgspec.json.decode(said.info, type=_Info)
    except msgspec.DecodeError:  # COCO's info is free
        info = _Info()
    categories = sorted(said.categories, key=lambda category: (isinstance(category.id, str), category.id))
    names = _unique(path, "categories", [category.id for category in categories])
    if not all(category.name.strip() for category in categories):
        raise DataError(f"{path}: one of its categories has no name; mend the file")
    _unique(path, "categories", [category.name for category in categories], "name")
    places = _unique(path, "images", [image.id for image in said.images])
    _unique(path, "images", [image.file_name for image in said.images if image.file_name], "file_name")
    boxes, given_areas = _boxes(path, said.annotations), _areas(path, said.annotations)
    objects: list[list[Object]] = [[] for _ in said.images]
    areas: list[list[float]] = [[] for _ in said.images]
    for number, (annotation, box) in enumerate(zip(said.annotations, boxes.tolist(), strict=True)):
        place, label = places.get(annotation.image_id), names.get(annotation.category_id)
        if place is None or label is None:
            id = annotation.image_id if place is None else annotation.category_id
            what = f"{'image' if place is None else 'category'} {shown(id)}"
            raise DataError(f"{path}: annotations[{number}] is of {what}, which the file does not list; mend the file")
        name, outline = categories[label].name, _outline(path, number, annotation.segmentation)
        difficult, crowd = bool(annotation.ignore), bool(annotation.iscrowd)
        objects[place].append(Object(name, tuple(box), difficult=difficult, crowd=crowd, segmentation=outline))
        areas[place].append(given_areas[number])
    ids = _voc_ids(said.images)
    sizes = [_size(path, number, image) for number, image in enumerate(said.images)]
    return GroundTruth(
        tuple(category.name for category in categories),
        info.split,
        info.sha256,
        tuple(
            Record(id, image.file_name, *size, objects=tuple(found))
            for id, image, size, found in zip(ids, said.images, sizes, objects, strict=True)
        ),
        tuple(image.id for image in said.images),
        tuple(category.id for category in categories),
        tuple(np.array(values, dtype=np.float64) for values in areas),
    )


def corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return boxes `(N, 4)` of left, top, width and height as corners x0, y0, x1, y1, added as `added` does."""
    return np.concatenate([boxes[:, :2], added(boxes[:, :2], boxes[:, 2:])], axis=1)


def added(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of two arrays; one that is a number of at most six decimals but for its rounding is that number.

    So 12.1 + 3.2 is 15.3, as where a data set is converted, and not 15.299999999999999; and a corner of few decimals
    that `xywh` made a width comes back.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        total = one + two
        short = np.rint(total * _DECIMALS) / _DECIMALS
        close = (np.abs(total - short) <= 2 * np.spacing(np.abs(total))) & (np.abs(total) < _LARGEST)
    return np.where(close, short, total)


def _boxes(path: Path, annotations: Sequence[_Annotation]) -> NDArray[np.float64]:
    bare = next((number for number, annotation in enumerate(annotations) if annotation.bbox is None), None)
    if bare is not None:
        raise DataError(f"{path}: annotations[{bare}] has no bbox; detections are compared with boxes")
    numbers = [*chain.from_iterable(annotation.bbox or () for annotation in annotations)]
    boxes = np.array(numbers if {*map(type, numbers)} <= {float} else np.nan, dtype=np.float64)
    if not (np.abs(boxes) <= FURTHEST).all():
        for place, annotation in enumerate(annotations):
            if fault := next(filter(None, map(fault_of, annotation.bbox or ())), None):
                raise DataError(f"{path}: annotations[{place}] has the bbox {shown(annotation.bbox)}, {fault}")
    boxes = boxes.reshape(-1, 4)
    bad = (boxes[:, 2:] < 0).any(axis=1)
    if bad.any():
        number = int(np.argmax(bad))
        raise DataError(f"{path}: annotations[{number}] has the bbox {boxes[number].tolist()}; mend or remove it")
    return corners(boxes)


def _areas(path: Path, annotations: Sequence[_Annotation]) -> list[float]:
    """Return the areas as the file gives them, NaN where it gives none."""
    areas: list[float] = []
    for number, area in enumerate(annotation.area for annotation in annotations):
        if isinstance(area, float) and 0 <= area <= FURTHEST:
            areas.append(area)
        elif area is None:
            areas.append(np.nan)
        else:
            fault = fault_of(area) or "and no area is below 0"
            raise DataError(f"{path}: annotations[{number}] has the area {shown(area)}, {fault}")
    return areas


def _outline(path: Path, number: int, data: msgspec.Raw) -> str:
    text = bytes(data).decode()
    if text.startswith("[") and ('"NaN"' in text or 'Infinity"' in text):
        raise DataError(f"{path}: annotations[{number}] has a segmentation with NaN or Infinity; mend or remove it")
    return "" if text in ("[]", "[[]]", "null", "{}") else text


def _voc_ids(images: Sequence[Image]) -> list[str]:
    ids = [image.voc_id or image.file_name.removesuffix(PurePosixPath(image.file_name).suffix) for image in images]
    if len(set(ids)) == len(ids) and all(ids):
        return ids
    return [f"{image.file_name} ({image.id})" if image.file_name else str(image.id) for image in images]


def _size(path: Path, number: int, image: Image) -> tuple[int, int]:
    """Return a picture's width and height; 0 where the file does not say them."""
    width, height = image.width or 0, image.height or 0
    if not (0 <= width < 2**31 and 0 <= height < 2**31):
        raise DataError(f"{path}: images[{number}] is {width} x {height} pixels; mend the file")
    return int(width), int(height)


def _unique(path: Path, what: str, values: Sequence[Any], key: str = "id") -> dict[Any, int]:
    """Return the place of each value. Raises DataError if one is there twice."""
    found = {value: place for place, value in enumerate(values)}
    if len(found) < len(values):
        twice = next(value for place, value in enumerate(values) if found[value] != place)
        said = quoted(twice) if isinstance(twice, str) else twice
        raise DataError(f"{path}: two of its {what} have the {key} {said}; mend the file")
    return found
