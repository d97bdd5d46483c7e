"""A source's picture, decoded to know that it can be, and turned upright where its boxes were drawn so."""

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from reprolens.convert.duplicates import fingerprint
from reprolens.pixels import orientation, rgb, upright

# Pictures of 90 to 180 million pixels, which Pillow warns of; larger ones it refuses, and they are reported.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""The suffixes, in lower case, that files of Pillow's formats bear; others are not judged."""


@dataclass(frozen=True)
class Decoded:
    """A picture that decodes: its width and height in pixels, as it is written to the VOC folder.

    `kind` is Pillow's name of its format, `digest` the SHA-256 of its bytes, `fingerprint` what near duplicates share
    (None where it shows too little), `upright` the file of the turned picture if it had to be turned.
    """

    width: int
    height: int
    kind: str
    digest: bytes
    fingerprint: int | None
    orientation: int = 1
    upright: bytes | None = None


def decode(image: Path | bytes, annotated: tuple[int, int], turn: bool = True) -> Decoded | str | None:
    """Decode the whole picture. Return why it does not decode, or None if it is missing.

    A picture with an EXIF orientation is turned upright if `turn`, as labelling tools show it, unless the size that
    its annotation gives (width, height) fits only the picture as it is stored.
    """
    try:
        data = image if isinstance(image, bytes) else image.read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            if picture.mode in ("I", "F"):
                rgb(picture)  # refuses what has no known range, as loading would
            stored, turns = picture.size, orientation(picture)
            shown = stored[::-1] if turns >= 5 else stored
            digest, kind = hashlib.sha256(data).digest(), picture.format or ""
            if not turn or turns == 1 or (annotated == stored and annotated != shown):
                return Decoded(*stored, kind, digest, fingerprint(picture), turns)
            turned = upright(picture)
            return Decoded(*shown, kind, digest, fingerprint(turned), turns, _encoded(turned, picture))
    except FileNotFoundError:
        return None
    except UnidentifiedImageError:
        return "no known image format"
    except Exception as error:  # Pillow's decoders raise many kinds, SyntaxError and struct.error among them
        return " ".join(str(error).split()) or type(error).__name__


def shown_size(image: Path | bytes) -> tuple[int, int] | None:
    """Return the width and height in which a picture is shown, from its header alone; None if that cannot be read."""
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as picture:
            return picture.size[::-1] if orientation(picture) >= 5 else picture.size
    except Exception:  # see decode
        return None


def _encoded(turned: Image.Image, picture: Image.Image) -> bytes:
    """Return a turned picture in the format that the picture had."""
    data = io.BytesIO()
    # MPO is what some cameras call a JPEG with a second picture behind it, which is not wanted.
    kind = "JPEG" if picture.format in ("JPEG", "MPO") else picture.format
    turned.save(data, kind, quality=95, icc_profile=picture.info.get("icc_profile"))
    return data.getvalue()
