"""Laws of reading Supervisely: figures arrive exactly, holes stay holes, bitmaps lie where they begin."""

import base64
import io
import json
import zlib
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

from convert.sources import DATA, POLICY, parted
from reprolens.config.data import Labelled
from reprolens.convert.formats.supervisely import detect, read
from reprolens.convert.source import Problem, Source, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError


def _open(root: Path, annotations: str | None = None) -> Source:
    options = Labelled("supervisely", str(root), None, annotations, [0.7, 0.1, 0.2], None, POLICY)
    return read(open_tree(root), options)


def _figure(kind: str, *exterior: Any, holes: Any = (), title: str = "a", **more: Any) -> dict[str, Any]:
    """Return an object as the format documents it."""
    points = {"exterior": [list(point) for point in exterior], "interior": [list(map(list, hole)) for hole in holes]}
    return {"id": 1, "classId": 2, "classTitle": title, "geometryType": kind, "tags": [], "points": points} | more


def _bitmap(mask: np.ndarray[Any, Any], origin: Any, mode: str = "palette", **more: Any) -> dict[str, Any]:
    """Return a bitmap as Supervisely's SDK packs it: a PNG with a palette, of which 0 is transparent, in zlib."""
    file = io.BytesIO()
    if mode == "palette":
        picture = Image.fromarray(mask.astype(np.uint8))
        picture.putpalette([0, 0, 0, 255, 255, 255])
        picture.save(file, "PNG", transparency=0)
    else:  # as its web tool has it: white, with the mask for alpha
        rgba = np.full((*mask.shape, 4), 255, np.uint8)
        rgba[:, :, 3] = mask * 255
        Image.fromarray(rgba).save(file, "PNG")
    data = base64.b64encode(zlib.compress(file.getvalue())).decode()
    entry = _figure("bitmap") | {"bitmap": {"data": data, "origin": origin}}
    del entry["points"]
    return entry | more


def _write(root: Path, place: str, *figures: Any, tags: Any = (), **more: Any) -> None:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    size = {"width": 100, "height": 80}
    document = {"description": "", "tags": list(tags), "size": size, "objects": list(figures)} | more
    path.write_text(json.dumps(document))
    if not (root / "meta.json").exists():
        classes = [{"title": title, "shape": "any", "color": "#FF0000"} for title in ("a", "b", "unused")]
        (root / "meta.json").write_text(json.dumps({"classes": classes, "tags": [], "projectType": "images"}))


def _read(root: Path, *figures: Any, **more: Any) -> tuple[SourceImage, list[Problem]]:
    _write(root, "ds/ann/p.jpg.json", *figures, **more)
    (image,), problems = parted(_open(root))
    return image, problems


# ---- figures


def test_rectangles_and_polygons_arrive_as_they_are(tmp_path: Path) -> None:
    square = [(10.5, 20), (30, 20), (30, 40), (10.5, 40)]
    image, problems = _read(
        tmp_path, _figure("rectangle", (30, 40), (10.5, 20)), _figure("polygon", *square, title="b")
    )
    assert not problems
    assert _open(tmp_path).classes == ("a", "b", "unused")
    assert "meta.json" in (detect(open_tree(tmp_path)) or "")
    found = [(item.name, item.box, item.segmentation) for item in image.record.objects]
    box = (10.5, 20.0, 30.0, 40.0)
    assert found == [("a", box, ""), ("b", box, "[[10.5,20,30,20,30,40,10.5,40]]")]
    assert (image.record.width, image.record.height) == (100, 80)


def test_a_polygon_with_holes_is_a_mask_without_them(tmp_path: Path) -> None:
    square, hole = [(10, 20), (30, 20), (30, 40), (10, 40)], [(15, 25), (20, 25), (20, 30), (15, 30)]
    image, problems = _read(tmp_path, _figure("polygon", *square, holes=[hole, [(1, 1)]]))
    (item,) = image.record.objects
    drawn = codes.decode(json.loads(item.segmentation))
    expected = np.zeros((80, 100), bool)
    expected[20:40, 10:30] = True
    expected[25:30, 15:20] = False
    assert not problems
    assert np.array_equal(drawn, expected)
    assert item.box == (10.0, 20.0, 30.0, 40.0)


@pytest.mark.parametrize("mode", ["palette", "alpha"])
def test_a_bitmap_lies_at_its_origin(tmp_path: Path, mode: str) -> None:
    mask = np.array([[0, 1, 0, 0], [0, 1, 1, 0]], bool)
    image, problems = _read(tmp_path, _bitmap(mask, [5, 7], mode), _bitmap(mask, [-2, 79], mode))
    first, second = image.record.objects
    drawn = codes.decode(json.loads(first.segmentation))
    assert not problems
    assert drawn.shape == (80, 100)
    assert sorted(map(tuple, np.argwhere(drawn).tolist())) == [(7, 6), (8, 6), (8, 7)]
    assert first.box == (6.0, 7.0, 8.0, 9.0)
    assert codes.decode(json.loads(second.segmentation)).sum() == 0  # it lies wholly outside
    assert second.box == (-1.0, 79.0, 1.0, 81.0)


def test_what_has_no_area_and_what_is_damaged_lose_themselves_alone(tmp_path: Path) -> None:
    good, mask = _figure("rectangle", (1, 2), (3, 4)), np.ones((2, 2), bool)
    bad: list[Any] = [_figure(kind, (1, 2), (3, 4)) for kind in ("point", "line", "graph", "cuboid", "polygon", "any")]
    bad += [None, 5, [], {}, good | {"classTitle": None}, good | {"classTitle": "c"}, good | {"points": 5}]
    bad += [
        _figure("rectangle", (1, "x"), (3, 4)),
        _figure("rectangle", (None, 2), (3, 4)),
        _figure("rectangle", (1, 2)),
    ]
    bad += [_bitmap(mask, origin) for origin in (None, [1], [1.5, 2], [10**30, 1], ["x", 1])]
    packed = [base64.b64encode(data).decode() for data in (b"no zlib", zlib.compress(b"no PNG"), zlib.compress(b""))]
    bad += [_figure("bitmap", bitmap={"data": data, "origin": [1, 1]}) for data in (*packed, "é", None)]
    bad += [_bitmap(np.zeros((2, 2), bool), [1, 1])]
    image, problems = _read(tmp_path, good, *bad, good)
    assert len(image.record.objects) == 2
    assert len(problems) == len(bad)
    kinds = {"unsupported_shape", "invalid_box", "unknown_class", "unreadable_mask", "empty_box"}
    assert {p.kind for p in problems} == kinds


def test_a_mask_in_a_picture_of_absurd_or_unknown_size_is_not_drawn(tmp_path: Path) -> None:
    mask = _bitmap(np.ones((2, 2), bool), [1, 1])
    for size in ({"width": 999_999, "height": 999_999}, {"width": 20_000, "height": 20_000}, {"width": -1}, None, 5):
        image, problems = _read(tmp_path, mask, size=size)
        assert not image.record.objects
        assert [p.kind for p in problems] == ["unreadable_mask"]


# ---- pictures


def test_splits_come_from_the_data_sets_or_from_tags(tmp_path: Path) -> None:
    _write(tmp_path, "train/ann/p.jpg.json", tags=[{"name": "night", "value": None}])
    _write(tmp_path, "ds/ann/p.jpg.json", tags=[{"name": "val", "value": None}, {"name": "sky", "value": "blue"}])
    _write(tmp_path, "ds/datasets/test/ann/q.jpg.json")
    _write(tmp_path, "ann/r.jpg.json")
    images, _ = parted(_open(tmp_path))
    assert {(i.record.file, i.split, i.record.labels) for i in images} == {
        ("train/img/p.jpg", "train", ("night",)),
        ("ds/img/p.jpg", "val", ("sky: blue",)),
        ("ds/datasets/test/img/q.jpg", "test", ()),
        ("img/r.jpg", None, ()),
    }


@pytest.mark.parametrize("name", ["p.jpg.json", "p.json"])
def test_an_annotation_is_called_after_its_picture_with_or_without_suffix(tmp_path: Path, name: str) -> None:
    for dataset in ("ds", "other"):
        (tmp_path / dataset / "img").mkdir(parents=True)
        Image.new("RGB", (8, 6)).save(tmp_path / dataset / "img" / "p.jpg")
    _write(tmp_path, f"ds/ann/{name}")
    (image,), _ = parted(_open(tmp_path))
    assert open_tree(tmp_path).images.find(image.record.file, image.near) == ["ds/img/p.jpg"]


def test_tags_of_an_object_are_its_marks(tmp_path: Path) -> None:
    tags = [
        {"name": "Occluded", "value": None},
        {"name": "truncated", "value": "no"},
        {"name": "difficult", "value": 1},
    ]
    image, _ = _read(tmp_path, _figure("rectangle", (1, 2), (3, 4), tags=tags))
    (item,) = image.record.objects
    assert (item.occluded, item.truncated, item.difficult) == (True, False, True)


def test_a_project_without_classes_is_one_of_tagged_pictures(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text('{"classes": [], "tags": [{"name": "cat"}]}')
    _write(tmp_path, "ds/ann/p.jpg.json", tags=[{"name": "cat"}])
    source = _open(tmp_path)
    assert (source.task, source.classes) == ("classification", None)
    assert next(iter(parted(source)[0])).record.labels == ("cat",)


def test_a_damaged_file_loses_itself_alone(tmp_path: Path) -> None:
    _write(tmp_path, "ds/ann/good.jpg.json", _figure("rectangle", (1, 2), (3, 4)))
    for name, text in {"a": "{", "b": "[]", "c": "{}", "d": '{"objects": 5}'}.items():
        (tmp_path / "ds" / "ann" / f"{name}.jpg.json").write_text(text)
    images, problems = parted(_open(tmp_path))
    assert len(images) == 1
    assert [(p.kind, Path(p.file).name[0]) for p in problems] == [("unreadable_annotation", name) for name in "abcd"]
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(DataError, match=r"meta\.json"):
        _open(tmp_path)
    with pytest.raises(DataError, match="no folder ann/"):
        _open(tmp_path, "*.csv")


def test_other_projects_are_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text('{"classes": [], "tags": [], "projectType": "videos"}')
    _write(tmp_path, "ds/ann/p.mp4.json")
    assert detect(open_tree(tmp_path)) is None
    clouds = DATA / "format_fixtures" / "assets" / "sly_pointcloud_dataset"
    if not clouds.is_dir():
        pytest.skip("shared/data is not here")
    assert detect(open_tree(clouds)) is None


# ---- properties


@given(st.lists(st.floats(-1e9, 1e9) | st.integers(-(10**20), 10**20), min_size=4, max_size=4))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_rectangle_arrives_digit_for_digit(tmp_path: Path, numbers: list[float]) -> None:
    x0, y0, x1, y1 = (Decimal(json.dumps(number)) for number in numbers)
    image, _ = _read(tmp_path, _figure("rectangle", numbers[:2], numbers[2:]))
    (item,) = image.record.objects
    exact = item.exact or tuple(Decimal(repr(edge)) for edge in item.box)
    assert exact == (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


@given(st.data())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_mutated_file_is_read_or_refused(tmp_path: Path, data: Any) -> None:
    hole = _figure("polygon", (0, 0), (9, 0), (9, 9), holes=[[(1, 1), (2, 1), (2, 2)]])
    _write(tmp_path, "ds/ann/p.jpg.json", _bitmap(np.ones((2, 2), bool), [1, 1]), hole, tags=[{"name": "x"}])
    path = tmp_path / data.draw(st.sampled_from(["meta.json", "ds/ann/p.jpg.json"]))
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(start + 30, len(whole))))
    odd = st.sampled_from([b"9" * 400, b"-", b"1e300", b"null", b"NaN", b"[[", b'"'])
    path.write_bytes(whole[:start] + data.draw(st.binary(max_size=8) | odd) + whole[stop:])
    try:
        detect(open_tree(tmp_path))
        with suppress(DataError):
            parted(_open(tmp_path))
    finally:
        (tmp_path / "meta.json").unlink()
