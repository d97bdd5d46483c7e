"""The pixels of a mask: numbers or colours, counted to learn what they are, and turned into classes."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reprolens.convert.picture import shown_size
from reprolens.errors import DataError

Pixels = np.ndarray[Any, Any]

VOID = 255
"""The class of pixels that count as neither a class nor background."""

MOST = 253
"""Classes that masks of one byte can tell apart, with background, void and one value for what is unknown."""

NUMBERS = 1 << 16
"""The numbers of masks lie below."""

_UNKNOWN = 254

FEW = 256
"""Colours, or numbers, that a mask has at most; a photograph has more."""


@dataclass(frozen=True)
class Meaning:
    """What masks show: `kind` is numbers, colors (0xRRGGBB), binary (the classes of black and of white) or cityscapes.

    `codes` gives the class of each number or colour: its index plus 1, 0 for background, VOID. `top` is white of a
    binary mask. `by` says where it is known from, for errors.
    """

    kind: str
    codes: tuple[tuple[int, int], ...]
    by: str
    top: int = 255


@dataclass(frozen=True, slots=True)
class Counts:
    """How many pixels of each number, or colour, a mask has. `colored` is False if all of its colours are grey."""

    counts: Counter[int]
    colored: bool


def count(path: Path) -> Counts | None:
    """Return the numbers (or colours) in a mask, None if it has more than FEW and is no mask with noise.

    Raises DataError if it does not decode.
    """
    with _opened(path) as picture:
        if picture.mode in ("P", "L"):
            histogram = picture.histogram()
            return Counts(Counter({value: n for value, n in enumerate(histogram) if n}), False)
        pixels = _pixels(picture, path)
    if pixels.ndim == 2:
        values, numbers = np.unique(pixels, return_counts=True)
        return _counted(values, numbers, False)
    grey = bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())
    values, numbers = np.unique(pixels[..., 0] if grey else _packed(pixels), return_counts=True)
    return _counted(values, numbers, not grey)


def colors_of_palette(path: Path) -> dict[int, int] | None:
    """Return the colour (0xRRGGBB) of each number of a mask with a palette; None for one without."""
    with _opened(path) as picture:
        if picture.mode != "P":
            return None
        raw = picture.getpalette("RGB") or []
    return {at // 3: raw[at] << 16 | raw[at + 1] << 8 | raw[at + 2] for at in range(0, len(raw) - 2, 3)}


def header_size(path: Path) -> tuple[int, int] | None:
    """Return the width and height of a picture as it is stored, from its header; None if that cannot be read."""
    try:
        with Image.open(path) as picture:
            return picture.size
    except Exception:  # Pillow's decoders raise many kinds
        return None


def read_mask(path: Path, picture: Path, meaning: Meaning) -> Pixels:
    """Return a mask's classes `(height, width)` uint8: the index of a class plus 1, 0 for background, VOID for neither.

    Raises DataError if it does not decode, is not of its picture's size, or has numbers or colours without meaning.
    """
    with _opened(path) as opened:
        sizes = {size for size in (shown_size(picture), header_size(picture)) if size is not None}
        if sizes and opened.size not in sizes:
            width, height = min(sizes)
            own = f"{opened.size[0]} x {opened.size[1]}"
            raise DataError(f"{path}: the mask is {own} pixels, its picture {picture.name} is {width} x {height}")
        color = meaning.kind == "colors"
        pixels = _packed(np.asarray(opened.convert("RGB"))) if color else _grey(_pixels(opened, path), path)
    if meaning.kind == "binary":
        black, white = (code for _, code in meaning.codes)
        return np.where(pixels > meaning.top / 2, np.uint8(white), np.uint8(black))
    if meaning.kind == "cityscapes":  # instanceIds: 1000 times the label plus a number
        pixels = pixels.astype(np.int32)
        pixels = np.where(pixels >= 1000, pixels // 1000, pixels)
    if pixels.min(initial=0) < 0 or pixels.max(initial=0) >= (1 << 24 if color else NUMBERS):
        raise DataError(f"{path}: the mask has numbers from {pixels.min()} to {pixels.max()}, which are no classes")
    classes: Pixels = _table(meaning)[pixels]
    unknown = classes == _UNKNOWN
    if unknown.any():
        y, x = np.argwhere(unknown)[0]
        value = int(pixels[y, x])
        what = f"colour {_shown(value)}" if color else f"number {value}"
        raise DataError(f"{path}: the mask has the {what} at {x}, {y}, which {meaning.by} does not name")
    return classes


def _shown(color: int) -> str:
    return f"{color >> 16} {color >> 8 & 255} {color & 255}"


@lru_cache(maxsize=4)  # one data set has few; a table of colours takes 16 MB
def _table(meaning: Meaning) -> Pixels:
    table = np.full(1 << 24 if meaning.kind == "colors" else NUMBERS, _UNKNOWN, np.uint8)
    for value, code in meaning.codes:
        table[value] = code
    return table


def _counted(values: Pixels, numbers: Pixels, colored: bool) -> Counts | None:
    if len(values) > FEW:
        return None
    return Counts(Counter(dict(zip(map(int, values), map(int, numbers), strict=True))), colored)


def _packed(pixels: Pixels) -> Pixels:
    """Return colours `(height, width, 3)` as 0xRRGGBB `(height, width)`."""
    wide = pixels[..., :3].astype(np.uint32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _grey(pixels: Pixels, path: Path) -> Pixels:
    if pixels.ndim == 2:
        return pixels
    if (pixels[..., 0] != pixels[..., 1]).any() or (pixels[..., 1] != pixels[..., 2]).any():
        raise DataError(f"{path}: the mask is coloured, though no colour has a name; add label_colors.txt")
    return pixels[..., 0]


def _pixels(picture: Image.Image, path: Path) -> Pixels:
    """Return whole numbers `(height, width)`, or colours `(height, width, 3)` uint8 without alpha."""
    if picture.mode in ("1", "L", "P") or picture.mode.startswith("I"):
        pixels = np.asarray(picture)
        return pixels.astype(np.uint8) if pixels.dtype == bool else pixels
    if picture.mode == "LA":
        return np.asarray(picture)[..., 0]
    if picture.mode == "F":
        pixels = np.asarray(picture)
        if not np.isfinite(pixels).all() or (pixels != np.rint(pixels)).any() or np.abs(pixels).max(initial=0) > 1e6:
            raise DataError(f"{path}: the mask has numbers that are not whole")
        return pixels.astype(np.int32)
    return np.asarray(picture.convert("RGB"))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open and decode a mask. Pillow itself refuses decompression bombs. Raises DataError."""
    try:
        picture = Image.open(path)
        picture.load()
    except Exception as error:  # Pillow's decoders raise many kinds, SyntaxError and struct.error among them
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: the mask does not decode ({reason[:120]})") from None
    with picture:
        yield picture
