"""Pictures through a model in batches, read ahead while it works, and given back in their order."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from reprolens.errors import DataError
from reprolens.inference.model import Model, Pixels
from reprolens.inference.pictures import read_picture
from reprolens.inference.seen import Seen, Unreadable
from reprolens.inference.sources import Source
from reprolens.inference.video import check_video, read_frames

READERS = min(4, os.cpu_count() or 1)
"""Threads that decode pictures; Pillow's decoders run beside each other and beside the model."""

AHEAD = 4 * READERS
"""So many pictures are decoded or waited for at most before the model has seen them."""

MOST_PIXELS = 2**24
"""Of all pictures of a batch together: beyond, a batch gains little and needs gigabytes as float32."""


@dataclass(frozen=True)
class _Picture:
    name: str
    path: Path
    frame: int | None
    pixels: Pixels


def predict(
    model: Model, sources: Sequence[Source], batch: int, threshold: float | None = None, every: int = 1
) -> Iterator[Seen | Unreadable]:
    """Yield what `model` finds in each picture and in every `every`-th frame of each video, in the order of `sources`.

    Pictures that follow each other and are of one size go through it together, up to `batch` of them or as many as the
    file takes. Of what it finds only that with a score of at least `threshold` is given, None for all of it. A file
    that does not decode is yielded as `Unreadable`. Raises ExportError if a video is among them and PyAV is not
    installed, or the model cannot be run.
    """
    if any(source.is_video for source in sources):
        check_video()
    most = min(batch, model.contract.batch or batch)
    for group in _batches(_read(sources, every), most):
        if isinstance(group, Unreadable):
            yield group
            continue
        for picture, found in zip(group, model(np.stack([picture.pixels for picture in group])), strict=True):
            kept = found if threshold is None else found.above(threshold)
            yield Seen(picture.name, picture.path, picture.frame, picture.pixels, kept)


def _batches(pictures: Iterable[_Picture | Unreadable], most: int) -> Iterator[list[_Picture] | Unreadable]:
    """Yield pictures in groups of one size, and what is unreadable between them."""
    group: list[_Picture] = []
    for picture in pictures:
        other = isinstance(picture, Unreadable) or (group and picture.pixels.shape != group[0].pixels.shape)
        if group and other:
            yield group
            group = []
        if isinstance(picture, Unreadable):
            yield picture
            continue
        group.append(picture)
        height, width, _ = picture.pixels.shape
        if len(group) == most or (len(group) + 1) * height * width > MOST_PIXELS:
            yield group
            group = []
    if group:
        yield group


def _read(sources: Sequence[Source], every: int) -> Iterator[_Picture | Unreadable]:
    """Yield pictures and frames in order, with `AHEAD` files on their way."""
    Image.init()  # here, because threads that do it at the same time know only some of the formats
    waiting: deque[tuple[Source, Future[_Picture | Unreadable] | None]] = deque()
    rest = iter(sources)
    with ThreadPoolExecutor(READERS) as pool:
        try:
            while True:
                while len(waiting) < AHEAD and (source := next(rest, None)) is not None:
                    waiting.append((source, None if source.is_video else pool.submit(_picture, source)))
                if not waiting:
                    return
                source, future = waiting.popleft()
                if future is None:
                    yield from _frames(source, every)
                else:
                    yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _picture(source: Source) -> _Picture | Unreadable:
    try:
        return _Picture(source.name, source.path, None, read_picture(source.path))
    except DataError as error:
        return _unreadable(source, error)


def _frames(source: Source, every: int) -> Iterator[_Picture | Unreadable]:
    try:
        for index, pixels in read_frames(source.path, every):
            yield _Picture(f"{source.name}/{index:06d}", source.path, index, pixels)
    except DataError as error:
        yield _unreadable(source, error)


def _unreadable(source: Source, error: DataError) -> Unreadable:
    return Unreadable(source.name, source.path, str(error).removeprefix(f"{source.path}: "))
