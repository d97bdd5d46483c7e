"""Picture files of any kind as RGB pixels, the same that a model was trained on."""

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from reprolens.errors import DataError
from reprolens.inference.model import Pixels
from reprolens.pixels import rgb, upright

# What Pillow warns of (damaged EXIF, pictures of 90 to 180 million pixels) is still read; the rest is an error.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_picture(file: Path | BinaryIO) -> Pixels:
    """Return a picture's pixels `(H, W, 3)`, turned upright, the first frame of an animated one.

    Raises DataError if it does not decode, wholly and as an image, or has more than 180 million pixels.
    """
    name = file if isinstance(file, Path) else getattr(file, "name", "picture")
    try:
        with Image.open(file) as picture:
            picture.load()  # before its EXIF is asked for, which may stand behind the pixels
            return np.array(rgb(upright(picture)))
    except FileNotFoundError:
        reason = "there is no such file"
    except UnidentifiedImageError:
        reason = "no known image format"
    except Exception as error:  # Pillow's decoders raise many kinds, SyntaxError and struct.error among them
        reason = " ".join(str(error).split()) or type(error).__name__
    raise DataError(f"{name}: does not decode ({reason})")
