import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from reprolens import files
from reprolens.errors import ConfigError, DataError
from reprolens.evaluation.fingerprint import fingerprint
from reprolens.evaluation.foreign import Options, evaluate_file
from reprolens.evaluation.predictions import Form
from reprolens.evaluation.predictions.coco_files import read_truth, write_predictions, write_truth
from reprolens.voc import Object, Record, read_folder, write_folder

GOLDEN = 0.610913
QUICK = Options(resamples=0, breakdown=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A VOC folder of three splits of two pictures; of the test objects one is difficult."""
    root, splits = tmp_path / "voc", {}
    (root / "JPEGImages").mkdir(parents=True)
    for split in ("train", "val", "test"):
        records = []
        for number in range(2):
            id = f"{split}_{number}"
            shade = (len(split) * 40, number * 90, 7)
            Image.new("RGB", (100, 80), shade).save(root / "JPEGImages" / f"{id}.png")
            objects = (Object("cat", (10, 10, 50, 50)), Object("dog", (60, 20, 90, 40), difficult=number == 1))
            records.append(Record(id, f"{id}.png", 100, 80, 3, objects))
        splits[split] = records
    write_folder(root, ["cat", "dog"], splits)
    (root / "JPEGImages" / "train_0.png").write_bytes(b"train 0")
    return root


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """All but the difficult object of the test split, found."""
    path = tmp_path / "found" / "found.json"
    path.parent.mkdir()
    cat, dog = {"category_id": 1, "bbox": [10, 10, 40, 40]}, {"category_id": 2, "bbox": [60, 20, 30, 20]}
    rows = [("test_0", cat), ("test_0", dog), ("test_1", cat)]
    path.write_text(json.dumps([{"image_id": id, "score": 0.9, **row} for id, row in rows]))
    return path


def test_the_numbers_are_those_of_the_split_and_the_facts_say_which(data: Path, predictions: Path) -> None:
    found = evaluate_file(predictions, data, QUICK)
    assert found.facts == {"split": "test", "data/sha256": fingerprint(read_folder(data), "test")}
    assert found.results.metrics["images"] == 2
    assert found.results.metrics["voc12/map50"] == found.results.metrics["recall"] == 1
    assert [picture.record.id for picture in found.pictures] == ["test_0", "test_1"]
    assert all(picture.path is not None and picture.path.is_file() for picture in found.pictures)
    assert found.notes[0] == "image_id is the name of the picture's file"


def test_difficult_objects_count_where_they_are_asked_to(data: Path, predictions: Path) -> None:
    counted = evaluate_file(predictions, data, Options(resamples=0, breakdown=False, ignore_difficult=False))
    assert counted.results.metrics["recall"] == 0.75
    assert counted.notes[-1] == "difficult objects count as any other"


def test_a_coco_file_of_the_truth_gives_the_numbers_of_the_folder(
    data: Path, predictions: Path, tmp_path: Path
) -> None:
    first = evaluate_file(predictions, data)
    truth, again = tmp_path / "reports" / "ground_truth.json", tmp_path / "reports" / "predictions.json"
    write_truth(first.pictures, first.results.classes, "test", str(first.facts["data/sha256"]), truth)
    write_predictions(first.pictures, again)
    for path in (predictions, again):
        second = evaluate_file(path, truth)
        assert second.results.metrics == first.results.metrics
        assert second.facts == first.facts
        assert all(picture.path is None for picture in second.pictures)
    assert read_truth(truth).split == "test"


def test_a_foreign_coco_file_is_known_by_its_own_hash(tmp_path: Path, predictions: Path) -> None:
    path = tmp_path / "instances_val2017.json"
    content = {
        "images": [{"id": 5, "file_name": "test_0.jpg"}, {"id": 6, "file_name": "test_1.jpg"}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [{"image_id": 5, "category_id": 1, "bbox": [10, 10, 40, 40]}],
    }
    path.write_text(json.dumps(content))
    found = evaluate_file(predictions, path, QUICK)
    assert found.facts == {"split": "instances_val2017", "data/sha256": files.sha256(path)}
    assert found.results.metrics["boxes"] == 1


def test_masks_are_measured_where_all_objects_and_detections_have_them(tmp_path: Path) -> None:
    outline = [[10, 10, 50, 10, 50, 50, 10, 50]]
    truth = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40], "segmentation": outline}],
    }
    row = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40], "score": 0.5, "segmentation": outline}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps([row]))
    found = evaluate_file(tmp_path / "found.json", tmp_path / "truth.json", QUICK)
    assert found.results.metrics["coco_segm/ap"] == pytest.approx(1)
    truth["annotations"][0]["segmentation"] = []
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    found = evaluate_file(tmp_path / "found.json", tmp_path / "truth.json", QUICK)
    assert "coco_segm/ap" not in found.results.metrics
    assert found.results.metrics["coco/ap"] == pytest.approx(1)


def test_an_empty_prediction_set_scores_nothing(data: Path, predictions: Path) -> None:
    predictions.write_text("[]")
    found = evaluate_file(predictions, data)
    metrics = found.results.metrics
    assert (metrics["detections"], metrics["voc12/map50"], metrics["coco/ap"], metrics["recall"]) == (0, 0, 0, 0)
    assert metrics["precision"] is None
    assert found.notes == ()


def test_what_is_no_data_set_of_ours_says_how_to_make_one(tmp_path: Path, data: Path, predictions: Path) -> None:
    for path, said in (
        (tmp_path, r"not a VOC folder that the convert stage wrote .* dvc repro convert"),
        (tmp_path / "missing", "not found; set data.path"),
        (data / "labels.txt", "not valid JSON"),
    ):
        with pytest.raises(DataError, match=said):
            evaluate_file(predictions, path, QUICK)
    with pytest.raises(DataError, match="has no split 'all'; it has train, val, test"):
        evaluate_file(predictions, data, Options(split="all"))
    (data / "ImageSets" / "Main" / "val.txt").write_text("")
    with pytest.raises(DataError, match="its split val has no picture; give another --split"):
        evaluate_file(predictions, data, Options(split="val"))


def test_a_test_split_that_training_saw_is_refused(data: Path, predictions: Path) -> None:
    pictures = data / "JPEGImages"
    (pictures / "train_1.png").write_bytes((pictures / "test_1.png").read_bytes())
    with pytest.raises(DataError, match="1 of 2 pictures of test are in train too, byte for byte"):
        evaluate_file(predictions, data, QUICK)


def test_predictions_of_another_split_are_refused(data: Path, predictions: Path) -> None:
    with pytest.raises(DataError, match="row 0: 'test_0' is no picture of the split"):
        evaluate_file(predictions, data, Options(split="val", form=Form()))


def test_what_has_no_meaning_for_the_predictions_form_is_refused(data: Path, predictions: Path) -> None:
    with pytest.raises(ConfigError, match=r"--boxes xyxy: .* leave --boxes out"):
        evaluate_file(predictions, data, Options(resamples=0, form=Form("xyxy")))


def test_class_numbers_read_in_the_order_of_their_names_give_the_published_numbers(
    shared_data: Path, tmp_path: Path
) -> None:
    base = shared_data / "voc100_multiformat" / "data" / "database"
    truth = base / "gts" / "coco_format_v2" / "instances_v2.json"
    options = Options(resamples=0, breakdown=False, ignore_difficult=False, form=Form(first_pixel=0))
    with pytest.raises(DataError, match="its class is a number"):
        evaluate_file(base / "dets" / "abs_xywh", truth, options)
    found = shutil.copytree(base / "dets" / "abs_xywh", tmp_path / "found")
    shutil.copy(base / "voc.names", tmp_path)
    measured = evaluate_file(found, truth, options)
    assert measured.results.metrics["voc12/map50"] == pytest.approx(GOLDEN, abs=5e-7)
    assert "class numbers are places in voc.names beside the folder, from 0: 0 is aeroplane" in measured.notes
