"""A source's picture, decoded to know that it can be, and turned upright where its boxes were drawn so."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is to be turned before it is shown (Exif 2.32, 4.6.4): 1 not at all, 2 to 8."""


@dataclass(frozen=True)
class Decoded:
    """Width and height in pixels, and, if the picture had to be turned upright, the file of the turned picture."""

    width: int
    height: int
    upright: bytes | None


def decode(image: Path | bytes, annotated: tuple[int, int]) -> Decoded | str | None:
    """Decode the whole picture. Return why it does not decode, or None if it is missing.

    A picture with an EXIF orientation is turned upright, as labelling tools show it, unless the size that its
    annotation gives (width, height) fits only the picture as it is stored.
    """
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as picture:
            picture.load()
            stored, orientation = picture.size, _orientation(picture)
            shown = stored[::-1] if orientation >= 5 else stored
            if orientation == 1 or (annotated == stored and annotated != shown):
                return Decoded(*stored, None)
            return Decoded(*shown, _upright(picture))
    except FileNotFoundError:
        return None
    except UnidentifiedImageError:
        return "no known image format"
    except Exception as error:  # Pillow's decoders raise many kinds, SyntaxError and struct.error among them
        return " ".join(str(error).split()) or type(error).__name__


def _orientation(picture: Image.Image) -> int:
    try:
        value = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF says nothing, and does not make the picture unreadable
        return 1
    return value if value in range(2, 9) else 1


def _upright(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    # MPO is what some cameras call a JPEG with a second picture behind it, which is not wanted.
    kind = "JPEG" if picture.format in ("JPEG", "MPO") else picture.format
    ImageOps.exif_transpose(picture).save(data, kind, quality=95, icc_profile=picture.info.get("icc_profile"))
    return data.getvalue()
