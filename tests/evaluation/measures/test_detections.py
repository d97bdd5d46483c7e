from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask

from reprolens.errors import DataError
from reprolens.evaluation import Detections, Truth, truth_of
from reprolens.evaluation.measures.detections import check_finite, join_detections, join_truths
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


def test_above_keeps_the_masks_of_what_it_keeps() -> None:
    found = Detections(np.ones((3, 4)), [0.2, 0.5, 0.9], [0, 1, 2], (b"a", b"b", b"c"))
    assert found.above(0.5).masks == (b"b", b"c")


def test_masks_and_areas_that_differ_in_number_from_the_boxes_are_refused() -> None:
    with pytest.raises(ValueError, match="1 boxes need 1 masks"):
        Detections([[0, 0, 1, 1]], [0.5], [0], ())
    with pytest.raises(ValueError, match="1 boxes need 1 masks"):
        Truth([[0, 0, 1, 1]], [0], [False], [False], masks=(b"a", b"b"))
    with pytest.raises(ValueError, match="1 boxes need 1 values"):
        Truth([[0, 0, 1, 1]], [0], [False], [False], given_areas=[1, 2])


def test_the_area_of_an_object_is_its_outlines_or_else_its_boxs() -> None:
    triangle, square = (0, 0, 4, 4), (0, 0, 5, 4)
    code = '{"size": [9, 9], "counts": [0, 12, 69]}'
    record = Record(
        "a",
        "a.jpg",
        9,
        9,
        objects=(
            Object("ant", triangle, segmentation="[[0, 0, 4, 0, 0, 4]]"),
            Object("ant", square),
            Object("ant", (0, 0, 9, 9), crowd=True, segmentation=code),
        ),
    )
    assert truth_of(record, ["ant"]).areas.tolist() == [8, 20, 12]
    assert Truth([[5, 5, 4, 9]], [0], [False], [False]).areas.tolist() == [0]


def test_areas_follow_the_boxes_unless_they_are_given() -> None:
    box, given = Truth([[0, 0, 2, 3]], [0], [False], [False]), Truth([[0, 0, 2, 3]], [0], [False], [False], [5])
    larger = np.array([[0.0, 0, 4, 3]])
    assert [replace(truth, boxes=larger).areas.tolist() for truth in (box, given)] == [[12], [5]]
    assert join_truths([box, given, box])[1].areas.tolist() == [6, 5, 6]
    assert join_truths([box, box])[1].given_areas is None


def test_outlines_are_rasterised_only_when_asked_for_and_only_if_all_objects_have_one() -> None:
    cat = Object("cat", (2, 1, 5, 4), segmentation="[[2, 1, 5, 1, 5, 4, 2, 4]]")
    crowd = Object("cat", (0, 0, 8, 6), crowd=True, segmentation='{"size": [6, 8], "counts": [6, 12, 30]}')
    record = Record("a", "a.jpg", 8, 6, objects=(cat, crowd))
    assert truth_of(record, ["cat"]).masks is None
    truth = truth_of(record, ["cat"], masks=True)
    assert truth.masks is not None
    drawn = [mask.decode({"size": [6, 8], "counts": counts}) for counts in truth.masks]
    assert np.argwhere(drawn[0]).tolist() == [[y, x] for y in (1, 2, 3) for x in (2, 3, 4)]
    assert np.argwhere(drawn[1].T)[[0, -1]].tolist() == [[1, 0], [2, 5]]
    boxed = Object("cat", (0, 0, 1, 1))
    assert truth_of(Record("a", "a.jpg", 8, 6, objects=(cat, boxed)), ["cat"], masks=True).masks is None
    assert truth_of(Record("a", "a.jpg", 8, 6), ["cat"], masks=True).masks == ()


@pytest.mark.parametrize("outline", ["[[1, 2, 3]]", '{"size": [5, 5], "counts": [25]}', "nonsense"])
def test_a_damaged_outline_is_named_with_its_picture_and_class(outline: str) -> None:
    record = Record("pic7", "a.jpg", 9, 9, objects=(Object("cat", (0, 0, 1, 1), segmentation=outline),))
    with pytest.raises(DataError, match=r"pic7: cat: its segmentation .*; run the convert stage again"):
        truth_of(record, ["cat"], masks=True)


def test_joining_keeps_masks_only_if_every_picture_with_boxes_has_them() -> None:
    box, empty = [[0, 0, 1, 1]], Detections([], [], [])
    masked, bare = Detections(box, [0.5], [0], (b"a",)), Detections(box, [0.5], [0])
    assert join_detections([masked, empty, masked])[1].masks == (b"a", b"a")
    assert join_detections([masked, bare])[1].masks is None
    assert join_detections([empty])[1].masks == ()


def test_huge_numbers_are_finite() -> None:
    truth = Truth([[0, 0, 1, 1]], [0], [False], [False])
    check_finite("a", Detections([[-1e300, 0, 1e300, 1e300]], [-1e308], [0]), truth, 1)


def test_joining_tells_the_picture_of_each_box_and_survives_empty_ones() -> None:
    empty = Detections([], [], [])
    image, found = join_detections([empty, Detections(np.ones((2, 4)), [0.1, 0.2], [0, 1]), empty])
    assert image.tolist() == [1, 1]
    assert found.scores.tolist() == [0.1, 0.2]
    image, truth = join_truths([])
    assert len(image) == len(truth) == 0
    assert len(join_truths([Truth([], [], [], [])])[1]) == 0
