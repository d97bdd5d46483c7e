"""What comes of each picture that a model is shown."""

from dataclasses import dataclass
from pathlib import Path

from reprolens.inference.model import Found, Pixels


@dataclass(frozen=True)
class Seen:
    """A picture, or a video's frame, and what was found in it.

    name: its path within what was asked for, with `/` and without `..`; unlike all others'. A frame's is its video's,
    with the frame's index behind it: `film.mp4/000012`.
    path: of the file.
    frame: the index of the frame, from 0 on; None for a picture.
    pixels: as they were decoded `(H, W, 3)`.
    """

    name: str
    path: Path
    frame: int | None
    pixels: Pixels
    found: Found


@dataclass(frozen=True)
class Unreadable:
    """A file that does not decode, or a video from where it does not, and why."""

    name: str
    path: Path
    reason: str
