import contextlib
import io
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from reprolens.errors import DataError
from reprolens.evaluation import DetectionEvaluator, Detections, Picture, Truth
from reprolens.evaluation.predictions import read_predictions
from reprolens.evaluation.predictions.coco_files import added, read_truth, write_predictions, write_truth
from reprolens.voc import Object, Record

CLASSES = ("a", 'b, quoted "c"', "never")
NUMBERS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")
SQUARE = "[[10,10,40,10,40,40,10,40]]"


def _pictures(split: Any) -> list[Picture]:
    pictures = []
    for number, (found, truth) in enumerate(zip(*split, strict=True)):
        objects = tuple(
            Object(CLASSES[label], tuple(box), difficult=bool(difficult), crowd=bool(crowd))
            for box, label, difficult, crowd in zip(
                truth.boxes.tolist(), truth.labels, truth.difficult, truth.crowd, strict=True
            )
        )
        record = Record(f"p{number}", f"sub/p{number}.jpg", 100, 90, 3, objects)
        pictures.append(Picture(record, None, found))
    return pictures


def _write(pictures: list[Picture], folder: Path) -> tuple[Path, Path]:
    write_truth(pictures, CLASSES, "val", "abc", folder / "ground_truth.json")
    write_predictions(pictures, folder / "predictions.json")
    return folder / "ground_truth.json", folder / "predictions.json"


def _oracle(truth: Path, predictions: Path) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        expected = COCO(str(truth))
        evaluation = COCOeval(expected, expected.loadRes(str(predictions)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


def _ours(pictures: list[Picture], truths: list[Truth]) -> list[float | None]:
    evaluator = DetectionEvaluator(CLASSES)
    for picture, truth in zip(pictures, truths, strict=True):
        evaluator.update(picture.record.id, picture.detections, truth, (100, 90))
    metrics = evaluator.compute().metrics
    return [metrics[f"coco/{name}"] for name in NUMBERS]


def _same(ours: list[float | None], oracle: list[float]) -> None:
    values = [-1 if value is None else value for value in ours]
    np.testing.assert_allclose(values, oracle[: len(values)], rtol=0, atol=1e-12)


def test_pycocotools_on_the_two_files_gives_the_numbers_of_the_evaluation(tmp_path: Path, random_split: Any) -> None:
    split = random_split(40, 2, seed=5, crowd=0.2, difficult=0.2)
    pictures = _pictures(split)
    truth, predictions = _write(pictures, tmp_path)
    _same(_ours(pictures, split[1]), _oracle(truth, predictions))


def test_the_files_say_the_same_of_real_detections(tmp_path: Path, voc100: Any) -> None:
    (detections, truths), records, classes = voc100
    pictures = [
        Picture(replace(record, objects=_objects(truth, classes)), None, found)
        for record, truth, found in zip(records, truths, detections, strict=True)
    ]
    write_truth(pictures, classes, "test", None, tmp_path / "truth.json")
    write_predictions(pictures, tmp_path / "predictions.json")
    oracle = _oracle(tmp_path / "truth.json", tmp_path / "predictions.json")
    np.testing.assert_allclose(oracle[:3], [0.346958, 0.610030, 0.353714], rtol=0, atol=5e-7)


def _objects(truth: Truth, classes: list[str]) -> tuple[Object, ...]:
    rows = zip(truth.boxes.tolist(), truth.labels, truth.difficult, strict=True)
    return tuple(Object(classes[label], tuple(box), difficult=bool(difficult)) for box, label, difficult in rows)


def test_a_split_comes_back_from_its_two_files_as_it_was(tmp_path: Path, random_split: Any) -> None:
    split = random_split(30, 2, seed=1)
    rounded = [replace(truth, boxes=truth.boxes.round(2)) for truth in split[1]]
    pictures = _pictures(([replace(found, boxes=found.boxes.round(3)) for found in split[0]], rounded))
    truth, predictions = _write(pictures, tmp_path)
    ground = read_truth(truth)
    assert (ground.classes, ground.split, ground.sha256) == (CLASSES, "val", "abc")
    assert ground.records == tuple(picture.record for picture in pictures)
    found, _ = read_predictions(predictions, ground.records, ground.classes, truth=ground)
    for one, picture in zip(found, pictures, strict=True):
        left, right = picture.detections.boxes[:, :2], picture.detections.boxes[:, 2:]
        upright = np.concatenate([left, np.maximum(left, right)], axis=1)  # COCO has no side below 0
        np.testing.assert_array_equal(one.boxes, upright)
        np.testing.assert_array_equal(one.scores, picture.detections.scores)
        np.testing.assert_array_equal(one.labels, picture.detections.labels)


def test_outlines_and_masks_are_in_the_files_and_come_back(tmp_path: Path) -> None:
    from hotcoco import mask

    drawn = np.zeros((90, 100), np.uint8, "F")
    drawn[10:40, 10:40] = 1
    code = bytes(mask.encode(drawn)["counts"])
    record = Record("p", "p.jpg", 100, 90, 3, (Object("a", (10, 10, 40, 40), segmentation=SQUARE),))
    found = Detections([[10, 10, 40, 40]], [0.5], [0], (code,))
    truth, predictions = _write(
        [Picture(record, None, found), Picture(_empty("q"), None, Detections([], [], []))], tmp_path
    )
    ground = read_truth(truth)
    assert ground.records[0] == record
    assert ground.truth(0).areas.tolist() == [900]
    again, _ = read_predictions(predictions, ground.records, CLASSES)
    assert again[0].masks == (code,)
    with contextlib.redirect_stdout(io.StringIO()):
        expected = COCO(str(truth))
        evaluation = COCOeval(expected, expected.loadRes(str(predictions)), "segm")
        evaluation.evaluate()
    assert evaluation.evalImgs[0]["dtMatches"].all()


def _empty(id: str) -> Record:
    return Record(id, f"{id}.jpg", 100, 90)


def test_the_files_of_nothing_are_valid(tmp_path: Path) -> None:
    truth, predictions = _write([], tmp_path)
    assert read_truth(truth).records == ()
    assert json.loads(predictions.read_text()) == []


def test_the_files_are_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    boxes, labels = np.random.default_rng(0).uniform(0, 90, (50, 4)), [0] * 50
    objects = tuple(Object("a", tuple(box)) for box in boxes.tolist())
    record = Record("p", "p.jpg", 100, 90, 3, objects)
    pictures = [Picture(record, None, Detections(boxes, labels, labels))] * 200
    tracemalloc.start()
    try:
        paths = _write(pictures, tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(path.stat().st_size > 1_000_000 for path in paths)
    assert peak < 300_000


def test_the_areas_of_a_foreign_file_decide_sizes_as_in_pycocotools(tmp_path: Path, random_split: Any) -> None:
    split = random_split(30, 2, seed=9)
    pictures = _pictures(split)
    truth, predictions = _write(pictures, tmp_path)
    said = json.loads(truth.read_text())
    for number, annotation in enumerate(said["annotations"]):
        annotation["area"] = [400, 2500.5, 20000][number % 3]
    truth.write_text(json.dumps(said))
    ground = read_truth(truth)
    truths = [ground.truth(place) for place in range(len(ground.records))]
    _same(_ours(pictures, truths), _oracle(truth, predictions))
    write_truth(pictures, CLASSES, "val", None, tmp_path / "again.json", truths)
    assert _oracle(tmp_path / "again.json", predictions) == _oracle(truth, predictions)


def test_cocos_own_ids_and_a_file_with_the_least_in_it_are_read(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text(
        '{"images": [{"id": 397133, "file_name": "000000397133.jpg", "height": 4, "width": 5}], "info": "free text", '
        '"categories": [{"id": 90, "name": "z"}, {"id": 2, "name": "y", "supercategory": "x"}], '
        '"annotations": [{"image_id": 397133, "category_id": 90, "bbox": [12.1, 1, 3.2, 1]}]}'
    )
    ground = read_truth(path)
    assert (ground.classes, ground.category_ids, ground.image_ids) == (("y", "z"), (2, 90), (397133,))
    assert (ground.split, ground.sha256) == (None, None)
    assert ground.records == (Record("000000397133", "000000397133.jpg", 5, 4, 3, (Object("z", (12.1, 1, 15.3, 2)),)),)
    assert ground.truth(0).areas == pytest.approx([3.2])


def _one(**change: Any) -> dict[str, Any]:
    return {"annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], **change}]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"annotations": [{"image_id": 2, "category_id": 1, "bbox": [0, 0, 1, 1]}]}, r"annotations\[0\] is of image 2"),
        (
            {"annotations": [{"image_id": 1, "category_id": 7, "bbox": [0, 0, 1, 1]}]},
            r"annotations\[0\] is of category 7",
        ),
        ({"annotations": [{"image_id": 1, "category_id": 1}]}, r"annotations\[0\] has no bbox"),
        ({"annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, -1, 1]}]}, r"\[0\] has the bbox .*mend"),
        ({"annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1]}]}, r"length 4.*annotations\[0\]"),
        ({"annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, float("nan"), 1, 1]}]}, r"annotations\[0\]"),
        (_one(bbox=[0, 0, "1", 1]), r'annotations\[0\] has the bbox \[0.0, 0.0, "1", 1.0\], but "1" in quotes is text'),
        (
            _one(bbox=[0, float("nan"), 1, 1]),
            r"annotations\[0\] has the bbox \[0.0, NaN, 1.0, 1.0\], which must be finite",
        ),
        (_one(bbox=[0, 0, 1e200, 1]), r"annotations\[0\] has the bbox .* reaches further than 1e\+100"),
        (_one(area=float("nan")), r"annotations\[0\] has the area NaN, which must be finite numbers"),
        (_one(area="4"), r'annotations\[0\] has the area "4", but "4" in quotes is text, not a number'),
        (_one(area=-4), r"annotations\[0\] has the area -4.0, and no area is below 0"),
        (
            _one(segmentation=[[1, 2, float("nan"), 4, 5, 6]]),
            r"annotations\[0\] has a segmentation with NaN or Infinity",
        ),
        (_one(image_id="x" * 100_000), r"annotations\[0\] is of image \"x+\.\.\., which the file does not list"),
        (
            {"images": [{"id": id, "file_name": "a.jpg"} for id in (1, 2)]},
            "two of its images have the file_name 'a.jpg'",
        ),
        (
            {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": ""}]},
            "one of its categories has no name; mend",
        ),
        ({"images": [{"id": 1, "file_name": "a"}] * 2}, "two of its images have the id 1"),
        ({"images": [{"id": 1, "file_name": "a", "width": -3, "height": 1}]}, r"images\[0\] is -3 x 1 pixels"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "two of its categories have the name 'a'"),
        ({"categories": 3}, "not as this format has it"),
    ],
)
def test_a_damaged_truth_is_one_clear_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    whole = {"images": [{"id": 1, "file_name": "a.jpg"}], "categories": [{"id": 1, "name": "a"}], "annotations": []}
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({**whole, **change}))
    with pytest.raises(DataError, match=said) as caught:
        read_truth(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_detection_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    picture = Picture(_empty("p"), None, Detections([[0, 0, 1, np.nan]], [0.5], [0]))
    with pytest.raises(DataError, match="p: a detection is not of finite numbers"):
        write_predictions([picture], tmp_path / "predictions.json")
    assert not list(tmp_path.iterdir())


@given(st.integers(0, 10**10), st.integers(0, 10**10), st.sampled_from([10**3, 10**4, 10**5, 10**6]))
def test_a_corner_of_few_decimals_survives_as_left_and_width(x0: int, width: int, scale: int) -> None:
    left, right = np.array([x0 / scale]), np.array([(x0 + width) / scale])
    assert added(left, right - left) == right
    assert added(left, np.array([width / scale])) == right
