"""Percent of a picture's size as pixels: the whole pixels that were meant where there are such, else exactly."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from reprolens.convert.formats.outlines import EXACT, Point
from reprolens.convert.source import decimal
from reprolens.voc.records import Corners

_ROUNDED = range(4, 11)
"""With so many decimals a number was rounded when it was written; with more it is a whole float64."""


def box_in_pixels(numbers: Sequence[Any], size: tuple[int, int]) -> Corners:
    """Return the corners of a box (x, y, width, height, in percent) in a picture of `size` (width, height).

    They are whole pixels if a box on these has the same four numbers, at the same decimals or as the same float64;
    else exactly what the numbers say. Where the size is (0, 0), the corners stay in percent. Raises NotANumberError.
    """
    quick = _whole_box(numbers, size)
    if quick is not None:
        return quick
    x, y, w, h = map(decimal, numbers)
    right, bottom = EXACT.add(x, w), EXACT.add(y, h)
    if not all(size):
        return x, y, right, bottom
    sides = (*size, *size)
    x0, y0, x1, y1 = exact = tuple(map(_pixels, (x, y, right, bottom), sides))
    near = tuple(edge.to_integral_value() for edge in exact)
    if near != exact:
        places = max(map(_decimals, (x, y, w, h)))
        offered = near[0], near[1], EXACT.subtract(near[2], near[0]), EXACT.subtract(near[3], near[1])
        if all(map(_means, offered, (x, y, w, h), sides, (places,) * 4)):
            x0, y0, x1, y1 = near
    return x0, y0, x1, y1


def _whole_box(numbers: Sequence[Any], size: tuple[int, int]) -> Corners | None:
    """Return the corners if floats in full say that they are whole pixels, which most boxes are quickly seen to be."""
    if not all(size) or any(type(number) is not float or not -1000 < number < 1000 for number in numbers):
        return None
    x, y, w, h = numbers
    width, height = size
    left, top, wide, high = (
        round(x * width / 100),
        round(y * height / 100),
        round(w * width / 100),
        round(h * height / 100),
    )
    for number, pixels, side in ((x, left, width), (y, top, height), (w, wide, width), (h, high, height)):
        if number != pixels / side * 100 and number != pixels * 100 / side:
            return None
    return Decimal(left), Decimal(top), Decimal(left + wide), Decimal(top + high)


def point_in_pixels(x: Any, y: Any, size: tuple[int, int]) -> Point:
    """Return a point in percent (or two radii) in pixels: a whole number if that has the same percentage."""
    point = decimal(x), decimal(y)
    if not all(size):
        return point
    places = max(map(_decimals, point))
    pixels = []
    for number, side in zip(point, size, strict=True):
        exact = _pixels(number, side)
        near = exact.to_integral_value()
        pixels.append(near if near != exact and _means(near, number, side, places) else exact)
    return pixels[0], pixels[1]


def _pixels(number: Decimal, side: int) -> Decimal:
    pixels = EXACT.scaleb(EXACT.multiply(number, side), -2)
    whole = pixels.to_integral_value()
    return whole if whole == pixels else pixels


def _decimals(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def _means(pixels: Decimal, number: Decimal, side: int, places: int) -> bool:
    """Return whether so many whole pixels of a side are written as `number` percent, with `places` decimals.

    Where the decimals are few, they say nothing: 10 in a picture 333 wide is 33.3, and 0.8 one 118 wide is 0.944.
    """
    if abs(pixels) > 10 * side:
        return False
    if places in _ROUNDED:
        return side < 100 * 10**places and round(Decimal(int(pixels) * 100) / side, places) == number
    count = int(pixels)
    return float(number) in (count / side * 100, count * 100 / side, 100 * (count / side), count / (side / 100))
