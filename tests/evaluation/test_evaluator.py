import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from reprolens.errors import DataError
from reprolens.evaluation import DetectionEvaluator, Detections, Results, Truth

BOX = [[0.0, 0.0, 9.0, 9.0]]
NOTHING = Detections([], [], [])
NO_TRUTH = Truth([], [], [], [])


def _evaluate(detections: list[Detections], truths: list[Truth], classes: list[str], threshold: float = 0.5) -> Results:
    evaluator = DetectionEvaluator(classes, threshold)
    for number, (found, truth) in enumerate(zip(detections, truths, strict=True)):
        evaluator.update(number, found, truth, (100, 100))
    return evaluator.compute()


def test_a_perfect_detector_scores_one_everywhere(random_split: Any) -> None:
    _, truths = random_split(30, 3, crowd=0, difficult=0)
    perfect = [Detections(truth.boxes, np.full(len(truth), 0.9), truth.labels) for truth in truths]
    metrics = _evaluate(perfect, truths, ["a", "b", "c"]).metrics
    for key in ("voc07/map50", "voc12/map50", "coco/ap", "coco/ar100", "precision", "recall", "f1", "voc12/ap50/b"):
        assert metrics[key] == pytest.approx(1), key
    assert metrics["images"] == 30
    assert metrics["boxes"] == metrics["detections"] == sum(map(len, truths))


def test_the_mean_is_over_the_classes_that_have_objects(random_split: Any) -> None:
    detections, truths = random_split(30, 2)
    few, many = (_evaluate(detections, truths, classes).metrics for classes in (["a", "b"], ["a", "b", "never"]))
    assert {key: many[key] for key in few} == few
    assert {many[f"{measure}/never"] for measure in ("voc07/ap50", "voc12/ap50", "coco/ap")} == {None}
    assert few["voc12/map50"] == pytest.approx((few["voc12/ap50/a"] + few["voc12/ap50/b"]) / 2)


def test_every_key_is_there_in_the_same_order_whatever_was_found(random_split: Any) -> None:
    full = _evaluate(*random_split(10, 2), ["a", "b"]).metrics
    for detections, truths in (([], []), ([NOTHING], [NO_TRUTH]), ([NOTHING], [Truth(BOX, [0], [False], [False])])):
        assert list(_evaluate(detections, truths, ["a", "b"]).metrics) == list(full)


def test_without_detections_recall_is_zero_and_precision_undefined() -> None:
    metrics = _evaluate([NOTHING], [Truth(BOX, [0], [False], [False])], ["a"]).metrics
    assert (metrics["precision"], metrics["recall"], metrics["f1"]) == (None, 0, 0)
    assert metrics["voc12/map50"] == metrics["coco/ap"] == 0


def test_pictures_without_objects_make_their_detections_wrong() -> None:
    metrics = _evaluate([Detections(BOX, [0.9], [0])], [NO_TRUTH], ["a"]).metrics
    assert (metrics["precision"], metrics["recall"], metrics["f1"]) == (0, None, 0)
    assert metrics["voc12/map50"] is None


def test_the_working_point_counts_detections_from_the_threshold_up() -> None:
    truth = Truth([*BOX, [50, 50, 60, 60], [70, 70, 80, 80]], [0, 1, 1], [False] * 3, [False] * 3)
    found = Detections([*BOX, [50, 50, 60, 60], [20, 20, 30, 30]], [0.5, 0.49, 0.8], [0, 1, 1])
    metrics = _evaluate([found], [truth], ["a", "b"], threshold=0.5).metrics
    assert metrics["precision"] == pytest.approx(1 / 2)  # the first box and the one where nothing is
    assert metrics["recall"] == pytest.approx(1 / 3)
    assert metrics["f1"] == pytest.approx(2 / (2 + 1 + 2))


def test_reset_forgets_every_picture() -> None:
    evaluator = DetectionEvaluator(["a"])
    evaluator.update("x", NOTHING, NO_TRUTH, (9, 9))
    evaluator.reset()
    assert evaluator.compute().metrics["images"] == 0
    evaluator.update("x", NOTHING, NO_TRUTH, (9, 9))


def test_a_picture_given_twice_is_refused_by_name() -> None:
    evaluator = DetectionEvaluator(["a"])
    evaluator.update("pic7", NOTHING, NO_TRUTH, (9, 9))
    with pytest.raises(DataError, match="pic7: evaluated twice"):
        evaluator.update("pic7", NOTHING, NO_TRUTH, (9, 9))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_by_picture_and_leave_the_evaluator_as_it_was(bad: float) -> None:
    evaluator = DetectionEvaluator(["a"])
    box = [[0, 0, bad, 9]]
    for found, truth in (
        (Detections(box, [0.5], [0]), NO_TRUTH),
        (Detections(BOX, [bad], [0]), NO_TRUTH),
        (NOTHING, Truth(box, [0], [False], [False])),
    ):
        with pytest.raises(DataError, match=r"pic7: .* is not a finite number"):
            evaluator.update("pic7", found, truth, (9, 9))
    assert evaluator.compute().metrics["images"] == 0


@pytest.mark.parametrize("label", [-1, 1])
def test_a_label_that_is_no_class_is_refused_by_picture(label: int) -> None:
    evaluator = DetectionEvaluator(["a"])
    with pytest.raises(DataError, match="pic7: a detection has a class index outside 0 to 0"):
        evaluator.update("pic7", Detections(BOX, [0.5], [label]), NO_TRUTH, (9, 9))
    with pytest.raises(DataError, match="pic7: an object has a class index outside 0 to 0"):
        evaluator.update("pic7", NOTHING, Truth(BOX, [label], [False], [False]), (9, 9))


def test_eighty_pictures_are_measured_in_less_than_half_a_second(random_split: Any) -> None:
    detections, truths = random_split(80, 10)
    _evaluate(detections, truths, list("abcdefghij"))  # imports
    start = time.perf_counter()
    _evaluate(detections, truths, list("abcdefghij"))
    assert time.perf_counter() - start < 0.5


def test_the_evaluation_is_imported_without_torch_matplotlib_or_hotcoco() -> None:
    code = "import reprolens.evaluation, sys; print({'torch', 'matplotlib', 'hotcoco'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
