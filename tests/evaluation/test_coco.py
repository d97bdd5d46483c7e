import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from reprolens.evaluation import Detections, Truth
from reprolens.evaluation.coco import coco_evaluation, coco_metrics, xywh

NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")


def _oracle(detections: list[Detections], truths: list[Truth], classes: list[str]) -> dict[str, float | None]:
    """The same numbers by pycocotools."""
    annotations, results = [], []
    for image, (found, truth) in enumerate(zip(detections, truths, strict=True), start=1):
        for box, label, crowd in zip(xywh(truth.boxes).tolist(), truth.labels, truth.crowd, strict=True):
            row = {"image_id": image, "category_id": int(label) + 1, "bbox": box, "iscrowd": int(crowd)}
            annotations.append({**row, "area": box[2] * box[3], "id": len(annotations) + 1})
        for box, label, score in zip(xywh(found.boxes).tolist(), found.labels, found.scores, strict=True):
            results.append({"image_id": image, "category_id": int(label) + 1, "bbox": box, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        expected = COCO()
        expected.dataset = {
            "images": [{"id": number, "width": 500, "height": 500} for number in range(1, len(truths) + 1)],
            "categories": [{"id": number, "name": name} for number, name in enumerate(classes, start=1)],
            "annotations": annotations,
        }
        expected.createIndex()
        evaluation = COCOeval(expected, expected.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = {f"coco/{name}": value for name, value in zip(NAMES, evaluation.stats, strict=False)}
    for index, name in enumerate(classes):
        metrics[f"coco/ap/{name}"] = evaluation.eval["precision"][:, :, index, 0, -1].mean()
    return {key: None if value < 0 else pytest.approx(value, abs=1e-9) for key, value in metrics.items()}


def _measure(detections: list[Detections], truths: list[Truth], classes: list[str]) -> dict[str, float | None]:
    return coco_metrics(coco_evaluation(detections, truths, [(500, 500)] * len(truths), len(classes)), classes)


@pytest.mark.parametrize("seed", range(5))
def test_the_numbers_are_those_of_pycocotools_with_crowds_and_empty_classes(seed: int, random_split: Any) -> None:
    detections, truths = random_split(40, 4, seed=seed, crowd=0.3)
    classes = ["a", "b", "c", "d", "never seen"]
    assert _measure(detections, truths, classes) == _oracle(detections, truths, classes)


def test_the_published_detections_give_the_published_ap(voc100: Any) -> None:
    (detections, truths), _, classes = voc100
    metrics = _measure(detections, truths, classes)
    assert metrics == _oracle(detections, truths, classes)
    assert metrics["coco/ap"] == pytest.approx(0.346958, abs=5e-7)
    assert metrics["coco/ap50"] == pytest.approx(0.610030, abs=5e-7)
    assert metrics["coco/ap75"] == pytest.approx(0.353714, abs=5e-7)


def test_more_than_a_hundred_detections_of_a_picture_count_as_in_pycocotools(random_split: Any) -> None:
    detections, truths = random_split(300, 1)
    one = Detections(*(np.concatenate([getattr(d, n) for d in detections]) for n in ("boxes", "scores", "labels")))
    assert len(one) > 1000
    assert _measure([one], truths[:1], ["a"]) == _oracle([one], truths[:1], ["a"])


def test_difficult_objects_count_as_ordinary_ones() -> None:
    nothing = Detections([], [], [])
    assert _measure([nothing], [Truth([[0, 0, 9, 9]], [0], [True], [False])], ["a"])["coco/ap"] == 0


@pytest.mark.parametrize("images", [0, 2])
def test_without_any_object_every_number_is_undefined(images: int) -> None:
    found = Detections([[0, 0, 9, 9]], [0.5], [0])
    metrics = _measure([found] * images, [Truth([], [], [], [])] * images, ["a", "b"])
    assert set(metrics) == {*(f"coco/{name}" for name in NAMES), "coco/ap/a", "coco/ap/b"}
    assert set(metrics.values()) == {None}


def test_inverted_boxes_are_wrong_detections_and_nothing_worse() -> None:
    truth = Truth([[0, 0, 9, 9]], [0], [False], [False])
    found = Detections([[9, 9, 0, 0], [0, 0, 9, 9]], [0.9, 0.8], [0, 0])
    assert _measure([found], [truth], ["a"])["coco/ap"] == pytest.approx(0.5)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str], random_split: Any) -> None:
    _measure(*random_split(5, 2), ["a", "b"])
    assert capfd.readouterr() == ("", "")
