"""Contact sheets of a data set's training pictures, as they are and as augmentation makes them, boxes and all.

Nothing here touches the process's own random generators: `TrainingPictures` draws from its seed in a fork of them.
"""

import colorsys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import count, islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reprolens import files
from reprolens.config import Augment
from reprolens.errors import DataError
from reprolens.loading.augment import build_augmentation
from reprolens.loading.decode import open_rgb
from reprolens.loading.detection import Sample, TrainingPictures
from reprolens.loading.index import Index
from reprolens.loading.sampling import EpochBatches, Key
from reprolens.voc import Record

SPLIT = "train"
TILE = 300
"""Pixels of the longer side of a picture at its plain size; multi-scale ones are shown smaller or larger."""

_COLUMNS = 4
_GAP = 10
_FONT = 12


def draw_sheet(
    index: Index, choices: Mapping[str, Augment], image_size: tuple[int, int], seed: int, path: Path, columns: int = 5
) -> None:
    """Write a sheet with a row for each choice, by its name: the first `columns` training pictures as it makes them.

    All rows show the same pictures. `image_size` is (height, width). The draws are those of training with this seed.
    The file is a JPEG if `path` says so, else a PNG. Raises DataError for a data set without training pictures, or a
    picture that does not decode.
    """
    rows = []
    for name, choice in choices.items():
        keys = islice(_keys(_count(index), choice, image_size, seed), columns)
        rows.append(_row(_augmented(index, choice, image_size, seed, keys), name))
    _write(rows, path)


def draw_training_sheets(
    index: Index, augment: Augment, image_size: tuple[int, int], seed: int, folder: Path, pictures: int = 12
) -> None:
    """Write what a training is fed: data.jpg and augmentation.jpg, replacing `folder`.

    The one shows the first training pictures of the first epoch, at most `pictures`, as they are; the other the same as
    `augment` makes them in that epoch, at `image_size` (height, width). Raises DataError as `draw_sheet`.
    """
    total = _count(index)
    keys = list(islice(_keys(total, augment, image_size, seed), min(pictures, total)))
    records = index.records(SPLIT)
    plain = [_plain_tile(index, records[key.index]) for key in keys]
    with files.atomic_folder(folder) as temporary:
        _write(_rows(plain, "training pictures as they are"), temporary / "data.jpg")
        augmented = _augmented(index, augment, image_size, seed, keys)
        rows = _rows(augmented, "the same, as augmentation makes them in the first epoch")
        _write(rows, temporary / "augmentation.jpg")


def _count(index: Index) -> int:
    if not (count := len(index.records(SPLIT))):
        raise DataError(f"{index.folder.root}: has no pictures in its {SPLIT} split; nothing to show")
    return count


def _augmented(
    index: Index, choice: Augment, image_size: tuple[int, int], seed: int, keys: Iterable[Key]
) -> list[Image.Image]:
    """Return the tiles of the training pictures that a choice makes of these keys."""
    pictures = TrainingPictures(index, SPLIT, image_size, build_augmentation(choice), seed)
    return [_tile(pictures[key], index.folder.classes, TILE / max(image_size)) for key in keys]


def _keys(total: int, choice: Augment, image_size: tuple[int, int], seed: int) -> Iterator[Key]:
    """Yield the keys of batches of one picture, epoch after epoch, so that each has a size of its own."""
    batches = EpochBatches(total, 1, seed, image_size, (choice.multi_scale[0], choice.multi_scale[1]))
    for epoch in count(1):
        batches.epoch = epoch
        for keys in batches:
            yield from keys


def _rows(tiles: Sequence[Image.Image], name: str) -> list[Image.Image]:
    """Return the tiles as rows of a grid below its name."""
    starts = range(0, len(tiles), _COLUMNS)
    return [_row(tiles[start : start + _COLUMNS], name if start == 0 else "") for start in starts]


def _row(tiles: Sequence[Image.Image], name: str) -> Image.Image:
    """Return the tiles side by side, below the name of what they show."""
    heading = 2 * _FONT + _GAP if name else _GAP
    height, width = max(tile.height for tile in tiles), sum(tile.width + _GAP for tile in tiles)
    row = Image.new("RGB", (width + _GAP, heading + height), "white")
    ImageDraw.Draw(row).text((_GAP, _GAP), name, "black", _font(_FONT + 4))
    left = _GAP
    for tile in tiles:
        row.paste(tile, (left, heading))
        left += tile.width + _GAP
    return row


def _write(rows: Sequence[Image.Image], path: Path) -> None:
    """Write the rows below each other, as a JPEG or a PNG."""
    width, height = max(row.width for row in rows), sum(row.height for row in rows)
    sheet = Image.new("RGB", (width, height), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    with files.atomic(path) as temporary:
        if path.suffix.lower() in (".jpg", ".jpeg"):
            sheet.save(temporary, "JPEG", quality=90)
        else:
            sheet.save(temporary, "PNG")


def _tile(sample: Sample, classes: tuple[str, ...], scale: float) -> Image.Image:
    """Return the picture enlarged by `scale`, with its boxes and their classes' names."""
    image, target, _ = sample
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    return _drawn(picture, target["boxes"].numpy(), (target["labels"] - 1).tolist(), classes, scale)


def _plain_tile(index: Index, record: Record) -> Image.Image:
    """Return a picture of the data set in its own shape, with the boxes that training is told of: all but crowds."""
    picture = open_rgb(index.folder, record)
    objects = [item for item in record.objects if not item.crowd]
    boxes = np.array([item.box for item in objects]).reshape(-1, 4)
    classes = index.folder.classes
    labels = [classes.index(item.name) for item in objects]
    return _drawn(picture, boxes, labels, classes, TILE / max(picture.size))


def _drawn(
    image: Image.Image, boxes: np.ndarray, labels: Sequence[int], classes: tuple[str, ...], scale: float
) -> Image.Image:
    """Return the picture enlarged by `scale`, with its boxes `(N, 4)`, large ones first, and their classes' names."""
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    picture = image.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    objects = list(zip((boxes * scale).tolist(), labels, strict=True))
    objects.sort(key=lambda item: (item[0][0] - item[0][2]) * (item[0][3] - item[0][1]))
    for (x0, y0, x1, y1), label in objects:
        edges = (round(x0), round(y0), max(round(x0), round(x1) - 1), max(round(y0), round(y1) - 1))
        draw.rectangle(edges, outline=_color(label), width=2)
    for (x0, y0, _, _), label in objects:
        _tag(draw, (round(x0), round(y0)), classes[label], _color(label), size)
    return picture


def _tag(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, color: tuple[int, int, int], size: tuple[int, int]
) -> None:
    """Write `text` on a patch of `color` above a box's top-left `corner`, kept inside the picture of `size`."""
    font = _font(_FONT)
    while len(text) > 2 and font.getlength(text) + 4 > size[0]:
        text = f"{text[:-2]}…"
    width, height = round(font.getlength(text)) + 4, _FONT + 3
    x = max(0, min(corner[0], size[0] - width))
    y = max(0, min(corner[1] - height, size[1] - height))
    draw.rectangle((x, y, x + width, y + height - 1), color)
    bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 150
    draw.text((x + 2, y), text, "black" if bright else "white", font)


def _color(index: int) -> tuple[int, int, int]:
    """Return a colour for the class at `index`: steps of the golden section keep any number of hues apart."""
    red, green, blue = colorsys.hls_to_rgb((0.33 + index * 0.618034) % 1, (0.4, 0.55)[index % 2], 1)
    return round(255 * red), round(255 * green), round(255 * blue)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
