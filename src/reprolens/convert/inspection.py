"""A look at a data set as it is: what it holds and what is wrong with it. Nothing is written, nothing is refused."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reprolens.config import Labelled
from reprolens.convert.check import Checked, check
from reprolens.convert.collect import collect
from reprolens.convert.contact_sheet import draw, evenly
from reprolens.convert.convert import opened, parallel, tell_of_look_alikes, tell_of_repeats
from reprolens.convert.leaks import tell_of_leaks
from reprolens.convert.report import report
from reprolens.convert.segmentation import draw_masks
from reprolens.errors import DataError
from reprolens.voc import Record
from reprolens.voc.folder import SPLITS

UNASSIGNED = "unassigned"
"""Pictures that the source gives to no split."""


def inspect(options: Labelled, sheet: Path | None = None) -> dict[str, Any]:
    """Return the report on a data set, as `convert` has it, but of all that the source says, before anything is mended.

    The actions are those that the policy would take. `sheet` draws some of the pictures with what they show. Raises
    DataError if the data set cannot be opened.
    """
    with opened(options, seed=1) as (tree, source, origin), tempfile.TemporaryDirectory() as spool:
        collected = collect(tree, source, options.policy, Path(spool))
        images = list(
            parallel(lambda image: check(image, options.policy, collected.mask_names), collected.images, "inspect")
        )
        problems = [*collected.problems, *(problem for image in images for problem in image.problems)]
        decoded = [image for image in images if image.picture is not None]
        tell_of_repeats(decoded, options.policy, problems)
        splits: dict[str, list[Record]] = {}
        for said, image in zip(collected.images, images, strict=True):
            splits.setdefault(said.split or UNASSIGNED, []).append(_sized(said.record, image))
        tell_of_leaks(decoded, splits, options.policy, problems)
        tell_of_look_alikes(decoded, splits, options.policy, problems)
        for problem in problems:
            unlabelled = problem.kind == "missing_annotation" and problem.file in tree.images
            if unlabelled and problem.action != "keep":
                splits.setdefault(UNASSIGNED, []).append(Record("", problem.file, 0, 0))
        order = (*SPLITS, "trainval", UNASSIGNED)
        splits = {name: splits[name] for name in order if name in splits}
        shown = {image.image.record.id: image.shown for image in decoded if image.image.mask is not None}
        classes = collected.classes
        if classes is None:
            records = [record for part in splits.values() for record in part]
            classes = tuple(sorted({item.name for record in records for item in record.objects} | _labels(records)))
        if sheet is not None:
            _draw(decoded, classes, sheet)
        return report(origin, classes, splits, shown, problems)


def _sized(record: Record, image: Checked) -> Record:
    """Return what the source says, with the size of the picture itself."""
    return record if image.picture is None else replace(record, width=image.picture.width, height=image.picture.height)


def _labels(records: list[Record]) -> set[str]:
    return {name for record in records for name in record.labels}


def _draw(images: list[Checked], classes: tuple[str, ...], sheet: Path) -> None:
    if not images:
        raise DataError(f"{sheet}: no picture decodes, so that there is nothing to draw")
    rows = []
    for image in (images[number] for number in evenly(len(images))):
        assert image.image.image is not None
        rows.append((image.image.image, image.image.record, _mask(image, classes)))
    try:
        draw(rows, classes, sheet, len(images))
    except OSError as error:
        raise DataError(f"{sheet}: cannot be written ({error.strerror}); give another place") from None


def _mask(image: Checked, classes: tuple[str, ...]) -> np.ndarray[Any, Any] | None:
    if image.image.mask is not None:
        return image.image.mask()
    try:
        drawn = draw_masks(image.image.record, {name: number for number, name in enumerate(classes)})
    except DataError:  # reported by convert, when it draws the masks
        return None
    return None if drawn is None else drawn[0]
