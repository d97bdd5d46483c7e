"""Laws of reading CVAT XML: every shape with an area arrives exactly, and a bad one loses itself alone."""

import json
from collections import Counter
from contextlib import suppress
from decimal import Decimal
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
from reprolens.convert.formats.cvat import detect, read
from reprolens.convert.source import Problem, Source, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

CVAT = DATA / "format_fixtures" / "assets" / "cvat_dataset"


def _open(root: Path, images: Path | None = None, annotations: str | None = None) -> Source:
    options = Labelled("cvat", str(root), None, annotations, [0.7, 0.1, 0.2], None, POLICY)
    return read(open_tree(root, images), options)


def _read(root: Path, *shapes: str, size: str = 'width="100" height="80"') -> tuple[SourceImage, list[Problem]]:
    """Read a picture with the shapes."""
    (root / "a.xml").write_text(
        f'<annotations><image id="0" name="d/p.jpg" {size}>{"".join(shapes)}</image></annotations>'
    )
    images, problems = parted(_open(root))
    assert len(images) == 1
    return images[0], problems


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
    source = _open(database / "gts" / "cvat_format", database / "images")
    images, problems = parted(source)
    found = Counter((i.record.file, item.name, *item.box) for i in images for item in i.record.objects)
    assert (len(images), sum(found.values()), len(set(source.classes or ())), problems) == (100, 273, 20, [])
    assert found == expected


@needs_data
def test_a_project_keeps_its_subsets_as_splits_and_finds_their_pictures() -> None:
    tree = open_tree(CVAT / "for_images" / "export_project")
    assert "annotations.xml" in (detect(tree) or "")
    source = _open(tree.root)
    images, problems = parted(source)
    assert source.classes == ("label1", "label2")
    assert Counter(i.split for i in images) == {"train": 2, "val": 2, "test": 2}
    for image in images:
        (found,) = tree.images.find(image.record.file, image.near)
        assert (image.split or "")[:2] == Path(found).parent.name[:2].lower()
    assert Counter(p.kind for p in problems) == {"unsupported_shape": 6}  # a line and points in each pair
    assert sum(i.record.objects[0].occluded for i in images) == 3
    assert images[1].record.objects[0].segmentation == "[[1,2,3,4,6,5]]"


@needs_data
def test_an_object_without_label_is_an_unknown_class_and_the_file_names_the_split() -> None:
    images, problems = parted(_open(CVAT / "for_images" / "export_task"))
    assert [(i.split, len(i.record.objects)) for i in images] == [("train", 1), ("train", 0)]
    assert Counter(p.kind for p in problems) == {"unknown_class": 1, "unsupported_shape": 2}


@needs_data
def test_a_video_gives_the_frames_where_its_tracks_are_not_outside() -> None:
    images, problems = parted(_open(CVAT / "for_video"))
    assert [i.record.file for i in images] == [f"images/frame_{n:06d}.png" for n in (10, 13, 16)]
    assert [[(o.name, o.box) for o in i.record.objects] for i in images] == [[("II", (3.0, 4.0, 10.0, 5.0))], [], []]
    assert Counter(p.kind for p in problems) == {"unsupported_shape": 2}


# ---- shapes


def test_a_turned_box_is_the_box_around_its_polygon(tmp_path: Path) -> None:
    box = '<box label="a" xtl="10" ytl="20" xbr="30" ybr="24" rotation="{}"/>'
    image, _ = _read(tmp_path, box.format(90), box.format(30), box.format("0.0"))
    quarter, turned, upright = image.record.objects
    assert (quarter.box, quarter.segmentation) == ((18.0, 12.0, 22.0, 32.0), "")
    assert (upright.box, upright.segmentation) == ((10.0, 20.0, 30.0, 24.0), "")
    (ring,) = json.loads(turned.segmentation)
    assert ring[:2] == pytest.approx([20 - 10 * np.cos(np.pi / 6) + 2 * 0.5, 22 - 10 * 0.5 - 2 * np.cos(np.pi / 6)])
    assert turned.box == (min(ring[::2]), min(ring[1::2]), max(ring[::2]), max(ring[1::2]))


def test_an_ellipse_has_the_box_of_its_curve_and_a_polygon_near_it(tmp_path: Path) -> None:
    ellipse = '<ellipse label="a" cx="50.5" cy="40" rx="20.25" ry="10" rotation="{}"/>'
    image, problems = _read(tmp_path, ellipse.format(0), ellipse.format(33))
    assert not problems
    upright, turned = image.record.objects
    assert upright.box == (30.25, 30.0, 70.75, 50.0)
    for item in image.record.objects:
        (ring,) = json.loads(item.segmentation)
        hull = (min(ring[::2]), min(ring[1::2]), max(ring[::2]), max(ring[1::2]))
        assert hull == pytest.approx(item.box, abs=0.5)
        x, y = np.array(ring[::2]), np.array(ring[1::2])
        area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
        assert area == pytest.approx(np.pi * 20.25 * 10, rel=0.03)
    reach = np.hypot(20.25 * np.cos(np.radians(33)), 10 * np.sin(np.radians(33)))
    assert turned.box[2] == pytest.approx(50.5 + reach)


def test_a_mask_lies_where_it_is_said_to_and_its_bad_kin_are_told(tmp_path: Path) -> None:
    mask = '<mask label="a" left="{}" top="3" width="{}" height="2" rle="{}"/>'
    image, problems = _read(
        tmp_path,
        mask.format(5, 3, "1, 2, 2, 1"),  # .XX / ..X
        mask.format(98, 3, "0, 6"),  # reaches over the edge
        mask.format(5, 3, "1, 2"),
        mask.format(5, 3, "1, -2, 7"),
        mask.format(5, 3, "x"),
        mask.format(5, 10**8, "1"),
        mask.format("5.5", 3, "6"),
    )
    first, second = (item.segmentation for item in image.record.objects)
    assert [item.box for item in image.record.objects] == [(5.0, 3.0, 8.0, 5.0), (98.0, 3.0, 101.0, 5.0)]
    drawn = codes.decode(json.loads(first))
    assert drawn.shape == (80, 100)
    assert sorted(map(tuple, np.argwhere(drawn).tolist())) == [(3, 6), (3, 7), (4, 7)]
    assert codes.decode(json.loads(second)).sum() == 4
    assert [p.kind for p in problems] == ["unreadable_mask"] * 5


def test_a_cuboid_is_the_box_around_its_corners_and_a_skeleton_has_none(tmp_path: Path) -> None:
    corners = {"tl": (10, 10), "bl": (10, 30), "tr": (20, 8), "br": (20, 28)}
    given = " ".join(f'x{c}{f}="{x + 5 * f}" y{c}{f}="{y}"' for f in (1, 2) for c, (x, y) in corners.items())
    skeleton = '<skeleton label="a"><points label="1" points="1,2"/></skeleton>'
    image, problems = _read(tmp_path, f'<cuboid label="a" {given}/>', skeleton)
    assert [item.box for item in image.record.objects] == [(15.0, 8.0, 30.0, 30.0)]
    assert [p.kind for p in problems] == ["unsupported_shape"]


def test_tags_are_the_classes_of_a_picture_and_attributes_its_marks(tmp_path: Path) -> None:
    box = '<box label="a" xtl="1" ytl="1" xbr="3" ybr="3"><attribute name="Truncated">true</attribute>'
    image, _ = _read(tmp_path, '<tag label="night"/><tag label="night"/>', f"{box}</box>")
    assert image.record.labels == ("night",)
    assert image.record.objects[0].truncated
    assert _open(tmp_path).task == "detection"
    _read(tmp_path, '<tag label="night"/>')
    assert _open(tmp_path).task == "classification"


def test_bad_numbers_and_unknown_labels_lose_themselves_alone(tmp_path: Path) -> None:
    box = '<box label="{}" xtl="{}" ytl="1" xbr="3" ybr="3"/>'
    meta = "<meta><task><labels><label><name>a</name></label><label><name>p</name><parent>a</parent></label></labels>"
    shapes = [box.format("a", "0.5"), box.format("b", "1"), *(box.format("a", x) for x in ("nan", "", "1e999", "x"))]
    (tmp_path / "a.xml").write_text(
        f'<annotations>{meta}</task></meta><image name="p.jpg" width="-3" height="x">{"".join(shapes)}</image>'
        "</annotations>"
    )
    source = _open(tmp_path)
    (image,), problems = parted(source)
    assert source.classes == ("a",)
    assert (image.record.width, image.record.height) == (0, 0)
    assert [item.box for item in image.record.objects] == [(0.5, 1.0, 3.0, 3.0)]
    assert [p.kind for p in problems] == ["unknown_class"] + ["invalid_box"] * 4


# ---- files


def test_several_files_are_read_together_and_a_damaged_one_loses_itself(tmp_path: Path) -> None:
    for name in ("train", "val"):
        (tmp_path / f"{name}.xml").write_text(f'<annotations><image name="{name}.jpg"/></annotations>')
    (tmp_path / "z.xml").write_text("<annotations><image")
    (tmp_path / "y.xml").write_text("<annotation/>")
    images, problems = parted(_open(tmp_path))
    assert [(i.record.file, i.split) for i in images] == [("train.jpg", "train"), ("val.jpg", "val")]
    assert [(p.kind, p.file) for p in problems] == [
        ("unreadable_annotation", "y.xml"),
        ("unreadable_annotation", "z.xml"),
    ]
    assert [i.record.file for i in parted(_open(tmp_path, annotations="v*.xml"))[0]] == ["val.jpg"]
    with pytest.raises(DataError, match=r"y\.xml"):
        _open(tmp_path, annotations="y.xml")
    with pytest.raises(DataError, match=r"no \.xml"):
        _open(tmp_path, annotations="*.json")


def test_frames_go_by_the_order_of_the_pictures_where_they_are_not_named_so(tmp_path: Path) -> None:
    shape = '<box frame="{}" outside="{}" xtl="1" ytl="1" xbr="3" ybr="3"/>'
    (tmp_path / "a.xml").write_text(
        "<annotations><meta><task><original_size><width>8</width><height>6</height></original_size></task></meta>"
        f'<track label="a">{shape.format(0, 0)}{shape.format(2, 0)}{shape.format(1, 1)}{shape.format("x", 0)}</track>'
        "</annotations>"
    )
    images, problems = parted(_open(tmp_path))
    assert [p.kind for p in problems] == ["unreadable_annotation", "missing_image"]
    assert [i.record.file for i in images] == ["frame_000000.png", "frame_000002.png"]
    for name in ("2", "10", "9"):
        Image.new("RGB", (8, 6)).save(tmp_path / f"{name}.png")
    images, _ = parted(_open(tmp_path))
    assert [(i.record.file, len(i.record.objects)) for i in images] == [("2.png", 1), ("9.png", 0), ("10.png", 1)]


def test_other_xml_is_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<annotation><object><bndbox/></object></annotation>")
    assert detect(open_tree(tmp_path)) is None


# ---- properties


@given(st.lists(st.decimals(-1000, 1000, places=None, allow_nan=False), min_size=4, max_size=4))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_box_arrives_digit_for_digit(tmp_path: Path, numbers: list[Decimal]) -> None:
    edges = dict(zip(("xtl", "ytl", "xbr", "ybr"), numbers, strict=True))
    image, problems = _read(tmp_path, f'<box label="a" {" ".join(f"{k}={str(v)!r}" for k, v in edges.items())}/>')
    assert not problems
    (item,) = image.record.objects
    exact = item.exact or tuple(Decimal(repr(edge)) for edge in item.box)
    assert exact == tuple(numbers)


@given(st.data())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_mutated_file_is_read_or_refused(tmp_path: Path, data: Any) -> None:
    whole = (
        b"<annotations><meta><task><id>1</id><labels><label><name>a</name></label></labels></task></meta>"
        b'<image id="0" name="p.jpg" width="100" height="80">'
        b'<box label="a" xtl="1" ytl="1" xbr="3" ybr="3" rotation="5"/>'
        b'<polygon label="a" points="1,2;3,4;6,5"/><mask label="a" left="1" top="1" width="2" height="2" rle="1,3"/>'
        b'<ellipse label="a" cx="5" cy="4" rx="2" ry="1"/></image>'
        b'<track label="a"><box frame="0" outside="0" xtl="1" ytl="1" xbr="3" ybr="3"/></track></annotations>'
    )
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(start + 30, len(whole))))
    (tmp_path / "a.xml").write_bytes(
        whole[:start]
        + data.draw(st.binary(max_size=8) | st.sampled_from([b"9" * 400, b"-", b"1e300", b"<image>"]))
        + whole[stop:]
    )
    detect(open_tree(tmp_path))
    with suppress(DataError):
        parted(_open(tmp_path))
