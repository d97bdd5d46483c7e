import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pycocotools import mask

from reprolens.errors import DataError
from reprolens.evaluation import DetectionEvaluator, Detections, Results, Truth, truth_of
from reprolens.evaluation.measures.bootstrap import HEADLINE, MASKS
from reprolens.voc import Object, Record

BOX = [[0.0, 0.0, 9.0, 9.0]]
NOTHING = Detections([], [], [])
NO_TRUTH = Truth([], [], [], [])
NO_MASK = bytes(mask.encode(np.zeros((100, 100), np.uint8, order="F"))["counts"])


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


def test_the_keys_stand_in_the_order_of_the_report(random_split: Any) -> None:
    detections, truths = random_split(20, 2)
    evaluator = DetectionEvaluator(["a", "low"], 0.5, 10, 0, True)
    for number, (found, truth) in enumerate(zip(detections, truths, strict=True)):
        evaluator.update(number, found, truth, (100, 100))
    keys = [key for key in evaluator.compute().metrics if not key.endswith(("/low", "/high"))]
    sizes = ("small", "medium", "large")
    assert keys == [
        *("images", "boxes", "detections", "voc07/map50", "voc12/map50", "coco/ap", "coco/ap50", "coco/ap75"),
        *(f"coco/ap_{size}" for size in sizes),
        *("coco/ar1", "coco/ar10", "coco/ar100"),
        *(f"coco/ar_{size}" for size in sizes),
        *("score_threshold", "precision", "recall", "f1"),
        *("best_f1", "best_f1/threshold", "best_f1/precision", "best_f1/recall"),
        *("calibration/ece", "calibration/mce"),
        *(f"tide/{kind}" for kind in ("cls", "loc", "both", "dupe", "bkg", "miss")),
        *(f"boxes/{size}" for size in sizes),
        *("voc12/ap50/a", "voc07/ap50/a", "coco/ap/a"),
    ]


def test_headline_numbers_have_their_intervals_behind_them(random_split: Any) -> None:
    detections, truths = random_split(20, 2)
    evaluator = DetectionEvaluator(["a", "b"], 0.5, 20)
    for number, (found, truth) in enumerate(zip(detections, truths, strict=True)):
        evaluator.update(number, found, truth, (100, 100))
    metrics = evaluator.compute().metrics
    keys = list(metrics)
    for key in HEADLINE:
        place = keys.index(key)
        assert keys[place + 1 : place + 3] == [f"{key}/low", f"{key}/high"]
        assert metrics[f"{key}/low"] <= metrics[key] <= metrics[f"{key}/high"]


def test_counting_difficult_objects_counts_them_everywhere() -> None:
    truth = Truth([*BOX, [50, 50, 60, 60]], [0, 0], [False, True], [False, False])
    found = Detections(BOX, [0.9], [0])

    def evaluate(**options: Any) -> Results:
        evaluator = DetectionEvaluator(["a"], breakdown=True, **options)
        evaluator.update("x", found, truth, (100, 100))
        return evaluator.compute()

    ignored, counted = evaluate(), evaluate(ignore_difficult=False)
    assert (ignored.metrics["recall"], ignored.metrics["voc12/map50"]) == (1, 1)
    assert (counted.metrics["recall"], counted.metrics["voc12/map50"]) == (0.5, 0.5)
    assert counted.metrics["coco/ap"] == ignored.metrics["coco/ap"]
    missed = [
        (len(r.breakdown.misses), r.breakdown.faults[0].missed, r.breakdown.confusion[0, 1]) for r in (ignored, counted)
    ]
    assert missed == [(0, 0, 0), (1, 1, 1)]
    assert truth.difficult.any()


def test_scores_that_are_no_probabilities_rank_and_have_no_calibration(random_split: Any) -> None:
    detections, truths = random_split(20, 2)
    logits = [replace(found, scores=found.scores * 40 - 20) for found in detections]
    one, other = (
        _evaluate(found, truths, ["a", "b"], threshold) for found, threshold in ((detections, 0.5), (logits, 0))
    )
    assert other.calibration is None and other.metrics["calibration/ece"] is None
    assert one.calibration is not None and one.calibration.ece == one.metrics["calibration/ece"]
    for key in ("voc12/map50", "coco/ap", "f1", "best_f1"):
        assert other.metrics[key] == one.metrics[key]


def test_the_sizes_add_up_to_the_boxes(random_split: Any) -> None:
    metrics = _evaluate(*random_split(20, 2), ["a", "b"]).metrics
    assert sum(metrics[f"boxes/{size}"] for size in ("small", "medium", "large")) == metrics["boxes"]


def test_masks_are_measured_beside_the_boxes_where_there_are_any() -> None:
    cat = Object("cat", (10, 10, 40, 40), segmentation="[[10, 10, 40, 10, 40, 40, 10, 40]]")
    truth = truth_of(Record("x", "x.jpg", 100, 100, objects=(cat,)), ["cat"], masks=True)
    evaluator = DetectionEvaluator(["cat"])
    evaluator.update("x", Detections(truth.boxes, [0.9], [0], truth.masks), truth, (100, 100))
    keys = list(evaluator.compute().metrics)
    at = keys.index("coco_segm/ap")
    assert keys[at - 1 : at + 12] == [
        "coco/ar_large",
        *(key.replace("coco/", "coco_segm/") for key in keys[at - 12 : at]),
    ]
    assert keys[-2:] == ["coco/ap/cat", "coco_segm/ap/cat"]
    assert evaluator.compute().metrics["coco_segm/ap/cat"] == pytest.approx(1)


def test_the_numbers_of_masks_have_their_intervals_behind_them() -> None:
    cat = Object("cat", (10, 10, 40, 40), segmentation="[[10, 10, 40, 10, 40, 40, 10, 40]]")
    evaluator = DetectionEvaluator(["cat"], resamples=100)
    for number in range(12):
        truth = truth_of(Record("x", "x.jpg", 100, 100, objects=(cat,)), ["cat"], masks=True)
        box, score = truth.boxes + (number % 3 == 0) * 60, 0.5 + number / 100
        masks = truth.masks if number % 3 else (NO_MASK,)
        evaluator.update(number, Detections(box, [score], [0], masks), truth, (100, 100))
    metrics = evaluator.compute().metrics
    keys = list(metrics)
    for key in MASKS:
        place = keys.index(key)
        assert keys[place + 1 : place + 3] == [f"{key}/low", f"{key}/high"]
        assert 0 < metrics[f"{key}/low"] < metrics[key] < metrics[f"{key}/high"] < 1
    assert "coco_segm/ap_small/low" not in metrics


def test_what_is_kept_grows_with_the_detections_not_with_the_pictures_size() -> None:
    def kept(detections: int, side: int) -> int:
        evaluator = DetectionEvaluator(["a"])
        random = np.random.default_rng(0)
        tracemalloc.start()
        for number in range(100):
            boxes, scores = random.random((detections, 4)) * side, random.random(detections)
            evaluator.update(number, Detections(boxes, scores, np.zeros(detections)), NO_TRUTH, (side, side))
        grown = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return grown

    assert kept(1000, 100) == pytest.approx(kept(1000, 10_000), rel=0.05)
    assert (kept(1000, 100) - kept(100, 100)) / (900 * 100) < 50
    assert kept(0, 100) / 100 < 3000


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
    start = time.process_time()
    _evaluate(detections, truths, list("abcdefghij"))
    assert time.process_time() - start < 0.5


def test_the_evaluation_is_imported_without_torch_matplotlib_or_hotcoco() -> None:
    code = "import reprolens.evaluation, sys; print({'torch', 'matplotlib', 'hotcoco'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
