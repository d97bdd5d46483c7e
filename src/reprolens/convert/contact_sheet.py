"""A contact sheet: some of a data set's pictures on one page, with all that is said about them.

The same data give the same bytes: the font is the one that Matplotlib carries, and nothing is taken from the clock.
"""

import colorsys
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reprolens import files
from reprolens.pixels import upright
from reprolens.voc import Object, Record

MOST = 24
"""Pictures on a sheet."""

Color = tuple[int, int, int]
Mask = np.ndarray

_CELL = (360, 270)
_COLUMNS = 6
_GAP = 16
_FONT = 13
_LINE = 18
_LEGEND_ROWS = 4
_OPACITY = 0.5
_VOID = 255
_INK, _FAINT, _PAPER, _EMPTY = "#1a1a1a", "#6b6b6b", "#ffffff", "#e9e9e9"


def draw(
    rows: Sequence[tuple[Path | bytes, Record, Mask | None]],
    classes: Sequence[str],
    out: Path,
    total: int | None = None,
) -> None:
    """Write a PNG of at most 24 of the pictures, evenly drawn from `rows`, each fitted into a cell.

    `total` is how many pictures the data set has, where `rows` are some of them.

    Boxes and their class names have the colours of the classes, whose key is on top; crowds are dashed. A mask
    `(height, width)` uint8 (0 background, index in `classes` plus 1, 255 neither) lies over its picture as colours that
    let it through, neither as white. Below each picture stand its name and the classes that it has as a whole.
    A picture that does not decode is an empty cell that says so.
    """
    chosen = [rows[place] for place in evenly(len(rows))]
    colors = {name: class_color(index) for index, name in enumerate(classes)}
    tiles = []
    shown: set[str] = set()
    for picture, record, mask in chosen:
        tiles.append(_tile(picture, record, mask, classes, colors))
        shown |= {item.name for item in record.objects} | {*record.labels}
        if mask is not None:
            shown |= {classes[value - 1] for value in np.unique(mask) if 0 < value <= len(classes)}
    columns = _columns(len(tiles))
    width = max(columns * (_CELL[0] + _GAP) + _GAP, 2 * _CELL[0])
    top = _key(width, [(name, colors[name]) for name in classes if name in shown], len(chosen), total or len(rows))
    starts = range(0, len(tiles), columns)
    heights = [max(tile.height for tile in tiles[start : start + columns]) for start in starts]
    sheet = Image.new("RGB", (width, top.height + sum(heights) + _GAP * (len(heights) + 1)), _PAPER)
    sheet.paste(top, (0, 0))
    y = top.height
    for start, height in zip(starts, heights, strict=True):
        for column, tile in enumerate(tiles[start : start + columns]):
            sheet.paste(tile, (_GAP + column * (_CELL[0] + _GAP), y))
        y += height + _GAP
    with files.atomic(out) as temporary:
        sheet.save(temporary, "PNG")


def evenly(count: int) -> list[int]:
    """Return the places of the pictures that a sheet of `count` shows: the first, the last, and evenly between."""
    if count <= MOST:
        return list(range(count))
    return [round(number * (count - 1) / (MOST - 1)) for number in range(MOST)]


def class_color(index: int) -> Color:
    """Return the colour of the class at `index`: steps of the golden section keep any number of hues apart."""
    light = (0.5, 0.62, 0.4)[index % 3]
    red, green, blue = colorsys.hls_to_rgb((0.58 + index * 0.618034) % 1, light, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def _columns(count: int) -> int:
    """Return how many pictures stand side by side, so that the page is about 3:2."""
    return next((columns for columns in range(1, _COLUMNS) if columns * -(-columns * 2 // 3) >= count), _COLUMNS)


def _tile(
    picture: Path | bytes, record: Record, mask: Mask | None, classes: Sequence[str], colors: dict[str, Color]
) -> Image.Image:
    """Return one picture, in the middle of its cell, with what it shows; below it its name and its own classes."""
    captions = [(record.id or record.file, _FAINT)]
    if record.labels:
        captions.insert(0, (", ".join(record.labels), _INK))
    tile = Image.new("RGB", (_CELL[0], _CELL[1] + 4 + _LINE * len(captions)), _PAPER)
    ImageDraw.Draw(tile).rectangle((0, 0, _CELL[0] - 1, _CELL[1] - 1), _EMPTY)
    opened = _opened(picture, record)
    if opened is None:
        ImageDraw.Draw(tile).text((_CELL[0] // 2, _CELL[1] // 2), "does not decode", _FAINT, _font(), anchor="mm")
    else:
        drawn = _drawn(opened, record, mask, classes, colors)
        tile.paste(drawn, ((_CELL[0] - drawn.width) // 2, (_CELL[1] - drawn.height) // 2))
    x = 0
    for row, (text, ink) in enumerate(captions):
        if record.labels and row == 0:  # a patch in the colour of the first of its classes
            color = colors.get(record.labels[0], (128, 128, 128))
            ImageDraw.Draw(tile).rectangle((0, _CELL[1] + 7, 11, _CELL[1] + 18), color)
        x = 17 if record.labels and row == 0 else 0
        text = _fitted(text, _CELL[0] - x, keep_end=row == len(captions) - 1)
        ImageDraw.Draw(tile).text((x, _CELL[1] + 4 + _LINE * row), text, ink, _font())
    return tile


def _drawn(
    picture: Image.Image, record: Record, mask: Mask | None, classes: Sequence[str], colors: dict[str, Color]
) -> Image.Image:
    """Return the picture, scaled to the cell, with its mask and its objects, large ones below small ones."""
    scale = min(_CELL[0] / picture.width, _CELL[1] / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = picture.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS, reducing_gap=3.0)
    if mask is not None:
        small = _overlaid(small, mask, [colors[name] for name in classes])
    brush = ImageDraw.Draw(small)
    objects = sorted(record.objects, key=lambda item: -abs(item.box[2] - item.box[0]) * abs(item.box[3] - item.box[1]))
    places = [_edges(item, scale, size) for item in objects]
    for item, place in zip(objects, places, strict=True):
        _outline(brush, place, colors.get(item.name, (128, 128, 128)), item.crowd)
    taken: list[tuple[int, int, int, int]] = []
    for item, place in zip(objects, places, strict=True):
        text = f"{item.name} (crowd)" if item.crowd else item.name
        _tag(brush, place, text, colors.get(item.name, (128, 128, 128)), size, taken)
    return small


def _opened(picture: Path | bytes, record: Record) -> Image.Image | None:
    """Return the picture in RGB, upright if its record is about it that way; None if it does not decode."""
    try:
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as stored:
            stored.load()  # before its EXIF is asked for, which may stand behind the pixels
            turned = upright(stored)
            as_stored = turned.size != stored.size and stored.size == (record.width, record.height)
            image = stored.copy() if as_stored or turned is stored else turned
    except Exception:  # Pillow's decoders raise many kinds
        return None
    if image.mode.startswith(("I", "F")):  # 16 bits and more: from the darkest to the brightest
        values = np.nan_to_num(np.asarray(image, np.float64))
        low, high = values.min(), max(values.max(), values.min() + 1)
        image = Image.fromarray(((values - low) * (255 / (high - low))).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, _PAPER), image).convert("RGB")
    return image.convert("RGB")


def _overlaid(picture: Image.Image, mask: Mask, colors: Sequence[Color]) -> Image.Image:
    """Return the picture with a mask over it."""
    values = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST))
    table = np.full((256, 3), 128.0)
    table[1 : len(colors[: _VOID - 1]) + 1] = np.array(colors[: _VOID - 1], np.float64).reshape(-1, 3)
    table[_VOID] = 255.0
    opacity = np.full((256, 1), _OPACITY)
    opacity[0] = 0.0
    pixels = np.asarray(picture, np.float64)
    mixed = pixels * (1 - opacity[values]) + table[values] * opacity[values]
    edges = np.zeros(values.shape, bool)  # where two classes meet, so that areas of similar colours stay apart
    edges[:-1] |= values[:-1] != values[1:]
    edges[:, :-1] |= values[:, :-1] != values[:, 1:]
    mixed[edges] = mixed[edges] * 0.4 + 255 * 0.6
    return Image.fromarray(mixed.round().astype(np.uint8))


def _edges(item: Object, scale: float, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the first and last pixels of a box, in the cell's own, kept inside it, whatever its numbers are."""
    places = []
    for start, end, side in ((item.box[0], item.box[2], size[0]), (item.box[1], item.box[3], size[1])):
        first, last = sorted(min(max(edge * scale, 0.0), float(side)) for edge in (start, end))
        places.append((min(round(first), side - 1), max(round(last) - 1, min(round(first), side - 1))))
    return places[0][0], places[1][0], places[0][1], places[1][1]


def _outline(brush: ImageDraw.ImageDraw, place: tuple[int, int, int, int], color: Color, dashed: bool) -> None:
    """Draw a box two pixels wide, on a thin dark line so that it is seen on any picture; a crowd's is dashed."""
    x0, y0, x1, y1 = place
    brush.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=(0, 0, 0), width=1)
    if not dashed:
        brush.rectangle(place, outline=color, width=2)
        return
    dash, period = 7, 12
    for x in range(x0, x1 + 1, period):
        for y in (y0, max(y0, y1 - 1)):
            brush.rectangle((x, y, min(x + dash, x1), min(y + 1, y1)), color)
    for y in range(y0, y1 + 1, period):
        for x in (x0, max(x0, x1 - 1)):
            brush.rectangle((x, y, min(x + 1, x1), min(y + dash, y1)), color)


def _tag(
    brush: ImageDraw.ImageDraw,
    place: tuple[int, int, int, int],
    text: str,
    color: Color,
    size: tuple[int, int],
    taken: list[tuple[int, int, int, int]],
) -> None:
    """Write a name on a patch of colour above its box, or inside or below, where no other name is; else not at all."""
    text = _fitted(text, size[0] - 6)
    width, height = round(_font().getlength(text)) + 6, _FONT + 4
    x = max(0, min(place[0] - 1, size[0] - width))
    for top in (place[1] - height - 1, place[1], place[3] + 2, place[3] - height):
        y = max(0, min(top, size[1] - height))
        patch = (x, y, x + width - 1, y + height - 1)
        if not any(patch[0] <= b[2] and b[0] <= patch[2] and patch[1] <= b[3] and b[1] <= patch[3] for b in taken):
            taken.append(patch)
            brush.rectangle(patch, color)
            brush.text((x + 3, y), text, _readable(color), _font())
            return


def _key(width: int, entries: Sequence[tuple[str, Color]], shown: int, total: int) -> Image.Image:
    """Return the strip on top: how many pictures there are, and the classes on the sheet with their colours."""
    heading = f"{shown} of {total} pictures" if shown < total else f"{total} picture{'' if total == 1 else 's'}"
    places: list[tuple[int, int, str, Color]] = []
    x, row = _GAP, 1
    for number, (name, color) in enumerate(entries):
        text = _fitted(name, _CELL[0])
        length = round(_font().getlength(text)) + 17 + _GAP
        if x + length > width and x > _GAP:
            x, row = _GAP, row + 1
        if row > _LEGEND_ROWS:
            heading += f"; {len(entries)} classes, of which the first {number} are named here"
            break
        places.append((x, row, text, color))
        x += length
    rows = max((row for _, row, _, _ in places), default=0)
    strip = Image.new("RGB", (width, _GAP + _LINE * (rows + 1) + 14), _PAPER)
    brush = ImageDraw.Draw(strip)
    brush.text((_GAP, _GAP - 4), heading, _INK, _font(_FONT + 3))
    for x, row, text, color in places:
        y = _GAP + 4 + _LINE * row
        brush.rectangle((x, y + 2, x + 11, y + 13), color)
        brush.text((x + 17, y), text, _INK, _font())
    return strip


def _readable(color: Color) -> str:
    return "black" if 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140 else "white"


def _fitted(text: str, width: int, keep_end: bool = False) -> str:
    """Return a text that is no wider than `width` pixels, with an ellipsis where it was cut."""
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    if _font().getlength(text) <= width:
        return text
    text = text[-300:] if keep_end else text[:300]
    while text and _font().getlength(f"{text}…") > width:
        text = text[1:] if keep_end else text[:-1]
    return f"…{text}" if keep_end else f"{text}…"


@cache
def _font(size: int = _FONT) -> ImageFont.FreeTypeFont:
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
