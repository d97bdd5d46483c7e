"""A picture with what was found in it, drawn by Pillow alone, with the letters that Pillow itself carries."""

import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from reprolens.colors import class_color, on
from reprolens.inference.model import Found, Pixels

_LETTERS = 0.022
"""Height of the letters in sides of the picture, of a square as large as it."""
_SMALLEST, _LARGEST = 11, 64
_FURTHEST = 1e6
_MISSING = "□"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw(pixels: Pixels, found: Found, classes: Sequence[str]) -> Image.Image:
    """Return the picture `(H, W, 3)` with a box, class and score for each detection, those of high scores on top.

    Lines and letters grow with the picture; boxes have a dark rim, and words a patch of the class's colour, so that
    both are seen on anything. Words stand above all boxes, inside the picture; names wider than it are cut.
    """
    picture = Image.fromarray(pixels)
    size = round(min(max((picture.width * picture.height) ** 0.5 * _LETTERS, _SMALLEST), _LARGEST))
    brush = ImageDraw.Draw(picture)
    boxes, labels, scores = [_whole(box) for box in found.boxes], found.labels.tolist(), found.scores.tolist()
    order = np.argsort(found.scores, kind="stable").tolist()
    for place in order:
        _draw_box(brush, boxes[place], labels[place], width=max(2, round(size / 6)))
    for place in order:
        name = _readable(classes[labels[place]], labels[place], size)
        _draw_words(brush, boxes[place], name, f"{scores[place]:.2f}", labels[place], size)
    return picture


def _whole(box: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Return the box in whole pixels, its corners in order: Pillow refuses inverted ones, and very large ones."""
    x0, y0, x1, y1 = (round(float(np.clip(value, -_FURTHEST, _FURTHEST))) for value in box)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _draw_box(brush: ImageDraw.ImageDraw, box: tuple[int, int, int, int], label: int, width: int) -> None:
    x0, y0, x1, y1 = box
    rim = max(1, width // 3)
    brush.rectangle((x0 - rim, y0 - rim, x1 + rim, y1 + rim), outline="black", width=rim)
    brush.rectangle(box, outline=class_color(label), width=width)


def _draw_words(
    brush: ImageDraw.ImageDraw, box: tuple[int, int, int, int], name: str, score: str, label: int, size: int
) -> None:
    """Write name and score on a patch above the box, or, where that is outside the picture, at the picture's edge."""
    across, down = brush.im.size
    font, margin = _font(size), max(2, size // 5)
    text = _fitted(name, score, across - 2 * margin, font)
    width, height = round(font.getlength(text)) + 2 * margin, size + 2 * margin
    x = max(0, min(box[0], across - width))
    y = max(0, min(box[1] - height, down - height))
    color = class_color(label)
    brush.rectangle((x, y, x + width - 1, y + height - 1), color)
    brush.text((x + margin, y + height / 2), text, on(color), font, anchor="lm")


def _fitted(name: str, score: str, width: float, font: Font) -> str:
    """Return the words cut to at most `width` pixels: the name's end goes first, then all but the score."""
    if font.getlength(f"{name} {score}") <= width:
        return f"{name} {score}"
    for kept in range(len(name) - 1, 0, -1):
        if font.getlength(text := f"{name[:kept]}… {score}") <= width:
            return text
    return score


def _readable(name: str, label: int, size: int) -> str:
    """Return the name without what the font lacks: accents, and of other scripts all but the place of the class."""
    plain = "".join(_drawable(letter, size) for letter in unicodedata.normalize("NFC", name))
    return f"{plain} #{label}" if _MISSING in plain else plain


def _drawable(letter: str, size: int) -> str:
    if letter.isascii() or _glyph(letter, size) != _glyph("\U0010ffff", size):
        return letter
    bare = "".join(part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part))
    return bare if bare.isascii() and bare else _MISSING


@cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


@cache
def _glyph(letter: str, size: int) -> bytes:
    return bytes(_font(size).getmask(letter))
