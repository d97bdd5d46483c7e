"""Contact sheets: pictures with their true and predicted boxes, and single boxes that are wrong, each with its why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from reprolens.colors import class_color
from reprolens.evaluation.measures.detections import Detections, Truth
from reprolens.evaluation.measures.overlaps import box_iou
from reprolens.evaluation.reports.figures.sheet import (
    GAP,
    GREY,
    Entry,
    captioned,
    draw_dashed,
    draw_solid,
    draw_tag,
    draw_thin,
    write_sheet,
)
from reprolens.evaluation.reports.figures.theme import WIDTH
from reprolens.voc.records import Box

_SAMPLE_COLUMNS, _SINGLE_COLUMNS = 3, 4
_SAMPLE_SIDE, _SINGLE_SIDE = ((WIDTH - GAP) // columns - GAP for columns in (_SAMPLE_COLUMNS, _SINGLE_COLUMNS))

_CONTEXT = 2.5
_LEAST_CROP = 96
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True)
class Sample:
    """A picture to show (RGB), with what is truly there and what was predicted, both in its own pixels, and why."""

    id: str
    picture: Image.Image
    truth: Truth
    detections: Detections
    why: str | None = None


@dataclass(frozen=True)
class Tile:
    """A drawn tile of a sheet, as wide as its column, and the classes whose colours it has."""

    image: Image.Image
    labels: frozenset[int]


@dataclass(frozen=True)
class Single:
    """A single box to show, with its surroundings: a false alarm, a miss, or an object that may be labelled wrongly.

    A false alarm has a `score`, and `box` and `label` are the model's. Without a score they are the data set's; `label`
    is None where it says nothing, and `suggested` is the class that the model says instead, in `suggested_box`, or in
    `box` where that is None. (The same class in the same box is not drawn again.)

    picture: the whole picture, RGB; boxes are in its pixels. truth: all that is truly there. why: a line to tell.
    """

    id: str
    picture: Image.Image
    box: Box
    label: int | None
    score: float | None
    why: str
    truth: Truth
    suggested: int | None = None
    suggested_box: Box | None = None


def draw_sample(sample: Sample, classes: Sequence[str], score_threshold: float = 0.0) -> Tile:
    """Draw a picture, scaled to 400 pixels, a small one up, with its boxes.

    Predictions with a score from `score_threshold` up are solid, in the class's colour, with class and score above.
    True boxes are dashed white; those that no such prediction of their class overlaps by IoU 0.5 say their class below.
    """
    picture, scale = _scaled(sample.picture, _SAMPLE_SIDE)
    draw = ImageDraw.Draw(picture)
    found = sample.detections.above(score_threshold)
    truths = sample.truth.boxes * scale
    for box in truths:
        draw_dashed(draw, box)
    for place in np.argsort(found.scores, kind="stable"):  # the surest on top
        color, name = class_color(int(found.labels[place])), classes[found.labels[place]]
        box = found.boxes[place] * scale
        draw_solid(draw, box, color)
        draw_tag(draw, box, f"{name} {found.scores[place]:.2f}", color)
    for place in np.flatnonzero(_missed(sample.truth, found)):
        draw_tag(draw, truths[place], classes[sample.truth.labels[place]], _BLACK, below=True)
    lines = [sample.id] if sample.why is None else [sample.why, sample.id]
    labels = frozenset([*sample.truth.labels.tolist(), *found.labels.tolist()])
    return Tile(captioned(picture, _SAMPLE_SIDE, lines), labels)


def write_samples_sheet(
    tiles: Sequence[Tile], classes: Sequence[str], path: Path, score_threshold: float = 0.0
) -> None:
    """Write a PNG sheet, 1280 pixels wide, of what `draw_sample` drew with this threshold."""
    legend: list[Entry] = [
        ("true box, named where it was missed", None),
        (f"prediction, score from {score_threshold:.3g} up:", GREY),
        *_entries(tiles, classes),
    ]
    write_sheet([tile.image for tile in tiles], _SAMPLE_COLUMNS, legend, path)


def draw_single(single: Single, classes: Sequence[str]) -> Tile:
    """Cut a single box out of its picture, with about 2.5 times its size around it, 295 pixels wide.

    What the model says is solid, in the class's colour, with class and score above; what the data set says is dashed
    white, with the class below; all other true boxes are thin. Below it its why and the picture's id.
    """
    own = np.array(single.box, dtype=np.float64)
    suggested = own if single.suggested_box is None else np.array(single.suggested_box, dtype=np.float64)
    window = _window(np.stack([own, suggested]), single.picture.size)
    picture, scale = _scaled(single.picture.crop(window), _SINGLE_SIDE)
    draw, corner = ImageDraw.Draw(picture), np.array([window[0], window[1]] * 2)
    given = single.score is None and single.label is not None
    for box, label in zip(single.truth.boxes, single.truth.labels, strict=True):
        if not (given and label == single.label and np.allclose(box, own)):
            draw_thin(draw, (box - corner) * scale)
    own, suggested = ((box - corner) * scale for box in (own, suggested))
    if given and single.label is not None:
        draw_dashed(draw, own)
        draw_tag(draw, own, classes[single.label], _BLACK, below=True)
        if np.abs(own - suggested).max() < 4:  # else the one would hide the other
            suggested = suggested + np.array([-4, -4, 4, 4])
    model = single.label if single.score is not None else single.suggested
    new = single.score is not None or single.suggested_box is not None or single.suggested != single.label
    if model is not None and new:
        text = classes[model] if single.score is None else f"{classes[model]} {single.score:.2f}"
        draw_solid(draw, suggested, class_color(model), width=3)
        draw_tag(draw, suggested, text, class_color(model))
    labels = frozenset([model] if model is not None and new else [])
    return Tile(captioned(picture, _SINGLE_SIDE, [single.why, single.id]), labels)


def write_singles_sheet(tiles: Sequence[Tile], classes: Sequence[str], path: Path) -> None:
    """Write a PNG sheet, 1280 pixels wide, of what `draw_single` drew."""
    legend: list[Entry] = [("in the data set", None), ("also in the data set", _WHITE)]
    if seen := _entries(tiles, classes):
        legend += [("from the model:", GREY), *seen]
    write_sheet([tile.image for tile in tiles], _SINGLE_COLUMNS, legend, path)


def _entries(tiles: Iterable[Tile], classes: Sequence[str]) -> list[Entry]:
    return [
        (classes[index], class_color(index)) for index in sorted({label for tile in tiles for label in tile.labels})
    ]


def _missed(truth: Truth, found: Detections) -> np.ndarray:
    """Return for each true box whether no detection of its class overlaps it by IoU 0.5, `(N,)` bool."""
    pairs = np.stack(np.meshgrid(np.arange(len(truth)), np.arange(len(found)), indexing="ij"), -1).reshape(-1, 2)
    same = truth.labels[pairs[:, 0]] == found.labels[pairs[:, 1]]
    pairs = pairs[same & (box_iou(truth.boxes[pairs[:, 0]], found.boxes[pairs[:, 1]]) >= 0.5)]
    return ~np.isin(np.arange(len(truth)), pairs[:, 0])


def _window(boxes: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the square around all the boxes with their surroundings, moved and, if it must be, cut into the picture.

    A long box has less around its ends than a square one: it would be small in its tile.
    """
    corners = np.clip(boxes.reshape(-1, 2), 0, size)
    first, last = corners.min(axis=0), corners.max(axis=0)
    sides = last - first
    side = max(_LEAST_CROP, _CONTEXT * float(np.sqrt(sides.prod())), 1.3 * float(sides.max()))
    start = np.clip((first + last - side) / 2, 0, np.maximum(0, np.array(size) - side))
    end = np.minimum(start + side, size)
    left, top = np.floor(start).astype(int).tolist()
    right, bottom = np.ceil(end).astype(int).tolist()
    return left, top, right, bottom


def _scaled(picture: Image.Image, side: int) -> tuple[Image.Image, float]:
    """Return the picture scaled, up or down, to fit a square of `side` pixels, and the scale."""
    scale = min(side / picture.width, side / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BICUBIC), scale
