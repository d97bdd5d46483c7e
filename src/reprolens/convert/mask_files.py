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

Mask = Callable[[], np.ndarray[Any, Any]]


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
    1, 2, ... of `masks` stand for `mask_names`; those of other
    pictures are drawn from their objects' outlines. A class is its index in `classes` plus 1, in the palette's colour.
    """
    shown: dict[str, frozenset[str]] = {}
    with_masks = [
        record
        for records in splits.values()
        for record in records
        if record.id in masks or any(item.segmentation for item in record.objects)
    ]
    if not with_masks:
        return shown
    if len(classes) > MOST:
        reason = f"a mask tells {MOST} classes apart, not {len(classes)}: no masks were written"
        problems.append(Problem("too_many_classes", "", "", reason, Action.drop))
        return shown
    index = {name: number for number, name in enumerate(classes)}
    known = np.full(256, VOID, np.uint8)
    known[0] = 0
    for value, name in enumerate(mask_names, 1):
        known[value] = index.get(name, VOID - 1) + 1
    for record in track(with_masks, "masks"):
        try:
            drawn = draw_masks(record, index)
        except DataError as error:
            problems.append(Problem("unreadable_mask", record.file, "", str(error), Action.drop))
            drawn = None
        if record.id in masks:
            values = known[masks[record.id]()]
        elif drawn is not None:
            values = drawn[0]
        else:
            continue
        _write(root / "SegmentationClass" / f"{record.id}.png", values)
        if record.id in instances:
            _write(root / "SegmentationObject" / f"{record.id}.png", instances[record.id]())
        elif drawn is not None:
            _write(root / "SegmentationObject" / f"{record.id}.png", drawn[1])
        if len(record.objects) > MOST:
            reason = f"a mask tells {MOST} objects apart, not {len(record.objects)}: the last ones are not in it"
            problems.append(Problem("too_many_objects", record.file, "", reason, Action.drop))
        shown[record.id] = frozenset(classes[value - 1] for value in np.unique(values) if 0 < value <= len(classes))
    return shown


def _write(path: Path, values: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values)
    picture.putpalette(palette())
    picture.save(path)
