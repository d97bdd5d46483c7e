"""What contact sheets are made of: boxes, tags and captions on pictures, and tiles in rows below a legend.

A sheet has a dark grey ground of its own, which photographs stand out from, on a light page and on a dark one.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from reprolens import files
from reprolens.colors import Color, on
from reprolens.evaluation.reports.figures.theme import WIDTH, fitted, font

GROUND, INK, FAINT, GREY = "#24272a", "#f0f1ef", "#a4a9ae", (128, 128, 128)
GAP = 20
_FONT = 12
_LINE = _FONT + 5

Box = NDArray[np.float64]
Entry = tuple[str, Color | None]
"""A line of the legend: its words, and the colour of its box; None: dashed white."""


def draw_solid(draw: ImageDraw.ImageDraw, box: Box, color: Color, width: int = 2) -> None:
    """Draw a box with a dark rim, to be seen on any picture."""
    x0, y0, x1, y1 = _ordered(box)
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline="black")
    draw.rectangle((x0, y0, x1, y1), outline=color, width=width)


def draw_dashed(draw: ImageDraw.ImageDraw, box: Box) -> None:
    """Draw a box of white dashes on black, to be seen on any picture."""
    x0, y0, x1, y1 = _ordered(box)
    draw.rectangle((x0, y0, x1, y1), outline="black", width=2)
    dash, period = 6, 10
    left, right, top, bottom = (max(-period, x0), min(draw.im.size[0], x1), max(-period, y0), min(draw.im.size[1], y1))
    for x in range(x0 + (left - x0) // period * period, right, period):
        for y in (y0, y1 - 1):
            draw.rectangle((x, y, min(x + dash, x1), y + 1), "white")
    for y in range(y0 + (top - y0) // period * period, bottom, period):
        for x in (x0, x1 - 1):
            draw.rectangle((x, y, x + 1, min(y + dash, y1)), "white")


def draw_thin(draw: ImageDraw.ImageDraw, box: Box) -> None:
    """Draw a box of one white line beside a dark one."""
    x0, y0, x1, y1 = _ordered(box)
    draw.rectangle((x0 + 1, y0 + 1, max(x0 + 1, x1 - 1), max(y0 + 1, y1 - 1)), outline="black")
    draw.rectangle((x0, y0, x1, y1), outline="white")


def draw_tag(draw: ImageDraw.ImageDraw, box: Box, text: str, color: Color, below: bool = False) -> None:
    """Write `text` on a patch of `color` outside the box, kept inside the picture."""
    across, down = draw.im.size
    x0, y0, _, y1 = _ordered(box)
    text = fitted(text, across - 4, font(_FONT))
    width, height = font(_FONT).getlength(text) + 4, _FONT + 3
    x = min(max(0, x0), across - width)
    y = min(max(0, y1 + 1 if below else y0 - height), down - height)
    draw.rectangle((x, y, x + width, y + height - 1), color)
    draw.text((x + 2, y), text, on(color), font(_FONT))


def captioned(picture: Image.Image, side: int, lines: Sequence[str]) -> Image.Image:
    """Return a tile `side` pixels wide: the picture in the middle, and below it the lines, the last one faint."""
    tile = Image.new("RGB", (side, picture.height + 5 + _LINE * len(lines)), GROUND)
    left = (side - picture.width) // 2
    tile.paste(picture, (left, 0))
    draw = ImageDraw.Draw(tile)
    for place, line in enumerate(lines):
        ink = FAINT if place == len(lines) - 1 else INK
        text = fitted(line, side, font(_FONT))
        x = max(0, min(left, side - round(font(_FONT).getlength(text))))
        draw.text((x, picture.height + 4 + place * _LINE), text, ink, font(_FONT))
    return tile


def write_sheet(tiles: Sequence[Image.Image], columns: int, legend: Sequence[Entry], path: Path) -> None:
    """Write a PNG, 1280 pixels wide: the tiles in rows of `columns` below the legend."""
    strip = _legend(legend if tiles else [("nothing to show", None)])
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    sheet = Image.new("RGB", (WIDTH, strip.height + sum(heights) + GAP * len(rows)), GROUND)
    sheet.paste(strip, (0, 0))
    top = strip.height
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            sheet.paste(tile, (GAP + column * (tile.width + GAP), top))
        top += height + GAP
    with files.atomic(path) as temporary:
        sheet.save(temporary)


def _legend(entries: Sequence[Entry]) -> Image.Image:
    """Return the strip above the pictures: how boxes are drawn, and the classes' colours."""
    writing, line = font(_FONT), _FONT + 10
    places, x, y = [], GAP, GAP
    for text, _ in entries:
        length = round(writing.getlength(text)) + 36 + GAP
        if x + length > WIDTH and x > GAP:
            x, y = GAP, y + line
        places.append((x, y))
        x += length
    strip = Image.new("RGB", (WIDTH, y + line + GAP // 2), GROUND)
    draw = ImageDraw.Draw(strip)
    for (text, color), (x, y) in zip(entries, places, strict=True):
        mark = np.array([x, y + 1, x + 28, y + _FONT + 1], dtype=np.float64)
        if color is None:
            draw_dashed(draw, mark)
        elif color == (255, 255, 255):
            draw_thin(draw, mark)
        else:
            draw_solid(draw, mark, color, width=3)
        draw.text((x + 36, y), fitted(text, WIDTH - x - 36 - GAP, writing), INK, writing)
    return strip


def _ordered(box: Box) -> tuple[int, int, int, int]:
    """Return the box in whole pixels, its corners in order: Pillow refuses inverted ones, and very large ones."""
    x0, y0, x1, y1 = (round(min(max(float(value), -1e6), 1e6)) for value in box)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
