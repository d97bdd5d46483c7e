"""Laws of reading VIA: all its forms say the same, and every region with an area arrives exactly."""

import csv
import json
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert.sources import DATA, POLICY, needs_data, parted
from reprolens.config.data import Via
from reprolens.convert.formats.via import detect, read
from reprolens.convert.source import Problem, Source, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

CARS = DATA / "car_damage_via"

RECT = {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4}


def _open(root: Path, annotations: str | None = None, class_attribute: str | None = None) -> Source:
    options = Via("via", str(root), None, annotations, [0.7, 0.1, 0.2], None, POLICY, class_attribute)
    return read(open_tree(root), options)


def _region(shape: Any, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes}


def _entry(name: str, *regions: Any, **attributes: Any) -> dict[str, Any]:
    return {"filename": name, "size": 9, "regions": list(regions), "file_attributes": attributes}


def _write(path: Path, *entries: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({f"{entry.get('filename')}9": entry for entry in entries}))


def _read(root: Path, *regions: Any, **options: Any) -> tuple[SourceImage, list[Problem]]:
    """Read a picture with the regions."""
    _write(root / "a.json", _entry("p.jpg", *regions))
    (image,), problems = parted(_open(root, **options))
    return image, problems


# ---- real data


@needs_data
def test_car_damage_has_70_pictures_and_164_polygons_each_read_once() -> None:
    tree = open_tree(CARS)
    assert "VIA" in (detect(tree) or "")
    assert len(list((CARS / "dataset").rglob("*.jpg"))) == 78
    source = _open(CARS)
    images, problems = parted(source)
    objects = [item for image in images for item in image.record.objects]
    assert (len(images), len(objects), {item.name for item in objects}) == (70, 164, {"damage"})
    assert Counter(image.split for image in images) == {"train": 62, "val": 8}
    assert all(json.loads(item.segmentation) for item in objects)
    assert all(len(tree.images.find(image.record.file, image.near)) == 1 for image in images)
    repeated = [Path(p.file).name for p in problems]
    assert {p.kind for p in problems} == {"file_not_read"}
    assert sorted(repeated) == [
        "car-damage-train.json", "car-damage-val.json", "train_multiclass.json", "val_multiclass.json",
        "via_region_data.csv", "via_region_data.csv",
    ]  # fmt: skip


@needs_data
@pytest.mark.parametrize("form", ["via_region_data.csv", "car-damage-*[nl].json"])
def test_car_damage_is_the_same_in_all_its_forms(form: str) -> None:
    def said(annotations: str) -> dict[tuple[str, str], Any]:
        images, problems = parted(_open(CARS, annotations))
        assert not problems
        return {(image.near, image.record.file): image.record for image in images}

    assert said(form) == said("via_region_data.json")


@needs_data
def test_another_file_is_read_where_it_is_asked_for() -> None:
    images, problems = parted(_open(CARS, "*_multiclass.json"))
    assert sum(len(image.record.objects) for image in images) == 191 + 24
    assert not problems
    with pytest.raises(DataError, match=r"set data\.annotations"):
        _open(CARS, "[ct]*.json")


# ---- shapes


def test_every_shape_with_an_area_is_a_box_and_all_but_rectangles_an_outline(tmp_path: Path) -> None:
    polygon = {"name": "polygon", "all_points_x": [1, 5.5, 3], "all_points_y": [2, 2, 8]}
    circle = {"name": "circle", "cx": 50, "cy": 40, "r": 10.5}
    ellipse = {"name": "ellipse", "cx": 50, "cy": 40, "rx": 20, "ry": 10}
    turned = {**ellipse, "theta": 0.5}
    image, problems = _read(tmp_path, *(_region(s, label="a") for s in (RECT, polygon, circle, ellipse, turned)))
    boxes = [item.box for item in image.record.objects]
    reach = np.hypot(20 * np.cos(0.5), 10 * np.sin(0.5)), np.hypot(20 * np.sin(0.5), 10 * np.cos(0.5))
    assert boxes[:4] == [(1, 2, 4, 6), (1, 2, 5.5, 8), (39.5, 29.5, 60.5, 50.5), (30, 30, 70, 50)]
    assert boxes[4] == pytest.approx((50 - reach[0], 40 - reach[1], 50 + reach[0], 40 + reach[1]))
    assert [bool(item.segmentation) for item in image.record.objects] == [False, True, True, True, True]
    assert image.record.objects[1].segmentation == "[[1,2,5.5,2,3,8]]"
    assert not problems


def test_what_has_no_area_and_what_is_damaged_lose_themselves_alone(tmp_path: Path) -> None:
    bad: list[Any] = [_region({"name": kind, "cx": 1, "cy": 1}, label="a") for kind in ("point", "polyline", "blob")]
    bad += [_region({**RECT, "x": x}, label="a") for x in (None, "z", [1], True, {"y": 1})]
    bad += [_region({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": y}, label="a") for y in ([1], None)]
    bad += [None, 5, [], {}, _region(5, label="a"), _region(RECT, label=None), _region(RECT, label="not_defined")]
    image, problems = _read(tmp_path, _region(RECT, label="a"), *bad, _region(RECT, label="b"))
    assert [item.name for item in image.record.objects] == ["a", "b"]
    assert len(problems) == len(bad)
    assert {p.kind for p in problems} == {"unsupported_shape", "invalid_box", "unknown_class"}


# ---- classes


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"thing": "a"}, ["a"]),
        ({"x": "b", "Class": "a"}, ["a"]),
        ({"type": "b", "name": "a"}, ["a"]),
        ({"x": "", "thing": "a"}, ["a"]),
        ({"kinds": {"a": True, "b": True, "c": False}}, ["a", "b"]),
        ({"label": 7}, ["7"]),
        ({}, ["object"]),
    ],
)
def test_the_class_is_the_only_attribute_or_the_one_that_is_named_so(
    tmp_path: Path, attributes: dict[str, Any], expected: list[str]
) -> None:
    image, problems = _read(tmp_path, _region(RECT, **attributes))
    assert [item.name for item in image.record.objects] == expected
    assert not problems


def test_an_unclear_class_is_asked_for_and_the_option_answers(tmp_path: Path) -> None:
    region = _region(RECT, colour="red", make="saab")
    with pytest.raises(DataError, match=r"data.class_attribute: colour, make"):
        _read(tmp_path, region)
    image, _ = _read(tmp_path, region, class_attribute="make")
    assert image.record.objects[0].name == "saab"
    with pytest.raises(DataError, match="did you mean colour"):
        _read(tmp_path, region, class_attribute="color")


def test_a_project_declares_the_classes_of_a_list_of_options(tmp_path: Path) -> None:
    entries = {"p.jpg9": _entry("p.jpg", _region(RECT, kind="dent"), _region(RECT, kind="rust"), label="wet", note="x")}
    attributes = {"region": {"kind": {"type": "dropdown", "options": {"scratch": "", "dent": ""}}}, "file": {}}
    project = {"_via_settings": {}, "_via_img_metadata": entries, "_via_attributes": attributes}
    (tmp_path / "project.json").write_text(json.dumps(project))
    source = _open(tmp_path)
    (image,), problems = parted(source)
    assert source.classes == ("scratch", "dent")
    assert [item.name for item in image.record.objects] == ["dent"]
    assert [p.kind for p in problems] == ["unknown_class"]
    assert image.record.labels == ("wet",)


# ---- files


def test_version_1_numbers_its_regions_and_a_picture_without_any_stays(tmp_path: Path) -> None:
    first = _entry("p.jpg") | {"regions": {"0": _region(RECT, label="a"), "1": _region(RECT, label="b")}}
    _write(tmp_path / "a.json", first, _entry("q.jpg"), _entry("r.jpg") | {"regions": "x"}, _entry(""))
    images, problems = parted(_open(tmp_path))
    found = [(i.record.file, [item.name for item in i.record.objects]) for i in images]
    assert found == [("p.jpg", ["a", "b"]), ("q.jpg", []), ("r.jpg", [])]
    assert [p.kind for p in problems] == ["unreadable_annotation"] * 2


def test_csv_gathers_the_rows_of_a_picture_and_a_damaged_cell_loses_its_row(tmp_path: Path) -> None:
    columns = ["#filename", "file_size", "file_attributes", "region_count", "region_id"]
    columns += ["region_shape_attributes", "region_attributes"]
    shape = json.dumps(RECT)
    rows = [
        ["p.jpg", 9, "{}", 2, 0, shape, '{"label":"a","type":undefined}'],
        ["q.jpg", 9, '{"class":"wet"}', 0, 0, "{}", "{}"],
        ["p.jpg", 9, "{}", 2, 1, shape, '{"label":"b: undefined, c"}'],
        ["p.jpg", 9, "{}", 2, 1, "{", "{}"],
    ]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    assert "region_shape_attributes" in (detect(open_tree(tmp_path)) or "")
    images, problems = parted(_open(tmp_path))
    found = [(i.record.file, [item.name for item in i.record.objects], i.record.labels) for i in images]
    assert found == [("p.jpg", ["a", "b: undefined, c"], ()), ("q.jpg", [], ("wet",))]
    assert [p.kind for p in problems] == ["unreadable_annotation"]


def test_files_that_differ_are_refused_and_disjoint_ones_are_joined(tmp_path: Path) -> None:
    _write(tmp_path / "train.json", _entry("p.jpg", _region(RECT, label="a")))
    _write(tmp_path / "test.json", _entry("q.jpg", _region(RECT, label="a")))
    images, problems = parted(_open(tmp_path))
    assert sorted((i.record.file, i.split) for i in images) == [("p.jpg", "train"), ("q.jpg", "test")]
    assert not problems
    _write(tmp_path / "test.json", _entry("p.jpg", _region(RECT, label="b")))
    with pytest.raises(DataError, match=r"says another thing of 'p\.jpg'"):
        _open(tmp_path)


def test_version_3_is_refused_with_what_to_do(tmp_path: Path) -> None:
    project = {"pid": "x", "data_format_version": "3.1.1", "vid_list": []}
    (tmp_path / "a.json").write_text(json.dumps({"project": project, "file": {}, "metadata": {}}))
    assert "VIA 3" in (detect(open_tree(tmp_path)) or "")
    with pytest.raises(DataError, match="VIA 3, which is not read; export"):
        _open(tmp_path)


def test_other_files_are_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": [], "annotations": [], "categories": []}')
    (tmp_path / "b.json").write_text('{"assets": {"1": {"asset": {}, "regions": [{"tags": []}]}}}')
    (tmp_path / "a.csv").write_text("filename,width,height,class,xmin,ymin,xmax,ymax\n")
    assert detect(open_tree(tmp_path)) is None
    with pytest.raises(DataError, match="holds no JSON or CSV file of VIA"):
        _open(tmp_path, "*.csv")


# ---- properties


@given(st.lists(st.floats(-1e12, 1e12) | st.integers(-(10**30), 10**30), min_size=4, max_size=4))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_rectangles_corners_are_exact_sums(tmp_path: Path, numbers: list[float]) -> None:
    shape = dict(zip(("x", "y", "width", "height"), numbers, strict=True))
    image, _ = _read(tmp_path, _region({"name": "rect", **shape}, label="a"))
    (item,) = image.record.objects
    exact = item.exact or tuple(Decimal(repr(edge)) for edge in item.box)
    x, y, w, h = (Decimal(json.dumps(number)) for number in numbers)
    assert tuple(map(_whole, exact)) == (_whole(x), _whole(y), _whole(x) + _whole(w), _whole(y) + _whole(h))


def _whole(number: Decimal) -> int:
    """Return a decimal times 10^400, exactly."""
    sign, digits, exponent = number.as_tuple()
    return (-1) ** sign * int("".join(map(str, digits))) * 10 ** (400 + int(exponent))


@given(st.data())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_mutated_file_is_read_or_refused(tmp_path: Path, data: Any) -> None:
    polygon = {"name": "polygon", "all_points_x": [1, 5, 3], "all_points_y": [2, 2, 8]}
    ellipse = {"name": "ellipse", "cx": 50, "cy": 40, "rx": 20, "ry": 10, "theta": 0.5}
    regions = [_region(shape, label="a", x={"b": True}) for shape in (RECT, polygon, ellipse)]
    whole = json.dumps({"_via_img_metadata": {"p.jpg9": _entry("p.jpg", *regions, label="x")}}).encode()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(start + 30, len(whole))))
    odd = st.sampled_from([b"9" * 400, b"-", b"1e300", b"null", b"NaN", b"[[", b'"'])
    changed = whole[:start] + data.draw(st.binary(max_size=8) | odd) + whole[stop:]
    name = data.draw(st.sampled_from(["a.json", "a.csv"]))
    for file in tmp_path.iterdir():
        file.unlink()
    (tmp_path / name).write_bytes(changed if name == "a.json" else b"filename,region_shape_attributes\np," + changed)
    detect(open_tree(tmp_path))
    with suppress(DataError):
        parted(_open(tmp_path))
