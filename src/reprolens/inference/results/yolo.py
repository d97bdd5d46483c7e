"""Detections as YOLO's text files, labels/*.txt and classes.txt: a line is `class cx cy w h score`.

The class is its place in classes.txt, from 0; centre and size are relative to the picture's, as ultralytics' `save_txt`
writes them. Ten digits place a box of any picture within a thousandth of a pixel.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from reprolens.files import write_text
from reprolens.inference.results.detections import Detection, detections_of
from reprolens.inference.results.names import ResultFiles, picture_name
from reprolens.inference.seen import Seen

FOLDER, CLASSES = "labels", "classes.txt"


@contextmanager
def write_yolo(out: Path, classes: Sequence[str]) -> Iterator[Callable[[Seen], None]]:
    """Give what writes a picture's text file; that of a picture in which nothing was found is empty."""
    write_text(out / CLASSES, "".join(f"{name}\n" for name in classes))
    files = ResultFiles(out / FOLDER)

    def write(seen: Seen) -> None:
        height, width = seen.pixels.shape[:2]
        lines = [f"{_line(found, width, height)}\n" for found in detections_of(seen)]
        write_text(files.place(picture_name(seen), ".txt"), "".join(lines))

    yield write


def _line(found: Detection, width: int, height: int) -> str:
    x0, y0, x1, y1 = found.box
    numbers = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return " ".join((str(found.label), *(f"{value:.10g}" for value in numbers), repr(found.score)))
