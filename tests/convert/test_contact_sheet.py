"""Laws of the contact sheet: what is said about a picture can be seen on it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reprolens.convert.contact_sheet import MOST, class_color, draw, evenly
from reprolens.voc import Object, Record

GRAY = (90, 90, 90)


def _bytes(size: tuple[int, int] = (360, 270), orientation: int = 1) -> bytes:
    data = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, GRAY).save(data, "PNG", exif=exif)
    return data.getvalue()


def _record(*objects: Object, labels: tuple[str, ...] = (), size: tuple[int, int] = (360, 270)) -> Record:
    return Record("some/id", "some/id.png", *size, objects=objects, labels=labels)


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def _count(path: Path, color: tuple[int, int, int]) -> int:
    return int((_pixels(path) == color).all(axis=-1).sum())


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (1, 1), (24, 24), (25, 24), (1000, 24)])
def test_at_most_24_pictures_evenly_from_the_first_to_the_last(count: int, shown: int) -> None:
    places = evenly(count)
    assert len(set(places)) == len(places) == shown <= MOST
    assert places == sorted(places) and (not count or (places[0], places[-1]) == (0, count - 1))
    steps = np.diff(places)
    assert not len(steps) or steps.max() - steps.min() <= 1


def test_the_colours_of_a_hundred_classes_differ() -> None:
    assert len({class_color(index) for index in range(100)}) == 100


def test_a_box_is_drawn_in_the_colour_of_its_class_where_it_is(tmp_path: Path) -> None:
    draw([(_bytes(), _record(Object("b", (100.0, 120.0, 200.0, 220.0))), None)], ["a", "b"], tmp_path / "s.png")
    assert _count(tmp_path / "s.png", class_color(0)) == 0
    rows, columns = np.nonzero((_pixels(tmp_path / "s.png") == class_color(1)).all(axis=-1))
    lowest = rows.max()
    below = columns[rows == lowest]
    assert (below.min(), below.max()) == (16 + 100, 16 + 199)  # the page's margin, and the box's first and last column


def test_a_crowd_is_dashed(tmp_path: Path) -> None:
    for crowd in (False, True):
        item = Object("a", (100.0, 120.0, 300.0, 220.0), crowd=crowd)
        draw([(_bytes(), _record(item), None)], ["a"], tmp_path / f"{crowd}.png")
    bottoms = []
    for crowd in (False, True):
        found = (_pixels(tmp_path / f"{crowd}.png") == class_color(0)).all(axis=-1)
        bottoms.append(int(found[np.nonzero(found)[0].max()].sum()))
    assert bottoms[0] == 200 and 100 < bottoms[1] < 150


def test_a_mask_lets_the_picture_through(tmp_path: Path) -> None:
    mask = np.zeros((270, 360), np.uint8)
    mask[:135] = 2
    draw([(_bytes(), _record(), mask)], ["a", "b"], tmp_path / "s.png")
    mixed = tuple(round((part + gray) / 2) for part, gray in zip(class_color(1), GRAY, strict=True))
    pixels = _pixels(tmp_path / "s.png")
    near = (np.abs(pixels - np.array(mixed)) <= 1).all(axis=-1).sum()
    assert near > 134 * 359 and _count(tmp_path / "s.png", GRAY) > 134 * 359


def test_labels_of_the_whole_picture_are_written_below_it(tmp_path: Path) -> None:
    for name, labels in (("a", ()), ("b", ("cat",))):
        draw([(_bytes(), _record(labels=labels), None)], ["cat"], tmp_path / f"{name}.png")
    plain, labelled = (Image.open(tmp_path / f"{name}.png").height for name in "ab")
    assert labelled > plain and _count(tmp_path / "b.png", class_color(0)) >= 100


def test_a_picture_lies_as_its_record_says(tmp_path: Path) -> None:
    for size in ((40, 20), (20, 40)):  # stored as 40 x 20, shown as 20 x 40
        draw([(_bytes((40, 20), 6), _record(size=size), None)], [], tmp_path / f"{size[0]}.png")
    for name, area in (("40.png", 360 * 180), ("20.png", 135 * 270)):  # letters have some grey at their edges too
        assert 0 <= _count(tmp_path / name, GRAY) - area < 20


@pytest.mark.parametrize(
    "box",
    [
        (-50.0, -50.0, 9999.0, 9999.0),
        (9.0, 9.0, 3.0, 3.0),
        (-9.0, -9.0, -3.0, -3.0),
        (500.0, 9.0, 600.0, 20.0),
        (5.0, 5.0, 5.0, 5.0),
        (-1e308, -1e308, 1e308, 1e308),
    ],
)
def test_boxes_that_cannot_be_are_drawn_where_they_touch_the_picture(
    box: tuple[float, float, float, float], tmp_path: Path
) -> None:
    draw([(_bytes((30, 20)), _record(Object("a", box)), None)], ["a"], tmp_path / "s.png")
    assert _count(tmp_path / "s.png", class_color(0)) > 0


def test_odd_pictures_and_names_are_drawn(tmp_path: Path) -> None:
    wide = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 900).save(wide, "PNG")
    clear = io.BytesIO()
    Image.new("RGBA", (1, 500), (0, 0, 0, 0)).save(clear, "PNG")
    names = ["x" * 500, "größe Жук\n日本", "\ud800", ""]
    objects = [Object(name, (0.0, 0.0, 5.0, 5.0)) for name in names]
    rows: list[tuple[Path | bytes, Record, np.ndarray | None]] = [
        (wide.getvalue(), _record(*objects), None),
        (clear.getvalue(), _record(labels=("unknown", "\n")), None),
        (b"no picture", _record(), None),
        (tmp_path / "missing.png", _record(), np.full((3, 3), 255, np.uint8)),
    ]
    draw(rows, [*names, *(f"class {number}" for number in range(300))], tmp_path / "s.png")
    assert Image.open(tmp_path / "s.png").size[0] > 720


def test_the_same_pictures_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [(_bytes(), _record(Object("a", (1.0, 2.0, 30.0, 40.0)), labels=("b",)), None)] * 5
    for name in ("a.png", "b.png"):
        draw(rows, ["a", "b"], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_no_pictures_make_a_sheet_too(tmp_path: Path) -> None:
    draw([], ["a"], tmp_path / "s.png")
    assert (tmp_path / "s.png").is_file()
