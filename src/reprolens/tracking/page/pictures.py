"""Sample pictures with their boxes, and contact sheets, for a page: embedded, or as links to files beside it."""

import base64
import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from reprolens.tracking.partial import read_list

Place = Callable[[Path, int], str | None]
"""Return a picture's address in the page, given its file and how many bytes it may take; None for no picture."""

MOST_SHOWN = 24
"""Pictures of a kind; the rest lie in reports/samples."""

SHEETS = {"data": "Training pictures", "augmentation": "As training sees them"}
"""The contact sheets in reports/sheets, and what is on them."""

_ALL_SAMPLES, _ONE_SHEET = 900_000, 150_000  # bytes, before base64 adds a third
_SIZES = (1280, 960, 640, 480, 320)  # pixels of the longer side that a large picture is reduced to
_QUALITIES = (82, 70)  # of a JPEG; the lower one before a smaller size, which costs the words on a sheet
_PNG = 5  # a PNG of a photograph takes so many times the bytes of a JPEG
_KINDS = {b"\xff\xd8": ("jpeg", b"\xff\xd9"), b"\x89P": ("png", b"IEND\xaeB`\x82")}  # how a whole file begins and ends


@dataclass(frozen=True)
class Box:
    """A box in the picture's pixels. A true box has no score."""

    x: float
    y: float
    width: float
    height: float
    label: str
    title: str
    score: float | None = None
    color: str = ""


@dataclass(frozen=True)
class Shot:
    """A picture to show: its address, its size in pixels, what is and what was seen on it, and why it is shown."""

    href: str
    id: str
    width: float
    height: float
    truth: tuple[Box, ...]
    predictions: tuple[Box, ...]
    why: str = ""


def read_shots(root: Path, place: Place, colors: Mapping[str, str], kind: str) -> tuple[tuple[Shot, ...], int]:
    """Return the pictures of `kind`, sample or worst, in reports/samples, and how many there are beyond `MOST_SHOWN`.

    What is not whole is left out.
    """
    entries = [entry for entry in read_list(root / "reports/samples/samples.json") if isinstance(entry, dict)]
    chosen = [entry for entry in entries if entry.get("kind", "sample") == kind]
    limit = _ALL_SAMPLES // max(1, min(len(entries), 2 * MOST_SHOWN))
    shots = (_shot(entry, root / "reports" / "samples", place, colors, limit) for entry in chosen[:MOST_SHOWN])
    return tuple(shot for shot in shots if shot is not None), max(0, len(chosen) - MOST_SHOWN)


def read_sheets(root: Path, place: Place) -> tuple[tuple[str, str], ...]:
    """Return title and address of each contact sheet."""
    paths = ((title, root / "reports" / "sheets" / f"{name}.jpg") for name, title in SHEETS.items())
    return tuple((title, href) for title, path in paths if (href := place(path, _ONE_SHEET)))


def embed(path: Path, limit: int) -> str | None:
    """Return a picture as a data URI of about `limit` bytes at most, made smaller if need be.

    None if the file is missing, no JPEG or PNG, or not whole.
    """
    try:
        data = path.read_bytes()
        kind, end = _KINDS.get(data[:2], ("", b""))
        if not kind or not data.endswith(end):
            return None
        if len(data) > limit:
            kind, data = "jpeg", _reduced(data, limit)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # Pillow: SyntaxError for a broken PNG
        return None
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _reduced(data: bytes, limit: int) -> bytes:
    """Return the picture as a JPEG of the largest of `_SIZES` with which it takes about `limit` bytes."""
    with Image.open(io.BytesIO(data)) as opened:
        expected = len(data) / (_PNG if opened.format == "PNG" else 1)
        likely = 1.2 * max(opened.size) * math.sqrt(limit / expected)
        sizes = [size for size in _SIZES if size <= likely] or [_SIZES[-1]]
        opened.draft("RGB", (sizes[0], sizes[0]))  # a JPEG is decoded at about the size that is needed
        picture = opened.convert("RGB")
    for size in sizes:
        picture.thumbnail((size, size))
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=quality)
            if buffer.tell() <= limit:
                return buffer.getvalue()
    return buffer.getvalue()


def _shot(entry: Mapping[str, Any], folder: Path, place: Place, colors: Mapping[str, str], limit: int) -> Shot | None:
    try:
        name, width, height = str(entry["image"]), float(entry["width"]), float(entry["height"])
        truth, predictions = (_boxes(entry[key], colors) for key in ("truth", "predictions"))
        identity = str(entry["id"])
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None
    href = None if Path(name).name != name or min(width, height) <= 0 else place(folder / name, limit)
    why = entry.get("why")
    return (
        Shot(href, identity, width, height, truth, predictions, why if isinstance(why, str) else "") if href else None
    )


def _boxes(items: Iterable[Mapping[str, Any]], colors: Mapping[str, str]) -> tuple[Box, ...]:
    """Return the boxes, the surest last, so that it is drawn on top."""
    return tuple(sorted((_box(item, colors) for item in items), key=lambda box: box.score or 0.0))


def _box(item: Mapping[str, Any], colors: Mapping[str, str]) -> Box:
    x0, y0, x1, y1 = (float(value) for value in item["box"])
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise ValueError("a box has no place")
    name, score = str(item["label"]), None if item.get("score") is None else float(item["score"])
    label = name if score is None else f"{name} {score:.2f}"
    title = f"{label} (difficult)" if item.get("difficult") else label
    left, top = min(x0, x1), min(y0, y1)
    return Box(left, top, abs(x1 - x0), abs(y1 - y0), label, title, score, colors.get(name, "#ff9d3c"))
