"""Open Images' instance masks: a PNG an object, white where the object is."""

import json
from pathlib import PurePosixPath

import numpy as np
from hotcoco import mask as hotcoco_mask
from PIL import Image

from reprolens.convert.tree import Tree
from reprolens.errors import DataError

LARGEST_SIDE = 20_000
LARGEST_AREA = 2**28
"""Pixels of a mask at most: what is larger is no mask of a photograph."""


def mask_text(tree: Tree, name: str, size: tuple[int, int]) -> str:
    """Return the mask of that file name as the text of a COCO run-length code, `(height, width)` of its picture.

    The masks of Open Images may be larger or smaller than their pictures; the nearest pixel is taken then. A `size`
    (width, height) of zeros leaves the mask's own. Raises DataError if the mask is missing or damaged.
    """
    found = [file for file in tree.files if file == name or file.endswith(f"/{PurePosixPath(name).name}")]
    if not found or not name:
        raise DataError(f"the mask {name[:80]} is missing")
    try:
        with Image.open(tree.path(found[0])) as picture:
            if max(*picture.size, *size) > LARGEST_SIDE or picture.width * picture.height > LARGEST_AREA:
                raise DataError(f"the mask {found[0]} is too large ({picture.width} x {picture.height})")
            grey = picture.convert("L")
            if all(size) and grey.size != size:
                grey = grey.resize(size, Image.Resampling.NEAREST)
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds
        raise DataError(f"the mask {found[0]} does not decode ({' '.join(str(error).split())[:80]})") from None
    code = hotcoco_mask.encode(np.asfortranarray(np.asarray(grey) > 0, dtype=np.uint8))
    counts = code["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return json.dumps({"size": [grey.height, grey.width], "counts": text}, separators=(",", ":"))
