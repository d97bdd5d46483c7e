import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from reprolens.convert.segmentation import area
from reprolens.evaluation import Detections, Truth, truth_of
from reprolens.evaluation.measures.bootstrap import HEADLINE, MASKS, measured, numbers
from reprolens.evaluation.measures.coco import (
    coco_evaluation,
    coco_metrics,
    evaluate_coco,
    has_masks,
    mask_overlap,
    size_counts,
)
from reprolens.evaluation.measures.detections import join, xywh
from reprolens.evaluation.measures.matches import match_coco
from reprolens.evaluation.measures.voc_ap import match_voc
from reprolens.voc import Object, Record

NAMES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
SIDE = 500
CAR_DAMAGE = Path(__file__).parents[3].parent / "shared" / "data" / "car_damage_via"

Metrics = dict[str, float | None]


def _oracle(
    detections: list[Detections], truths: list[Truth], classes: list[str], kind: str = "bbox", side: int = SIDE
) -> dict[str, Any]:
    """The same numbers by pycocotools."""
    annotations, results = [], []
    for image, (found, truth) in enumerate(zip(detections, truths, strict=True), start=1):
        for place, (box, label) in enumerate(zip(xywh(truth.boxes).tolist(), truth.labels.tolist(), strict=True)):
            row = {"image_id": image, "category_id": label + 1, "bbox": box, "iscrowd": int(truth.crowd[place])}
            if truth.masks is not None:
                row["segmentation"] = {"size": [side, side], "counts": truth.masks[place]}
            annotations.append({**row, "area": float(truth.areas[place]), "id": len(annotations) + 1})
        for place, (box, label) in enumerate(zip(xywh(found.boxes).tolist(), found.labels.tolist(), strict=True)):
            row = {"image_id": image, "category_id": label + 1, "score": float(found.scores[place])}
            if kind == "segm" and found.masks is not None:
                results.append({**row, "segmentation": {"size": [side, side], "counts": found.masks[place]}})
            else:
                results.append({**row, "bbox": box})
    with contextlib.redirect_stdout(io.StringIO()):
        expected = COCO()
        expected.dataset = {
            "images": [{"id": number, "width": side, "height": side} for number in range(1, len(truths) + 1)],
            "categories": [{"id": number, "name": name} for number, name in enumerate(classes, start=1)],
            "annotations": annotations,
        }
        expected.createIndex()
        evaluation = COCOeval(expected, expected.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    prefix = "coco" if kind == "bbox" else "coco_segm"
    metrics = {f"{prefix}/{name}": value for name, value in zip(NAMES, evaluation.stats, strict=True)}
    for index, name in enumerate(classes):
        metrics[f"{prefix}/ap/{name}"] = evaluation.eval["precision"][:, :, index, 0, -1].mean()
    return {key: None if value < 0 else pytest.approx(value, abs=1e-9) for key, value in metrics.items()}


def _measure(detections: list[Detections], truths: list[Truth], classes: list[str]) -> Metrics:
    return coco_metrics(coco_evaluation(detections, truths, [(SIDE, SIDE)] * len(truths), len(classes)), classes)


def _measure_masks(detections: list[Detections], truths: list[Truth], classes: list[str], side: int) -> Metrics:
    joined = join(detections, truths)
    assert has_masks(joined)
    evaluation = evaluate_coco(joined, [(side, side)] * len(truths), len(classes), "segm")
    return coco_metrics(evaluation, classes, "coco_segm")


@pytest.mark.parametrize("seed", range(5))
def test_all_twelve_numbers_are_those_of_pycocotools_with_crowds_and_empty_classes(
    seed: int, random_split: Any
) -> None:
    detections, truths = random_split(40, 4, seed=seed, crowd=0.3)
    classes = ["a", "b", "c", "d", "never seen"]
    metrics = _measure(detections, truths, classes)
    assert list(metrics)[:12] == [f"coco/{name}" for name in NAMES]
    assert metrics == _oracle(detections, truths, classes)


def test_the_published_detections_give_the_published_ap(voc100: Any) -> None:
    (detections, truths), _, classes = voc100
    metrics = _measure(detections, truths, classes)
    assert metrics == _oracle(detections, truths, classes)
    assert None not in [metrics[f"coco/{name}"] for name in NAMES]
    assert metrics["coco/ap"] == pytest.approx(0.346958, abs=5e-7)
    assert metrics["coco/ap50"] == pytest.approx(0.610030, abs=5e-7)
    assert metrics["coco/ap75"] == pytest.approx(0.353714, abs=5e-7)


def test_sizes_go_by_the_area_of_the_object_not_of_its_box(random_split: Any) -> None:
    detections, truths = random_split(40, 2, seed=3)
    random = np.random.default_rng(0)
    other = [replace(truth, given_areas=truth.areas * random.uniform(0.1, 8, len(truth))) for truth in truths]
    metrics, boxes = _measure(detections, other, ["a", "b"]), _measure(detections, truths, ["a", "b"])
    assert metrics == _oracle(detections, other, ["a", "b"])
    assert metrics["coco/ap"] == boxes["coco/ap"] and metrics["coco/ap_small"] != boxes["coco/ap_small"]


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


def test_scores_rank_whatever_their_range(random_split: Any) -> None:
    detections, truths = random_split(20, 2)
    logits = [replace(found, scores=found.scores * 20 - 15) for found in detections]
    assert _measure(logits, truths, ["a", "b"]) == _measure(detections, truths, ["a", "b"])


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str], random_split: Any) -> None:
    _measure(*random_split(5, 2), ["a", "b"])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("seed", range(3))
def test_the_numbers_of_masks_are_those_of_pycocotools_with_crowds(seed: int) -> None:
    detections, truths = _blobs(15, 3, seed)
    classes = ["a", "b", "c", "never seen"]
    metrics = _measure_masks(detections, truths, classes, SIDE)
    assert metrics == _oracle(detections, truths, classes, "segm")
    assert 0 < metrics["coco_segm/ap"] < 1 and None not in [metrics[f"coco_segm/{name}"] for name in NAMES]


def test_real_outlines_give_the_masks_and_areas_of_pycocotools() -> None:
    records = _car_damage()
    side = records[0].width
    truths = [truth_of(record, ["damage"], masks=True) for record in records]
    assert all(truth.masks for truth in truths)
    code = mask.merge(mask.frPyObjects(_polygons(records[0].objects[0]), side, side))
    assert truths[0].masks is not None and truths[0].masks[0] == code["counts"]
    assert truths[0].areas[0] == area(records[0].objects[0].segmentation) != truths[0].boxes[0].prod()
    random = np.random.default_rng(0)
    detections = [_shifted(record, side, random) for record in records]
    metrics = _measure_masks(detections, truths, ["damage"], side)
    assert metrics == _oracle(detections, truths, ["damage"], "segm", side)
    assert 0.05 < metrics["coco_segm/ap"] < 0.95
    perfect = [Detections(t.boxes, np.full(len(t), 0.5), t.labels, t.masks) for t in truths]
    assert _measure_masks(perfect, truths, ["damage"], side)["coco_segm/ap"] == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_our_own_matching_of_masks_gives_the_same_ap_as_what_the_intervals_rest_on(seed: int) -> None:
    detections, truths = _blobs(15, 3, seed)
    joined, sizes = join(detections, truths), [(SIDE, SIDE)] * len(truths)
    boxes, masks = match_coco(joined, 4), match_coco(joined, 4, mask_overlap(joined, sizes))
    split = measured(match_voc(joined, 4), boxes, len(truths), 4, 0.5, masks)
    found = numbers(split, np.ones((1, len(truths)), np.int32)).headline
    expected = _measure_masks(detections, truths, ["a", "b", "c", "never seen"], SIDE)
    assert tuple(found) == HEADLINE + MASKS
    for key in MASKS:
        assert found[key][0] == pytest.approx(expected[key], abs=1e-9)
    assert found["coco_segm/ap"][0] != found["coco/ap"][0]


def test_masks_are_measured_only_where_all_objects_and_detections_have_them() -> None:
    (found,), (truth,) = _blobs(1, 1, 0)
    empty, none = Detections([], [], []), Truth([], [], [], [])
    assert has_masks(join([found, empty, found], [truth, none, none]))
    assert not has_masks(join([found, replace(found, masks=None)], [truth, none]))
    assert not has_masks(join([found, found], [truth, replace(truth, masks=None)]))
    assert not has_masks(join([empty], [truth]))
    assert not has_masks(join([found], [none]))
    assert not has_masks(join([], []))


def test_the_objects_of_all_sizes_add_up() -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 32, 32], [0, 0, 95, 96], [0, 0, 96, 96]]
    truth = Truth(boxes, [0] * 4, [False] * 4, [True] + [False] * 3)
    assert size_counts(truth) == {"small": 1, "medium": 2, "large": 1}
    assert size_counts(replace(truth, given_areas=np.ones(4))) == {"small": 4, "medium": 0, "large": 0}
    assert size_counts(Truth([], [], [], [])) == {"small": 0, "medium": 0, "large": 0}


def _blobs(images: int, classes: int, seed: int) -> tuple[list[Detections], list[Truth]]:
    """Return pictures of ellipses of all sizes, most of them found, somewhat elsewhere, and some that are not there."""
    random = np.random.default_rng(seed)
    detections, truths = [], []
    for _ in range(images):
        count = int(random.integers(2, 8))
        shapes = np.concatenate([random.uniform(50, 450, (count, 2)), random.uniform(6, 110, (count, 2))], axis=1)
        labels, crowd = random.integers(0, classes, count), random.random(count) < 0.2
        moved = np.repeat(shapes, 2, axis=0) * random.normal(1, 0.04, (2 * count, 4))
        boxes, codes = _ellipses(shapes)
        areas = mask.area([{"size": [SIDE, SIDE], "counts": code} for code in codes])
        truths.append(Truth(boxes, labels, np.zeros(count), crowd, areas, codes))
        boxes, codes = _ellipses(moved)
        found = np.where(random.random(2 * count) < 0.8, np.repeat(labels, 2), random.integers(0, classes, 2 * count))
        detections.append(Detections(boxes, random.random(2 * count).round(2), found, codes))
    return detections, truths


def _ellipses(shapes: np.ndarray) -> tuple[np.ndarray, tuple[bytes, ...]]:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    boxes, codes = [], []
    for x, y, a, b in shapes:
        inside = ((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 <= 1
        boxes.append([x - a, y - b, x + a, y + b])
        codes.append(mask.encode(np.asfortranarray(inside, np.uint8))["counts"])
    return np.array(boxes), tuple(codes)


def _car_damage() -> list[Record]:
    """The annotated photographs, 1024 x 1024, of the validation split with their polygons."""
    path = CAR_DAMAGE / "dataset" / "val" / "via_region_data.json"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    records = []
    for number, entry in enumerate(json.loads(path.read_text()).values()):
        regions = entry["regions"]
        shapes = [one["shape_attributes"] for one in (regions.values() if isinstance(regions, dict) else regions)]
        objects = []
        for shape in shapes:
            xs, ys = shape["all_points_x"], shape["all_points_y"]
            outline = json.dumps([[float(value) for point in zip(xs, ys, strict=True) for value in point]])
            box = (float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys)))
            objects.append(Object("damage", box, segmentation=outline))
        records.append(Record(str(number), entry["filename"], 1024, 1024, objects=tuple(objects)))
    return [record for record in records if record.objects]


def _polygons(item: Object) -> list[list[float]]:
    polygons: list[list[float]] = json.loads(item.segmentation)
    return polygons


def _shifted(record: Record, side: int, random: np.random.Generator) -> Detections:
    """Return the objects' outlines, each moved and made larger or smaller."""
    boxes, codes = [], []
    for item in record.objects:
        points = np.array(_polygons(item)[0]).reshape(-1, 2)
        points = (points - points.mean(0)) * random.normal(1, 0.1) + points.mean(0) + random.normal(0, 5, 2)
        boxes.append([*points.min(0), *points.max(0)])
        codes.append(mask.merge(mask.frPyObjects([points.ravel().tolist()], side, side))["counts"])
    return Detections(boxes, random.random(len(boxes)), [0] * len(boxes), tuple(codes))
