"""The outlines of a picture's objects as VOC's two masks: SegmentationClass and SegmentationObject.

Outlines are rasterised by COCO's own rule (pycocotools' rleFrPoly), through hotcoco.
"""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np

from reprolens.convert.source import NotANumberError, decimal
from reprolens.errors import DataError
from reprolens.voc import Record
from reprolens.voc.records import Corners

VOID = 255
"""What a mask holds where a pixel counts as neither object nor background."""

MOST = 254
"""Classes, or objects of one picture, that a mask can tell apart."""

Mask = np.ndarray[Any, Any]

# Six bits a character, from the digit 0 on (pycocotools' rleToString).
_ALPHABET = re.compile("[0-o]*")


class _Code(msgspec.Struct):
    size: tuple[int, int]
    counts: str | list[int]


def draw_masks(record: Record, class_index: Mapping[str, int]) -> tuple[Mask, Mask] | None:
    """Return SegmentationClass and SegmentationObject of a picture, each (height, width) uint8.

    A pixel holds 0 for background; the class's index in `class_index`, which counts from 0, plus 1; or the object's
    place in `record.objects`, which counts from 1; 255 where a crowd is. Larger outlines are drawn first, so that small
    objects stay visible. Objects beyond the 254th are drawn in the class mask only. None if no object has an outline,
    or if one is of a class beyond the 254th, which a mask of bytes cannot tell.

    Raises DataError for an outline that is damaged or of another size than the picture.
    """
    outlined = [(number, item) for number, item in enumerate(record.objects, 1) if item.segmentation]
    if not outlined or any(class_index[item.name] >= MOST for _, item in outlined):
        return None
    drawn = []
    for number, item in outlined:
        try:
            code = _encode(item.segmentation, record.height, record.width)
        except DataError as error:
            raise DataError(f"{record.file}: object {number} ({item.name[:40]}): its segmentation {error}") from None
        drawn.append((_area(code), number, item, code))
    drawn.sort(key=lambda entry: (-entry[0], entry[1]))
    classes = np.zeros((record.height, record.width), np.uint8)
    objects = np.zeros_like(classes)
    for area, number, item, code in drawn:
        if area:
            inside = _decode(code)
            classes[inside] = VOID if item.crowd else class_index[item.name] + 1
            objects[inside] = VOID if item.crowd else number if number <= MOST else 0
    return classes, objects


def draw(segmentation: str, height: int, width: int) -> Mask:
    """Return one outline as (height, width) bool. Raises DataError if it is damaged or of another size."""
    return _decode(_encode(segmentation, height, width))


def check_outline(segmentation: str, height: int, width: int) -> None:
    """Raise DataError if an outline is damaged, or is a run-length code of another size than the picture."""
    parsed = _parse(segmentation)
    if isinstance(parsed, _Code):
        _encode(segmentation, height, width)


def hull(segmentation: str) -> Corners:
    """Return the box around an outline: exact for polygons, whole pixels for a run-length code.

    Raises DataError if it is damaged or empty.
    """
    from hotcoco import mask

    parsed = _parse(segmentation)
    if isinstance(parsed, _Code):
        box = mask.to_bbox(_code(parsed))
        x, y, width, height = (Decimal(int(edge)) for edge in box)
        if not (width and height):
            raise DataError("has no pixel")
        return x, y, x + width, y + height
    xs = [x for polygon in parsed for x in polygon[::2]]
    ys = [y for polygon in parsed for y in polygon[1::2]]
    if not xs:
        raise DataError("has no point")
    try:
        return decimal(min(xs)), decimal(min(ys)), decimal(max(xs)), decimal(max(ys))
    except NotANumberError as error:
        raise DataError(f"is beyond all measure: {error}") from None


def area(segmentation: str) -> float:
    """Return the area of an outline in square pixels: of polygons the sum of theirs, of a run-length code its pixels.

    Raises DataError if it is damaged, or beyond all measure.
    """
    parsed = _parse(segmentation)
    if isinstance(parsed, _Code):
        return float(_area(_code(parsed)))
    total = 0.0
    for polygon in parsed:
        x, y = np.array(polygon, float).reshape(-1, 2).T
        with np.errstate(over="ignore", invalid="ignore"):
            x, y = x - x[:1], y - y[:1]  # near the origin, so that nothing cancels
            total += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    if not math.isfinite(total):
        raise DataError("is beyond all measure")
    return total


def palette() -> bytes:
    """Return VOC's colour map, 256 x (red, green, blue): the development kit's VOClabelcolormap.

    The bits of an index, three at a time, are the highest bits of red, green and blue.
    """
    colours = bytearray()
    for index in range(256):
        colours += bytes(
            sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)
        )
    return bytes(colours)


def _parse(segmentation: str) -> _Code | list[list[float]]:
    """Return a run-length code or polygons, each of an even number of finite numbers."""
    try:
        if segmentation.startswith("{"):
            return msgspec.json.decode(segmentation, type=_Code)
        polygons = msgspec.json.decode(segmentation, type=list[list[float]])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise DataError(f"is neither polygons nor a run-length code ({error})") from None
    odd = next((polygon for polygon in polygons if len(polygon) % 2), None)
    if odd is not None:
        raise DataError(f"has a polygon of {len(odd)} numbers, which are no pairs")
    return polygons


def _code(parsed: _Code) -> dict[str, Any]:
    """Return a run-length code as hotcoco takes it, its runs within its size."""
    from hotcoco import mask

    height, width = parsed.size
    if not (0 < height < 2**24 and 0 < width < 2**24):
        raise DataError(f"is of size {parsed.size}")
    try:
        if isinstance(parsed.counts, str):
            if not _ALPHABET.fullmatch(parsed.counts):
                raise ValueError("a character that none has")
            code = {"size": [height, width], "counts": parsed.counts.encode()}
        else:
            code = mask.fr_py_objects({"size": [height, width], "counts": parsed.counts}, height, width)
        mask.area(code)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"is a damaged run-length code ({error})") from None
    return code


def _encode(segmentation: str, height: int, width: int) -> dict[str, Any]:
    """Return an outline as a run-length code of the picture's size."""
    from hotcoco import mask

    parsed = _parse(segmentation)
    if isinstance(parsed, _Code):
        if parsed.size != (height, width):
            raise DataError(f"is {parsed.size[1]} x {parsed.size[0]} pixels, the picture {width} x {height}")
        return _code(parsed)
    polygons = [_clipped(polygon, height, width) for polygon in parsed]
    # Less than three points have no area; and hotcoco, as pycocotools, takes four numbers for a box.
    polygons = [polygon for polygon in polygons if len(polygon) >= 6]
    if not polygons:
        return {"size": [height, width], "counts": mask.encode(np.zeros((height, width), np.uint8, "F"))["counts"]}
    return mask.merge([mask.fr_py_objects([polygon], height, width)[0] for polygon in polygons])


def _clipped(polygon: list[float], height: int, width: int) -> list[float]:
    """Return a polygon cut to a frame around the picture, if it reaches far over the picture (Sutherland and Hodgman).

    The rasteriser walks along every edge pixel by pixel, so that a corner at 1e9 would take its time and memory. Edges
    that run along the frame are outside the picture and change none of its pixels.
    """
    margin = 2 * max(width, height) + 1000
    edges = [(0, -1, -margin), (0, 1, width + margin), (1, -1, -margin), (1, 1, height + margin)]
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    for axis, sign, limit in edges:
        if all((point[axis] - limit) * sign <= 0 for point in points):
            continue
        cut: list[tuple[float, float]] = []
        for before, after in zip([points[-1], *points[:-1]], points, strict=True):
            inside = (after[axis] - limit) * sign <= 0
            if inside != ((before[axis] - limit) * sign <= 0):
                share = (limit - before[axis]) / (after[axis] - before[axis])
                other = before[1 - axis] + share * (after[1 - axis] - before[1 - axis])
                cut.append((limit, other) if axis == 0 else (other, limit))
            if inside:
                cut.append(after)
        points = cut
    return [number for point in points for number in point]


def _area(code: dict[str, Any]) -> int:
    from hotcoco import mask

    return int(mask.area(code))


def _decode(code: dict[str, Any]) -> Mask:
    from hotcoco import mask

    return mask.decode(code).astype(bool)
