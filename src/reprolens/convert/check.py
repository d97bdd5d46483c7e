"""What a source says about a picture against the picture itself, and what the policy makes of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from reprolens.config import Policy
from reprolens.config.data import Action
from reprolens.convert.picture import SUFFIXES, Decoded, decode
from reprolens.convert.segmentation import check_outline
from reprolens.convert.source import Problem, SourceImage
from reprolens.errors import DataError
from reprolens.voc import Box, Object

TINY = 1 + 1e-6
"""Pixels: one, but for what float64 adds; 2.2 - 1.2 is 1.0000000000000002."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A picture, its annotation mended; `picture` is None where it is to be left out.

    `shown` are the classes that it shows, by objects, labels or mask; `problems` is what was found.
    """

    image: SourceImage
    picture: Decoded | None
    shown: frozenset[str] = frozenset()
    problems: list[Problem] = field(default_factory=list)


def judged(problem: Problem, policy: Policy) -> Problem:
    """Return a problem with what the policy says about its kind; a kind without a policy keeps what was done."""
    return replace(problem, action=getattr(policy, problem.kind, problem.action))


def check(image: SourceImage, policy: Policy, mask_names: Sequence[str] = ()) -> Checked:
    """Decode a picture and hold its annotation against it. Nothing is raised: an action `fail` is the caller's.

    `mask_names` are the classes of a mask's values 1, 2, ...
    """
    problems: list[Problem] = []
    record = image.record

    def problem(kind: str, reason: str) -> Action:
        found = judged(Problem(kind, record.file, image.place, reason), policy)
        problems.append(found)
        return found.action

    def lost() -> Checked:
        return Checked(image, None, problems=problems)

    if image.image is None:  # looked for in vain, and told so already
        return lost()
    decoded = decode(image.image, (record.width, record.height), policy.exif_rotation == Action.fix)
    if decoded is None:
        problem("missing_image", "its picture does not exist")
        return lost()
    if isinstance(decoded, str):
        problem("undecodable_image", f"its picture {record.file} does not decode ({decoded})")
        return lost()
    suffix = PurePosixPath(record.file).suffix.lower()
    if suffix not in SUFFIXES.get(decoded.kind, (suffix,)):
        reason = f"its picture {record.file} is a {decoded.kind}, whatever its suffix says"
        if problem("wrong_suffix", reason) == Action.drop:
            return lost()
    if decoded.orientation != 1:
        done = "; it was turned and written anew" if decoded.upright is not None else ", but it was not turned"
        if decoded.upright is None and policy.exif_rotation == Action.fix:
            done = ", but its annotation fits it as it is stored: it was left so"
        if problem("exif_rotation", f"EXIF says to turn the picture before it is shown{done}") == Action.drop:
            return lost()
    if record.width and record.height and (decoded.width, decoded.height) != (record.width, record.height):
        real = f"{decoded.width} x {decoded.height}"
        reason = f"says {record.width} x {record.height}, but the picture is {real} pixels"
        if problem("size_mismatch", reason) == Action.drop:
            return lost()
    seen: set[tuple[str, Box, str]] = set()
    objects = []
    for item in record.objects:
        mended = _checked_object(item, decoded, problem)
        if mended is None:
            continue
        if mended.segmentation:
            try:
                check_outline(mended.segmentation, decoded.height, decoded.width)
            except DataError as error:
                problem("unreadable_mask", f"the outline of a box of {item.name!r} {error}")
                mended = replace(mended, segmentation="")
        place = (mended.name, mended.box, mended.segmentation)
        if place in seen:
            reason = f"a box of {item.name!r} is there twice: {on_disk(item.box)}"
            if problem("duplicate_box", reason) == Action.drop:
                continue
        seen.add(place)
        objects.append(mended)
    record = replace(record, width=decoded.width, height=decoded.height, objects=tuple(objects))
    shown = {*record.labels, *(item.name for item in objects)}
    if image.mask is not None:
        try:
            shown |= _mask_classes(image.mask(), decoded, mask_names)
        except DataError as error:
            problem("unreadable_mask", str(error))
            return lost()
    if image.instances is not None:
        try:
            if image.instances().shape != (decoded.height, decoded.width):
                raise DataError("its mask of objects has another size than the picture")
        except DataError as error:
            problem("unreadable_mask", str(error))
            image = replace(image, instances=None)
    return Checked(replace(image, record=record), decoded, frozenset(shown), problems)


def _mask_classes(mask: np.ndarray[Any, Any], picture: Decoded, names: Sequence[str]) -> set[str]:
    """Return the classes in a mask. Raises DataError if it does not fit its picture or its classes."""
    if mask.shape != (picture.height, picture.width):
        size = f"{mask.shape[1]} x {mask.shape[0]}"
        raise DataError(f"its mask is {size}, but the picture is {picture.width} x {picture.height} pixels")
    values = [int(value) for value in np.flatnonzero(np.bincount(mask.ravel(), minlength=256))]
    if strange := [value for value in values if len(names) < value < 255]:
        raise DataError(f"its mask holds the value {strange[0]}, but there are {len(names)} classes")
    return {names[value - 1] for value in values if 0 < value <= len(names)}


def _checked_object(item: Object, picture: Decoded, problem: Callable[[str, str], Action]) -> Object | None:
    x0, y0, x1, y1 = item.box
    if x1 < x0 or y1 < y0:
        if problem("inverted_box", f"a box of {item.name!r} is inverted: {on_disk(item.box)}") != Action.fix:
            return None
        x0, y0, x1, y1 = min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
        item = replace(item, box=(x0, y0, x1, y1), exact=None)
    if x1 == x0 or y1 == y0:
        problem("empty_box", f"a box of {item.name!r} has no area: {on_disk(item.box)}")
        return None
    width, height = float(picture.width), float(picture.height)
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        inside: Box = (max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height))
        if inside[2] <= inside[0] or inside[3] <= inside[1]:
            problem("empty_box", f"a box of {item.name!r} lies wholly outside the picture: {on_disk(item.box)}")
            return None
        reason = f"a box of {item.name!r} reaches over the picture's edge: {on_disk(item.box)}"
        if problem("box_outside", reason) == Action.drop:
            return None
        item = replace(item, box=inside, exact=None)
        x0, y0, x1, y1 = inside
    if x1 - x0 <= TINY or y1 - y0 <= TINY:
        reason = f"a box of {item.name!r} is at most one pixel wide or high: {on_disk(item.box)}"
        if problem("tiny_box", reason) == Action.drop:
            return None
    return item


def on_disk(box: Box) -> str:
    """Write a box as a VOC annotation has it, so that it can be found there."""
    return f"xmin {box[0] + 1:g}, ymin {box[1] + 1:g}, xmax {box[2]:g}, ymax {box[3]:g}"
