"""The figures of an evaluation: precision-recall curves, and a sheet of pictures with true and predicted boxes.

The same data give the same bytes: the fonts are those that Matplotlib carries, and nothing is taken from the clock.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reprolens import files
from reprolens.evaluation.detections import Detections, Truth
from reprolens.evaluation.voc_ap import Curve, all_point_ap, box_iou, mean_ap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Color = tuple[int, int, int]

# Told apart on white and on photographs, neighbours first; none is black or white, which mean "mean" and "truth".
# fmt: off
_COLORS = (
    "#1f77ff", "#ff7f0e", "#2ca02c", "#e6194b", "#9b5de5",
    "#a0522d", "#f032e6", "#00b8d9", "#b0a800", "#00c08b",
    "#00008b", "#800000", "#808000", "#d2a000", "#6a5acd",
    "#ff8fa3", "#556b2f", "#7896b4", "#c71585", "#005f5f",
)
# fmt: on
_LEGEND_ROWS = 22
_LEGEND_CLASSES = 2 * _LEGEND_ROWS

_TILE = 480
_COLUMNS = 4
_GAP = 12
_FONT = 12


@dataclass(frozen=True)
class Sample:
    """A picture to show (RGB), with what is truly there and what was predicted, both in its own pixels, and why."""

    id: str
    picture: Image.Image
    truth: Truth
    detections: Detections
    why: str | None = None


def class_color(index: int) -> Color:
    """Return the colour of the class at `index`, the same in every figure: RGB, 0 to 255."""
    if index < len(_COLORS):
        code = _COLORS[index]
        return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)
    # Steps of the golden section keep any number of further hues apart.
    hue, light = (index * 0.618034) % 1, (0.35, 0.5, 0.6)[index % 3]
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, light, 0.8))
    return red, green, blue


def draw_pr_curves(curves: Sequence[Curve], classes: Sequence[str], path: Path) -> None:
    """Write a PNG, 1280 pixels wide, of each class's precision over recall at IoU 0.5, and of their mean.

    What is drawn is the envelope: the area under a line is the class's AP (VOC2010-2012), which the legend gives beside
    the number of boxes. Beyond 44 classes, those with fewest boxes are drawn in grey and have no entry.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.8, 7.2), dpi=100)
    FigureCanvasAgg(figure)
    defined = [index for index, curve in enumerate(curves) if curve.positives]
    shown = sorted(sorted(defined, key=lambda index: -curves[index].positives)[:_LEGEND_CLASSES])
    columns = 1 if len(shown) < _LEGEND_ROWS else 2
    axes = figure.add_axes((0.06, 0.09, 0.68 if columns == 1 else 0.46, 0.83))
    for index in sorted(set(defined) - set(shown)):
        axes.plot(*_outline(curves[index]), color="0.8", linewidth=0.8, zorder=1)
    handles, labels = _class_lines(axes, curves, classes, shown)
    mean = mean_ap(all_point_ap(curve) for curve in curves)
    if mean is not None and len(defined) > 1:
        levels = np.linspace(0, 1, 1001)
        values = np.mean([_at_levels(curves[index], levels) for index in defined], axis=0)
        handles = axes.plot(levels, values, color="black", linewidth=3, zorder=3) + handles
        labels = [f"{mean:.3f}  mean (mAP)", *labels]
    if handles:
        _write_legend(axes, handles, labels, columns)
    title = "no true boxes, so no curves" if mean is None else f"mAP {mean:.3f}"
    _write_axes(axes, f"Precision and recall at IoU 0.5: {title}")
    with files.atomic(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def _write_axes(axes: "Axes", title: str) -> None:
    ticks = np.linspace(0, 1, 11)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=ticks, yticks=ticks)
    axes.set_xlabel("recall", fontsize=12)
    axes.set_ylabel("precision", fontsize=12)
    axes.set_title(title, loc="left", fontsize=14)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _write_legend(axes: "Axes", handles: list, labels: list[str], columns: int) -> None:
    legend = axes.legend(
        handles,
        labels,
        title="AP, class (boxes)",
        loc="upper left",
        bbox_to_anchor=(1.015, 1.0),
        borderaxespad=0.0,
        frameon=False,
        ncols=columns,
        fontsize=11 if columns == 1 else 9.5,
        title_fontsize=11,
        alignment="left",
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a class may be called $x


def _class_lines(
    axes: "Axes", curves: Sequence[Curve], classes: Sequence[str], shown: Sequence[int]
) -> tuple[list, list[str]]:
    handles, labels = [], []
    for index in shown:
        red, green, blue = class_color(index)
        handles += axes.plot(
            *_outline(curves[index]),
            color=f"#{red:02x}{green:02x}{blue:02x}",
            linestyle=("-", "--", "-.", ":")[index // 10 % 4],
            linewidth=1.8,
            marker="o",
            markevery=[-1] if curves[index].hits.any() else [],  # where the line ends, as no more boxes are found
            clip_on=False,
            zorder=2,
        )
        name = classes[index] if len(classes[index]) <= 20 else f"{classes[index][:19]}…"
        labels.append(f"{all_point_ap(curves[index]):.3f}  {name} ({curves[index].positives})")
    return handles, labels


def _outline(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and precision of the corners of the envelope, from recall 0 to the last right detection."""
    rises = np.flatnonzero(np.diff(curve.hits, prepend=0))
    recall = np.concatenate([[0.0], curve.recall[rises]])
    precision = curve.envelope()[rises]
    # A step: from each recall to the next, the precision is that of the next.
    return np.repeat(recall, 2)[1:-1], np.repeat(precision, 2)


def _at_levels(curve: Curve, levels: np.ndarray) -> np.ndarray:
    """Return the envelope at each recall in `levels`; 0 beyond the highest recall."""
    reached = np.searchsorted(curve.recall, levels, side="left")
    return np.append(curve.envelope(), 0.0)[reached]


def draw_samples(samples: Sequence[Sample], classes: Sequence[str], path: Path, score_threshold: float = 0.0) -> None:
    """Write a PNG sheet of the pictures, each scaled to 480 pixels, small ones up, with their boxes.

    Predictions with a score from `score_threshold` up are solid, in the class's colour, with class and score above.
    True boxes are dashed white; those that no such prediction of their class overlaps by IoU 0.5 say their class below.
    """
    tiles = [_tile(sample, classes, score_threshold) for sample in samples]
    columns = min(_COLUMNS, max(1, len(tiles)))
    width = max(columns * (_TILE + _GAP) + _GAP, 2 * _TILE)
    present = sorted(
        {int(label) for sample in samples for label in sample.truth.labels}
        | {int(label) for sample in samples for label in sample.detections.above(score_threshold).labels}
    )
    legend = _legend(width, [(classes[index], class_color(index)) for index in present], score_threshold)
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    sheet = Image.new("RGB", (width, legend.height + sum(heights) + _GAP * len(rows) + _GAP), "white")
    sheet.paste(legend, (0, 0))
    top = legend.height
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            sheet.paste(tile, (_GAP + column * (_TILE + _GAP), top))
        top += height + _GAP
    with files.atomic(path) as temporary:
        sheet.save(temporary)


def _tile(sample: Sample, classes: Sequence[str], score_threshold: float) -> Image.Image:
    """Return one picture, scaled to fit the tile, with its boxes; below it its id, and why it is shown."""
    scale = min(_TILE / sample.picture.width, _TILE / sample.picture.height)
    size = [max(1, round(side * scale)) for side in sample.picture.size]
    tile = Image.new("RGB", (_TILE, size[1] + _FONT + 8), "white")
    left = (_TILE - size[0]) // 2
    picture = sample.picture.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    found = sample.detections.above(score_threshold)
    truths = sample.truth.boxes * scale
    for box in truths:
        _dashed(draw, box)
    for place in np.argsort(found.scores, kind="stable"):  # the surest on top
        color, name = class_color(int(found.labels[place])), classes[found.labels[place]]
        box = found.boxes[place] * scale
        draw.rectangle(_ordered(box), outline=color, width=2)
        _tag(draw, box, f"{name} {found.scores[place]:.2f}", color, below=False)
    for place in np.flatnonzero(_missed(sample.truth, found)):
        _tag(draw, truths[place], classes[sample.truth.labels[place]], (0, 0, 0), below=True)
    tile.paste(picture, (left, 0))
    caption = sample.id if sample.why is None else f"{sample.why}: {sample.id}"
    ImageDraw.Draw(tile).text((left, size[1] + 2), _fitted(caption, _TILE - left), "#444444", _font())
    return tile


def _missed(truth: Truth, found: Detections) -> np.ndarray:
    """Return for each true box whether no detection of its class overlaps it by IoU 0.5, `(N,)` bool."""
    pairs = np.stack(np.meshgrid(np.arange(len(truth)), np.arange(len(found)), indexing="ij"), -1).reshape(-1, 2)
    same = truth.labels[pairs[:, 0]] == found.labels[pairs[:, 1]]
    pairs = pairs[same & (box_iou(truth.boxes[pairs[:, 0]], found.boxes[pairs[:, 1]]) >= 0.5)]
    return ~np.isin(np.arange(len(truth)), pairs[:, 0])


def _dashed(draw: ImageDraw.ImageDraw, box: np.ndarray) -> None:
    """Draw a box of white dashes on black, to be seen on any picture."""
    x0, y0, x1, y1 = _ordered(box)
    draw.rectangle((x0, y0, x1, y1), outline="black", width=2)
    dash, period = 6, 10
    for x in range(x0, x1, period):
        for y in (y0, y1 - 1):
            draw.rectangle((x, y, min(x + dash, x1), y + 1), "white")
    for y in range(y0, y1, period):
        for x in (x0, x1 - 1):
            draw.rectangle((x, y, x + 1, min(y + dash, y1)), "white")


def _tag(draw: ImageDraw.ImageDraw, box: np.ndarray, text: str, color: Color, below: bool) -> None:
    """Write `text` on a patch of `color` outside the box, kept inside the picture."""
    font = _font()
    x0, y0, _, y1 = _ordered(box)
    text = _fitted(text, draw.im.size[0])
    width, height = font.getlength(text) + 4, _FONT + 3
    x = min(max(0, x0), draw.im.size[0] - width)
    y = min(max(0, y1 + 1 if below else y0 - height), draw.im.size[1] - height)
    draw.rectangle((x, y, x + width, y + height - 1), color)
    bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 150
    draw.text((x + 2, y), text, "black" if bright else "white", font)


def _legend(width: int, entries: Sequence[tuple[str, Color]], score_threshold: float) -> Image.Image:
    """Return the strip above the pictures: how truth and predictions are drawn, and the classes' colours."""
    font, line = _font(), _FONT + 10
    items: list[tuple[str, Color | None]] = [
        ("true box, named where it was missed", None),
        (f"prediction, score from {score_threshold:g} up:", (128, 128, 128)),
        *entries,
    ]
    places, x, y = [], _GAP, _GAP
    for text, _ in items:
        length = round(font.getlength(text)) + 36 + 2 * _GAP
        if x + length > width and x > _GAP:
            x, y = _GAP, y + line
        places.append((x, y))
        x += length
    strip = Image.new("RGB", (width, y + line + _GAP // 2), "white")
    draw = ImageDraw.Draw(strip)
    for (text, color), (x, y) in zip(items, places, strict=True):
        mark = np.array([x, y + 1, x + 28, y + _FONT + 1], dtype=np.float64)
        if color is None:
            _dashed(draw, mark)
        else:
            draw.rectangle(_ordered(mark), outline=color, width=3)
        draw.text((x + 36, y), text, "black", font)
    return strip


def _ordered(box: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box in whole pixels, its corners in order: Pillow refuses inverted ones."""
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _fitted(text: str, width: int) -> str:
    while len(text) > 2 and _font().getlength(text) + 4 > width:
        text = f"{text[:-2]}…"
    return text


@cache
def _font() -> ImageFont.FreeTypeFont:
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), _FONT, layout_engine=ImageFont.Layout.BASIC)
