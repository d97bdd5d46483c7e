"""Outlines as masks: COCO's own rasteriser is the oracle, and nothing is allocated unchecked."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as oracle

from reprolens.convert.segmentation import area, draw, draw_masks, hull, palette
from reprolens.errors import DataError
from reprolens.voc import Object, Record

HEIGHT, WIDTH = 23, 31
CLASSES = {"cat": 0, "dog": 1}


def square(x0: float, y0: float, x1: float, y1: float) -> str:
    return json.dumps([[x0, y0, x1, y0, x1, y1, x0, y1]])


def item(segmentation: str, name: str = "cat", crowd: bool = False) -> Object:
    return Object(name, (0.0, 0.0, 1.0, 1.0), segmentation=segmentation, crowd=crowd)


def masks(*objects: Object) -> tuple[Any, Any]:
    drawn = draw_masks(Record("1", "1.jpg", WIDTH, HEIGHT, objects=objects), CLASSES)
    assert drawn is not None
    assert all(mask.shape == (HEIGHT, WIDTH) and mask.dtype == np.uint8 for mask in drawn)
    return drawn


POINT = st.floats(-60, 90).map(lambda x: round(x, 2))
POLYGON = st.integers(3, 8).flatmap(lambda n: st.lists(POINT, min_size=2 * n, max_size=2 * n))
MASK = st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=5, max_size=5).map(np.array)


@settings(max_examples=200, deadline=None)
@given(polygons=st.lists(POLYGON, min_size=1, max_size=3))
def test_polygons_are_drawn_as_coco_draws_them(polygons: list[list[float]]) -> None:
    expected = oracle.decode(oracle.merge(oracle.frPyObjects(polygons, HEIGHT, WIDTH)))
    assert np.array_equal(draw(json.dumps(polygons), HEIGHT, WIDTH), expected.astype(bool))


@settings(max_examples=50, deadline=None)
@given(mask=MASK)
def test_run_length_codes_are_drawn_as_coco_draws_them(mask: Any) -> None:
    packed = oracle.encode(np.asfortranarray(mask.astype(np.uint8)))
    compressed = json.dumps({"size": packed["size"], "counts": packed["counts"].decode()})
    flat = mask.ravel(order="F").tolist()
    runs, value = [0], False
    for pixel in flat:
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    plain = json.dumps({"size": [5, 7], "counts": runs})
    for code in (compressed, plain):
        assert np.array_equal(draw(code, 5, 7), mask)
        assert area(code) == mask.sum()
        if mask.any():
            x, y, w, h = oracle.toBbox(packed)
            assert tuple(map(float, hull(code))) == (x, y, x + w, y + h)


@pytest.mark.parametrize("far", [5e3, 1e6, 1e300])
def test_a_corner_far_away_costs_nothing_and_keeps_what_is_inside(far: float) -> None:
    assert draw(square(10, 5, far, far), HEIGHT, WIDTH).sum() == (HEIGHT - 5) * (WIDTH - 10)
    assert not draw(square(far, far, 2 * far, 2 * far), HEIGHT, WIDTH).any()
    triangle = draw(json.dumps([[0, 0, far, 0, 0, far]]), HEIGHT, WIDTH)
    assert triangle.all()


def test_masks_hold_the_class_and_the_place_of_the_object() -> None:
    classes, objects = masks(Object("dog", (0, 0, 1, 1)), item(square(2, 3, 6, 8), "dog"), item(square(10, 10, 20, 20)))
    assert (classes[3:8, 2:6] == 2).all() and (objects[3:8, 2:6] == 2).all()
    assert (classes[10:20, 10:20] == 1).all() and (objects[10:20, 10:20] == 3).all()
    assert (classes == 0).sum() == HEIGHT * WIDTH - 20 - 100


def test_a_small_object_stays_visible_whatever_the_order() -> None:
    small, large = item(square(5, 5, 8, 8), "dog"), item(square(0, 0, 20, 20))
    for objects in ((small, large), (large, small)):
        assert (masks(*objects)[0][5:8, 5:8] == 2).all()


def test_a_crowd_is_void_in_both_masks() -> None:
    for mask in masks(item(square(0, 0, 4, 4), crowd=True), item(square(10, 10, 12, 12))):
        assert (mask[:4, :4] == 255).all() and (mask[10:12, 10:12] < 255).all()


def test_objects_beyond_the_254th_are_in_the_class_mask_only() -> None:
    classes, objects = masks(*[Object("dog", (0, 0, 1, 1))] * 253, *[item(square(n, 0, n + 1, 2)) for n in range(2)])
    assert classes[0, :2].tolist() == [1, 1] and objects[0, :2].tolist() == [254, 0]


def test_there_are_no_masks_where_there_is_no_outline_or_a_class_too_many() -> None:
    assert draw_masks(Record("1", "1.jpg", 9, 9, objects=(Object("cat", (0, 0, 1, 1)),)), CLASSES) is None
    record = Record("1", "1.jpg", 9, 9, objects=(item(square(0, 0, 4, 4)),))
    assert draw_masks(record, {"cat": 254}) is None
    assert draw_masks(record, {"cat": 253}) is not None


@pytest.mark.parametrize(
    "text",
    [
        '{"size":[23,30],"counts":[5]}',
        '{"size":[1000000,1000000],"counts":"0"}',
        '{"size":[23,31],"counts":[700,14]}',
        '{"size":[23,31],"counts":[-5]}',
        '{"size":[23,31],"counts":[99999999999999999999]}',
        '{"size":[23,31],"counts":"~~~~\\u00e9"}',
        '{"size":[23,31]}',
        '{"size":[0,0],"counts":[]}',
        '[["a"]]',
        "[[1,2,3]]",
        "[[1,2,3,4,5,1e999]]",
        "[" * 3000,
        "text",
    ],
)
def test_a_damaged_outline_is_an_error_that_names_the_object(text: str) -> None:
    with pytest.raises(DataError, match=r"1\.jpg: object 1 \(cat\): its segmentation"):
        masks(item(text))


@settings(max_examples=100, deadline=None)
@given(
    text=st.text('[]{}0123456789.,-eE"sizecounts: ~', max_size=40)
    | st.builds(
        lambda counts: json.dumps({"size": [HEIGHT, WIDTH], "counts": counts}),
        st.text(max_size=20) | st.lists(st.integers(-3, 2**70), max_size=5),
    )
)
def test_any_text_is_drawn_or_an_error(text: str) -> None:
    for function in (hull, area, lambda text: draw(text, HEIGHT, WIDTH)):
        try:
            function(text)
        except DataError:
            continue


def test_a_polygon_of_two_points_has_no_pixel() -> None:
    assert not draw("[[1,2,9,8]]", HEIGHT, WIDTH).any()
    assert draw(json.dumps([[1, 2, 9, 8], [3, 3, 9, 3, 9, 9]]), HEIGHT, WIDTH).any()


def test_hull_and_area_of_polygons_are_exact() -> None:
    text = "[[0.1,0.2,4.1,0.2,4.1,2.2,0.1,2.2],[10,10,12,10,12,13]]"
    assert [str(edge) for edge in hull(text)] == ["0.1", "0.2", "12.0", "13.0"]
    assert area(text) == pytest.approx(8 + 3, abs=1e-12)


def test_the_palette_is_the_development_kits() -> None:
    colours = np.frombuffer(palette(), np.uint8).reshape(256, 3)
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 7: (128, 128, 128), 15: (192, 128, 128), 20: (0, 64, 128)}
    assert {index: tuple(map(int, colours[index])) for index in known} == known
    assert tuple(map(int, colours[255])) == (224, 224, 192)  # what VOC draws around objects
    assert len({bytes(colour) for colour in colours}) == 256


def test_the_masks_of_a_real_set_cover_what_coco_says(tmp_path: Path) -> None:
    path = Path(__file__).parents[2].parent / "shared/data/format_fixtures/assets/coco_dataset/coco_instances"
    if not path.is_dir():
        pytest.skip(f"{path} is absent")
    content = json.loads((path / "annotations" / "instances_val.json").read_text())
    for annotation in content["annotations"]:
        assert area(json.dumps(annotation["segmentation"])) == annotation["area"]
