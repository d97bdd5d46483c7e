"""The embedded default: detection scenes composed from real handwritten digits.

A scene shows some of the 1,797 scans of data/digits at varied position, size, slant, colour and contrast, over a soft
background with strokes that belong to no digit. Every scan serves one split only; the same seed gives the same bytes.
"""

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from reprolens.config import Digits
from reprolens.convert.source import Source, SourceImage
from reprolens.errors import DataError
from reprolens.voc import Box, Object, Record

CLASSES = tuple(str(digit) for digit in range(10))
LICENCE = "CC BY 4.0"
"""That of data/digits: see the README there."""
SCAN = 8
"""Side of a scan in pixels; its grey values run from 0 to 16."""


def open_digits(config: Digits, seed: int) -> Source:
    """Open the scenes as a source. Raises DataError, once it is read, if the scans cannot be."""
    return Source(read_digits(config, seed), CLASSES)


def read_digits(config: Digits, seed: int) -> Iterator[SourceImage]:
    """Yield the scenes of all splits. Raises DataError if the scans cannot be read."""
    scans, labels = _load_scans(Path(config.path) / "digits.csv.gz")
    random = np.random.default_rng(seed)
    counts = {"train": config.train, "val": config.val, "test": config.test}
    for split, share in _share_out(labels, counts, random).items():
        for number in range(counts[split]):
            yield _scene(f"{split}_{number:05d}", split, scans[share], labels[share], config, random)


def _load_scans(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the scans `(N, 8, 8)` uint8, 0 to 255, and their digits `(N,)`."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != SCAN * SCAN + 1:
            raise ValueError(f"each line must hold {SCAN * SCAN} grey values and a digit")
        scans, labels = table[:, :-1].reshape(-1, SCAN, SCAN), table[:, -1].astype(int)
        if scans.min() < 0 or scans.max() > 16 or min(np.bincount(labels, minlength=10)) < 10 or labels.max() > 9:
            raise ValueError("grey values run from 0 to 16, and each digit from 0 to 9 needs 10 scans at least")
    except FileNotFoundError:
        raise DataError(f"{path}: not found; data.path of the format 'digits' is the folder data/digits") from None
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as scans of digits ({error})") from None
    return (scans * (255 / 16)).round().astype(np.uint8), labels


def _share_out(labels: np.ndarray, counts: dict[str, int], random: np.random.Generator) -> dict[str, np.ndarray]:
    """Give each split its own scans: of every digit 70 % to train, 10 % to val, 20 % to test."""
    shares: dict[str, list[int]] = {split: [] for split in counts}
    for digit in range(10):
        indices = random.permutation(np.flatnonzero(labels == digit))
        cuts = (np.array([0.7, 0.8]) * len(indices)).astype(int)
        for split, part in zip(counts, np.split(indices, cuts), strict=True):
            shares[split].extend(part.tolist())
    return {split: np.array(share) for split, share in shares.items()}


def _scene(
    id: str, split: str, scans: np.ndarray, labels: np.ndarray, config: Digits, random: np.random.Generator
) -> SourceImage:
    side = config.image_size
    canvas = _background(side, random)
    luminance = float(np.asarray(canvas.convert("L")).mean())
    objects: list[Object] = []
    for _ in range(int(random.integers(config.min_digits, config.max_digits + 1))):
        scan = int(random.integers(len(scans)))
        ink = _ink(scans[scan], config, random)
        place = _place(ink.size, side, [item.box for item in objects], config.max_overlap, random)
        if place is None:
            continue
        canvas.paste(_colour(luminance, config.min_contrast, random), place, ink)
        x, y = place
        objects.append(Object(str(labels[scan]), (x, y, x + ink.width, y + ink.height)))
    data = io.BytesIO()
    canvas.save(data, "JPEG", quality=92)
    return SourceImage(Record(id, f"{id}.jpg", side, side, 3, tuple(objects)), split, data.getvalue())


def _background(side: int, random: np.random.Generator) -> Image.Image:
    """Return a soft two-dimensional gradient of muted colours with clutter: strokes and dots of no digit."""
    corners = random.integers(40, 216) + random.integers(-28, 29, size=(3, 3, 3))
    canvas = Image.fromarray(corners.clip(0, 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(random.integers(2, 9))):
        x, y = random.uniform(0, side, 2)
        angle, length = random.uniform(0, 2 * math.pi), random.uniform(3, side / 6)
        end = (x + length * math.cos(angle), y + length * math.sin(angle))
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        draw.line([(x, y), end], fill=colour, width=int(random.integers(1, 4)))
    canvas = canvas.filter(ImageFilter.GaussianBlur(0.6))
    noise = random.normal(0, random.uniform(0, 8), size=(side, side, 1))
    return Image.fromarray((np.asarray(canvas) + noise).clip(0, 255).astype(np.uint8))


def _ink(scan: np.ndarray, config: Digits, random: np.random.Generator) -> Image.Image:
    """Return a scan enlarged, slanted and cut to its ink, as a grey picture of how much ink covers each pixel."""
    height = float(np.exp(random.uniform(np.log(config.min_size), np.log(config.max_size))))
    width = height * random.uniform(0.85, 1.15)
    grey = Image.fromarray(np.pad(scan, 1)).resize(
        (round(width * 1.25), round(height * 1.25)), Image.Resampling.BICUBIC
    )
    grey = grey.rotate(random.uniform(-12, 12), Image.Resampling.BICUBIC, expand=True)
    # A steeper curve gives the enlarged scan an edge, as a pen would.
    grey = grey.point([min(255, max(0, round((value - 70) * 2.2))) for value in range(256)])
    box = grey.point([0 if value < 64 else 255 for value in range(256)]).getbbox()
    return grey.crop(box) if box else grey


def _place(
    size: tuple[int, int], side: int, taken: list[Box], max_overlap: float, random: np.random.Generator
) -> tuple[int, int] | None:
    """Return a corner where a picture of `size` overlaps no earlier one by more than `max_overlap` of the smaller."""
    width, height = size
    if width > side or height > side:
        return None
    for _ in range(20):
        x, y = int(random.integers(side - width + 1)), int(random.integers(side - height + 1))
        if all(_overlap((x, y, x + width, y + height), other) <= max_overlap for other in taken):
            return x, y
    return None


def _overlap(first: Box, second: Box) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    area = min((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return max(width, 0) * max(height, 0) / area


def _colour(luminance: float, min_contrast: float, random: np.random.Generator) -> tuple[int, int, int]:
    """Return a colour whose grey level differs from the background's by at least `min_contrast` (0 to 255)."""
    while True:
        red, green, blue = (int(value) for value in random.integers(0, 256, 3))
        if abs(0.299 * red + 0.587 * green + 0.114 * blue - luminance) >= min_contrast:
            return red, green, blue
