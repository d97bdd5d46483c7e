"""Laws of pictures: boxes and pixels agree, and a file is copied as it is wherever they already do."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from reprolens.config import Voc
from reprolens.convert import convert
from reprolens.convert.picture import decode
from reprolens.voc import read_folder

ORIENTATION = 0x0112


def _stored(orientation: int, kind: str = "JPEG", size: tuple[int, int] = (16, 12)) -> bytes:
    """Return a picture, dark but for its top left corner as stored, with an EXIF orientation."""
    pixels = np.full((size[1], size[0], 3), 20, np.uint8)
    pixels[:4, :4] = 230
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    return data.getvalue()


def _pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_picture_annotated_upright_is_turned_upright(orientation: int, kind: str) -> None:
    data = _stored(orientation, kind)
    with Image.open(io.BytesIO(data)) as picture:
        shown = ImageOps.exif_transpose(picture)
    decoded = decode(data, shown.size)
    assert decoded is not None
    assert not isinstance(decoded, str)
    assert (decoded.width, decoded.height) == shown.size
    assert decoded.upright is not None
    assert np.abs(_pixels(decoded.upright) - np.asarray(shown.convert("RGB")).astype(int)).max() < 40
    again = decode(decoded.upright, shown.size)  # it says no more that it is to be turned
    assert not isinstance(again, str | None)
    assert again.upright is None


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_picture_annotated_as_it_is_stored_is_not_touched(orientation: int) -> None:
    decoded = decode(_stored(orientation), (16, 12))
    assert not isinstance(decoded, str | None)
    assert (decoded.width, decoded.height, decoded.upright) == (16, 12, None)


@pytest.mark.parametrize("orientation", [0, 1, 9, 77])
def test_an_orientation_that_says_nothing_changes_nothing(orientation: int) -> None:
    decoded = decode(_stored(orientation), (12, 16))
    assert not isinstance(decoded, str | None)
    assert (decoded.width, decoded.height, decoded.upright) == (16, 12, None)


def test_turned_pictures_are_listed_and_their_boxes_fit(
    source: Callable[..., Path], voc_config: Callable[..., Voc], annotate: Callable[..., None], tmp_path: Path
) -> None:
    root = source(4)
    # Stored 16 x 12, to be turned clockwise by 90 degrees: the bright corner is shown at the top right, x from 8 to 12.
    annotate(root, "00", boxes=[("corner", "9", "1", "12", "4")], size=(12, 16))
    (root / "JPEGImages" / "00.jpg").write_bytes(_stored(6))
    report = convert(voc_config(root, class_not_in_train="drop"), 1, tmp_path / "voc")
    (problem,) = (problem for problem in report["problem_list"] if problem["kind"] != "class_not_in_train")
    assert (problem["kind"], problem["file"], problem["action"]) == ("exif_rotation", "00.jpg", "fix")
    record = read_folder(tmp_path / "voc").record("00")
    assert (record.width, record.height) == (12, 16)
    pixels = _pixels((tmp_path / "voc" / "JPEGImages" / "00.jpg").read_bytes())
    assert pixels.shape == (16, 12, 3)
    assert pixels[:4, 8:12].mean() > 180
    assert pixels[6:, :6].mean() < 60


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_make_a_picture_unreadable() -> None:
    data = _stored(6).replace(b"Exif\0\0II*\0\x08\0\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f")
    data = data.replace(b"Exif\0\0MM\0*\0\0\0\x08", b"Exif\0\0MM\0*\x7f\xff\xff\xff")
    assert data != _stored(6)
    decoded = decode(data, (16, 12))
    assert not isinstance(decoded, str | None)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "I;16"])
def test_any_colour_mode_is_a_picture(mode: str) -> None:
    data = io.BytesIO()
    Image.new(mode, (16, 12)).save(data, "TIFF")
    decoded = decode(data.getvalue(), (16, 12))
    assert not isinstance(decoded, str | None)
    assert (decoded.width, decoded.height, decoded.upright) == (16, 12, None)


def test_a_missing_file_is_none_and_a_broken_one_a_reason_in_one_line(tmp_path: Path) -> None:
    assert decode(tmp_path / "nowhere.jpg", (1, 1)) is None
    for content in (b"", b"text", _stored(1)[:200], b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"BM" + b"\xff" * 60):
        reason = decode(content, (1, 1))
        assert isinstance(reason, str)
        assert reason
        assert "\n" not in reason
