"""Laws of reading Label Studio: percent become the pixels that were meant, brushes the pixels that were painted."""

import json
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hotcoco import mask as codes
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from convert.sources import POLICY, parted
from reprolens.config.data import Labelled
from reprolens.convert.formats.label_studio import detect, read
from reprolens.convert.formats.percent import box_in_pixels
from reprolens.convert.source import Problem, Source, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

BOX = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}


def _open(root: Path, annotations: str | None = None) -> Source:
    options = Labelled("label_studio", str(root), None, annotations, [0.7, 0.1, 0.2], None, POLICY)
    return read(open_tree(root), options)


def _region(kind: str, value: Any, label: str | None = "a", size: tuple[int, int] = (200, 100), **more: Any) -> Any:
    """Return a result as the export documents it."""
    named = {kind: [label]} if label is not None else {}
    return {
        "id": "r1",
        "type": kind,
        "value": value | named,
        "origin": "manual",
        "to_name": "image",
        "from_name": "label",
        "image_rotation": 0,
        "original_width": size[0],
        "original_height": size[1],
    } | more


def _task(*regions: Any, image: str = "/data/upload/1/0123abcd-p.jpg", **more: Any) -> dict[str, Any]:
    annotation = {"id": 1, "completed_by": 1, "result": list(regions), "was_cancelled": False, "lead_time": 3.5}
    return {"id": 1, "annotations": [annotation], "predictions": [], "data": {"image": image}, "project": 1} | more


def _read(root: Path, *tasks: Any) -> tuple[list[SourceImage], list[Problem]]:
    (root / "export.json").write_text(json.dumps(list(tasks)))
    return parted(_open(root))


def _packed(values: np.ndarray[Any, Any], widths: tuple[int, ...] = (3, 4, 8, 16)) -> list[int]:
    """Return Label Studio's run-length code of bytes, as @thi.ng/rle-pack writes it (see brush.py of its converter)."""
    bits = f"{len(values):032b}{8 - 1:05b}" + "".join(f"{width - 1:04b}" for width in widths)

    def block(repeated: bool, run: list[int]) -> str:
        index = next(i for i, width in enumerate(widths) if len(run) <= 1 << width)
        length = format(len(run) - 1, f"0{widths[index]}b")
        return f"{int(repeated)}{index:02b}{length}" + "".join(
            f"{value:08b}" for value in (run[:1] if repeated else run)
        )

    start, single = 0, []
    while start < len(values):
        stop = start + 1
        while stop < len(values) and values[stop] == values[start] and stop - start < 1 << widths[-1]:
            stop += 1
        if stop - start > 1 or len(single) == 1 << widths[-1]:
            bits += block(False, single) if single else ""
            single = []
        if stop - start > 1:
            bits += block(True, [int(values[start])] * (stop - start))
        else:
            single.append(int(values[start]))
        start = stop
    bits += block(False, single) if single else ""
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def _painted(mask: np.ndarray[Any, Any], colour: tuple[int, int, int] = (0, 0, 0)) -> list[int]:
    """Return the code of a mask as Label Studio paints it: red, green, blue and alpha."""
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[:, :, 3] = mask * 255
    rgba[mask, :3] = colour
    return _packed(rgba.ravel())


# ---- shapes


def test_percent_become_pixels_and_a_box_turns_about_its_corner(tmp_path: Path) -> None:
    quarter = _region("rectanglelabels", BOX | {"rotation": 90})
    slanted = _region("rectanglelabels", BOX | {"rotation": 30})
    polygon = _region("polygonlabels", {"points": [[10, 10], [20.5, 10], [20, 33]], "closed": True})
    (image,), problems = _read(tmp_path, _task(_region("rectanglelabels", BOX), quarter, slanted, polygon))
    upright, turned, other, outline = image.record.objects
    assert not problems
    assert (image.record.width, image.record.height) == (200, 100)
    assert (upright.box, upright.segmentation) == ((20, 20, 80, 60), "")
    assert (turned.box, turned.segmentation) == ((-20, 20, 20, 80), "")
    (ring,) = json.loads(other.segmentation)
    angle = np.pi / 6
    assert ring[:4] == pytest.approx([20, 20, 20 + 60 * np.cos(angle), 20 + 60 * np.sin(angle)])
    assert other.box == pytest.approx((20 - 40 * np.sin(angle), 20, ring[2], 20 + 30 + 40 * np.cos(angle)))
    assert (outline.segmentation, outline.box) == ("[[20,10,41,10,40,33]]", (20, 10, 41, 33))


def test_an_ellipse_has_radii_in_percent_of_each_side(tmp_path: Path) -> None:
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 10, "rotation": 0}
    turned = _region("ellipselabels", value | {"rotation": 90})
    (image,), _ = _read(tmp_path, _task(_region("ellipselabels", value), turned))
    assert image.record.objects[0].box == (80, 40, 120, 60)
    assert image.record.objects[1].box == pytest.approx((90, 30, 110, 70))


@given(st.integers(1, 40), st.integers(1, 30), st.data())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_brush_gives_the_very_pixels_that_were_painted(tmp_path: Path, width: int, height: int, data: Any) -> None:
    rows = st.lists(st.booleans(), min_size=width * height, max_size=width * height)
    mask = np.array(data.draw(rows)).reshape(height, width)
    mask[data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))] = True
    code = _painted(mask, (data.draw(st.integers(0, 255)), 7, 0))
    region = _region("brushlabels", {"format": "rle", "rle": code}, size=(width, height))
    (image,), problems = _read(tmp_path, _task(region))
    assert not problems
    (item,) = image.record.objects
    assert np.array_equal(codes.decode(json.loads(item.segmentation)), mask)
    rows_, columns = np.nonzero(mask)
    assert item.box == (columns.min(), rows_.min(), columns.max() + 1, rows_.max() + 1)


def test_a_brush_that_is_damaged_or_of_another_size_loses_itself(tmp_path: Path) -> None:
    code = _painted(np.eye(5, dtype=bool))
    bad: list[Any] = [code[:-3], code[:3], [], None, [300], ["x"], code[:4] + [255] * 50]
    regions = [_region("brushlabels", {"format": "rle", "rle": rle}, size=(5, 5)) for rle in bad]
    regions += [_region("brushlabels", {"rle": code}, size=size) for size in ((5, 6), (999_999, 999_999), (0, 0))]
    empty = _region("brushlabels", {"rle": _painted(np.zeros((5, 5), bool))}, size=(5, 5))
    (image,), problems = _read(tmp_path, _task(*regions, empty))
    assert len(image.record.objects) <= 1  # (0, 0) takes the size that the others give
    assert len(problems) >= len(regions)
    assert {p.kind for p in problems} == {"unreadable_mask", "empty_box"}


def test_what_has_no_area_and_what_is_damaged_lose_themselves_alone(tmp_path: Path) -> None:
    good = _region("rectanglelabels", BOX)
    point = _region("keypointlabels", {"x": 1, "y": 1, "width": 0.4})
    bad = [point, _region("vectorlabels", {"vertices": []}), _region("rectanglelabels", BOX | {"x": None})]
    bad += [_region("polygonlabels", {"points": [[1, 2]]}), _region("polygonlabels", {"points": [1, 2, 3]})]
    bad += [_region("rectanglelabels", BOX, label=None, id="r2"), _region("rectanglelabels", BOX, label="")]
    ignored = [None, 5, {"type": "relation"}, {"value": {"text": ["x"]}, "type": "textarea"}]
    (image,), problems = _read(tmp_path, _task(good, *bad, *ignored))
    assert len(image.record.objects) == 1
    assert len(problems) == len(bad)
    assert {p.kind for p in problems} == {"unsupported_shape", "invalid_box", "unknown_class"}


# ---- tasks


def test_the_latest_annotation_that_was_not_cancelled_counts_and_predictions_do_not(tmp_path: Path) -> None:
    def said(label: str, when: str, **more: Any) -> dict[str, Any]:
        return {"result": [_region("rectanglelabels", BOX, label)], "created_at": when} | more

    given_ = [
        said("old", "2024-01-01T00:00:00Z"),
        said("new", "2024-03-01T00:00:00Z"),
        said("skipped", "2024-09-01T00:00:00Z", was_cancelled=True),
        said("earlier", "2024-02-01T00:00:00Z"),
    ]
    many = _task(annotations=given_, predictions=[said("guess", "2025-01-01T00:00:00Z")])
    none = _task(annotations=[], image="s3://bucket/a/q.jpg")
    skipped = _task(annotations=given_[2:3], image="s3://bucket/a/r.jpg")
    images, problems = _read(tmp_path, many, none, skipped, _task(image="https://x.org/a/s%20s.jpg?X=1"))
    found = [(i.record.file, [item.name for item in i.record.objects]) for i in images]
    assert found == [("data/upload/1/0123abcd-p.jpg", ["new"]), ("a/s s.jpg", [])]
    assert [(p.kind, p.file) for p in problems] == [
        ("missing_annotation", "a/q.jpg"),
        ("missing_annotation", "a/r.jpg"),
    ]


def test_choices_are_the_classes_of_the_picture(tmp_path: Path) -> None:
    choice = {"type": "choices", "value": {"choices": ["day", "rain"]}, "id": "c"}
    taxonomy = {"type": "taxonomy", "value": {"taxonomy": [["animal", "cat"]]}, "id": "t"}
    (image,), problems = _read(tmp_path, _task(choice, taxonomy))
    assert image.record.labels == ("day", "rain", "cat")
    assert (_open(tmp_path).task, problems) == ("classification", [])
    own = {"type": "choices", "value": BOX | {"choices": ["broken"]}, "id": "r1"}
    (image,), problems = _read(tmp_path, _task(choice, own, _region("rectanglelabels", BOX)))
    assert (image.record.labels, len(image.record.objects)) == (("day", "rain"), 1)
    assert (_open(tmp_path).task, problems) == ("detection", [])


def test_labels_in_a_result_of_their_own_name_the_shape_of_the_same_id(tmp_path: Path) -> None:
    drawn = _region("rectangle", BOX, label=None)
    named = _region("labels", BOX, label="b")
    (image,), problems = _read(tmp_path, _task(drawn, named))
    assert [item.name for item in image.record.objects] == ["b"]
    assert not problems


def test_json_min_says_the_same_as_json(tmp_path: Path) -> None:
    whole = [_region("rectanglelabels", BOX), _region("polygonlabels", {"points": [[1, 1], [5, 1], [5, 5]]}, "b")]
    mask = np.zeros((100, 200), bool)
    mask[10:20, 30:40] = True
    whole.append(_region("brushlabels", {"format": "rle", "rle": _painted(mask)}, "c"))
    choice = {"type": "choices", "value": {"choices": ["day"]}, "id": "c"}
    (full,), _ = _read(tmp_path, _task(*whole, choice, image="p.jpg"))
    keys = ("original_width", "original_height")
    flat = [region["value"] | {key: region[key] for key in keys} for region in whole]
    entry = {"image": "p.jpg", "id": 1, "label": flat, "choice": "day", "annotator": 1, "annotation_id": 2}
    old = entry | {"label": [], "annotation_id": 1, "updated_at": "2023"}
    (small,), problems = _read(tmp_path, old, entry | {"updated_at": "2024"})
    assert (small.record, problems) == (full.record, [])
    assert "JSON_MIN" in (detect(open_tree(tmp_path)) or "")
    assert full.record.labels == ("day",)


def test_the_files_of_a_cloud_storage_are_tasks(tmp_path: Path) -> None:
    saved = {"id": 1, "result": [_region("rectanglelabels", BOX)], "completed_by": {"id": 1}}
    (tmp_path / "1.json").write_text(json.dumps(saved | {"task": {"id": 1, "data": {"image": "p.jpg"}}}))
    assert "cloud storage" in (detect(open_tree(tmp_path)) or "")
    (image,), _ = parted(_open(tmp_path))
    assert (image.record.file, len(image.record.objects)) == ("p.jpg", 1)


@pytest.mark.parametrize("name", ["0123abcd-p.jpg", "p.jpg"])
@pytest.mark.parametrize("url", ["/data/upload/3/0123abcd-p.jpg", "http://host:8080/data/upload/3/0123abcd-p.jpg"])
def test_an_upload_is_found_with_its_mark_and_without(tmp_path: Path, name: str, url: str) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "images" / name)
    bare = _region("rectanglelabels", {"x": 50, "y": 50, "width": 25, "height": 50}, size=(0, 0))
    (image,), _ = _read(tmp_path, _task(bare, image=url))
    assert open_tree(tmp_path).images.find(image.record.file, image.near) == [f"images/{name}"]
    assert (image.record.width, image.record.height) == (8, 6)
    assert image.record.objects[0].box == (4, 3, 6, 6)


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("/data/local-files/?d=set/train/a%20b.jpg", "set/train/a b.jpg"),
        ("s3://bucket/train/p.jpg", "train/p.jpg"),
        ("images/train/what?#.jpg", "images/train/what?#.jpg"),
        ("http://[bad/train/p.jpg", "http://[bad/train/p.jpg"),
    ],
)
def test_an_address_gives_the_name_and_its_folder_the_split(tmp_path: Path, url: str, file: str) -> None:
    (image,), _ = _read(tmp_path, _task(image=url))
    assert (image.record.file, image.split) == (file, "train")


def test_files_and_entries_that_are_damaged_lose_themselves_alone(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[{")
    (tmp_path / "b.json").write_text('{"images": []}')
    (tmp_path / "train.json").write_text(json.dumps([None, _task(image=""), 3, _task(image="p.jpg")]))
    images, problems = parted(_open(tmp_path))
    assert [(i.record.file, i.split) for i in images] == [("p.jpg", "train")]
    assert [(p.kind, p.file) for p in problems] == [
        ("unreadable_annotation", name) for name in ("a.json", "b.json", "train.json", "train.json", "train.json")
    ]
    with pytest.raises(DataError, match=r"a\.json"):
        _open(tmp_path, "a.json")


def test_other_json_is_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": [], "annotations": [], "categories": []}')
    (tmp_path / "b.json").write_text('[{"image": "p.jpg", "annotations": [{"label": "a", "coordinates": {}}]}]')
    assert detect(open_tree(tmp_path)) is None


# ---- properties


@given(st.integers(1, 5000), st.integers(1, 5000), st.data())
@settings(max_examples=200)
def test_a_box_on_whole_pixels_comes_back_as_such(width: int, height: int, data: Any) -> None:
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    edges = (x0, width), (y0, height), (x1 - x0, width), (y1 - y0, height)
    form = data.draw(
        st.sampled_from([lambda p, s: p / s * 100, lambda p, s: 100 * p / s, lambda p, s: round(100 * p / s, 4)])
    )
    numbers = [Decimal(repr(form(*edge))) for edge in edges]
    assume(max(-int(number.as_tuple().exponent) for number in numbers) >= 4)  # a rounded zero is not written
    assert box_in_pixels(numbers, (width, height)) == (x0, y0, x1, y1)


@given(st.lists(st.floats(0, 100), min_size=4, max_size=4), st.integers(1, 5000), st.integers(1, 5000))
@settings(max_examples=100)
def test_a_box_read_gives_the_numbers_of_the_file_again(numbers: list[float], width: int, height: int) -> None:
    x, y, w, h = map(Decimal, map(repr, numbers))
    x0, y0, x1, y1 = box_in_pixels((x, y, w, h), (width, height))
    again = (x0 * 100 / width, y0 * 100 / height, (x1 - x0) * 100 / width, (y1 - y0) * 100 / height)
    places = max(-int(number.as_tuple().exponent) for number in (x, y, w, h))
    rounding = 0.5 * 10.0**-places if 4 <= places <= 10 else 1e-15
    assert [float(number) for number in again] == pytest.approx(numbers, rel=1e-15, abs=rounding * 1.001)


@given(st.data())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_mutated_file_is_read_or_refused(tmp_path: Path, data: Any) -> None:
    brush = _region("brushlabels", {"format": "rle", "rle": _painted(np.eye(5, dtype=bool))}, size=(5, 5))
    ellipse = _region("ellipselabels", {"x": 50, "y": 50, "radiusX": 10, "radiusY": 10, "rotation": 5})
    choice = {"type": "choices", "value": {"choices": ["day"]}}
    whole = json.dumps([_task(_region("rectanglelabels", BOX | {"rotation": 3}), brush, ellipse, choice)]).encode()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(start + 30, len(whole))))
    odd = st.sampled_from([b"9" * 400, b"-", b"1e300", b"null", b"NaN", b"[[", b'"', b"255,255,"])
    (tmp_path / "a.json").write_bytes(whole[:start] + data.draw(st.binary(max_size=8) | odd) + whole[stop:])
    detect(open_tree(tmp_path))
    with suppress(DataError):
        parted(_open(tmp_path))
