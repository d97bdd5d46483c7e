"""Outlines of objects as COCO writes them: polygons, turned boxes, ellipses and masks.

Angles are in degrees, clockwise on the screen (the y axis points down). Corners are exact decimals wherever no sine
or square root comes in; what those give is rounded to float64.
"""

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from typing import Any

import numpy as np

from reprolens.convert.formats.entries import EntryError
from reprolens.convert.source import NotANumberError, around, decimal, make_object
from reprolens.voc import Object
from reprolens.voc.records import Corners

Point = tuple[Decimal, Decimal]
Mask = np.ndarray[Any, Any]

EXACT = Context(prec=1000)
"""Sums and products of `decimal`'s numbers, whose digits it bounds, are exact in it."""

UPRIGHT = Decimal(0)

CURVE_ERROR = 0.25
"""Pixels that the polygon of a circle or an ellipse may lie inside the curve, for radii up to LARGEST_SIDE."""

LARGEST_SIDE = 20_000
LARGEST_AREA = 2**28
"""Pixels of the largest mask that is decoded: a side, and all of them. Checked before memory is taken."""


def points_of(pairs: Iterable[Any]) -> list[Point]:
    """Return points `[[x, y], ...]`, of text or numbers. Raises NotANumberError for one that is no pair of numbers."""
    points = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) < 2:
            raise NotANumberError(f"{str(pair)[:40]!r} is not a point")
        points.append((decimal(pair[0]), decimal(pair[1])))
    return points


def boxed(name: str, edges: Sequence[Any], marks: Mapping[str, Any]) -> Object:
    """Return an object with a box of four edges, of text or numbers. Raises NotANumberError for one that is none."""
    x0, y0, x1, y1 = map(_float, edges)
    if x0 is None or y0 is None or x1 is None or y1 is None:
        left, top, right, bottom = map(decimal, edges)
        return make_object(name, (left, top, right, bottom), **marks)
    return Object(name, (x0, y0, x1, y1), **marks)


def spanned(name: str, points: Sequence[Any], marks: Mapping[str, Any]) -> Object:
    """Return an object with a box between two opposite corners `[[x, y], [x, y]]`, whichever they are."""
    if all(type(point) is list and len(point) > 1 for point in points):
        (x0, y0), (x1, y1) = [(_float(point[0]), _float(point[1])) for point in points]
        if x0 is not None and y0 is not None and x1 is not None and y1 is not None:
            return Object(name, (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), **marks)
    return make_object(name, around(points_of(points)), **marks)


def outlined(name: str, points: Sequence[Any], marks: Mapping[str, Any]) -> Object:
    """Return an object with a polygon of points `[[x, y], ...]`, and the box around it.

    Raises NotANumberError for what is no pair of numbers, EntryError for fewer than three.
    """
    if len(points) > 2 and all(type(point) is list and len(point) > 1 for point in points):
        xs, ys = [_float(point[0]) for point in points], [_float(point[1]) for point in points]
        if None not in xs and None not in ys and not any(type(edge) is str for point in points for edge in point[:2]):
            box = (min(xs), min(ys), max(xs), max(ys))  # type: ignore[type-var]
            written = ",".join([f"{point[0]},{point[1]}" for point in points])
            return Object(name, box, segmentation=f"[[{written}]]", **marks)  # type: ignore[arg-type]
    ring = points_of(points)
    segmentation = polygons([ring])
    return make_object(name, around(ring), segmentation=segmentation, **marks)


def _float(value: Any) -> float | None:
    """Return a number as the float64 that has its very digits, or None where that takes a closer look.

    A float's digits are those of `repr`; 15 digits of text are those of their float64 (IEEE 754), and so is any whole
    number below 2^53.
    """
    kind = type(value)
    if kind is float or kind is int:
        return float(value) if -(10**15) < value < 10**15 else None
    if kind is str and len(value) < 16 and value.isascii() and value.replace(".", "", 1).isdigit():
        return float(value)
    return None


def polygons(rings: Iterable[Sequence[Point]]) -> str:
    """Return rings of points as COCO's polygons, the numbers as the source writes them.

    Raises EntryError for a ring of fewer than three points, which has no area.
    """
    written = []
    for ring in rings:
        if len(ring) < 3:
            raise EntryError("unsupported_shape", f"a polygon of {len(ring)} points has no area")
        written.append(f"[{','.join(f'{x},{y}' for x, y in ring)}]")
    return f"[{','.join(written)}]"


def corners_of(x: Any, y: Any, width: Any, height: Any) -> Corners:
    """Return the corners of a box that is given by its top-left corner and its size."""
    left, top = decimal(x), decimal(y)
    return left, top, EXACT.add(left, decimal(width)), EXACT.add(top, decimal(height))


def middle(corners: Corners) -> Point:
    """Return the centre of a box."""
    x0, y0, x1, y1 = corners
    half = Decimal("0.5")
    return EXACT.multiply(EXACT.add(x0, x1), half), EXACT.multiply(EXACT.add(y0, y1), half)


def turned_box(corners: Corners, pivot: Point, degrees: Decimal) -> tuple[Corners, str]:
    """Return the box around a box turned about `pivot`, and its outline; "" where it is still an upright box."""
    if not degrees:
        return corners, ""
    x0, y0, x1, y1 = corners
    points = turned([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], pivot, degrees)
    upright = not EXACT.remainder(degrees, Decimal(90))
    return around(points), "" if upright else polygons([points])


def turned(points: Sequence[Point], pivot: Point, degrees: Decimal) -> list[Point]:
    """Return points turned clockwise about `pivot`; by quarter turns exactly."""
    px, py = pivot
    quarters = EXACT.divide(degrees, Decimal(90))
    angle = EXACT.remainder(degrees, Decimal(360))
    offsets = [(EXACT.subtract(x, px), EXACT.subtract(y, py)) for x, y in points]
    if quarters == quarters.to_integral_value():
        for _ in range(int(angle) // 90 % 4):
            offsets = [(EXACT.minus(dy), dx) for dx, dy in offsets]
        return [(EXACT.add(px, dx), EXACT.add(py, dy)) for dx, dy in offsets]
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    near = [(float(dx), float(dy)) for dx, dy in offsets]
    return [(_add(px, dx * cos - dy * sin), _add(py, dx * sin + dy * cos)) for dx, dy in near]


def ellipse(centre: Point, radii: Point, degrees: Decimal = UPRIGHT) -> tuple[Corners, str]:
    """Return the box around an ellipse (x and y radius, then turned about its centre), and its polygon.

    The box is that of the curve; the polygon's corners lie on it, rounded to a thousandth of a pixel.
    """
    (cx, cy), (rx, ry) = centre, radii
    angle = math.radians(EXACT.remainder(degrees, Decimal(360)))
    cos, sin, a, b = math.cos(angle), math.sin(angle), float(rx), float(ry)
    reach = min(max(abs(a), abs(b), 1.0), float(LARGEST_SIDE))
    count = 4 * math.ceil(math.pi / math.acos(1 - min(CURVE_ERROR / reach, 1.0)) / 4)
    count = max(count, 8)
    ring = []
    for step in range(count):
        x, y = a * math.cos(2 * math.pi * step / count), b * math.sin(2 * math.pi * step / count)
        ring.append((_near(float(cx) + x * cos - y * sin), _near(float(cy) + x * sin + y * cos)))
    if degrees:  # the extremes of x(t) = a cos t cos - b sin t sin are +-hypot(a cos, b sin)
        rx, ry = _finite(math.hypot(a * cos, b * sin)), _finite(math.hypot(a * sin, b * cos))
    corners = (EXACT.subtract(cx, rx), EXACT.subtract(cy, ry), EXACT.add(cx, rx), EXACT.add(cy, ry))
    return corners, polygons([ring])


def degrees(radians: Any) -> Decimal:
    """Return an angle that is given in radians in degrees."""
    return _finite(math.degrees(float(decimal(radians))))


def distance(a: Point, b: Point) -> Decimal:
    """Return the distance of two points, exactly where one lies straight above or beside the other."""
    dx, dy = EXACT.subtract(b[0], a[0]), EXACT.subtract(b[1], a[1])
    if not dx or not dy:
        return EXACT.abs(EXACT.add(dx, dy))
    return _finite(math.hypot(float(dx), float(dy)))


def _add(start: Decimal, offset: float) -> Decimal:
    return _finite(float(start) + offset)


def _near(value: float) -> Decimal:
    return _finite(round(value, 3) if math.isfinite(value) else value)


def _finite(value: float) -> Decimal:
    if not math.isfinite(value):
        raise NotANumberError("it is too large to be computed with")
    return Decimal(repr(value))


def check_size(width: int, height: int) -> None:
    """Raise EntryError unless a mask of so many pixels may be decoded."""
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE and width * height <= LARGEST_AREA):
        reason = f"a mask of {str(width)[:20]} x {str(height)[:20]} pixels is not decoded"
        raise EntryError("unreadable_mask", reason)


def decode_png(data: bytes) -> Mask:
    """Return the mask that a small picture holds, as bool (height, width): what is neither 0 nor transparent."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            check_size(*picture.size)
            if "A" in picture.getbands() or "transparency" in picture.info:
                return np.asarray(picture.convert("RGBA"))[:, :, 3] > 0
            values = np.asarray(picture)
            return np.asarray(values.any(axis=2) if values.ndim == 3 else values > 0)
    except EntryError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds, SyntaxError and struct.error among them
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EntryError("unreadable_mask", f"its mask does not decode ({reason[:80]})") from None


def run_length(patch: Mask, left: int, top: int, width: int, height: int) -> str:
    """Return the run-length code of a mask (height, width) that holds `patch` at (left, top), as COCO's own API has it.

    What lies outside is cut off. Raises EntryError if the picture's size is not known, or too large.
    """
    from hotcoco import mask as codes

    check_size(width, height)
    rows, columns = patch.shape
    whole = np.zeros((height, width), np.uint8, order="F")
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + columns, width), min(top + rows, height)
    if x0 < x1 and y0 < y1:
        whole[y0:y1, x0:x1] = patch[y0 - top : y1 - top, x0 - left : x1 - left]
    code = codes.encode(whole)
    return json.dumps({"size": [height, width], "counts": code["counts"].decode("ascii")}, separators=(",", ":"))


def hull(mask: Mask) -> Corners:
    """Return the box around a mask's pixels. Raises EntryError if it has none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise EntryError("empty_box", "its mask is empty")
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    return Decimal(x0), Decimal(y0), Decimal(x1), Decimal(y1)


def with_holes(ring: Sequence[Point], holes: Sequence[Sequence[Point]], width: int, height: int) -> str:
    """Return the run-length code of a polygon less its holes, drawn as COCO's own API draws polygons.

    Raises EntryError if the picture's size is not known, or too large.
    """
    from hotcoco import mask as codes

    check_size(width, height)
    flat = [[_within(float(edge)) for point in points for edge in point] for points in (ring, *holes)]
    drawn = [codes.decode(code) for code in codes.frPyObjects(flat, height, width)]
    whole = drawn[0].astype(bool)
    for hole in drawn[1:]:
        whole &= ~hole.astype(bool)
    return run_length(whole, 0, 0, width, height)


def _within(edge: float) -> float:
    """Bound a corner, far outside the picture, so that drawing it costs no more than a picture does."""
    return max(-2.0 * LARGEST_SIDE, min(edge, 2.0 * LARGEST_SIDE))
