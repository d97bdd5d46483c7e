"""predictions.csv is a table that any reader of CSV understands."""

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings

from inference.results.seeing import CLASSES, rows, seen
from reprolens.inference.results.csv import COLUMNS, write_csv
from reprolens.inference.seen import Seen


def written(out: Path, *pictures: Seen) -> list[dict[str, str]]:
    with write_csv(out, CLASSES) as write:
        for picture in pictures:
            write(picture)
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@settings(deadline=None, max_examples=50)
@given(rows)
def test_rows_come_back_to_the_bit(found: list) -> None:
    picture = seen(rows=found)
    with TemporaryDirectory() as out:
        table = written(Path(out), picture)
    numbers = np.array([[row[key] for key in ("x0", "y0", "x1", "y1", "score")] for row in table], dtype=np.float32)
    expected = np.column_stack([picture.found.boxes, picture.found.scores])
    assert (numbers.reshape(-1, 5) == expected).all()
    assert [row["label"] for row in table] == [CLASSES[label] for label in picture.found.labels]


def test_frames_have_their_index_and_pictures_none(tmp_path: Path) -> None:
    row = (0, 0, 1, 1, 0.5, 0)
    table = written(tmp_path, seen("film.mp4/000007", [row], frame=7), seen('a, "b"\n.png', [row]))
    assert [(one["image"], one["frame"]) for one in table] == [("film.mp4/000007.jpg", "7"), ('a, "b"\n.png', "")]


def test_nothing_found_is_a_header_alone(tmp_path: Path) -> None:
    assert written(tmp_path, seen()) == []
    assert (tmp_path / "predictions.csv").read_text() == ",".join(COLUMNS) + "\n"
