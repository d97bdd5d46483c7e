"""SegmentationClass/ and SegmentationObject/: masks as PNGs with VOC's colour map (VOC2012 devkit, section 9)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reprolens.config.data import Action
from reprolens.convert.segmentation import MOST, VOID, draw_masks, palette
from reprolens.convert.source import Problem
from reprolens.errors import DataError
from reprolens.progress import track
from reprolens.voc import Record

Pixels = np.ndarray[Any, Any]
Mask = Callable[[], Pixels]
Drawn = tuple[Pixels, Pixels]

_MISNUMBERED = (
    "its mask of objects was left out: its numbers are not the places of the objects that are left in the annotation; "
    "mend what the other problems of this picture say, or renumber the mask"
)


def write_masks(
    root: Path,
    splits: Mapping[str, Sequence[Record]],
    masks: Mapping[str, Mask],
    instances: Mapping[str, Mask],
    classes: Sequence[str],
    mask_names: Sequence[str],
    problems: list[Problem],
) -> dict[str, frozenset[str]]:
    """Write the masks of all pictures that have some; return the classes in each, by the picture's id.

    `masks`, and `instances` of single objects, are those that the source itself holds, by the picture's id; the values
    1, 2, ... of `masks` stand for `mask_names`; those of other pictures are drawn from their objects' outlines. A class
    is its index in `classes` plus 1, in the palette's colour. Of `instances` those whose numbers are not the places of
    the picture's objects are not taken over.
    """
    shown: dict[str, frozenset[str]] = {}
    records = [record for part in splits.values() for record in part]
    with_masks = [each for each in records if each.id in masks or any(item.segmentation for item in each.objects)]
    if not with_masks:
        return shown
    if len(classes) > MOST:
        reason = f"a mask tells {MOST} classes apart, not {len(classes)}: no masks were written"
        problems.append(Problem("too_many_classes", "", "", reason, Action.drop))
        return shown
    index = {name: number for number, name in enumerate(classes)}
    known = _numbers(mask_names, index)
    for record in track(with_masks, "masks"):
        drawn = _drawn(record, index, problems)
        if record.id in masks:
            values = known[masks[record.id]()]
        elif drawn is not None:
            values = drawn[0]
        else:
            continue
        _write(root / "SegmentationClass" / f"{record.id}.png", values)
        objects = _objects(instances.get(record.id), drawn, values, record, index)
        if objects is not None:
            _write(root / "SegmentationObject" / f"{record.id}.png", objects)
        elif record.id in instances:
            problems.append(Problem("unreadable_mask", record.file, "", _MISNUMBERED, Action.drop))
        if len(record.objects) > MOST:
            reason = f"a mask tells {MOST} objects apart, not {len(record.objects)}: the last ones are not in it"
            problems.append(Problem("too_many_objects", record.file, "", reason, Action.drop))
        shown[record.id] = frozenset(classes[value - 1] for value in np.unique(values) if 0 < value <= len(classes))
    return shown


def _drawn(record: Record, index: Mapping[str, int], problems: list[Problem]) -> Drawn | None:
    """Return the masks that the outlines of a picture's objects make, None if they make none."""
    try:
        return draw_masks(record, index)
    except DataError as error:
        problems.append(Problem("unreadable_mask", record.file, "", str(error), Action.drop))
        return None


def _numbers(mask_names: Sequence[str], index: Mapping[str, int]) -> Pixels:
    """Return what a class is called in the masks that are written, by what it is called in the source's."""
    known = np.full(256, VOID, np.uint8)
    known[0] = 0
    for value, name in enumerate(mask_names, 1):
        known[value] = index.get(name, VOID - 1) + 1
    return known


def _objects(
    own: Mask | None, drawn: Drawn | None, values: Pixels, record: Record, index: Mapping[str, int]
) -> Pixels | None:
    """Return the mask of objects that the source has, else the one that is drawn, None if there is neither."""
    if own is not None and _tells_objects(there := own(), values, record, index):
        return there
    return None if drawn is None else drawn[1]


def _tells_objects(own: Pixels, values: Pixels, record: Record, index: Mapping[str, int]) -> bool:
    """Return whether the numbers in a source's mask of objects are the places of the record's objects.

    They are not where an object was left out and others moved up: then there is a number too many, or a number's pixels
    are of another class than its object.
    """
    for number in map(int, np.unique(own)):
        if number in (0, VOID) or not record.objects:
            continue
        if number > len(record.objects):
            return False
        beneath = values[own == number]
        if 2 * np.count_nonzero(beneath == index[record.objects[number - 1].name] + 1) < len(beneath):
            return False
    return True


def _write(path: Path, values: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values)
    picture.putpalette(palette())
    picture.save(path)
