"""The classes of a VOC data set as it lists them, and its masks: SegmentationClass/*.png, as numbers or as colours.

VOC numbers its classes from 1 in the order of their names; 0 is background and 255 what counts as neither (VOC2012
development kit, sections 4 and 10). Datumaro and CVAT give each class a colour of their own in labelmap.txt.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from reprolens.convert.documents import read_lines
from reprolens.convert.tree import Tree
from reprolens.errors import DataError

# fmt: off
CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
# fmt: on
"""The classes of the VOC challenges from 2007 on, in their order."""

BACKGROUND, VOID = 0, 255
Color = tuple[int, int, int]

_LINE = re.compile(r"(?P<name>.+?)\s*:(?:\s*(?P<color>\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3})\s*)?(?::.*)?")
_NO_CLASS = {"background": BACKGROUND, "ignored": VOID, "void": VOID}


@dataclass(frozen=True)
class Legend:
    """The class names in index order, the file that lists them ("" if none does), and what numbers and colours mean.

    The values of `indices` and `colors` are an index in `classes` plus 1, BACKGROUND or VOID. `colored` says that the
    colours of a palette count, not its numbers.
    """

    classes: tuple[str, ...]
    file: str
    indices: Mapping[int, int]
    colors: Mapping[Color, int]
    colored: bool

    def read(self, path: Path) -> np.ndarray:
        """Return a mask's classes `(height, width)` uint8. Raises DataError if it has others, or does not decode."""
        if len(self.classes) >= VOID:
            raise DataError(f"{path}: a mask cannot tell {len(self.classes)} classes apart; {VOID - 1} is the most")
        try:
            with Image.open(path) as picture:
                picture.load()
                mode, palette = picture.mode, None
                if mode == "P":
                    raw = picture.getpalette("RGB") or []
                    palette = [(raw[at], raw[at + 1], raw[at + 2]) for at in range(0, len(raw) - 2, 3)]
                elif mode not in ("1", "L") and not mode.startswith("I"):
                    picture = picture.convert("RGB")  # type: ignore[assignment]
                pixels = np.asarray(picture)
        except Exception as error:  # Pillow's decoders raise many kinds
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{path}: the mask does not decode ({reason[:120]})") from None
        if pixels.ndim == 3:
            packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
            values, places = np.unique(packed, return_inverse=True)
            codes = [self._color((int(v) >> 16, int(v) >> 8 & 255, int(v) & 255), path) for v in values]
        else:
            values, places = np.unique(pixels, return_inverse=True)
            codes = [self._index(int(value), palette, path) for value in values]
        return np.array(codes, np.uint8)[places].reshape(pixels.shape[:2])

    def _color(self, color: Color, path: Path) -> int:
        if color not in self.colors:
            raise DataError(f"{path}: the mask has the colour {color}, which {self.file or 'VOC'} lacks")
        return self.colors[color]

    def _index(self, index: int, palette: Sequence[Color] | None, path: Path) -> int:
        if palette is not None and self.colored and index < len(palette):
            return self._color(palette[index], path)
        if index not in self.indices:
            raise DataError(f"{path}: the mask has the number {index}, but {self.file or 'VOC'} names no such class")
        return self.indices[index]


def read_instances(path: Path) -> np.ndarray:
    """Return a mask's objects `(height, width)` uint8, as numbered. Raises DataError if it cannot be read."""
    try:
        with Image.open(path) as picture:
            if picture.mode in ("P", "L"):
                return np.asarray(picture, np.uint8)
            colors = np.asarray(picture.convert("RGB"), np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
            table = np.array([red << 16 | green << 8 | blue for red, green, blue in map(voc_color, range(256))])
            order = np.argsort(table)
            places = np.minimum(np.searchsorted(table[order], colors), 255)
            if (table[order][places] != colors).any():
                raise ValueError("a colour that VOC's palette lacks")
            return order[places].astype(np.uint8)
    except Exception as error:  # Pillow's decoders raise many kinds
        raise DataError(f"{path}: the mask does not decode ({' '.join(str(error).split())[:120]})") from None


def label_file(tree: Tree) -> str | None:
    """Return the file that lists the classes, labelmap.txt or labels.txt, the one least deep; None if there is none."""
    for name in ("labelmap.txt", "labels.txt"):
        found = [file for file in tree.ending(name) if f"/{file.lower()}".endswith(f"/{name}") and file.count("/") < 3]
        if found:
            return min(found, key=lambda file: (file.count("/"), file))
    return None


def read_legend(tree: Tree) -> Legend | None:
    """Return the classes as labelmap.txt or labels.txt lists them; None if there is neither.

    Raises DataError for a labelmap.txt that is none, or a class that is listed twice.
    """
    if (file := label_file(tree)) is None:
        return None
    path = tree.path(file)
    lines = read_lines(path)
    if not file.lower().endswith("labelmap.txt"):
        # A name that has image sets is a class, whatever it is called; in what convert writes, every class has.
        odd = [name for name in lines if name.lower() in _NO_CLASS]
        own = {name for name in odd if any(f"/{other}".endswith(f"/{name}_train.txt") for other in tree.files)}
        return _legend([(name, None) for name in lines], file, colored=False, classes_too=own)
    items: list[tuple[str, Color | None]] = []
    for line in lines:
        if line.startswith("#"):
            continue
        if (match := _LINE.fullmatch(line)) is None:
            raise DataError(f"{path}: {line[:40]!r} is not a class as labelmap.txt has it, such as cat:64,0,0::")
        numbers = [int(number) for number in (match["color"] or "").split(",") if number]
        items.append((match["name"].strip(), (numbers[0], numbers[1], numbers[2]) if numbers else None))
    return _legend(items, file, colored=True)


def named(names: Iterable[str], file: str) -> Legend:
    """Return the classes of which only the names and their order are known."""
    return _legend([(name, None) for name in names], file, colored=False)


def voc_color(index: int) -> Color:
    """Return the colour of a number in VOC's palette (VOCcolormap.m of the development kit)."""
    red = green = blue = 0
    for bit in range(8):
        red |= (index >> (3 * bit) & 1) << (7 - bit)
        green |= (index >> (3 * bit + 1) & 1) << (7 - bit)
        blue |= (index >> (3 * bit + 2) & 1) << (7 - bit)
    return red, green, blue


def _legend(
    items: Sequence[tuple[str, Color | None]], file: str, colored: bool, classes_too: Collection[str] = ()
) -> Legend:
    listed = any(name.lower() == "background" and name not in classes_too for name, _ in items)
    first = 0 if listed else 1  # the background has the number 0 where it is listed
    classes: list[str] = []
    indices, colors = {BACKGROUND: BACKGROUND, VOID: VOID}, {}
    for index, (name, color) in enumerate(items, first):
        code = None if name in classes_too else _NO_CLASS.get(name.lower())
        if code is None:
            if name in classes:
                raise DataError(f"{file}: names the class {name[:40]!r} twice")
            classes.append(name)
            code = len(classes)
        indices[index] = code
        colors[color or voc_color(index)] = code
    colors.setdefault(voc_color(0), BACKGROUND)
    colors.setdefault((224, 224, 192), VOID)
    return Legend(tuple(classes), file, indices, colors, colored)
