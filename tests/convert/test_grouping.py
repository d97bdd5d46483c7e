"""Laws of which pictures belong together."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from reprolens.convert.grouping import groups
from reprolens.errors import DataError

START = datetime(2024, 5, 1, 12, 0, 0)


def _named(*files: str) -> list[tuple[str, Path | bytes | None]]:
    return [(file, None) for file in files]


def _shot(path: Path, seconds: float | None, model: str = "X100", serial: str = "") -> tuple[str, Path]:
    """Write a picture as a camera does, taken some seconds after the first one."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Maker", model
    if seconds is not None:
        time = START + timedelta(seconds=seconds)
        detail = exif.get_ifd(ExifTags.IFD.Exif)
        detail[ExifTags.Base.DateTimeOriginal] = f"{time:%Y:%m:%d %H:%M:%S}"
        detail[ExifTags.Base.SubsecTimeOriginal] = f"{time:%f}"[:3]
        if serial:
            detail[ExifTags.Base.BodySerialNumber] = serial
    Image.new("RGB", (8, 6)).save(path, exif=exif)
    return path.name, path


def test_without_a_rule_every_picture_is_on_its_own() -> None:
    assert groups(_named("a/1.jpg", "a/2.jpg"), None) == [None, None]


def test_folder_groups_by_the_folders_in_the_name() -> None:
    assert groups(_named("a/1.jpg", "a/b/1.jpg", "a/2.jpg", "1.jpg"), "folder") == ["a", "a/b", "a", None]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"^(scene\d+)", ["scene1", "scene1", "scene2", None]),
        (r"scene\d+_", ["scene1_", "scene1_", "scene2_", None]),
        (r"_(?:a|(b))", ["_a", "b", "_a", None]),
        (r"deep/|scene", ["scene", "scene", "scene", "deep/"]),
        (r"(\d*)$", [None, None, None, None]),
    ],
)
def test_a_pattern_groups_by_its_first_group_or_else_the_whole_match(pattern: str, expected: list[str | None]) -> None:
    files = _named("scene1_a.jpg", "scene1_b.jpg", "scene2_a.jpg", "deep/other.jpg")
    if any(expected):
        assert groups(files, pattern) == expected
    else:  # it matches nothing but the empty text
        with pytest.raises(DataError, match=r"data\.group_by"):
            groups(files, pattern)


@pytest.mark.parametrize("rule", ["folder", "exif", r"frame(\d+)"])
def test_a_rule_that_says_nothing_of_any_picture_is_an_error(rule: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"data\.group_by"):
        groups([("a.jpg", tmp_path / "a.jpg"), ("b.jpg", None)], rule)
    assert groups([], rule) == []


def test_a_session_lasts_while_a_camera_rests_less_than_a_minute(tmp_path: Path) -> None:
    seconds = [0, 50, 109.9, 170, 229.9, 229.95]
    files = [_shot(tmp_path / f"{number}.jpg", after) for number, after in enumerate(seconds)]
    found = groups([*files[3:], *files[:3]], "exif")
    a, b = found[0], found[3]
    assert found == [a, a, a, b, b, b]
    assert a is not None
    assert a != b


def test_cameras_are_told_apart_by_model_and_serial_number(tmp_path: Path) -> None:
    files = [
        _shot(tmp_path / "a.jpg", 0),
        _shot(tmp_path / "b.jpg", 1, "X200", "7"),
        _shot(tmp_path / "c.jpg", 2, "X200", "8"),
        _shot(tmp_path / "d.jpg", 3),
    ]
    found = groups(files, "exif")
    assert found[0] == found[3]
    assert len(set(found)) == 3


def test_pictures_without_a_capture_time_are_on_their_own(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    files = [
        _shot(tmp_path / "a.jpg", 0),
        _shot(tmp_path / "b.jpg", None),
        ("broken.jpg", tmp_path / "broken.jpg"),
        ("missing.jpg", tmp_path / "missing.jpg"),
        ("bytes.jpg", _shot(tmp_path / "c.jpg", 5)[1].read_bytes()),
    ]
    found = groups(files, "exif")
    assert found[1:4] == [None, None, None]
    assert found[0] == found[4] is not None
