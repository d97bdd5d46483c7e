"""Detections as a table, predictions.csv: a row each, for spreadsheets and data frames."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from reprolens.files import atomic
from reprolens.inference.results.detections import detections_of
from reprolens.inference.results.names import picture_name
from reprolens.inference.seen import Seen

FILE = "predictions.csv"
COLUMNS = ("image", "frame", "label", "score", "x0", "y0", "x1", "y1")


@contextmanager
def write_csv(out: Path, classes: Sequence[str]) -> Iterator[Callable[[Seen], None]]:
    """Give what takes one picture after another, and write predictions.csv at the end.

    `image` is the picture's name, `frame` the index of a video's frame, from 0, else empty, `label` the class's name;
    x0 y0 x1 y1 are pixels, 0-based and continuous.
    """
    with (
        atomic(out / FILE) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)

        def write(seen: Seen) -> None:
            name, frame = picture_name(seen), "" if seen.frame is None else seen.frame
            for found in detections_of(seen):
                writer.writerow((name, frame, classes[found.label], found.score, *found.box))

        yield write
