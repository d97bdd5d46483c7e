"""VoTT's exports and projects: real ones, and every variant written here."""

import copy
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from convert.sources import ASSETS, POLICY
from reprolens.config.data import Labelled
from reprolens.convert.formats.vott import detect, read
from reprolens.convert.source import Problem, Source, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

REGION: dict[str, Any] = {
    "id": "r",
    "type": "RECTANGLE",
    "tags": ["cat"],
    "boundingBox": {"left": 1, "top": 2, "width": 3.5, "height": 4},
    "points": [{"x": 1, "y": 2}, {"x": 4.5, "y": 2}, {"x": 4.5, "y": 6}, {"x": 1, "y": 6}],
}
ASSET: dict[str, Any] = {
    "asset": {
        "id": "a",
        "name": "a.jpg",
        "path": "file:/x/a.jpg",
        "size": {"width": 8, "height": 9},
        "state": 2,
        "type": 1,
    },
    "regions": [REGION],
    "version": "2.2.0",
}
EXPORT: dict[str, Any] = {
    "name": "cars",
    "securityToken": "t",
    "videoSettings": {"frameExtractionRate": 15},
    "tags": [{"name": "cat", "color": "#fff"}, {"name": "dog", "color": "#000"}],
    "assets": {"a": ASSET},
}


def options(root: Path, annotations: str | None = None) -> Labelled:
    return Labelled("vott", str(root), None, annotations, [0.7, 0.1, 0.2], None, POLICY)


def opened(root: Path, annotations: str | None = None) -> Source:
    return read(open_tree(root), options(root, annotations))


def write(root: Path, name: str, value: Any) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def changed(region: Mapping[str, Any] | None = None, asset: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the export with other values in its region, or about its picture."""
    made = copy.deepcopy(EXPORT)
    made["assets"]["a"]["regions"][0].update(region or {})
    made["assets"]["a"]["asset"].update(asset or {})
    return made


def only(root: Path, value: Any) -> SourceImage:
    write(root, "cars-export.json", value)
    (item,) = opened(root).images
    assert isinstance(item, SourceImage)
    return item


def reported(root: Path, value: Any) -> list[tuple[str, str]]:
    write(root, "cars-export.json", value)
    return [(item.kind, item.reason) for item in opened(root).images if isinstance(item, Problem)]


# ---- real files


@pytest.mark.skipif(not ASSETS.exists(), reason="the shared data is not here")
def test_real_json_export_has_3_pictures_and_a_region_without_a_tag() -> None:
    root = ASSETS / "vott_json_dataset" / "dataset"
    assert "train-export.json is an export of VoTT" in (detect(open_tree(root)) or "")
    source = opened(root)
    found = list(source.images)
    assert source.classes == ("animal", "dog", "person")
    assert [(item.kind, item.reason) for item in found if isinstance(item, Problem)] == [
        ("unknown_class", "has no tag")
    ]
    boxes = {
        item.record.file: [(o.name, o.box) for o in item.record.objects]
        for item in found
        if isinstance(item, SourceImage)
    }
    assert boxes == {
        "img0001.jpg": [("animal", (5, 10, 15, 12))],
        "img0002.jpg": [("animal", (11.5, 12, 21.7, 32.5)), ("dog", (11.5, 12, 21.7, 32.5))],
        "img0003.jpg": [("person", (13.7, 20.2, 45.6, 63.6))],
    }


@pytest.mark.skipif(not ASSETS.exists(), reason="the shared data is not here")
def test_real_csv_exports_have_4_pictures_5_boxes_and_their_splits() -> None:
    root = ASSETS / "vott_csv_dataset" / "dataset"
    assert "CSV export" in (detect(open_tree(root)) or "")
    found = [item for item in opened(root).images if isinstance(item, SourceImage)]
    assert [(item.record.file, item.split, len(item.record.objects)) for item in found] == [
        ("img0001.jpg", "test", 1),
        ("img0002.jpg", "test", 1),
        ("img0003.jpg", "train", 2),
        ("img0004.jpg", "train", 1),
    ]
    assert found[1].record.objects[0].box == (11.5, 12, 21.7, 32.5)


# ---- variants


def test_json_export_gives_size_box_and_tags(tmp_path: Path) -> None:
    item = only(tmp_path, EXPORT)
    assert (item.record.file, item.record.width, item.record.height, item.split) == ("a.jpg", 8, 9, None)
    assert [(o.name, o.box, o.segmentation) for o in item.record.objects] == [("cat", (1, 2, 4.5, 6), "")]


def test_region_with_several_tags_is_an_object_of_each(tmp_path: Path) -> None:
    item = only(tmp_path, changed({"tags": ["cat", "dog", "cat"]}))
    assert [o.name for o in item.record.objects] == ["cat", "dog"]


def test_polygon_keeps_its_points_as_they_are_written(tmp_path: Path) -> None:
    points = [{"x": 1, "y": 2}, {"x": 4.25, "y": 2.5}, {"x": 3, "y": 6}]
    item = only(tmp_path, changed({"type": "POLYGON", "points": points}))
    assert item.record.objects[0].segmentation == "[[1,2,4.25,2.5,3,6]]"
    assert item.record.objects[0].box == (1, 2, 4.5, 6)
    bare = only(tmp_path, changed({"type": "POLYGON", "points": points, "boundingBox": None}))
    assert bare.record.objects[0].box == (1, 2, 4.25, 6)


def test_project_gives_what_its_asset_files_hold(tmp_path: Path) -> None:
    listed = {
        key: {"id": key, "name": f"{key}.jpg", "state": state, "type": 1}
        for key, state in (("a", 2), ("b", 2), ("c", 0))
    }
    write(tmp_path, "cars.vott", {**EXPORT, "assets": listed})
    write(tmp_path, "a-asset.json", ASSET)
    write(tmp_path, "d-asset.json", '{"asset": ')
    assert "project of VoTT" in (detect(open_tree(tmp_path)) or "")
    source = opened(tmp_path)
    found = list(source.images)
    assert source.classes == ("cat", "dog")
    assert [item.record.file for item in found if isinstance(item, SourceImage)] == ["a.jpg"]
    assert [(item.kind, item.file) for item in found if isinstance(item, Problem)] == [
        ("missing_annotation", "b.jpg"),
        ("unreadable_annotation", "d-asset.json"),
    ]


def test_export_is_read_and_not_the_project_or_csv_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "cars.vott", {**EXPORT, "assets": {}})
    write(tmp_path, "a-asset.json", ASSET)
    write(tmp_path, "vott-json-export/cars-export.json", EXPORT)
    write(tmp_path, "vott-csv-export/cars-export.csv", "image,xmin,ymin,xmax,ymax,label\na.jpg,1,2,3,4,dog\n")
    (item,) = opened(tmp_path).images
    assert isinstance(item, SourceImage)
    assert item.near == "vott-json-export"
    (other,) = opened(tmp_path, "*.csv").images
    assert isinstance(other, SourceImage)
    assert [o.name for o in other.record.objects] == ["dog"]


def test_name_of_several_pictures_gets_the_folders_of_its_path(tmp_path: Path) -> None:
    for folder in ("day one", "two"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (8, 9)).save(tmp_path / folder / "a.jpg")
    item = only(tmp_path, changed(asset={"path": "file:C%3A/pictures/day%20one/a.jpg"}))
    assert item.record.file == "day one/a.jpg"


def test_picture_that_nobody_opened_and_a_whole_video_are_no_pictures(tmp_path: Path) -> None:
    export = changed()
    export["assets"]["b"] = {"asset": {"name": "b.jpg", "state": 0, "type": 1}, "regions": []}
    export["assets"]["c"] = {"asset": {"name": "c.mp4", "state": 2, "type": 2}, "regions": []}
    export["assets"]["d"] = {"asset": {"name": "d.jpg", "state": 1, "type": 1}, "regions": []}
    write(tmp_path, "cars-export.json", export)
    found = [item.record.file for item in opened(tmp_path).images if isinstance(item, SourceImage)]
    assert found == ["a.jpg", "d.jpg"]


def test_one_export_bears_no_split_and_several_do(tmp_path: Path) -> None:
    write(tmp_path, "test-export.json", EXPORT)
    assert [item.split for item in opened(tmp_path).images if isinstance(item, SourceImage)] == [None]
    write(tmp_path, "train-export.json", EXPORT)
    assert [item.split for item in opened(tmp_path).images if isinstance(item, SourceImage)] == ["test", "train"]


def test_csv_rows_of_a_picture_come_together(tmp_path: Path) -> None:
    rows = '"image","xmin","ymin","xmax","ymax","label"\n"a.jpg",1.1,2,3,4,"cat"\n'
    rows += '"b.jpg",1,2,3,4,"cat"\n"a.jpg",5,6,7,8,"dog"\n'
    write(tmp_path, "cars-export.csv", rows)
    found = [item.record for item in opened(tmp_path).images if isinstance(item, SourceImage)]
    assert [(record.file, [o.box for o in record.objects]) for record in found] == [
        ("a.jpg", [(1.1, 2, 3, 4), (5, 6, 7, 8)]),
        ("b.jpg", [(1, 2, 3, 4)]),
    ]


# ---- damage


@pytest.mark.parametrize(
    ("region", "kind"),
    [
        ({"tags": []}, "unknown_class"),
        ({"tags": [None]}, "unknown_class"),
        ({"type": "POINT"}, "unsupported_shape"),
        ({"type": "POLYLINE"}, "unsupported_shape"),
        ({"type": "POLYGON", "points": [{"x": 1, "y": 2}]}, "unsupported_shape"),
        ({"boundingBox": {"left": "x", "top": 2, "width": 3, "height": 4}}, "invalid_box"),
        ({"boundingBox": {"left": 1}}, "invalid_box"),
        ({"boundingBox": None, "points": None}, "invalid_box"),
        ({"boundingBox": {"left": float("nan"), "top": 2, "width": 3, "height": 4}}, "invalid_box"),
    ],
)
def test_bad_region_loses_only_itself(tmp_path: Path, region: dict[str, Any], kind: str) -> None:
    export = changed()
    export["assets"]["a"]["regions"].append({**REGION, **region})
    write(tmp_path, "cars-export.json", export)
    found = list(opened(tmp_path).images)
    assert [item.kind for item in found if isinstance(item, Problem)] == [kind]
    assert [len(item.record.objects) for item in found if isinstance(item, SourceImage)] == [1]


def test_damaged_export_among_others_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "a-export.json", EXPORT)
    write(tmp_path, "b-export.json", json.dumps(EXPORT)[:-20])
    write(tmp_path, "c-export.json", "nothing")
    found = list(opened(tmp_path).images)
    assert [item.file for item in found if isinstance(item, Problem)] == ["b-export.json", "c-export.json"]
    assert sum(isinstance(item, SourceImage) for item in found) == 1


def test_asset_without_a_name_is_reported(tmp_path: Path) -> None:
    assert reported(tmp_path, changed(asset={"name": None})) == [
        ("unreadable_annotation", "it does not name its picture"),
    ]


def test_other_folders_are_not_claimed(tmp_path: Path) -> None:
    write(tmp_path, "a.json", {"images": [], "annotations": [], "categories": [], "assets": 1})
    write(tmp_path, "b.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\n")
    tree = open_tree(tmp_path)
    assert detect(tree) is None
    with pytest.raises(DataError, match="no file of VoTT"):
        read(tree, options(tmp_path))


# ---- laws

NUMBER = st.decimals(-1000, 5000, places=3)


@given(NUMBER, NUMBER, NUMBER, NUMBER)
def test_boxes_are_exact(
    tmp_path_factory: pytest.TempPathFactory, left: Decimal, top: Decimal, width: Decimal, height: Decimal
) -> None:
    root = tmp_path_factory.mktemp("exact")
    box = {
        key: float(value)
        for key, value in zip(("left", "top", "width", "height"), (left, top, width, height), strict=True)
    }
    cat = only(root, changed({"boundingBox": box})).record.objects[0]
    corners = cat.exact or tuple(Decimal(repr(edge)) for edge in cat.box)
    assert corners == (left, top, left + width, top + height)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_mutated_exports_never_end_in_another_exception(data: st.DataObject, tmp_path: Path) -> None:
    export = copy.deepcopy(EXPORT)
    places: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            places.append((node, key))
            if isinstance(value, dict | list):
                visit(value)

    visit(export)
    for _ in range(data.draw(st.integers(1, 3))):
        node, key = data.draw(st.sampled_from(places))
        node[key] = data.draw(JSON)
    write(tmp_path, "cars-export.json", export)
    tree = open_tree(tmp_path)
    detect(tree)
    try:
        list(read(tree, options(tmp_path)).images)
    except DataError as error:
        assert "VoTT" in str(error)
