"""coco.json holds what was found, for every reader of COCO's files."""

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools.coco import COCO

from inference.results.seeing import CLASSES, rows, seen
from reprolens.errors import ExportError
from reprolens.evaluation.predictions import read_predictions
from reprolens.inference.results.coco import write_coco
from reprolens.inference.seen import Seen
from reprolens.voc import Record

TWO = [(10.1, 20.2, 110.5, 220.25, 0.9, 2), (0, 0, 640, 480, 0.125, 0)]


def written(out: Path, pictures: Sequence[Seen]) -> dict[str, Any]:
    with write_coco(out, CLASSES) as write:
        for picture in pictures:
            write(picture)
    content: dict[str, Any] = json.loads((out / "coco.json").read_text(encoding="utf-8"))
    return content


@settings(deadline=None, max_examples=50)
@given(rows)
def test_boxes_scores_and_classes_come_back_to_the_bit(found: list) -> None:
    picture = seen(rows=found)
    with TemporaryDirectory() as out:
        annotations = written(Path(out), [picture])["annotations"]
    boxes = np.array([one["bbox"] for one in annotations], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    assert (boxes.astype(np.float32) == picture.found.boxes).all()
    assert [np.float32(one["score"]) for one in annotations] == picture.found.scores.tolist()
    assert [one["category_id"] - 1 for one in annotations] == picture.found.labels.tolist()


def test_pycocotools_reads_it_as_a_data_set_and_its_annotations_as_results(tmp_path: Path) -> None:
    content = written(tmp_path, [seen("a.jpg", TWO), seen("b/c.png"), seen("b/d.png", TWO[:1])])
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(tmp_path / "coco.json")
        results = coco.loadRes(content["annotations"])
    assert [coco.imgs[place]["file_name"] for place in (1, 2, 3)] == ["a.jpg", "b/c.png", "b/d.png"]
    assert [category["name"] for category in coco.loadCats([1, 2, 3])] == list(CLASSES)
    assert results.anns[1]["bbox"] == [10.1, 20.2, 100.4, 200.05] and results.anns[3]["image_id"] == 3
    assert {one["id"] for one in content["annotations"]} == {1, 2, 3}


def test_evaluation_reads_it_by_the_names_of_the_pictures(tmp_path: Path) -> None:
    written(tmp_path, [seen("b.jpg", TWO), seen("a.jpg", TWO[:1])])
    records = [Record(name.removesuffix(".jpg"), name, 640, 480) for name in ("a.jpg", "b.jpg", "c.jpg")]
    found, _ = read_predictions(tmp_path / "coco.json", records, CLASSES)
    assert [len(one) for one in found] == [1, 2, 0]
    assert found[1].boxes[0] == pytest.approx(TWO[0][:4]) and found[1].labels.tolist() == [2, 0]


def test_numbers_are_as_short_as_they_can_be(tmp_path: Path) -> None:
    written(tmp_path, [seen(rows=[(12.1, 0, 15.3, 1, 0.7, 0)])])
    assert '"bbox": [12.1, 0.0, 3.2, 1.0]' in (tmp_path / "coco.json").read_text()


def test_names_of_any_bytes_are_valid_json(tmp_path: Path) -> None:
    names = ['a "quoted" ünïcode 猫.jpg', "\udcff.jpg", "back\\slash\n.jpg"]
    content = written(tmp_path, [seen(name) for name in names])
    assert [image["file_name"] for image in content["images"]] == names


def test_no_pictures_are_a_whole_document_too(tmp_path: Path) -> None:
    content = written(tmp_path, [])
    assert content["images"] == content["annotations"] == [] and len(content["categories"]) == 3


def test_frames_are_pictures_of_their_own(tmp_path: Path) -> None:
    content = written(tmp_path, [seen(f"film.mp4/{index:06d}", frame=index) for index in (0, 25)])
    assert [image["file_name"] for image in content["images"]] == ["film.mp4/000000.jpg", "film.mp4/000025.jpg"]


def test_nothing_is_left_of_a_document_that_was_broken_off(tmp_path: Path) -> None:
    written(tmp_path, [seen()])
    before = (tmp_path / "coco.json").read_bytes()
    with pytest.raises(ZeroDivisionError), write_coco(tmp_path, CLASSES) as write:
        write(seen("b.jpg", TWO))
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["coco.json"]
    assert (tmp_path / "coco.json").read_bytes() == before


def test_what_is_no_number_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"^a\.jpg: .* no finite numbers"):
        written(tmp_path, [seen(rows=[(0, 0, float("nan"), 1, 0.5, 0)])])
