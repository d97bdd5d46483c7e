import numpy as np
import pytest

from reprolens.errors import DataError
from reprolens.evaluation import Detections, Truth, truth_of
from reprolens.evaluation.detections import join_detections, join_truths
from reprolens.voc import Object, Record


def test_truth_of_a_record_keeps_boxes_classes_and_flags() -> None:
    record = Record(
        "a",
        "a.jpg",
        9,
        9,
        objects=(Object("cat", (0.5, 1, 2, 3), difficult=True), Object("ant", (1, 1, 5, 5), crowd=True)),
    )
    truth = truth_of(record, ["ant", "cat"])
    assert truth.boxes.tolist() == [[0.5, 1, 2, 3], [1, 1, 5, 5]]
    assert truth.boxes.dtype == np.float64 and truth.labels.dtype == np.int64
    assert truth.labels.tolist() == [1, 0]
    assert truth.difficult.tolist() == [True, False]
    assert truth.crowd.tolist() == [False, True]


def test_truth_of_a_record_without_objects_is_empty() -> None:
    truth = truth_of(Record("a", "a.jpg", 9, 9), ["ant"])
    assert truth.boxes.shape == (0, 4)
    assert len(truth) == 0


def test_an_object_of_an_unknown_class_is_named_with_its_picture_and_the_nearest_class() -> None:
    record = Record("pic7", "a.jpg", 9, 9, objects=(Object("cta", (0, 0, 1, 1)),))
    with pytest.raises(DataError, match=r"pic7.*'cta'.*did you mean cat\?"):
        truth_of(record, ["ant", "cat"])


def test_detections_whose_columns_differ_in_length_are_refused() -> None:
    with pytest.raises(ValueError, match="1 boxes need 1 values"):
        Detections([[0, 0, 1, 1]], [0.5, 0.5], [0])
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        Detections([[0, 0, 1]], [0.5], [0])


def test_above_keeps_scores_equal_to_the_threshold() -> None:
    found = Detections(np.ones((3, 4)), [0.2, 0.5, 0.9], [0, 1, 2])
    assert found.above(0.5).labels.tolist() == [1, 2]


def test_joining_tells_the_picture_of_each_box_and_survives_empty_ones() -> None:
    empty = Detections([], [], [])
    image, found = join_detections([empty, Detections(np.ones((2, 4)), [0.1, 0.2], [0, 1]), empty])
    assert image.tolist() == [1, 1]
    assert found.scores.tolist() == [0.1, 0.2]
    image, truth = join_truths([])
    assert len(image) == len(truth) == 0
    assert len(join_truths([Truth([], [], [], [])])[1]) == 0
