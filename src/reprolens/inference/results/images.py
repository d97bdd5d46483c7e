"""Detections as drawn pictures, images/*: for people."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from reprolens.files import atomic
from reprolens.inference.draw import draw
from reprolens.inference.results.names import ResultFiles, picture_name
from reprolens.inference.seen import Seen

FOLDER = "images"

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_LONGEST = 65_500
"""Pixels of the longest side that a JPEG has."""


@contextmanager
def write_images(out: Path, classes: Sequence[str], threshold: float = 0.0) -> Iterator[Callable[[Seen], None]]:
    """Give what draws a picture with what has a score of at least `threshold`.

    A JPEG and a video's frame become a JPEG, all others a PNG.
    """
    files = ResultFiles(out / FOLDER)

    def write(seen: Seen) -> None:
        name = picture_name(seen)
        picture = draw(seen.pixels, seen.found.above(threshold), classes)
        suffix = PurePosixPath(name).suffix
        if suffix.lower() not in _JPEG or max(picture.size) > _LONGEST:
            suffix = ".png"
        how: dict[str, Any] = {} if suffix == ".png" else {"quality": 92, "subsampling": 0}
        with atomic(files.place(name, suffix)) as temporary:
            picture.save(temporary, "JPEG" if how else "PNG", **how)

    yield write
