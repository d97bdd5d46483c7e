"""labels/*.txt are YOLO's lines with a score, which the evaluation reads."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings

from inference.results.seeing import CLASSES, rows, seen
from reprolens.evaluation.predictions import Form, read_predictions
from reprolens.inference.results.yolo import write_yolo
from reprolens.voc import Record


@settings(deadline=None, max_examples=50)
@given(rows)
def test_the_evaluation_reads_boxes_scores_and_classes_back(found: list) -> None:
    picture = seen("b/a.jpg", [*found, (10, 20, 30, 41, 0.5, 1)])  # by whose fractions they are known as relative
    with TemporaryDirectory() as out:
        with write_yolo(Path(out), CLASSES) as write:
            write(picture)
        (read,), _ = read_predictions(
            Path(out, "labels"), [Record("a", "b/a.jpg", 640, 480)], sorted(CLASSES), Form(boxes="yolo")
        )
    assert np.abs(read.boxes - picture.found.boxes).max(initial=0) < 1e-4
    assert (read.scores.astype(np.float32) == picture.found.scores).all()
    assert [sorted(CLASSES)[label] for label in read.labels] == [CLASSES[label] for label in picture.found.labels]


def test_a_line_is_class_centre_size_and_score_relative_to_the_picture(tmp_path: Path) -> None:
    with write_yolo(tmp_path, CLASSES) as write:
        write(seen(rows=[(0, 120, 320, 480, 0.875, 2)]))
    assert (tmp_path / "labels" / "a.txt").read_text() == "2 0.25 0.625 0.5 0.75 0.875\n"
    assert (tmp_path / "classes.txt").read_text(encoding="utf-8").splitlines() == list(CLASSES)


def test_picture_without_a_detection_empties_what_an_earlier_run_found(tmp_path: Path) -> None:
    for found in ([(0, 0, 1, 1, 0.5, 0)], []):
        with write_yolo(tmp_path, CLASSES) as write:
            write(seen(rows=found))
    assert (tmp_path / "labels" / "a.txt").read_bytes() == b""
