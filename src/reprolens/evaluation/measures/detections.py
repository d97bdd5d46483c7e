"""What a model found in a picture, and what is truly there, as plain arrays."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprolens.errors import DataError, suggest
from reprolens.voc import Object, Record

Masks = tuple[bytes, ...]
"""Of each outline the `counts` of COCO's compressed run-length code, whose size is the whole picture's."""


@dataclass(frozen=True)
class Detections:
    """What a model found in one picture: N boxes, each with its score and class.

    boxes: `(N, 4)` float64 `x0 y0 x1 y1`, continuous, in pixels of the picture. A box without area (or inverted) is
        allowed; it overlaps nothing.
    scores: `(N,)` float64, any finite numbers, negative ones too; higher is surer. They rank, no more: only the
        calibration asks for probabilities.
    labels: `(N,)` int64, indices into the class names.
    masks: N of them, or None where the model draws none.

    Raises ValueError if the shapes do not fit each other.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    masks: Masks | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", _boxes(self.boxes))
        object.__setattr__(self, "scores", _column(self.scores, np.float64, len(self)))
        object.__setattr__(self, "labels", _column(self.labels, np.int64, len(self)))
        _check_masks(self.masks, len(self))

    def __len__(self) -> int:
        return len(self.boxes)

    def above(self, threshold: float) -> "Detections":
        """Return the detections whose score is at least `threshold`, in their order."""
        keep = self.scores >= threshold
        masks = None if self.masks is None else tuple(self.masks[place] for place in np.flatnonzero(keep))
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep], masks)


@dataclass(frozen=True)
class Truth:
    """What is truly in one picture: N boxes as in `Detections`, their classes, and which count differently.

    difficult: `(N,)` bool, VOC's flag; VOC's measure neither demands nor punishes finding them.
    crowd: `(N,)` bool, COCO's `iscrowd`: a box around many objects.
    given_areas: `(N,)` float64, square pixels, where they are others than the boxes': of outlines, or of a file.
    masks: N of them, or None where an object has no outline, or none were asked for.

    Raises ValueError if the shapes do not fit each other.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    given_areas: NDArray[np.float64] | None = None
    masks: Masks | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", _boxes(self.boxes))
        object.__setattr__(self, "labels", _column(self.labels, np.int64, len(self)))
        object.__setattr__(self, "difficult", _column(self.difficult, np.bool_, len(self)))
        object.__setattr__(self, "crowd", _column(self.crowd, np.bool_, len(self)))
        if self.given_areas is not None:
            object.__setattr__(self, "given_areas", _column(self.given_areas, np.float64, len(self)))
        _check_masks(self.masks, len(self))

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def areas(self) -> NDArray[np.float64]:
        """The objects' areas in square pixels, `(N,)`: COCO's measure tells small, medium and large by them."""
        return box_areas(self.boxes) if self.given_areas is None else self.given_areas


def truth_of(record: Record, classes: Sequence[str], masks: bool = False) -> Truth:
    """Return the objects of a record as arrays; an object with an outline has the outline's area.

    With `masks` the outlines are rasterised too (`masks` is None if an object has none), which takes far longer than
    all else here.

    Raises DataError if an object's class is not among `classes`, or its outline is damaged or of another size.
    """
    indices = {name: index for index, name in enumerate(classes)}
    for item in record.objects:
        if item.name not in indices:
            raise DataError(f"{record.id}: its class {item.name!r} is not in labels.txt; {suggest(item.name, classes)}")
    boxes = _boxes([item.box for item in record.objects])
    areas = box_areas(boxes)
    outlined = [place for place, item in enumerate(record.objects) if item.segmentation]
    for place in outlined:
        areas[place] = _outline_area(record, record.objects[place])
    drawn = None
    if masks and len(outlined) == len(record.objects):
        drawn = tuple(_rasterised(record, item) for item in record.objects)
    return Truth(
        boxes,
        np.array([indices[item.name] for item in record.objects], dtype=np.int64),
        np.array([item.difficult for item in record.objects], dtype=np.bool_),
        np.array([item.crowd for item in record.objects], dtype=np.bool_),
        areas if outlined else None,
        drawn,
    )


def xywh(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return boxes `(N, 4)` of corners as COCO's left, top, width and height; an inverted side has length 0."""
    return np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:] - boxes[:, :2], 0)], axis=1)


def box_areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas of boxes `(N, 4)` of corners in square pixels, `(N,)`; 0 for an inverted one."""
    return np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)


def check_finite(image_id: str | int, detections: Detections, truth: Truth, classes: int) -> None:
    """Raise DataError, naming the picture, if a number is not finite or a label is no index of a class."""
    boxes, scores, true_boxes, areas = detections.boxes, detections.scores, truth.boxes, truth.given_areas
    # If the sum of all squares is finite, all are; it is had in a few microseconds a picture, as there are many.
    squares = np.vdot(boxes, boxes) + np.vdot(scores, scores) + np.vdot(true_boxes, true_boxes)
    squares += 0.0 if areas is None else np.vdot(areas, areas)
    if not math.isfinite(squares):
        names = ("a detection's box", "a detection's score", "a true box", "a true object's area")
        for what, values in zip(names, (boxes, scores, true_boxes, truth.areas), strict=True):
            if not np.isfinite(values).all():
                hint = "repair its annotation" if "true" in what else "the model's weights or its training went bad"
                raise DataError(f"{image_id}: {what} is not a finite number; {hint}")
    for what, labels in (("a detection", detections.labels), ("an object", truth.labels)):
        # Without its sign a negative number is a huge one.
        if len(labels) and np.maximum.reduce(labels.view(np.uint64)) >= classes:
            raise DataError(f"{image_id}: {what} has a class index outside 0 to {classes - 1}; the classes do not fit")


def join_detections(items: Sequence[Detections]) -> tuple[NDArray[np.int64], Detections]:
    """Return the detections of all pictures as one, in order, and for each the position of its picture in `items`.

    They have masks if all pictures with detections have.
    """
    boxes = np.concatenate([item.boxes for item in items]) if items else np.zeros((0, 4))
    scores = np.concatenate([item.scores for item in items]) if items else np.zeros(0)
    labels = np.concatenate([item.labels for item in items]) if items else np.zeros(0, np.int64)
    return _positions(items), Detections(boxes, scores, labels, _join_masks(items))


def join_truths(items: Sequence[Truth]) -> tuple[NDArray[np.int64], Truth]:
    """Return the true objects of all pictures as one, and for each the position of its picture in `items`.

    They have masks if all pictures with objects have.
    """
    boxes = np.concatenate([item.boxes for item in items]) if items else np.zeros((0, 4))
    labels = np.concatenate([item.labels for item in items]) if items else np.zeros(0, np.int64)
    difficult = np.concatenate([item.difficult for item in items]) if items else np.zeros(0, np.bool_)
    crowd = np.concatenate([item.crowd for item in items]) if items else np.zeros(0, np.bool_)
    given = any(item.given_areas is not None for item in items)
    areas = np.concatenate([item.areas for item in items]) if given else None
    return _positions(items), Truth(boxes, labels, difficult, crowd, areas, _join_masks(items))


@dataclass(frozen=True)
class Joined:
    """The detections and the true objects of P pictures as one of each, the pictures one after the other.

    image, truth_image: `(N,)` and `(M,)` int64, the position of each one's picture; they never fall.
    """

    images: int
    image: NDArray[np.int64]
    found: Detections
    truth_image: NDArray[np.int64]
    truth: Truth


def join(detections: Sequence[Detections], truths: Sequence[Truth]) -> Joined:
    """Join what is of the same pictures in the same order."""
    return Joined(len(truths), *join_detections(detections), *join_truths(truths))


def _join_masks(items: Iterable[Detections] | Iterable[Truth]) -> Masks | None:
    drawn: list[bytes] = []
    for item in items:
        if item.masks is not None:
            drawn.extend(item.masks)
        elif len(item):
            return None
    return tuple(drawn)


def _positions(items: Sequence[Detections] | Sequence[Truth]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(items), dtype=np.int64), [len(item) for item in items])


def _outline_area(record: Record, item: Object) -> float:
    from reprolens.convert.segmentation import area

    try:
        return area(item.segmentation)
    except DataError as error:
        raise DataError(f"{record.id}: {item.name}: its segmentation {error}; run the convert stage again") from None


def _rasterised(record: Record, item: Object) -> bytes:
    """Return an outline, of a crowd too, as COCO's own rule rasterises it."""
    from hotcoco import mask

    from reprolens.convert.segmentation import draw

    try:
        drawn = draw(item.segmentation, record.height, record.width)
    except DataError as error:
        raise DataError(f"{record.id}: {item.name}: its segmentation {error}; run the convert stage again") from None
    return bytes(mask.encode(np.asfortranarray(drawn, dtype=np.uint8))["counts"])


def _check_masks(masks: Masks | None, length: int) -> None:
    if masks is not None and len(masks) != length:
        raise ValueError(f"{length} boxes need {length} masks beside them, not {len(masks)}")


def _boxes(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes must be (N, 4), not {array.shape}")
    return array


def _column(values: ArrayLike, dtype: type[np.generic], length: int) -> NDArray:
    array = np.asarray(values, dtype=dtype).reshape(-1)
    if len(array) != length:
        raise ValueError(f"{length} boxes need {length} values beside them, not {len(array)}")
    return array
