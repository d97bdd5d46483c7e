"""Label Studio's run-length code of brush strokes, as its converter's brush.py and @thi.ng/rle-pack define it.

A stream of bits: the count of values (32 bits), their width less 1 (5 bits), four widths of lengths less 1 (4 bits
each); then blocks: a bit that says whether a value is repeated, two bits that choose a width, the length less 1, and
one value, or as many as the length says. The values are the picture's red, green, blue and alpha by rows; alpha is
the mask.
"""

from typing import Any

import numpy as np

from reprolens.convert.formats.entries import EntryError
from reprolens.convert.formats.outlines import Mask, check_size


def decode_brush(code: list[Any], width: int, height: int) -> Mask:
    """Return the mask, bool (height, width), of a code that is given as a list of bytes.

    Raises EntryError if the picture's size is not known or too large, if the code is of another size, or damaged.
    """
    check_size(width, height)
    try:
        data = bytes(code)
    except (TypeError, ValueError):
        raise EntryError("unreadable_mask", "its run-length code is no list of bytes") from None
    bits = _Bits(data)
    count, value_width = bits.take(32), bits.take(5) + 1
    length_widths = [bits.take(4) + 1 for _ in range(4)]
    if count != width * height * 4 or value_width > 8:
        reason = f"its run-length code has {count} values, not those of {width} x {height} pixels"
        raise EntryError("unreadable_mask", reason)
    alpha = np.zeros(width * height, bool)
    start = 0
    while start < count:
        repeated = bits.take(1)
        stop = min(start + 1 + bits.take(length_widths[bits.take(2)]), count)
        first, last = start // 4, stop // 4  # the pixels whose alpha, the fourth value of each, lies in this block
        if repeated:
            alpha[first:last] = bits.take(value_width) > 0
        else:
            alpha[first:last] = bits.values(stop - start, value_width)[3 - start % 4 :: 4] > 0
        start = stop
    return alpha.reshape(height, width)


class _Bits:
    """A stream of bits, the highest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, width: int) -> int:
        """Return the next `width` bits as a number. Raises EntryError at the end."""
        end = self._advance(width)
        window = self._data[(end - width) // 8 : (end + 7) // 8]
        return (int.from_bytes(window, "big") >> (-end % 8)) & ((1 << width) - 1)

    def values(self, count: int, width: int) -> np.ndarray[Any, Any]:
        """Return the next `count` numbers of `width` bits (at most 8)."""
        end = self._advance(count * width)
        start = end - count * width
        bits = np.unpackbits(np.frombuffer(self._data[start // 8 : (end + 7) // 8], np.uint8))
        values = bits[start % 8 : start % 8 + count * width].reshape(count, width)
        return values @ (1 << np.arange(width)[::-1])

    def _advance(self, width: int) -> int:
        self._at += width
        if self._at > len(self._data) * 8:
            raise EntryError("unreadable_mask", "its run-length code ends too early")
        return self._at
