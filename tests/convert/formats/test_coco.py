"""COCO JSON as a source: what is read, what is reported, and that no digit of a box is lost."""

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert.formats.coco_sets import GOOD, coco, fixture, load, the_object, the_problem, write
from convert.sources import DATA
from reprolens.convert.formats.coco import detect
from reprolens.convert.tree import open_tree

# ---- real data sets


@pytest.mark.parametrize(
    ("name", "images", "boxes", "classes"),
    [
        ("coco_dataset/coco", 2, 3, ("a", "b", "c")),
        ("coco_dataset/coco_instances", 2, 3, ("a", "b", "c")),
        ("coco_dataset/coco_person_keypoints", 2, 3, ("a", "b")),
        ("coco_dataset/coco_panoptic", 2, 3, ("a", "b")),
        ("coco_dataset/coco_stuff", 2, 2, ("a", "b")),
        ("coco_dataset/coco_captions", 2, 0, None),
        ("coco_dataset/coco_image_info", 2, 0, None),
        ("coco_dataset/coco_roboflow", 2, 3, ("a", "b", "c")),
        ("coco_dataset/mmdet_coco", 2, 3, ("a", "b", "c")),
        ("kaggle_dataset/relaxed_coco", 2, 2, ("label_0", "label_1")),
        ("roboflow_dataset/coco", 3, 4, ("label_0", "label_1")),
    ],
)
def test_every_layout_of_coco_is_recognised_and_its_pictures_found(
    name: str, images: int, boxes: int, classes: tuple[str, ...] | None
) -> None:
    tree = open_tree(fixture(name))
    assert detect(tree)
    source, pictures, problems = load(tree.root)
    assert {problem.kind for problem in problems} <= {"file_not_read", "not_kept"}
    assert (len(pictures), sum(len(p.record.objects) for p in pictures)) == (images, boxes)
    assert source.classes == classes
    for picture in pictures:
        assert len(tree.images.find(picture.record.file, picture.near)) == 1
    if name.startswith(("coco_dataset", "roboflow")):
        assert {picture.split for picture in pictures} == {"train", "val"}
    assert not (source.not_pictures - set(tree.images.pictures))


def test_files_that_describe_the_pictures_of_instances_again_are_reported() -> None:
    _, _, problems = load(fixture("coco_dataset/coco"))
    names = {Path(problem.file).name.rpartition("_")[0] for problem in problems if problem.kind == "file_not_read"}
    assert names == {"captions", "labels", "panoptic", "person_keypoints", "stuff"}


def test_labels_without_boxes_are_labels_of_the_picture() -> None:
    source, pictures, problems = load(fixture("coco_dataset/coco_labels"))
    assert source.task == "classification" and not problems
    assert {picture.record.file: picture.record.labels for picture in pictures} == {
        "a.jpg": ("b",),
        "b.jpg": ("a", "b"),
    }


def test_outlines_and_crowds_come_as_the_file_has_them() -> None:
    _, pictures, _ = load(fixture("coco_dataset/coco_instances"))
    first, second = pictures[1].record.objects
    assert first.segmentation == "[[0.0,0.0,1.0,0.0,1.0,2.0,0.0,2.0]]" and not first.crowd
    assert second.segmentation == '{"counts":[0,20,30],"size":[10,5]}' and second.crowd


def test_masks_of_a_panoptic_set_are_not_taken_for_pictures() -> None:
    source, _, _ = load(fixture("coco_dataset/coco_panoptic"))
    assert source.not_pictures == {"annotations/panoptic_train/a.png", "annotations/panoptic_val/b.png"}


def test_both_variants_of_the_hundred_photographs_say_the_same() -> None:
    root = DATA / "voc100_multiformat" / "data" / "database"
    if not root.is_dir():
        pytest.skip(f"{root} is absent")
    seen = []
    for name in ("coco_format_v1", "coco_format_v2"):
        source, pictures, problems = load(root / "gts" / name, images=root / "images")
        assert not problems and len(source.classes or ()) == 20
        seen.append(sorted((p.record.file, item.name, item.box) for p in pictures for item in p.record.objects))
        assert len(pictures) == 100
    assert seen[0] == seen[1] and len(seen[0]) == 273


def test_a_file_with_a_suffix_in_capitals_is_read() -> None:
    root = DATA / "voc100_multiformat" / "toyexample" / "gts_coco_format"
    if not root.is_dir():
        pytest.skip(f"{root} is absent")
    assert detect(open_tree(root))
    source, pictures, problems = load(root)
    assert (len(pictures), sum(len(p.record.objects) for p in pictures), source.classes) == (10, 12, ("cat",))
    assert not problems


def test_other_formats_are_not_claimed() -> None:
    claimed = (
        "kaggle_dataset",
        "roboflow_dataset",
        "coco_dataset",
        "mapillary_vistas_dataset",
    )  # these hold COCO files
    for root in sorted(fixture("coco_dataset").parent.iterdir()):
        if root.is_dir() and root.name not in claimed:
            assert detect(open_tree(root)) is None, root


# ---- boxes

NUMBER = st.one_of(
    st.integers(-(10**6), 10**12),
    st.integers(-(10**7), 10**7).map(lambda n: n / 100),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e290, max_value=1e290).filter(
        lambda x: x == 0 or abs(x) > 1e-290
    ),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(boxes=st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), min_size=1, max_size=8))
def test_corners_are_the_sums_of_the_files_decimals(tmp_path: Path, boxes: list[tuple[Any, ...]]) -> None:
    _, pictures, problems = load(write(tmp_path, coco([{"bbox": list(box)} for box in boxes])))
    assert not problems
    for item, box in zip(pictures[0].record.objects, boxes, strict=True):
        x, y, w, h = (Fraction(Decimal(repr(number))) for number in box)
        sums = (x, y, x + w, y + h)
        assert item.box == tuple(map(float, sums))
        corners = item.exact or [Decimal(repr(edge)) for edge in item.box]
        assert tuple(map(Fraction, corners)) == sums


def test_a_negative_width_is_passed_on(tmp_path: Path) -> None:
    assert the_object(tmp_path, bbox=[10, 10, -4, 5]).box == (10.0, 10.0, 6.0, 15.0)


@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        ([[1, 2, 5.5, 2, 5.5, 9], [3, 1, 4, 1, 4, 4]], (1.0, 1.0, 5.5, 9.0)),
        ({"size": [80, 100], "counts": [80 * 2 + 3, 4, 76, 4, 7753]}, (2.0, 3.0, 4.0, 7.0)),
    ],
)
def test_a_missing_bbox_is_the_hull_of_the_outline(tmp_path: Path, segmentation: Any, box: Any) -> None:
    assert the_object(tmp_path, segmentation=segmentation).box == box
    assert the_object(tmp_path, segmentation=segmentation, bbox=[]).box == box


def test_an_outline_keeps_its_text_but_for_blanks(tmp_path: Path) -> None:
    text = json.dumps(coco([GOOD])).replace('"bbox"', '"segmentation": [ [1.50, 2,\n 3e0, 4, 5.0, 6] ], "bbox"')
    _, pictures, _ = load(write(tmp_path, text))
    assert pictures[0].record.objects[0].segmentation == "[[1.50,2,3e0,4,5.0,6]]"


def test_a_bare_polygon_becomes_a_list_of_one(tmp_path: Path) -> None:
    assert the_object(tmp_path, **GOOD, segmentation=[1, 2, 3, 4, 5, 6]).segmentation == "[[1,2,3,4,5,6]]"


@pytest.mark.parametrize("empty", [[], [[]], None, {}])
def test_an_empty_outline_is_none(tmp_path: Path, empty: Any) -> None:
    assert the_object(tmp_path, **GOOD, segmentation=empty).segmentation == ""


def test_marks_are_kept(tmp_path: Path) -> None:
    attributes = {"occluded": True, "truncated": True, "pose": "Left", "track_id": 7}
    item = the_object(tmp_path, **GOOD, iscrowd=1, ignore=1, attributes=attributes)
    assert (item.crowd, item.difficult, item.occluded, item.truncated, item.pose) == (True, True, True, True, "Left")
    item = the_object(tmp_path, **GOOD, iscrowd=0, ignore=0, attributes={"occluded": False})
    assert (item.crowd, item.difficult, item.occluded, item.truncated, item.pose) == (False,) * 4 + ("Unspecified",)


# ---- what is left out and said

BAD: list[tuple[str, dict[str, Any]]] = [
    ("invalid_box", {"bbox": [1, 2, "wide", 4]}),
    ("invalid_box", {"bbox": [1, 2, None, 4]}),
    ("invalid_box", {"bbox": [1, 2, True, 4]}),
    ("invalid_box", {"bbox": [1, 2, 3]}),
    ("invalid_box", {"bbox": "1 2 3 4"}),
    ("invalid_box", {"bbox": {"x": 1}}),
    ("invalid_box", {"bbox": [1, 2, 10**400, 4]}),
    ("invalid_box", {"segmentation": {"size": [80, 100], "counts": [9000, 9000]}}),
    ("invalid_box", {"segmentation": [["a"]]}),
    ("unsupported_shape", {}),
    ("unsupported_shape", {"keypoints": [1, 2, 2]}),
    ("unknown_class", {**GOOD, "category_id": 7}),
    ("unknown_class", {**GOOD, "category_id": None}),
    ("unknown_class", {**GOOD, "category_id": [1]}),
    ("missing_image", {**GOOD, "image_id": 99}),
    ("missing_image", {**GOOD, "image_id": None}),
    ("missing_image", {**GOOD, "image_id": {}}),
]


@pytest.mark.parametrize(("kind", "bad"), BAD)
def test_a_bad_object_loses_itself_alone(tmp_path: Path, kind: str, bad: dict[str, Any]) -> None:
    problem = the_problem(tmp_path, coco([bad, GOOD]))
    assert problem.kind == kind and "annotation 1" in problem.place
    assert "\n" not in problem.reason and len(problem.reason) < 200


@pytest.mark.parametrize("entry", ["7", "null", "[1]", '{"id":1,"image_id":1,"category_id":1,"bbox":[1,2,1e999,4]}'])
def test_an_entry_that_is_none_loses_itself_alone(tmp_path: Path, entry: str) -> None:
    text = json.dumps(coco([GOOD])).replace('"annotations": [', f'"annotations": [{entry}, ')
    assert the_problem(tmp_path, text).kind == "unreadable_annotation"


def test_not_a_number_is_a_problem_of_its_object(tmp_path: Path) -> None:
    problem = the_problem(tmp_path, coco([{"bbox": [1, float("nan"), 3, 4]}, GOOD]))
    assert problem.kind == "invalid_box" and "NaN" in problem.reason


@pytest.mark.parametrize("segmentation", ["a text", 7, [{}], [["\n"]]])
def test_an_outline_that_is_none_loses_itself_but_not_the_box(tmp_path: Path, segmentation: Any) -> None:
    _, pictures, problems = load(write(tmp_path, coco([{**GOOD, "segmentation": segmentation}])))
    assert pictures[0].record.objects[0].box == (1.0, 2.0, 4.0, 6.0)
    assert [p.kind for p in problems] == ["unreadable_mask"] or segmentation == [["\n"]]  # that is drawn, or not, later


def test_a_category_with_two_names_is_used_by_no_object(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 2, "name": "wolf"}]
    problem = the_problem(tmp_path, coco([GOOD, {**GOOD, "category_id": 2}], categories=categories))
    assert problem.kind == "unknown_class" and "dog" in problem.reason and "wolf" in problem.reason


def test_two_categories_of_one_name_become_one_class(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}]
    source, pictures, problems = load(write(tmp_path, coco([GOOD, {**GOOD, "category_id": 2}], categories=categories)))
    assert source.classes == ("cat",) and [problem.kind for problem in problems] == ["duplicate_class"]
    assert [item.name for item in pictures[0].record.objects] == ["cat", "cat"]


def test_classes_are_in_the_order_of_sparse_ids(tmp_path: Path) -> None:
    categories = [{"id": 90, "name": "z"}, {"id": 1, "name": "cat"}, {"id": 17, "name": "a"}]
    source, _, _ = load(write(tmp_path, coco([GOOD], categories=categories)))
    assert source.classes == ("cat", "a", "z")


def test_the_category_of_roboflows_project_is_no_class(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "pets"},
    ]
    assert load(write(tmp_path, coco([GOOD], categories=categories)))[0].classes == ("cat",)
    used = coco([GOOD, {**GOOD, "category_id": 0}], categories=categories)
    assert load(write(tmp_path, used))[0].classes == ("pets", "cat")


def test_ids_may_be_text_on_one_side(tmp_path: Path) -> None:
    images = [{"id": "1", "file_name": "1.jpg", "width": 100, "height": 80}, {"id": "b", "file_name": "b.jpg"}]
    content = coco([GOOD, {**GOOD, "image_id": "b", "category_id": "2"}], images=images)
    _, pictures, problems = load(write(tmp_path, content))
    assert not problems and [[item.name for item in p.record.objects] for p in pictures] == [["cat"], ["dog"]]
    assert (pictures[1].record.width, pictures[1].record.height) == (0, 0)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ({"id": 2}, "missing_image"),
        ({"id": 2, "file_name": ["x"]}, "missing_image"),
        ({"id": 1, "file_name": "2.jpg"}, "unreadable_annotation"),
        ({"file_name": "2.jpg"}, "unreadable_annotation"),
        ("2.jpg", "unreadable_annotation"),
    ],
)
def test_a_bad_picture_loses_itself_alone(tmp_path: Path, image: Any, kind: str) -> None:
    content = coco([GOOD])
    content["images"].append(image)
    assert the_problem(tmp_path, content).kind == kind
