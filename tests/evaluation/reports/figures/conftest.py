"""What the tests of the figures share: checks of the four files that every plot is."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[..., tuple[int, int]]:
    """Return a function that draws into a folder, checks the four files and returns the size of the pictures."""

    def check(draw: Callable[..., None], *values: object, name: str) -> tuple[int, int]:
        draw(*values, tmp_path)
        assert sorted(path.name for path in tmp_path.glob(f"{name}*")) == sorted(
            f"{name}{end}" for end in (".png", "-dark.png", ".svg", "-dark.svg")
        )
        sizes = set()
        for end in ("", "-dark"):
            with Image.open(tmp_path / f"{name}{end}.png") as picture:
                sizes.add(picture.size)
                corner = picture.convert("L").getpixel((0, 0))
            assert corner > 250 if end == "" else corner < 30
            root = ET.parse(tmp_path / f"{name}{end}.svg").getroot()
            assert root.tag.endswith("svg") and not list(root.iter("{http://www.w3.org/2000/svg}text"))
        (size,) = sizes
        assert size[0] == 1280
        return size

    return check


@pytest.fixture(scope="session")
def has() -> Callable[..., bool]:
    """Return a function that tells whether a picture has enough pixels of a colour."""

    @cache
    def counts(path: Path, written: int) -> dict[int, int]:
        pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.uint32)
        codes, numbers = np.unique(pixels @ np.array([65536, 256, 1], np.uint32), return_counts=True)
        return dict(zip(codes.tolist(), numbers.tolist(), strict=True))

    def look(path: Path, color: tuple[int, int, int], least: int = 20) -> bool:
        red, green, blue = color
        return counts(path, path.stat().st_mtime_ns).get(red * 65536 + green * 256 + blue, 0) >= least

    return look
