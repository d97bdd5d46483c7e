"""What a model found in a picture, and what is truly there, as plain arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprolens.errors import DataError, suggest
from reprolens.voc import Record


@dataclass(frozen=True)
class Detections:
    """What a model found in one picture: N boxes, each with its score and class.

    boxes: `(N, 4)` float64 `x0 y0 x1 y1`, continuous, in pixels of the picture. A box without area (or inverted) is
        allowed; it overlaps nothing.
    scores: `(N,)` float64, any finite numbers; higher is surer.
    labels: `(N,)` int64, indices into the class names.

    Raises ValueError if the shapes do not fit each other.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", _boxes(self.boxes))
        object.__setattr__(self, "scores", _column(self.scores, np.float64, len(self)))
        object.__setattr__(self, "labels", _column(self.labels, np.int64, len(self)))

    def __len__(self) -> int:
        return len(self.boxes)

    def above(self, threshold: float) -> "Detections":
        """Return the detections whose score is at least `threshold`, in their order."""
        keep = self.scores >= threshold
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep])


@dataclass(frozen=True)
class Truth:
    """What is truly in one picture: N boxes as in `Detections`, their classes, and which count differently.

    difficult: `(N,)` bool, VOC's flag; VOC's measure neither demands nor punishes finding them.
    crowd: `(N,)` bool, COCO's `iscrowd`: a box around many objects.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    crowd: NDArray[np.bool_]

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", _boxes(self.boxes))
        object.__setattr__(self, "labels", _column(self.labels, np.int64, len(self)))
        object.__setattr__(self, "difficult", _column(self.difficult, np.bool_, len(self)))
        object.__setattr__(self, "crowd", _column(self.crowd, np.bool_, len(self)))

    def __len__(self) -> int:
        return len(self.boxes)


def truth_of(record: Record, classes: Sequence[str]) -> Truth:
    """Return the objects of a record as arrays. Raises DataError if one's class is not among `classes`."""
    indices = {name: index for index, name in enumerate(classes)}
    for item in record.objects:
        if item.name not in indices:
            raise DataError(f"{record.id}: its class {item.name!r} is not in labels.txt; {suggest(item.name, classes)}")
    return Truth(
        np.array([item.box for item in record.objects], dtype=np.float64),
        np.array([indices[item.name] for item in record.objects], dtype=np.int64),
        np.array([item.difficult for item in record.objects], dtype=np.bool_),
        np.array([item.crowd for item in record.objects], dtype=np.bool_),
    )


def check_finite(image_id: str | int, detections: Detections, truth: Truth, classes: int) -> None:
    """Raise DataError, naming the picture, if a number is not finite or a label is no index of a class."""
    for what, values in (
        ("a detection's box", detections.boxes),
        ("a detection's score", detections.scores),
        ("a true box", truth.boxes),
    ):
        if not np.isfinite(values).all():
            hint = (
                "the model's weights or its training have gone bad" if what != "a true box" else "repair its annotation"
            )
            raise DataError(f"{image_id}: {what} is not a finite number; {hint}")
    for what, labels in (("a detection", detections.labels), ("an object", truth.labels)):
        if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
            raise DataError(f"{image_id}: {what} has a class index outside 0 to {classes - 1}; the classes do not fit")


def join_detections(items: Sequence[Detections]) -> tuple[NDArray[np.int64], Detections]:
    """Return the detections of all pictures as one, in order, and for each the position of its picture in `items`."""
    boxes = np.concatenate([item.boxes for item in items]) if items else np.zeros((0, 4))
    scores = np.concatenate([item.scores for item in items]) if items else np.zeros(0)
    labels = np.concatenate([item.labels for item in items]) if items else np.zeros(0, np.int64)
    return _positions(items), Detections(boxes, scores, labels)


def join_truths(items: Sequence[Truth]) -> tuple[NDArray[np.int64], Truth]:
    """Return the true objects of all pictures as one, and for each the position of its picture in `items`."""
    boxes = np.concatenate([item.boxes for item in items]) if items else np.zeros((0, 4))
    labels = np.concatenate([item.labels for item in items]) if items else np.zeros(0, np.int64)
    difficult = np.concatenate([item.difficult for item in items]) if items else np.zeros(0, np.bool_)
    crowd = np.concatenate([item.crowd for item in items]) if items else np.zeros(0, np.bool_)
    return _positions(items), Truth(boxes, labels, difficult, crowd)


def _positions(items: Sequence[Detections] | Sequence[Truth]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(items), dtype=np.int64), [len(item) for item in items])


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
