"""Data sets drawn by hypothesis: any boxes inside any pictures, any names, marks and outlines."""

import io
import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import PurePosixPath

from hypothesis import strategies as st
from PIL import Image

from reprolens.convert.source import split_named

SPLITS = ("train", "val", "test")
SUFFIXES = {".JPG": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".bmp": "BMP"}
COLORS = {"train": (90, 120, 200), "val": (200, 120, 90), "test": (90, 200, 120)}
"""Of the pictures of each split, so that none is in two of them."""

Edges = tuple[Decimal, Decimal, Decimal, Decimal]


@dataclass(frozen=True)
class Thing:
    """An object as a source has it: class, corners (x0, y0, x1, y1) 0-based, marks and outline."""

    name: str
    corners: Edges
    marks: tuple[bool, bool, bool, bool]  # difficult, occluded, truncated, crowd
    pose: str
    outline: str


@dataclass(frozen=True)
class Picture:
    """A picture of a source: its file, split, size in pixels, objects and labels."""

    file: str
    split: str
    width: int
    height: int
    things: tuple[Thing, ...]
    labels: tuple[str, ...]

    @property
    def said(self) -> tuple[str, int, int, tuple[Thing, ...], tuple[str, ...]]:
        return (self.split, self.width, self.height, self.things, self.labels)


@cache
def _encoded(width: int, height: int, suffix: str, color: tuple[int, int, int]) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), color).save(data, SUFFIXES[suffix])
    return data.getvalue()


def encoded(picture: Picture) -> bytes:
    """Return the picture's file."""
    return _encoded(picture.width, picture.height, PurePosixPath(picture.file).suffix, COLORS[picture.split])


# ---- Strategies


def _ranges(size: int) -> st.SearchStrategy[tuple[Decimal, Decimal]]:
    """Return two different edges inside a side of `size` pixels: whole, floats of any size, or with many digits."""
    floats = st.floats(0, size).map(lambda value: Decimal(repr(value + 0.0)))
    near = st.sampled_from([5e-324, 1e-300, 1e-17, 0.1, 1 / 3, size * (1 - 2**-53)]).map(lambda x: Decimal(repr(x)))
    many = st.decimals(0, size, places=25)
    edge = st.one_of(st.integers(0, size).map(Decimal), floats, near, many)
    pairs = st.tuples(edge, edge).map(lambda pair: (min(pair), max(pair)))
    return pairs.filter(lambda pair: float(pair[0]) < float(pair[1]))  # else float64 sees no area, and it is reported


def _names(alphabet: st.SearchStrategy[str], bad: Callable[[str], bool]) -> st.SearchStrategy[str]:
    shown = st.sampled_from(
        ["a b", "é", "e\u0301x", "日本 語", "100%", "%41", "a.b", "-", "#", "a,b;c", "it's", "~", "🐱"]
    )
    return st.one_of(st.text(alphabet, min_size=1, max_size=12), shown).filter(lambda name: not bad(name))


ANY = st.characters(exclude_categories=["Cs"], exclude_characters="/\0")
PRINTED = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="/\0\ufffe\uffff")
"""What XML and lines of text hold."""


def _is_special(name: str) -> bool:
    """Return whether a folder or file of that name is none that a data set can have for its pictures."""
    return name.startswith(".") or split_named(name) is not None or name in ("images", "labels", "__MACOSX")


@st.composite
def _files(draw: st.DrawFn, alphabet: st.SearchStrategy[str], bad: Callable[[str], bool]) -> list[str]:
    """Draw up to four places of pictures: folders, names, suffixes; no two alike without suffix, case and accents."""
    part = _names(alphabet, lambda name: _is_special(name) or bad(name))
    stems = st.lists(part, min_size=1, max_size=3).map("/".join)

    def key(stem: str) -> str:
        return unicodedata.normalize("NFC", stem).casefold()

    found = draw(st.lists(stems, min_size=1, max_size=4, unique_by=key))
    used = [stem for stem in found if not any(key(other).startswith(f"{key(stem)}/") for other in found)]
    return [f"{stem}{draw(st.sampled_from(sorted(SUFFIXES)))}" for stem in used]


def _outlines(width: int, height: int) -> st.SearchStrategy[str]:
    number = st.one_of(st.integers(0, min(width, height)), st.floats(0, min(width, height)).map(lambda x: x + 0.0))
    polygon = st.lists(st.tuples(number, number), min_size=3, max_size=5).map(lambda points: [*sum(points, ())])
    polygons = st.lists(polygon, min_size=1, max_size=2)
    area = width * height
    runs = st.lists(st.integers(0, area), max_size=4).map(
        lambda ends: [b - a for a, b in zip([0, *sorted(ends)], [*sorted(ends), area], strict=True)]
    )
    codes = runs.map(lambda counts: {"size": [height, width], "counts": counts})
    return st.one_of(st.just(None), polygons, codes).map(
        lambda value: json.dumps(value, separators=(",", ":")) if value else ""
    )


@st.composite
def pictures(
    draw: st.DrawFn,
    alphabet: st.SearchStrategy[str],
    bad_name: Callable[[str], bool] = lambda name: False,
    bad_class: Callable[[str], bool] = lambda name: not name.strip(),
    rich: bool = True,
) -> list[Picture]:
    """Draw a data set: its first picture is in train and shows every class, so that all of them can be learnt."""
    classes = draw(st.lists(_names(alphabet, bad_class), min_size=1, max_size=3, unique=True))
    marks = st.tuples(*[st.booleans()] * 4) if rich else st.just((False,) * 4)
    poses = st.sampled_from(["Unspecified", "Left", "Rear"]) if rich else st.just("Unspecified")
    files = draw(_files(alphabet, bad_name))
    found = []
    for number, file in enumerate([*files, "blank val.png", "blank test.png"]):
        width, height = draw(st.integers(1, 64)), draw(st.integers(1, 64))
        blank = number >= len(files)
        names = [] if blank else draw(st.lists(st.sampled_from(classes), max_size=3)) + (classes if number == 0 else [])
        things = []
        for name in names:
            (x0, x1), (y0, y1) = draw(_ranges(width)), draw(_ranges(height))
            outline = draw(_outlines(width, height)) if rich else ""
            things.append(Thing(name, (x0, y0, x1, y1), draw(marks), draw(poses), outline))
        labels = draw(st.lists(st.sampled_from(classes), max_size=2, unique=True)) if rich and not blank else []
        split = file.split()[1][:-4] if blank else draw(st.sampled_from(SPLITS)) if number else "train"
        found.append(Picture(file, split, width, height, tuple(things), tuple(labels)))
    return found
