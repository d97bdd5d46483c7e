"""A decoded picture as pixels: one rule for what is trained on and what is predicted on, so that both see the same."""

import numpy as np
from PIL import Image

ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is to be turned before it is shown (Exif 2.32, 4.6.4): 1 not at all, 2 to 8."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What puts each orientation's row 0 to the top and its column 0 to the left; Pillow turns counterclockwise."""


def rgb(picture: Image.Image) -> Image.Image:
    """Return a picture of any mode as RGB, 8 bits a channel; of 16 bits the upper ones, and no transparency.

    Raises ValueError for pixels whose black and white nothing tells: floating point, integers of more than 16 bits.
    """
    if picture.mode == "F":
        raise ValueError("floating point pixels have no known range")
    if picture.mode.startswith("I"):
        return Image.fromarray(_upper_bits(picture)).convert("RGB")
    return picture.convert("RGB")


def orientation(picture: Image.Image) -> int:
    """Return what a loaded picture's EXIF orientation says, 1 where it says nothing that is defined or is damaged."""
    try:
        value = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF does not make the picture unreadable
        return 1
    return value if value in _TURNS else 1


def upright(picture: Image.Image) -> Image.Image:
    """Return a loaded picture turned as its EXIF orientation says.

    What it says of itself, the orientation too, it keeps: Pillow's `exif_transpose` writes it anew, and fails where
    any of it is damaged.
    """
    turn = _TURNS.get(orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def _upper_bits(picture: Image.Image) -> np.ndarray:
    """Return grey `(H, W)` uint8 of a picture of more than 8 bits, where Pillow would cut every value above 255.

    Mode I has 32 bits for whatever a file's kind has no mode for: Pillow spreads a PGM's values over 16, and of TIFF
    it gives them as they stand, where only the largest tells 8 bits from 16.
    """
    values = np.asarray(picture)
    if picture.mode == "I":
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("integer pixels of more than 16 bits have no known range")
        if values.max() <= 0xFF and picture.format != "PPM":
            return values.astype(np.uint8)
    return (values >> 8).astype(np.uint8)
