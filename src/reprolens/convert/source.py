"""What a source format hands over: its pictures with their objects, and the problems it met.

A format is a module of this package with two functions: `detect(tree)` says why a folder looks like its own, and
`read(tree, options)` opens it as a `Source`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal

import numpy as np

from reprolens.config.data import Action
from reprolens.voc import Box, Object, Record
from reprolens.voc.records import Corners

Task = Literal["detection", "classification", "segmentation"]


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One picture of a source: its record, the split it belongs to, and the picture itself.

    `record.file` is the name that the source gives the picture, with `/` between folders; `record.id` is left empty.
    Width and height are 0 where the source does not say them. `image` is the picture's file or its bytes; None lets
    convert look for `record.file`, first beside the folder `near`, which is relative to the source's root.
    `split` is train, val, test, or trainval where the source keeps the first two together; None where it does not say.
    `place` names the annotation for problems. `mask` returns the picture's classes `(height, width)` uint8: the index
    in `Source.classes` plus 1, 0 for background, 255 for what counts as neither; it may raise DataError.
    `instances` returns which object each pixel belongs to, as VOC's SegmentationObject has it.
    """

    record: Record
    split: str | None = None
    image: Path | bytes | None = None
    near: str = ""
    place: str = ""
    mask: Callable[[], np.ndarray[Any, Any]] | None = None
    instances: Callable[[], np.ndarray[Any, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a source: its kind (a key of data.policy if that has one), where, why, and what was done.

    A reader leaves out what it complains about, and `action` as it is; convert applies the policy.
    """

    kind: str
    file: str
    place: str
    reason: str
    action: Action = Action.drop


@dataclass(frozen=True)
class Source:
    """An opened source. `images` may be read once, as they come; order decides nothing but must not vary.

    `classes` are the names that the source declares, in index order, also those without an object; None where it
    declares none. `not_pictures` are files, relative to where pictures lie, that look like pictures but are masks,
    thumbnails or the like, so that nobody misses their annotations.
    """

    images: Iterable[SourceImage | Problem]
    classes: tuple[str, ...] | None = None
    task: Task = "detection"
    not_pictures: frozenset[str] = frozenset()


class NotANumberError(ValueError):
    """A coordinate is not a finite number; the message shows it."""


def decimal(value: Any) -> Decimal:
    """Return a coordinate as the decimal number that its source wrote, a float as the shortest that names it.

    Text may have a decimal comma. Raises NotANumberError for anything that is not a finite number of a sensible size.
    """
    text = str(value).strip()
    try:
        if isinstance(value, bool):
            raise InvalidOperation
        number = Decimal(text if "." in text else text.replace(",", "."))
        # The bounds keep a hostile exponent (1e999999999) from filling the memory with digits.
        if not number.is_finite() or (number and not -400 < number.adjusted() < 300):
            raise InvalidOperation
    except InvalidOperation:
        raise NotANumberError(f"{text[:40]!r} is not a finite number") from None
    return number


def make_object(name: str, corners: Corners, **marks: Any) -> Object:
    """Return an object with a box of exact `corners` (x0, y0, x1, y1), as they stand: convert judges them."""
    box: Box = tuple(map(float, corners))  # type: ignore[assignment]
    rounded = any(Decimal(repr(edge)) != corner for edge, corner in zip(box, corners, strict=True))
    return Object(name, box, exact=corners if rounded else None, **marks)


def around(points: Iterable[tuple[Decimal, Decimal]]) -> Corners:
    """Return the box around some points. Raises ValueError if there are none."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


_SPLITS = {
    "train": ("train", "training", "tr"),
    "val": ("val", "valid", "validation", "validate", "dev"),
    "test": ("test", "testing", "tst"),
    "trainval": ("trainval",),
}


def split_named(name: str) -> str | None:
    """Return the split that a folder's or file's name stands for, as people write it: `valid`, `Training`, `test`."""
    return next((split for split, names in _SPLITS.items() if name.lower() in names), None)


def split_of_folder(place: str) -> str | None:
    """Return the split that one of the folders above a file is called after, the innermost first."""
    folders = place.replace("\\", "/").split("/")[:-1]
    return next((split for folder in reversed(folders) if (split := split_named(folder))), None)
