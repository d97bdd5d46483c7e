"""Decoding: RGB whatever the file holds, and a reduced decode that is near the full one, and faster."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reprolens.errors import DataError
from reprolens.loading.decode import MARGIN, _decode, open_rgb, resized_rgb
from reprolens.voc import Folder, Record

BILINEAR = Image.Resampling.BILINEAR
PILLOW = {"jpg": "JPEG", "png": "PNG"}


def _folder(root: Path, picture: Image.Image | bytes, name: str, **options: object) -> tuple[Folder, Record]:
    (root / "JPEGImages").mkdir(exist_ok=True)
    if isinstance(picture, bytes):
        (root / "JPEGImages" / name).write_bytes(picture)
        return Folder(root, (), {}), Record("x", name, 1, 1)
    picture.save(root / "JPEGImages" / name, **options)
    return Folder(root, (), {}), Record("x", name, *picture.size)


def _ramps(width: int, height: int) -> Image.Image:
    """Return a smooth picture of which every channel differs."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return Image.fromarray((np.stack([x, y, (x + y) / 2], 2) * 255).astype(np.uint8))


def _difference(first: Image.Image, second: Image.Image) -> float:
    return float(np.abs(np.asarray(first, float) - np.asarray(second, float)).mean())


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "YCbCr", "P", "RGBA", "LA", "1"])
def test_pictures_of_every_mode_become_what_pillow_makes_of_them(mode: str, tmp_path: Path) -> None:
    name = {"CMYK": "x.jpg", "YCbCr": "x.jpg"}.get(mode, "x.png")
    folder, record = _folder(tmp_path, _ramps(90, 60).convert(mode), name)
    with Image.open(folder.image(record)) as picture:
        expected = picture.convert("RGB")
    assert open_rgb(folder, record).mode == "RGB"
    assert np.array_equal(open_rgb(folder, record), expected)
    assert np.array_equal(resized_rgb(folder, record, (60, 90)), expected)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bit_grey_keeps_its_shades(suffix: str, tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    folder, record = _folder(tmp_path, Image.fromarray(grey), f"x.{suffix}")
    assert np.array_equal(np.asarray(open_rgb(folder, record)), np.repeat((grey >> 8)[..., None], 3, 2))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(800, 600), (797, 603), (401, 399)])  # whole blocks, and parts of them at the edges
def test_a_reduced_decode_is_not_shifted(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    folder, record = _folder(tmp_path, _ramps(*size).convert(mode), "x.jpg", quality=95)
    full = open_rgb(folder, record).resize((48, 40), BILINEAR)
    assert _difference(resized_rgb(folder, record, (40, 48)), full) < 0.8


def test_photographs_resized_from_a_reduced_decode_are_near_those_of_a_full_one(
    shared_data: Path, tmp_path: Path
) -> None:
    photographs = [
        *sorted((shared_data / "bccd_voc/BCCD/JPEGImages").glob("*.jpg"))[:5],
        *sorted((shared_data / "voc100_multiformat/data/database/images").glob("*.jp*g"))[:40],
        *sorted((shared_data / "car_damage_via/dataset/val").glob("*.jpg")),
    ]
    assert len(photographs) > 40
    (tmp_path / "JPEGImages").mkdir()
    differences = []
    for path in photographs:
        (tmp_path / "JPEGImages" / path.name).symlink_to(path)
        folder, record = Folder(tmp_path, (), {}), Record("x", path.name, 1, 1)
        full = open_rgb(folder, record)
        for side in (64, 96, 150, 300):
            resized = resized_rgb(folder, record, (side, side))
            assert resized.size == (side, side)
            differences.append(_difference(resized, full.resize((side, side), BILINEAR)))
    assert max(differences) < 2
    assert np.mean(differences) < 0.5


@pytest.mark.parametrize(
    ("size", "scale"),
    [((133, 133), 8), ((134, 134), 4), ((266, 200), 4), ((267, 9), 2), ((533, 533), 2), ((534, 9), 1), ((9000, 9), 1)],
)
def test_a_decode_is_never_smaller_than_the_margin_asks(size: tuple[int, int], scale: int, tmp_path: Path) -> None:
    folder, record = _folder(tmp_path, Image.new("RGB", (1601, 1600)), "x.jpg")
    picture, box = _decode(folder.image(record), size)
    assert scale == 1 or (picture.height >= MARGIN * size[0] and picture.width >= MARGIN * size[1])
    assert box == (0, 0, 1601 / scale, 1600 / scale)


def test_a_picture_that_is_not_much_larger_is_decoded_in_full(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 90, 3), np.uint8))
    folder, record = _folder(tmp_path, noise, "x.jpg")
    expected = open_rgb(folder, record).resize((50, 50), BILINEAR)
    assert np.array_equal(resized_rgb(folder, record, (50, 50)), expected)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("size", [None, (10, 10)])
def test_what_does_not_decode_ends_in_one_line_that_names_it(
    suffix: str, size: tuple[int, int] | None, tmp_path: Path
) -> None:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 90, 3), np.uint8)).save(data, PILLOW[suffix])
    whole = data.getvalue()
    for number, content in enumerate((whole[: len(whole) // 2], b"", b"no picture", whole[:40])):
        name = f"{number}.{suffix}"
        folder, record = _folder(tmp_path, content, name)
        with pytest.raises(DataError, match="does not decode") as error:
            open_rgb(folder, record) if size is None else resized_rgb(folder, record, size)
        assert name in str(error.value)
        assert "\n" not in str(error.value)


def test_a_picture_outside_the_folder_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="outside"):
        resized_rgb(Folder(tmp_path, (), {}), Record("x", "../x.png", 9, 9), (4, 4))
