"""Masks and pictures as tests write them, and what the reader makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convert.sources import POLICY
from reprolens.config.data import Masks
from reprolens.convert.formats.masks import read
from reprolens.convert.source import Problem, Source, SourceImage
from reprolens.convert.tree import open_tree

Pixels = np.ndarray[Any, Any]

PLAN = np.array([[0, 0, 1, 2], [0, 1, 1, 2], [2, 2, 0, 0]], np.uint8)
"""Background, cat and dog."""
CAT, DOG = (200, 10, 10), (10, 200, 10)
COLORS = np.array([(0, 0, 0), CAT, DOG], np.uint8)


def options(root: Path, annotations: str | None = None, **knobs: Any) -> Masks:
    knobs = {"classes": None, "background": None, "void": None, **knobs}
    return Masks("masks", str(root), None, annotations, [0.7, 0.1, 0.2], None, POLICY, **knobs)


def load(root: Path, **knobs: Any) -> tuple[Source, dict[str, SourceImage], list[Problem]]:
    source = read(open_tree(root), options(root, **knobs))
    items = list(source.images)
    pictures = {item.record.file: item for item in items if isinstance(item, SourceImage)}
    return source, pictures, [item for item in items if isinstance(item, Problem)]


def shown(image: SourceImage) -> Pixels:
    assert image.mask is not None
    return image.mask()


def save(path: Path, pixels: Pixels, mode: str | None = None, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    if mode == "P":
        picture = picture.convert("P")
        picture.putpalette([channel for color in COLORS.tolist() for channel in color])
    picture.save(path, **how)
    return path


def photo(path: Path, size: tuple[int, int] = (4, 3)) -> Path:
    rows = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return save(path, rows)


def pair(root: Path, mask: Pixels, picture: str = "images/1.jpg", name: str = "masks/1.png", **how: Any) -> Path:
    photo(root / picture, mask.shape[1::-1])
    save(root / name, mask, **how)
    return root
