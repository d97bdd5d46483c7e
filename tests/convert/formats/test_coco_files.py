"""Laws of which COCO files are read, and of damaged ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert.formats.coco_sets import GOOD, coco, load, write
from reprolens.convert.formats.coco import detect
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

# ---- files


def test_a_bad_file_loses_itself_alone(tmp_path: Path) -> None:
    write(tmp_path, coco([GOOD]), "train.json")
    for name, text in {"b.json": '{"images": [', "c.json": "[]", "d.json": "{}", "e.json": '{"images": 3}'}.items():
        write(tmp_path, text, name)
    _, pictures, problems = load(tmp_path)
    assert len(pictures) == 1 and pictures[0].split == "train"
    kinds = {problem.file: problem.kind for problem in problems}
    unreadable, skipped = "unreadable_annotation", "file_not_read"
    assert kinds == {"b.json": unreadable, "c.json": skipped, "d.json": skipped, "e.json": unreadable}


@pytest.mark.parametrize("text", ['{"images": [', "[]", "{}", '{"images": {}}', "", "\x00", '{"a":' * 5000])
def test_a_source_without_a_file_of_coco_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="no COCO file"):
        load(write(tmp_path, text))


def test_annotations_chooses_files(tmp_path: Path) -> None:
    write(tmp_path, coco([GOOD]), "annotations/instances_train.json")
    write(tmp_path, coco([GOOD, GOOD]), "annotations/mine_train.json")
    _, pictures, _ = load(tmp_path, annotations="mine_*.json")
    assert [len(picture.record.objects) for picture in pictures] == [2]
    with pytest.raises(DataError, match="nothing_"):
        load(tmp_path, annotations="nothing_*.json")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("annotations/instances_train2017.json", "train"),
        ("annotations/instances_valid.json", "val"),
        ("annotations/image_info_test-dev2017.json", "test"),
        ("train/_annotations.coco.json", "train"),
        ("annotations/train_val.json", "trainval"),
        ("annotations.json", None),
    ],
)
def test_a_files_name_tells_the_split(tmp_path: Path, name: str, split: str | None) -> None:
    assert [picture.split for picture in load(write(tmp_path, coco([GOOD]), name))[1]] == [split]


def test_folders_of_pictures_tell_the_split_of_one_file_for_all(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "train/1.jpg"}, {"id": 2, "file_name": "2.jpg"}, {"id": 3, "file_name": "3.jpg"}]
    write(tmp_path, coco([GOOD], images=images))
    for name in ("images/train/1.jpg", "images/valid/2.jpg"):
        write(tmp_path, "a picture", name)
    assert [picture.split for picture in load(tmp_path)[1]] == ["train", "val", None]


def test_pictures_of_one_name_in_two_splits_stay_two(tmp_path: Path) -> None:
    for split in ("train2017", "val2017"):
        write(tmp_path, coco([GOOD]), f"annotations/instances_{split}.json")
        write(tmp_path, "a picture", f"{split}/1.jpg")
    tree = open_tree(tmp_path)
    found = [tree.images.find(picture.record.file, picture.near) for picture in load(tmp_path)[1]]
    assert found == [["train2017/1.jpg"], ["val2017/1.jpg"]]


def test_a_list_of_pictures_adds_those_that_the_split_lacks(tmp_path: Path) -> None:
    write(tmp_path, coco([GOOD]), "annotations/instances_train.json")
    images = [{"id": 5, "file_name": "1.jpg"}, {"id": 6, "file_name": "2.jpg"}]
    write(tmp_path, {"images": images, "categories": []}, "annotations/image_info_train.json")
    _, pictures, problems = load(tmp_path)
    assert [(p.record.file, len(p.record.objects)) for p in pictures] == [("1.jpg", 1), ("2.jpg", 0)] and not problems


def test_a_large_file_is_recognised_by_its_ends(tmp_path: Path) -> None:
    images = [{"id": n, "file_name": f"{n:040d}.jpg"} for n in range(20_000)]
    write(tmp_path, {"images": images, "annotations": [{"image_id": 1}] * 50_000, "categories": []})
    assert (tmp_path / "annotations.json").stat().st_size > 2**20
    assert detect(open_tree(tmp_path)) == "annotations.json has images and categories"


# ---- damage

_TEXT = json.dumps(
    coco(
        [{**GOOD, "segmentation": [[1, 2, 3, 4, 5, 6]]}, {"segmentation": {"size": [80, 100], "counts": "0520"}}],
        info={"year": 2017},
    )
)
_PIECES = st.sampled_from(
    ["", "null", "[]", "{}", '"x"', "-1e308", "NaN", "[[", "}", ",", "1e999", '"\\ud800"', "é", "9" * 50]
)
_CUT = st.tuples(st.integers(0, len(_TEXT)), st.integers(0, 30), _PIECES)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cuts=st.lists(_CUT, min_size=1, max_size=4), coded=st.sampled_from(["utf-8", "utf-16", "latin-1"]))
def test_damage_is_an_error_or_a_problem(tmp_path: Path, cuts: list[tuple[int, int, str]], coded: str) -> None:
    text = _TEXT
    for start, length, piece in cuts:
        text = text[:start] + piece + text[start + length :]
    _unharmed(tmp_path, lambda path: path.write_bytes(text.encode(coded)))


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "name", "size"]), inner),
    max_leaves=5,
)
_KEYS = ["id", "image_id", "category_id", "bbox", "segmentation", "segments_info", "iscrowd", "ignore", "attributes"]
_IMAGE = st.dictionaries(st.sampled_from(["id", "file_name", "width", "height"]), _ANY)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    image=_IMAGE,
    annotation=st.dictionaries(st.sampled_from(_KEYS), _ANY),
    category=st.dictionaries(st.sampled_from(["id", "name", "supercategory"]), _ANY),
)
def test_values_of_any_type_are_an_error_or_a_problem(
    tmp_path: Path, image: Any, annotation: Any, category: Any
) -> None:
    content = coco([{**GOOD, **annotation}])
    content["images"].append(image)
    content["categories"].append(category)
    _unharmed(tmp_path, lambda path: path.write_text(json.dumps(content)))


def _unharmed(root: Path, write: Callable[[Path], Any]) -> None:
    write(root / "annotations.json")
    tree = open_tree(root)
    detect(tree)
    try:
        _, pictures, problems = load(root)
    except DataError:
        return
    for picture in pictures:
        assert picture.record.file.strip() and picture.record.width >= 0
        assert all(isinstance(edge, float) for item in picture.record.objects for edge in item.box)
    assert all("\n" not in problem.reason for problem in problems)
