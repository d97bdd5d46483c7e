"""Numbers relative to a picture's size (0 to 1), and the boxes in pixels that their writer meant.

A relative number that was rounded to so many decimals stands for many boxes. What is taken, in this order: edges on
whole pixels that print as the very same numbers, if only one box does, for nearly all boxes are drawn so; else the
numbers as they stand (0.5 beside other numbers of one digit is a half, and no rounded 0.52); and where those reach
over the picture's edge, by no more than the rounding explains, the edge itself. All arithmetic is on integers, so that
nothing is rounded twice: a box that was read prints as its source's numbers again.
"""

from collections.abc import Iterator, Sequence
from decimal import Context, Decimal

from reprolens.convert.source import NotANumberError, decimal
from reprolens.voc.records import Corners

FLOAT_DECIMALS = 15
"""From so many decimals on, a number is taken for a float64 written in full, whose last bits may be off."""

LONGEST = 400
"""Characters that a number may have at most."""

_EXACT = Context(prec=2500)


def printed(corners: Sequence[Decimal | int], width: int, height: int, decimals: int) -> tuple[str, str, str, str]:
    """Return YOLO's numbers for a box: x and y of its centre, width, height, relative to the picture's (in pixels).

    They are rounded to nearest; of two equally near, the one that printing the quotient as a float64 gives, which is
    what LabelImg, CVAT and most scripts do.
    """
    x0, y0, x1, y1 = corners
    sums = ((x0, x1, 2 * width), (y0, y1, 2 * height), (-x0, x1, width), (-y0, y1, height))
    a, b, c, d = (_text(*_quotient(first, second, size), decimals) for first, second, size in sums)
    return a, b, c, d


def corners_of(numbers: Sequence[str], width: int, height: int) -> Corners:
    """Return the corners (x0, y0, x1, y1) in pixels of YOLO's four numbers, as texts, in a picture of that size.

    Whole pixels are tried first, then the numbers as they stand; a box that reaches over the picture's edge is moved
    there if it still prints as its numbers. Raises NotANumberError.
    """
    (cx, cy, w, h), decimals = scaled(numbers)
    unit: int = 10**decimals
    across, down = _whole(cx, w, width, unit, decimals), _whole(cy, h, height, unit, decimals)
    if across and down:
        return Decimal(across[0]), Decimal(down[0]), Decimal(across[1]), Decimal(down[1])
    (x0, x1), (y0, y1) = _edges(cx, w, width, unit, decimals), _edges(cy, h, height, unit, decimals)
    return x0, y0, x1, y1


def relative_corners(numbers: Sequence[str]) -> Corners:
    """Return the corners of YOLO's four numbers as fractions of a picture of unknown size. Raises NotANumberError."""
    (cx, cy, w, h), decimals = scaled(numbers)
    a, b, c, d = (_decimal(5 * edge, decimals + 1) for edge in (2 * cx - w, 2 * cy - h, 2 * cx + w, 2 * cy + h))
    return a, b, c, d


def pixels(numbers: Sequence[str], sizes: Sequence[int], together: bool = False) -> list[Decimal]:
    """Return edges or points in pixels, each number relative to its own size (width or height in pixels).

    A number becomes a whole pixel where that and no other prints as the number, at the decimals of the longest of them;
    with `together` only where all do. Else it is exact. Raises NotANumberError.
    """
    scales, decimals = scaled(numbers)
    unit: int = 10**decimals
    found: list[int | None] = []
    for number, size in zip(scales, sizes, strict=True):
        pixel = (2 * number * size + unit) // (2 * unit)
        found.append(pixel if size < unit and _prints(pixel, size, number, unit, decimals) else None)
    if together and None in found:
        found = [None] * len(found)
    return [
        _decimal(number * size, decimals) if pixel is None else Decimal(pixel)
        for pixel, number, size in zip(found, scales, sizes, strict=True)
    ]


def scaled(numbers: Sequence[str]) -> tuple[list[int], int]:
    """Return integers and the count of decimals that they are to be read with: the largest of the numbers' own.

    Trailing zeros are often left out, so that 0.5 beside 0.291667 means 0.500000. Raises NotANumberError.
    """
    parts = [number.partition(".") for number in numbers]
    if max(map(len, numbers)) > LONGEST:
        raise NotANumberError(f"{max(numbers, key=len)[:40]!r}... has more than {LONGEST} characters")
    if all((whole + digits).isdecimal() and (whole + digits).isascii() for whole, _, digits in parts):
        decimals = max(len(digits) for _, _, digits in parts)
        return [int(whole + digits.ljust(decimals, "0")) for whole, _, digits in parts], decimals
    values = [decimal(number) for number in numbers]
    decimals = max(0, *(-int(value.as_tuple().exponent) for value in values))
    return [int(value.scaleb(decimals, _EXACT)) for value in values], decimals


def _whole(centre: int, length: int, size: int, unit: int, decimals: int) -> tuple[int, int] | None:
    """Return the whole pixels between which a box lies along one side, if they print as its centre and length."""
    if 3 * size >= 2 * unit:  # an edge is known to 3/4 of the last decimal only: it could be on either of two pixels
        return None
    low = (size * (2 * centre - length) + unit) // (2 * unit)
    high = (size * (2 * centre + length) + unit) // (2 * unit)
    first, last = min(max(low, 0), size), min(max(high, 0), size)
    return (first, last) if _fits(first, last, size, centre, length, unit, decimals) else None


def _edges(centre: int, length: int, size: int, unit: int, decimals: int) -> tuple[Decimal, Decimal]:
    """Return the two edges as the numbers have them, or moved into the picture if that prints as the numbers too."""
    low, high = 2 * size * (2 * centre - length), 2 * size * (2 * centre + length)  # in 1 / (4 unit) pixels
    end = 4 * unit * size
    if low < 0 or high > end:
        for first, last in _moved(low, high, end, centre, length, size, unit):
            if _fits(first, last, end, centre, length, unit, decimals):
                low, high = first, last
                break
    return _decimal(25 * low, decimals + 2), _decimal(25 * high, decimals + 2)


def _moved(low: int, high: int, end: int, centre: int, length: int, size: int, unit: int) -> Iterator[tuple[int, int]]:
    """Yield edges inside the picture that may print as the numbers: one edge moved there, the other if it has to.

    Everything is in 1 / (4 unit) pixels. With one edge at the picture's, h half a unit of the last decimal, the other
    is at twice the centre +- h and at the length +- h: anywhere where the two overlap.
    """
    if low < 0 and high > end:
        yield 0, end
        return
    near = centre if low < 0 else unit - centre  # measured from the edge that the box reaches over
    wanted = high if low < 0 else end - low
    least = 2 * size * max(2 * (2 * near - 1), 2 * length - 1, 0)
    most = 2 * size * min(2 * (2 * near + 1), 2 * length + 1, 2 * unit)
    if least <= most:
        for edge in (min(max(wanted, least), most), (least + most) // 2):
            yield (0, edge) if low < 0 else (end - edge, end)


def _fits(first: int, last: int, size: int, centre: int, length: int, unit: int, decimals: int) -> bool:
    """Return whether two edges print as a centre and a length; they and `size` in one unit, whatever that is."""
    middle = _prints(first + last, 2 * size, centre, unit, decimals)
    return middle and _prints(last - first, size, length, unit, decimals)


def _prints(numerator: int, denominator: int, number: int, unit: int, decimals: int) -> bool:
    """Return whether a quotient prints as `number / unit`, or is the float64 that this many decimals stand for."""
    if denominator <= 0:
        return False
    distance = 2 * abs(numerator * unit - number * denominator)
    if distance == denominator:  # half-way between two prints
        return _rounded(numerator, denominator, decimals) == number
    if distance < denominator:
        return True
    return decimals >= FLOAT_DECIMALS and distance * 2**50 <= denominator * unit  # two last bits of a float64 near 1


def _rounded(numerator: int, denominator: int, decimals: int) -> int:
    """Return a quotient in units of its last decimal: nearest; at a tie as float64 prints it, else the even one."""
    doubled, rest = divmod(2 * numerator * 10**decimals, denominator)
    low = doubled // 2
    if not doubled % 2 or rest:
        return low + doubled % 2
    try:
        text = f"{numerator / denominator:.{decimals}f}"
        found = int(text.replace(".", ""))
    except OverflowError:
        found = low - 1
    return found if found in (low, low + 1) else low + low % 2


def _quotient(first: Decimal | int, second: Decimal | int, size: int) -> tuple[int, int]:
    a, b = first.as_integer_ratio()
    c, d = second.as_integer_ratio()
    return a * d + c * b, b * d * size


def _text(numerator: int, denominator: int, decimals: int) -> str:
    number = _rounded(numerator, denominator, decimals)
    digits = f"{abs(number):0{decimals + 1}d}"
    sign = "-" if number < 0 else ""
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else f"{sign}{digits}"


def _decimal(number: int, decimals: int) -> Decimal:
    """Return `number / 10 ** decimals`, without trailing zeros."""
    whole, rest = divmod(number, 10**decimals)
    return Decimal(number).scaleb(-decimals, _EXACT).normalize(_EXACT) if rest else Decimal(whole)
