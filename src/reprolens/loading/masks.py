"""Outlines of single objects as masks, out of SegmentationObject/ (VOC2012 devkit, section 9).

A pixel of such a file holds the place of its object in the annotation, counted from 1; 0 is background, 255 void.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reprolens.errors import DataError
from reprolens.progress import track
from reprolens.voc import Folder, Record

MOST = 254
"""Objects of one picture that such a file can tell apart."""

Numbers = NDArray[np.uint8]


def mask_file(folder: Folder, record: Record) -> Path:
    """Return where the masks of a picture's objects are, if it has some."""
    return folder.root / "SegmentationObject" / f"{record.id}.png"


def object_numbers(folder: Folder, record: Record, size: tuple[int, int] | None = None) -> Numbers | None:
    """Return which object each pixel of a picture belongs to, `(height, width)`, resized to `size` if that is given.

    None where the picture has no such file. Raises DataError if it does not decode or is of another size.
    """
    path = mask_file(folder, record)
    try:
        with Image.open(path) as mask:
            if mask.size != (record.width, record.height) or mask.mode not in ("P", "L"):
                raise DataError(
                    f"{path}: {mask.width} x {mask.height} pixels, mode {mask.mode}: its picture has {record.width} x "
                    f"{record.height}, and a mask one byte a pixel; run the convert stage again"
                )
            if size is None or size == (record.height, record.width):
                return np.array(mask)
            return np.array(mask.resize((size[1], size[0]), Image.Resampling.NEAREST))
    except FileNotFoundError:
        return None
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds, SyntaxError and struct.error among them
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: does not decode ({reason}); run the convert stage again") from None


def object_masks(numbers: Numbers | None, objects: Sequence[int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the masks `(N, height, width)`, 0 or 1, of the N objects at these places, which count from 1."""
    if numbers is None or not objects:
        return np.zeros((len(objects), *size), np.uint8)
    wanted = np.array([place if place <= MOST else 0 for place in objects], np.uint8)[:, None, None]
    return ((numbers == wanted) & (wanted > 0)).view(np.uint8)


def single_objects(record: Record) -> list[int]:
    """Return the places, from 1 on, of a picture's objects that are no crowds."""
    return [place for place, item in enumerate(record.objects, 1) if not item.crowd]


def check_outlines(folder: Folder, records: Sequence[Record], split: str) -> None:
    """Raise DataError, with their number, if objects of a split have no outline, or a mask file is damaged.

    An object that others cover wholly has one. Every mask is decoded once: 2 ms for a picture of 500 x 375.
    """
    total, without, first = 0, 0, ""
    for record in track(records, "check outlines"):
        places = single_objects(record)
        lacking = _without_outline(folder, record, places) if places else 0
        total, without = total + len(places), without + lacking
        first = first or (record.id if lacking else "")
    if without:
        raise DataError(
            f"{split}: {without} of {total} objects have no outline (the first in {first}), and this model learns from "
            f"outlines; take one that learns from boxes (model=fasterrcnn_mobilenet_v3_large_fpn)"
        )


def masks_digest(folder: Folder, records: Sequence[Record]) -> str:
    """Return a SHA-256 of the masks of these pictures. Raises DataError if one cannot be read."""
    digest = hashlib.sha256()
    for record in track(records, "check masks"):
        path = mask_file(folder, record)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            data = b""
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({os.strerror(error.errno or 0)})") from None
        digest.update(f"{len(data)} ".encode() + data)
    return digest.hexdigest()


def _without_outline(folder: Folder, record: Record, places: list[int]) -> int:
    """Return how many of a picture's objects at these places have no outline."""
    numbers = object_numbers(folder, record)
    if numbers is None:
        return len(places)
    there = set(np.flatnonzero(np.bincount(numbers.ravel(), minlength=256)).tolist())
    absent = [place for place in places if place > MOST or place not in there]
    if not absent:
        return 0
    whole = folder.record(record.id).objects  # an index leaves the outlines' text out
    return sum(place > MOST or not whole[place - 1].segmentation for place in absent)
