"""Laws of reading LabelMe: every shape with an area arrives exactly, wherever the picture lies."""

import base64
import io
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hotcoco import mask as codes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from convert.sources import DATA, POLICY, needs_data, parted
from reprolens.config.data import Labelled
from reprolens.convert.formats.labelme import detect, read
from reprolens.convert.source import Problem, Source, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError


def _open(root: Path, images: Path | None = None, annotations: str | None = None) -> Source:
    options = Labelled("labelme", str(root), None, annotations, [0.7, 0.1, 0.2], None, POLICY)
    return read(open_tree(root, images), options)


def _shape(kind: str, *points: tuple[float, float], label: str = "a", **more: Any) -> dict[str, Any]:
    return {
        "label": label,
        "points": [list(p) for p in points],
        "group_id": None,
        "shape_type": kind,
        "flags": {},
    } | more


def _file(*shapes: Any, **more: Any) -> dict[str, Any]:
    size = {"imageHeight": 80, "imageWidth": 100}
    return (
        {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": "p.jpg", "imageData": None} | size | more
    )


def _read(root: Path, *shapes: Any, **more: Any) -> tuple[SourceImage, list[Problem]]:
    """Read a picture with the shapes."""
    (root / "p.json").write_text(json.dumps(_file(*shapes, **more)))
    (image,), problems = parted(_open(root))
    return image, problems


def _png(mask: np.ndarray[Any, Any]) -> str:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


# ---- real data


@needs_data
def test_voc100_has_the_same_corners_as_its_coco_twin() -> None:
    database = DATA / "voc100_multiformat" / "data" / "database"
    twin = json.loads((database / "gts" / "coco_format_v2" / "instances_v2.json").read_text())
    names = {item["id"]: item["name"] for item in twin["categories"]}
    files = {item["id"]: Path(item["file_name"]).name for item in twin["images"]}
    expected = Counter(
        (files[item["image_id"]], names[item["category_id"]], x, y, x + w, y + h)
        for item in twin["annotations"]
        for x, y, w, h in [item["bbox"]]
    )
    root = database / "gts" / "labelme_format"
    assert "LabelMe" in (detect(open_tree(root)) or "")
    images, problems = parted(_open(root, database / "images"))
    found = Counter((i.record.file, item.name, *item.box) for i in images for item in i.record.objects)
    assert (len(images), sum(found.values()), len({key[1] for key in found}), problems) == (100, 273, 20, [])
    assert found == expected
    assert {i.image for i in images} == {None}


@needs_data
def test_pictures_inside_the_files_serve_where_there_are_no_others() -> None:
    database = DATA / "voc100_multiformat" / "data" / "database"
    images, _ = parted(_open(database / "gts" / "labelme_format", annotations="2007_0000*.json"))
    assert images
    for image in images:
        assert isinstance(image.image, bytes)
        assert Image.open(io.BytesIO(image.image)).size == (image.record.width, image.record.height)


@needs_data
def test_the_web_tools_xml_gives_seven_objects_two_of_them_with_masks() -> None:
    tree = open_tree(DATA / "format_fixtures" / "assets" / "labelme_dataset")
    assert "web tool" in (detect(tree) or "")
    source = _open(tree.root)
    (image,), problems = parted(source)
    objects = image.record.objects
    assert not problems
    assert tree.images.find(image.record.file, image.near) == ["Images/subset1/img1.png"]
    assert (image.record.width, image.record.height) == (102, 77)
    assert [item.name for item in objects] == ["window", "license plate", "o1", "q1", "b1", "m1", "hg"]
    assert [item.name for item in objects if item.occluded] == ["o1", "b1"]
    assert [item.box for item in objects[:2]] == [(43.0, 34.0, 45.0, 37.0), (58.0, 66.0, 62.0, 68.0)]
    mask = np.asarray(Image.open(tree.path("Masks/subset1/img1_mask_5.png")).convert("L")) > 0
    assert np.array_equal(codes.decode(json.loads(objects[5].segmentation)), mask)
    assert (objects[4].segmentation, objects[4].box) == ("", (13.0, 19.0, 23.0, 30.0))
    assert len(source.not_pictures) == 4


# ---- shapes


@pytest.mark.parametrize("points", [[(3, 4), (10, 9)], [(10, 9), (3, 4)], [(3, 9), (10, 4)], [(10, 4), (3, 9)]])
def test_a_rectangle_is_the_same_from_any_two_corners(tmp_path: Path, points: list[tuple[float, float]]) -> None:
    image, _ = _read(tmp_path, _shape("rectangle", *points))
    assert [(item.box, item.segmentation) for item in image.record.objects] == [((3.0, 4.0, 10.0, 9.0), "")]


def test_a_rectangle_of_four_corners_is_a_box_unless_it_is_turned(tmp_path: Path) -> None:
    upright = _shape("rectangle", (3, 4), (10, 4), (10, 9), (3, 9))
    turned = _shape("rectangle", (5, 0), (10, 5), (5, 10), (0, 5))
    image, _ = _read(tmp_path, upright, turned, _shape("oriented_rectangle", (5, 0), (10, 5), (5, 10), (0, 5)))
    found = [(item.box, item.segmentation) for item in image.record.objects]
    diamond = ((0.0, 0.0, 10.0, 10.0), "[[5,0,10,5,5,10,0,5]]")
    assert found == [((3.0, 4.0, 10.0, 9.0), ""), diamond, diamond]


def test_a_circle_is_the_box_around_it_and_a_polygon_near_it(tmp_path: Path) -> None:
    image, _ = _read(tmp_path, _shape("circle", (50, 40), (53, 44)), _shape("circle", (20.1, 20), (20.1, 30.2)))
    assert [item.box for item in image.record.objects] == [(45.0, 35.0, 55.0, 45.0), (9.9, 9.8, 30.3, 30.2)]
    (ring,) = json.loads(image.record.objects[0].segmentation)
    assert np.hypot(np.array(ring[::2]) - 50, np.array(ring[1::2]) - 40) == pytest.approx(5, abs=0.01)


def test_a_mask_covers_its_box_from_the_first_pixel_to_the_last(tmp_path: Path) -> None:
    patch = np.array([[1, 1, 0], [0, 1, 1]], np.uint8)
    image, problems = _read(
        tmp_path,
        _shape("mask", (10, 20), (12, 21), mask=_png(patch)),
        _shape("mask", (10, 20), (12, 21), mask=_png(patch > 0)),
        _shape("mask", (10, 20), (12, 21), mask="AAAA"),
        _shape("mask", (10, 20), (12, 21), mask="é"),
        _shape("mask", (1e30, 20), (1e30, 21), mask=_png(patch)),
        _shape("mask", mask=_png(patch)),
    )
    first, second = image.record.objects
    assert first == second
    assert first.box == (10.0, 20.0, 13.0, 22.0)
    drawn = codes.decode(json.loads(first.segmentation))
    assert drawn.shape == (80, 100)
    assert np.array_equal(drawn[20:22, 10:13], patch)
    assert drawn.sum() == 4
    assert [p.kind for p in problems] == ["unreadable_mask"] * 3 + ["unsupported_shape"]


def test_outlines_of_one_label_and_group_are_one_object(tmp_path: Path) -> None:
    left, right = ((0, 0), (4, 0), (4, 4)), ((6, 6), (9, 6), (9, 9))
    image, _ = _read(
        tmp_path,
        _shape("polygon", *left, group_id=1, flags={"occluded": True}),
        _shape("polygon", *left, label="b", group_id=1),
        _shape("polygon", *right, group_id=1),
        _shape("rectangle", (0, 0), (1, 1), group_id=1),
        _shape("polygon", *right),
    )
    found = [
        (item.name, item.box, len(json.loads(item.segmentation or "[]")), item.occluded)
        for item in image.record.objects
    ]
    assert found == [
        ("a", (0.0, 0.0, 9.0, 9.0), 2, True),
        ("b", (0.0, 0.0, 4.0, 4.0), 1, False),
        ("a", (0.0, 0.0, 1.0, 1.0), 0, False),
        ("a", (6.0, 6.0, 9.0, 9.0), 1, False),
    ]


def test_what_has_no_area_and_what_is_damaged_lose_themselves_alone(tmp_path: Path) -> None:
    good = _shape("polygon", (0, 0), (4, 0), (4, 4))
    kinds = ["line", "linestrip", "point", "points", "blob"]
    bad: list[Any] = [_shape(kind, (0, 0), (4, 0)) for kind in kinds]
    bad += [
        None,
        [],
        7,
        _shape("polygon", (0, 0), (4, 0)),
        _shape("polygon", (0, 0), (4, 0), (None, 1)),
        good | {"points": 3},
    ]
    bad += [good | {"label": None}, good | {"points": [[1]] * 3}, _shape("circle", (1, 1)), _shape("rectangle", (1, 1))]
    image, problems = _read(tmp_path, good | {"shape_type": None}, *bad, good)
    assert len(image.record.objects) == 2
    assert len(problems) == len(bad)
    assert {p.kind for p in problems} == {"unsupported_shape", "invalid_box", "unknown_class"}


# ---- files


def test_flags_that_are_set_are_the_classes_of_the_picture(tmp_path: Path) -> None:
    image, _ = _read(tmp_path, flags={"cat": True, "dog": False, "night": True})
    assert image.record.labels == ("cat", "night")
    assert _open(tmp_path).task == "classification"
    _read(tmp_path, _shape("rectangle", (1, 1), (2, 2)), flags={"cat": True})
    assert _open(tmp_path).task == "detection"


@pytest.mark.parametrize("path", ["..\\images\\p.png", "../images/p.png", "C:\\old\\p.png", "gone.png", "", None, 5])
def test_the_picture_is_found_by_its_path_or_by_the_name_of_the_file(tmp_path: Path, path: Any) -> None:
    for folder in ("labels/train", "labels/images"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (9, 7)).save(tmp_path / "labels" / "images" / "p.png")
    text = json.dumps(_file(imagePath=path, imageHeight=None, imageWidth=None, imageData="AAAA"))
    (tmp_path / "labels" / "train" / "p.json").write_text(text)
    tree = open_tree(tmp_path)
    (image,), _ = parted(_open(tmp_path))
    assert tree.images.find(image.record.file, image.near) == ["labels/images/p.png"]
    assert (image.split, image.image) == ("train", None)
    assert (image.record.width, image.record.height) == (9, 7)


def test_a_list_of_labels_declares_the_classes(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\na\nunused\n")
    box = ((0, 0), (4, 4))
    image, problems = _read(
        tmp_path,
        _shape("rectangle", *box),
        _shape("rectangle", *box, label="c"),
        _shape("rectangle", *box, label="__ignore__"),
    )
    assert _open(tmp_path).classes == ("a", "unused")
    assert len(image.record.objects) == 1
    assert [p.kind for p in problems] == ["unknown_class", "ignored_region"]


def test_a_damaged_file_loses_itself_alone(tmp_path: Path) -> None:
    for name, text in {"a": '{"shapes": [', "b": "[]", "c": '{"x": 1}', "d": '{"shapes": 5}', "e": "[" * 9999}.items():
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "good.json").write_text(json.dumps(_file(_shape("rectangle", (1, 1), (2, 2)))))
    images, problems = parted(_open(tmp_path))
    assert len(images) == 1
    assert [(p.kind, p.file) for p in problems] == [("unreadable_annotation", f"{n}.json") for n in "abcde"]
    with pytest.raises(DataError, match=r"no \.json"):
        _open(tmp_path, annotations="*.csv")


def test_other_json_and_xml_are_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": [], "annotations": [], "categories": []}')
    (tmp_path / "a.xml").write_text("<annotation><object><bndbox></bndbox></object></annotation>")
    assert detect(open_tree(tmp_path)) is None


# ---- properties


@given(st.lists(st.floats(-1e9, 1e9) | st.integers(-(10**20), 10**20), min_size=4, max_size=4))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_rectangle_arrives_digit_for_digit(tmp_path: Path, numbers: list[float]) -> None:
    x0, y0, x1, y1 = numbers
    image, _ = _read(tmp_path, _shape("rectangle", (x0, y0), (x1, y1)))
    (item,) = image.record.objects
    written = [str(edge) for edge in (item.exact or item.box)]
    assert [float(edge) for edge in written] == [float(e) for e in (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))]
    assert all(int(edge) in map(int, numbers) for edge in item.exact or ())


@given(st.data())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_mutated_file_is_read_or_refused(tmp_path: Path, data: Any) -> None:
    mask = _shape("mask", (1, 1), (2, 2), mask=_png(np.ones((2, 2), np.uint8)))
    polygon, circle = _shape("polygon", (0, 0), (4, 0), (4, 4), group_id=1), _shape("circle", (5, 5), (5, 6))
    whole = json.dumps(_file(mask, polygon, polygon, circle, flags={"x": True})).encode()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(start + 30, len(whole))))
    odd = st.sampled_from([b"9" * 400, b"-", b"1e300", b"null", b"NaN", b"[[", b'"'])
    (tmp_path / "a.json").write_bytes(whole[:start] + data.draw(st.binary(max_size=8) | odd) + whole[stop:])
    detect(open_tree(tmp_path))
    with suppress(DataError):
        parted(_open(tmp_path))
