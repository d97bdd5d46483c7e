"""The pictures that files are judged on."""

from collections.abc import Iterator

import numpy as np

from reprolens.errors import ExportError
from reprolens.inference.model import Pixels
from reprolens.loading import open_rgb
from reprolens.voc import Folder, Record


def choose_split(folder: Folder) -> str:
    """Return test, or val where nobody was tested on anything. Raises ExportError if both are empty."""
    for split in ("test", "val"):
        if folder.splits[split]:
            return split
    raise ExportError(f"{folder.root}: has no pictures in test or val to judge files on; give it some (data.ratios)")


def spread(folder: Folder, split: str, limit: int | None = None) -> list[str]:
    """Return the ids of a split's pictures, or up to `limit` of them, evenly spaced."""
    ids = folder.splits[split]
    count = len(ids) if limit is None else min(limit, len(ids))
    return [ids[place] for place in np.unique(np.linspace(0, len(ids) - 1, count).round().astype(int))]


def read(folder: Folder, id: str) -> tuple[Record, Pixels]:
    """Return a picture's record and its pixels `(H, W, 3)`, at its full size. Raises DataError if it is damaged."""
    record = folder.record(id)
    return record, np.array(open_rgb(folder, record))


def read_all(folder: Folder, ids: list[str]) -> Iterator[Pixels]:
    """Yield the pixels of each picture."""
    for id in ids:
        yield read(folder, id)[1]
