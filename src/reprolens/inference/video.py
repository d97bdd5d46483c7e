"""Frames of a video, decoded by FFmpeg through PyAV."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from reprolens.errors import DataError, ExportError
from reprolens.inference.model import Pixels


def check_video() -> None:
    """Raise ExportError if PyAV is not installed."""
    if find_spec("av") is None:
        raise ExportError("videos need the extra video: pip install av")


def read_frames(path: Path, every: int = 1) -> Iterator[tuple[int, Pixels]]:
    """Yield every `every`-th frame of the first video in a file: its index and its pixels `(H, W, 3)`, turned upright.

    What does not decode is passed over, as players do. Raises DataError at the end if there was such, or where nothing
    more can be read, and ExportError if PyAV is not installed.
    """
    check_video()
    import av

    count, broken = 0, 0
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise DataError(f"{path}: does not decode (there is no video in it)")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"  # it decodes some frames ahead of the one that is looked at
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    broken += 1
                    continue
                for frame in frames:
                    if count % every == 0:
                        turns = round(frame.rotation / 90)  # counterclockwise, there as in numpy
                        yield count, np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
                    count += 1
    except (av.error.FFmpegError, OSError) as error:
        where = f"after {count} frames " if count else ""
        raise DataError(f"{path}: does not decode {where}({error.strerror or error})") from None
    if broken:
        raise DataError(f"{path}: does not decode everywhere (packets that do not: {broken}; frames that do: {count})")
    if not count:
        raise DataError(f"{path}: does not decode (there is no frame in it)")
