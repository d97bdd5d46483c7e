"""Laws of reading Pascal VOC: what its files say arrives, exactly, and what is damaged costs nothing else."""

import json
import tempfile
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convert.formats.voc_files import (
    BOX,
    detected,
    images_of,
    numbers,
    open_voc,
    problems_of,
    write,
    xml,
)
from reprolens.config.data import Action
from reprolens.convert.formats import voc
from reprolens.convert.source import Problem, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.voc import Object

# ---- real data sets


def test_bccd_arrives_whole_with_its_splits(shared_data: Path) -> None:
    root = shared_data / "bccd_voc" / "BCCD"
    source = open_voc(root)
    images = images_of(source)
    assert (len(images), sum(len(image.record.objects) for image in images)) == (364, 4888)
    assert Counter(image.split for image in images) == {"train": 205, "val": 87, "test": 72}
    assert all(image.image == root / "JPEGImages" / image.record.file for image in images)
    assert source.classes is None and source.task == "detection"
    assert problems_of(open_voc(root)) == []


VOC100 = ("pascalvoc_format", "imagenet_format")


@pytest.mark.parametrize("folder", VOC100)
def test_100_voc_photographs_have_the_very_corners_of_their_coco_file(folder: str, shared_data: Path) -> None:
    database = shared_data / "voc100_multiformat" / "data" / "database"
    coco = json.loads((database / "gts" / "coco_format_v2" / "instances_v2.json").read_text(), parse_float=Decimal)
    names = {category["id"]: category["name"] for category in coco["categories"]}
    expected: dict[str, list[tuple]] = {image["file_name"]: [] for image in coco["images"]}
    files = {image["id"]: image["file_name"] for image in coco["images"]}
    for item in coco["annotations"]:
        x, y, width, height = map(Decimal, item["bbox"])
        expected[files[item["image_id"]]].append((names[item["category_id"]], x, y, x + width, y + height))

    images = images_of(source := open_voc(database / "gts" / folder, database / "images", first_pixel=0))
    found = {
        image.record.file: sorted((item.name, *numbers(item)) for item in image.record.objects) for image in images
    }
    assert found == {file: sorted(boxes) for file, boxes in expected.items()}
    assert (len(found), sum(map(len, found.values())), len({box[0] for row in found.values() for box in row})) == (
        100,
        273,
        20,
    )
    assert all(image.image == database / "images" / image.record.file for image in images)
    if folder == "imagenet_format":  # its labelmap.txt
        assert source.classes is not None and (len(source.classes), source.classes[0]) == (20, "person")


FIXTURES = {
    "voc_dataset/voc_dataset1": (1, 2),
    "voc_dataset/voc_dataset2": (5, 4),
    "voc_dataset/voc_dataset3": (1, 1),
    "kaggle_dataset/relaxed_voc1": (1, 2),
    "kaggle_dataset/relaxed_voc2": (1, 2),
    "roboflow_dataset/voc": (3, 4),
}


@pytest.mark.parametrize("folder", FIXTURES)
def test_small_odd_data_sets_are_known_and_arrive(folder: str, shared_data: Path) -> None:
    root = shared_data / "format_fixtures" / "assets" / folder
    images = images_of(open_voc(root))
    assert detected(root)
    assert (len(images), sum(len(image.record.objects) for image in images)) == FIXTURES[folder]
    if folder != "voc_dataset/voc_dataset2":  # which has no pictures
        assert all(isinstance(image.image, Path) and image.image.is_file() for image in images)


def test_ten_photographs_of_the_toy_example_arrive(shared_data: Path) -> None:
    root = shared_data / "voc100_multiformat" / "toyexample"
    images = images_of(open_voc(root / "gts_vocpascal_format", root / "images"))
    assert (len(images), sum(len(image.record.objects) for image in images)) == (10, 12)
    assert all(image.image is not None for image in images)


@pytest.mark.parametrize(
    "folder",
    ["labelme_dataset", "cvat_dataset/for_images/export_task", "coco_dataset", "yolo_dataset", "camvid_dataset"],
)
def test_folders_of_other_formats_are_not_claimed(folder: str, shared_data: Path) -> None:
    assert detected(shared_data / "format_fixtures" / "assets" / folder) is None


def test_what_a_set_names_without_annotation_is_reported_and_its_mask_is_read(shared_data: Path) -> None:
    root = shared_data / "format_fixtures" / "assets" / "voc_dataset" / "voc_dataset1"
    found = [(problem.kind, problem.file, Path(problem.place).name) for problem in problems_of(open_voc(root))]
    assert found == [("missing_annotation", "2007_000002", "test.txt")]
    source = open_voc(root)
    (image,) = images_of(source)
    assert image.mask is not None
    assert (image.mask().shape, set(np.unique(image.mask()))) == ((10, 20), {2})
    assert source.not_pictures == {"SegmentationClass/2007_000001.png", "SegmentationObject/2007_000001.png"}


# ---- what a file says


def test_flags_outlines_and_labels_are_kept_and_parts_are_no_objects(tmp_path: Path) -> None:
    text = """<annotation><filename>x</filename><label>indoor</label><object><name> cat </name><pose>Left</pose>
      <truncated>1</truncated><difficult>1</difficult><occluded>1</occluded><crowd>1</crowd>
      <bndbox><xmax>9.5</xmax><xmin>2</xmin><ymin>3</ymin><ymax>8</ymax></bndbox>
      <segmentation>[[1,2,9.5,2,9.5,8]]</segmentation>
      <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
      <attributes><attribute><name>age</name><value>3</value></attribute></attributes></object></annotation>"""
    write(tmp_path / "Annotations" / "x.xml", text)
    (image,) = images_of(open_voc(tmp_path))
    outline = "[[1,2,9.5,2,9.5,8]]"
    assert image.record.objects == (Object("cat", (1.0, 2.0, 9.5, 8.0), True, True, True, True, "Left", outline),)
    assert (image.record.width, image.record.height, image.record.labels) == (0, 0, ("indoor",))


def test_a_damaged_file_and_a_bad_object_cost_no_other(tmp_path: Path) -> None:
    good = tmp_path / "Annotations"
    write(good / "a.xml", "<annotation><object>")
    write(good / "b.xml", xml([("cat", "NaN", "1", "2", "3"), BOX, ("cat", "1", "x" * 99, "2", "3")]))
    write(good / "c.xml", "<annotation><object><name>cat</name><polygon/></object></annotation>")
    write(good / "d.xml", "<html/>")
    (good / "e.xml").write_bytes("<annotation><filename>\xfc</filename></annotation>".encode("latin-1"))
    items = list(open_voc(tmp_path).images)
    assert [(Path(item.place).name, len(item.record.objects)) for item in items if isinstance(item, SourceImage)] == [
        ("b.xml", 1),
        ("c.xml", 0),
    ]
    assert [(Path(item.place).name, item.kind) for item in items if isinstance(item, Problem)] == [
        ("a.xml", "unreadable_annotation"),
        ("b.xml", "invalid_box"),
        ("b.xml", "invalid_box"),
        ("c.xml", "unsupported_shape"),
        ("d.xml", "unreadable_annotation"),
        ("e.xml", "unreadable_annotation"),
    ]
    assert all(len(item.reason) < 200 for item in items if isinstance(item, Problem))


def test_boxes_that_begin_at_0_are_told_of_once_and_only_if_pixels_count_from_1(tmp_path: Path) -> None:
    write(tmp_path / "Annotations" / "x.xml", xml([("a", "0", "1", "2", "3"), ("a", "5", "0.0", "7", "9"), BOX]))
    (problem,) = problems_of(open_voc(tmp_path))
    assert (problem.kind, problem.action) == ("pixel_origin", Action.keep)
    assert "2 boxes begin at 0" in problem.reason and "data.first_pixel to 0" in problem.reason
    assert problems_of(open_voc(tmp_path, first_pixel=0)) == []
    (image,) = images_of(open_voc(tmp_path, first_pixel=0))
    assert image.record.objects[0].box == (0.0, 1.0, 2.0, 3.0)


NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(-(10**6), 10**6, allow_nan=False, places=40).map(lambda number: f"{number:f}"),
    st.floats(allow_nan=False, allow_infinity=False, width=64).map(repr),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=4), st.sampled_from([0, 1]))
@example([("0.1", "0.2", "0.30000000000000004", "1e-300")], 0)
def test_every_number_arrives_exactly(boxes: list[tuple[str, str, str, str]], first_pixel: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "x.xml", xml([("a", *box) for box in boxes]))
        items = list(open_voc(Path(folder), first_pixel=first_pixel).images)
    assert isinstance(items[0], SourceImage)
    shift = Decimal(first_pixel)
    with_shift = [(x0, y0, x1, y1) for x0, y0, x1, y1 in (tuple(map(Decimal, box)) for box in boxes)]
    for item, (x0, y0, x1, y1) in zip(items[0].record.objects, with_shift, strict=True):
        left, top, right, bottom = numbers(item)
        plus = voc._EXACT.add
        assert (plus(left, shift), plus(top, shift), right, bottom) == (x0, y0, x1, y1)


TEXT = xml([BOX, ("dog", "1.5", "2.25", "9", "8")], "x.jpg", "<label>a</label>").encode()


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_mutated_file_is_read_or_is_a_problem(data: st.DataObject) -> None:
    text = bytearray(TEXT)
    pieces = st.sampled_from(
        [b"", b"<", b"&x;", b"\xff", b"<object>", b"</object>", b"9" * 400, b"1e999999999", b"nan"]
    )
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        text[start : start + data.draw(st.integers(0, 12))] = data.draw(st.one_of(pieces, st.binary(max_size=4)))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x.xml").write_bytes(text)
        voc.detect(open_tree(Path(folder)))
        assert all(isinstance(item, SourceImage | Problem) for item in open_voc(Path(folder), first_pixel=0).images)
