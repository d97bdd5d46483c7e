"""Any picture file becomes the pixels that a model would be trained on, or is refused in one line."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.picture_files import DEEP, NOISE, encoded, exif, files, trained_on
from reprolens.convert.picture import decode
from reprolens.errors import DataError
from reprolens.inference.pictures import read_picture

SMOOTH = np.stack(np.broadcast_arrays(np.arange(16) * 15, np.arange(12)[:, None] * 20, 90), 2).astype(np.uint8)


def test_a_model_predicts_on_the_pixels_that_it_would_be_trained_on(tmp_path: Path) -> None:
    content = {name: data for name, data in files().items() if not name.endswith(".jp2")}  # which convert passes over
    expected = trained_on(content, tmp_path)
    for name, data in content.items():
        pixels = read_picture(io.BytesIO(data))
        assert pixels.dtype == np.uint8, name
        assert np.array_equal(pixels, expected[name]), name


def test_turned_jpegs_are_near_what_a_model_would_be_trained_on(tmp_path: Path) -> None:
    made = Image.fromarray(SMOOTH)
    content = {f"turned-{number}.jpg": encoded(made, "JPEG", quality=95, exif=exif(number)) for number in range(1, 9)}
    expected = trained_on(content, tmp_path)
    for name, data in content.items():
        pixels = read_picture(io.BytesIO(data))
        assert pixels.shape == expected[name].shape
        assert np.abs(pixels.astype(int) - expected[name]).max() < 12, name  # convert encoded it once more


@pytest.mark.parametrize(
    ("orientation", "corner"),
    enumerate([(0, 0), (0, -1), (-1, -1), (-1, 0), (0, 0), (0, -1), (-1, -1), (-1, 0)], start=1),
)
def test_pictures_are_upright(orientation: int, corner: tuple[int, int]) -> None:
    stored = np.zeros((12, 16, 3), np.uint8)
    stored[0, 0] = 255
    pixels = read_picture(io.BytesIO(encoded(Image.fromarray(stored), "PNG", exif=exif(orientation))))
    assert pixels.shape == ((16, 12, 3) if orientation >= 5 else (12, 16, 3))
    assert pixels[corner].tolist() == [255, 255, 255]
    assert pixels.sum() == 3 * 255


def test_of_16_bits_the_upper_ones_count_whatever_the_format() -> None:
    upper = np.repeat((DEEP >> 8).astype(np.uint8)[..., None], 3, 2)
    made = Image.fromarray(DEEP)
    content = {kind: encoded(made, kind) for kind in ("PNG", "TIFF", "PPM", "JPEG2000")}
    content["32 bits"] = encoded(Image.fromarray(DEEP.astype(np.int32)), "TIFF")
    for kind, data in content.items():
        assert np.abs(read_picture(io.BytesIO(data)).astype(int) - upper).max() <= (kind == "JPEG2000"), kind
    of_ten = b"P5 16 12 1023\n" + (DEEP >> 6).astype(">u2").tobytes()
    assert np.abs(read_picture(io.BytesIO(of_ten)).astype(int) - upper).max() <= 1
    dark = b"P5 16 12 65535\n" + (DEEP % 256).astype(">u2").tobytes()
    assert read_picture(io.BytesIO(dark)).max() == 0
    few = Image.fromarray(NOISE[..., 0].astype(np.int32))
    assert np.array_equal(read_picture(io.BytesIO(encoded(few, "TIFF")))[..., 1], NOISE[..., 0])


@pytest.mark.parametrize(
    "values", [np.array([[0, 0.5]], np.float32), np.array([[0, 70000]], np.int32), np.array([[-1, 9]], np.int32)]
)
def test_pixels_without_a_known_range_are_refused_in_one_line_before_training_too(values: np.ndarray) -> None:
    data = encoded(Image.fromarray(values), "TIFF")
    with pytest.raises(DataError, match=r"does not decode \(.* pixels .*have no known range\)$"):
        read_picture(io.BytesIO(data))
    assert "have no known range" in str(decode(data, values.shape[::-1]))


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_tag_beside_the_orientation_does_not_keep_a_picture_from_being_turned(
    orientation: int, kind: str
) -> None:
    sound = encoded(Image.fromarray(SMOOTH), kind, exif=exif(orientation))
    entries = struct.pack(">HHIHxx", 0x0112, 3, 1, orientation)
    entries += struct.pack(">HHI4s", 0x011A, 2, 4, b"300")  # XResolution, which is to be a fraction, as text
    tags = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + entries + bytes(4)
    damaged = encoded(Image.fromarray(SMOOTH), kind, exif=tags)
    with Image.open(io.BytesIO(damaged)) as stored, pytest.raises(TypeError):
        stored.getexif().tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(read_picture(io.BytesIO(damaged)), read_picture(io.BytesIO(sound)))
        decoded = decode(damaged, (12, 16) if orientation >= 5 else (16, 12))
    assert not isinstance(decoded, str | None)
    assert decoded.orientation == orientation


def test_pixels_may_be_written_to_and_lie_in_order() -> None:
    for data in files().values():
        pixels = read_picture(io.BytesIO(data))
        assert pixels.flags.writeable
        assert pixels.flags.c_contiguous
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3


def test_a_path_and_an_open_file_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(encoded(Image.fromarray(NOISE), "PNG"))
    with path.open("rb") as file:
        assert np.array_equal(read_picture(file), NOISE)
        assert not file.closed
    assert np.array_equal(read_picture(path), NOISE)


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that says it is huge."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 10)
    chunks = (header, data, b"IEND")
    packed = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


BROKEN = {
    "empty": b"",
    "text": b"this is no picture\nat all",
    "truncated jpeg": encoded(Image.fromarray(NOISE), "JPEG")[:-200],
    "truncated png": encoded(Image.fromarray(NOISE), "PNG")[:-100],
    "truncated tiff": encoded(Image.fromarray(NOISE), "TIFF")[:300],
    "truncated webp": encoded(Image.fromarray(NOISE), "WEBP")[:60],
    "truncated gif": encoded(Image.fromarray(NOISE), "GIF")[:900],
    "bad checksum": encoded(Image.fromarray(NOISE), "PNG").replace(b"IDAT", b"IDAT\xff", 1),
    "png header": b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
    "bmp header": b"BM" + b"\xff" * 60,
    "nothing in it": b"P6 0 0 255\n",
    "bomb": bomb(60000, 60000),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_does_not_decode_is_refused_in_one_line(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(BROKEN[kind])
    with pytest.raises(DataError) as caught:
        read_picture(path)
    assert str(caught.value).startswith(f"{path}: does not decode (")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_missing_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read_picture(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match="does not decode"):
        read_picture(tmp_path)


def test_damaged_exif_does_not_make_a_picture_unreadable() -> None:
    data = encoded(Image.fromarray(SMOOTH), "JPEG", exif=exif(6))
    damaged = data.replace(b"Exif\0\0II*\0\x08\0\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f")
    damaged = damaged.replace(b"Exif\0\0MM\0*\0\0\0\x08", b"Exif\0\0MM\0*\x7f\xff\xff\xff")
    assert damaged != data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_picture(io.BytesIO(damaged)).shape == (12, 16, 3)


@pytest.mark.parametrize("seed", range(300))
def test_flipped_bytes_give_pixels_or_one_line(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = [encoded(Image.fromarray(NOISE), kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")]
    data = bytearray(kinds[seed % len(kinds)])
    for place in rng.integers(0, len(data), 3):
        data[place] = rng.integers(0, 256)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert read_picture(io.BytesIO(bytes(data))).ndim == 3
        except DataError as error:
            assert "\n" not in str(error)
