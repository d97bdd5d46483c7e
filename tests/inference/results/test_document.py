"""A line of JSON says all that was found in a picture, and is there at once."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from inference.results.seeing import CLASSES, rows, seen
from reprolens.inference.results.document import json_line, write_json_lines


@settings(deadline=None, max_examples=50)
@given(rows)
def test_a_line_reads_back_to_the_bit(found: list) -> None:
    picture = seen("ü\n\udcff.jpg", found)
    line = json_line(picture, CLASSES)
    read = json.loads(line)
    assert line.isascii() and "\n" not in line
    assert (read["image"], read["frame"], read["width"], read["height"]) == ("ü\n\udcff.jpg", None, 640, 480)
    boxes = np.array([one["box"] for one in read["detections"]], dtype=np.float32).reshape(-1, 4)
    assert (boxes == picture.found.boxes).all()
    assert [np.float32(one["score"]) for one in read["detections"]] == picture.found.scores.tolist()
    assert [one["class"] for one in read["detections"]] == picture.found.labels.tolist()
    assert [one["label"] for one in read["detections"]] == [CLASSES[label] for label in picture.found.labels]


def test_a_stream_has_each_line_before_the_next_picture() -> None:
    class Flushed(io.StringIO):
        said = 0

        def flush(self) -> None:
            self.said = len(self.getvalue().splitlines())

    stream = Flushed()
    with write_json_lines(stream, CLASSES) as write:
        for count in (1, 2):
            write(seen(f"{count}.jpg"))
            assert stream.said == count
    assert not stream.closed


def test_a_file_is_there_only_when_all_pictures_are(tmp_path: Path) -> None:
    target = tmp_path / "found.jsonl"
    with pytest.raises(ZeroDivisionError), write_json_lines(target, CLASSES) as write:
        write(seen())
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with write_json_lines(target, CLASSES) as write:
        write(seen())
        assert not target.exists()
    assert json.loads(target.read_text())["image"] == "a.jpg"
