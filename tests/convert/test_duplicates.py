"""Laws of pictures that are the same, or look so."""

import io
import random
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from reprolens.convert.duplicates import NEAR, fingerprint, near_duplicates, same_bytes

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def _noise(seed: int, size: tuple[int, int] = (320, 240), mode: str = "RGB") -> Image.Image:
    """Return a picture of soft blobs, each seed another one."""
    cells = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC).convert(mode)


def _apart(one: int | None, other: int | None) -> int:
    assert one is not None
    assert other is not None
    return (one ^ other).bit_count()


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return Image.open(data)


def _cropped(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop((round(width * 0.01), round(height * 0.01), round(width * 0.99), round(height * 0.99)))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 75": lambda picture: _jpeg(picture, 75),
    "JPEG 30": lambda picture: _jpeg(picture, 30),
    "half the size": lambda picture: picture.resize((picture.width // 2, picture.height // 2)),
    "stretched": lambda picture: picture.resize((640, 640)),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.3),
    "darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.7),
    "more contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(1.3),
    "grey": lambda picture: picture.convert("L"),
    "cropped by 1 %": _cropped,
}


# ---- fingerprints


def test_a_bit_says_whether_a_value_is_above_its_left_neighbour_from_the_top() -> None:
    cells = np.random.default_rng(0).permutation(17 * 16).reshape(16, 17).astype(np.uint8)
    bits = "".join(str(int(b > a)) for row in cells.astype(int) for a, b in pairwise(row))
    assert fingerprint(Image.fromarray(cells)) == int(bits, 2)


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA", "CMYK", "YCbCr", "F", "I;16"])
@pytest.mark.parametrize("size", [(320, 240), (1, 1), (5, 900), (16, 15)])
def test_pictures_of_every_mode_and_size_are_told(mode: str, size: tuple[int, int]) -> None:
    picture = _noise(1, size)
    if mode == "I;16":
        wide = np.asarray(picture.convert("L")).astype(np.uint16) * 256
        other = Image.fromarray(wide)
    else:
        other = picture.convert(mode)
    if size == (320, 240):
        assert _apart(fingerprint(other), fingerprint(picture)) <= NEAR
    else:
        fingerprint(other)


@pytest.mark.parametrize("colour", [0, 128, 255])
def test_a_picture_that_shows_hardly_anything_has_no_fingerprint(colour: int) -> None:
    blank = np.full((480, 640), colour, np.uint8)
    assert fingerprint(Image.fromarray(blank)) is None
    faint = blank ^ np.random.default_rng(0).integers(0, 2, blank.shape, dtype=np.uint8)
    assert fingerprint(Image.fromarray(faint)) is None
    blank[200:280, 300:340] = 255 - colour
    assert fingerprint(Image.fromarray(blank)) is None


@pytest.mark.parametrize("copy", COPIES)
def test_altered_copies_of_photographs_are_near_and_other_photographs_are_not(copy: str) -> None:
    """voc100_multiformat: 100 different photographs of VOC, of which two are hardly more than a plain sky."""
    folder = DATA / "voc100_multiformat" / "data" / "database" / "images"
    if not folder.is_dir():
        pytest.skip(f"{folder.name}: the real data sets are not here")
    pictures = [Image.open(path).convert("RGB") for path in sorted(folder.iterdir())[:40]]
    own = [fingerprint(picture) for picture in pictures]
    copies = [fingerprint(COPIES[copy](picture)) for picture in pictures]
    both = [(a, b) for a, b in zip(own, copies, strict=True) if a is not None and b is not None]
    assert len(both) >= 37
    assert sum(_apart(a, b) <= NEAR for a, b in both) >= 0.94 * len(both)
    assert all(_apart(a, d) > 2 * NEAR for i, (a, _) in enumerate(both) for j, (d, _) in enumerate(both) if i != j)


def test_two_shots_of_one_blood_smear_are_found_among_364() -> None:
    """bccd_voc: BloodImage_00037 and 00038 show the same cells, refocused."""
    folder = DATA / "bccd_voc" / "BCCD" / "JPEGImages"
    if not folder.is_dir():
        pytest.skip(f"{folder.name}: the real data sets are not here")
    paths = sorted(folder.iterdir())[:120]
    hashes = [fingerprint(Image.open(path)) for path in paths]
    parts = ["train" if number % 2 else "test" for number in range(len(paths))]
    pairs = near_duplicates(hashes, parts)
    assert [tuple(paths[index].stem for index in pair) for pair in pairs] == [("BloodImage_00037", "BloodImage_00038")]


# ---- the search


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 3)), st.sampled_from("abc")), max_size=25),
    st.integers(0, 60),
    st.integers(0, 1000),
)
def test_the_pairs_are_all_of_different_parts_within_the_distance(
    pictures: list[tuple[int | None, str]], distance: int, seed: int
) -> None:
    chance = random.Random(seed)
    centres = [chance.getrandbits(256) for _ in range(3)] + [0]
    hashes = []
    for centre, _ in pictures:
        bits = sum(1 << bit for bit in chance.sample(range(256), chance.randrange(40)))
        hashes.append(None if centre is None else centres[centre] ^ bits)
    parts = [part for _, part in pictures]
    expected = [
        (i, j)
        for i, one in enumerate(hashes)
        for j, other in enumerate(hashes)
        if i < j and parts[i] != parts[j] and one is not None and other is not None
        if (one ^ other).bit_count() <= distance
    ]
    assert near_duplicates(hashes, parts, distance) == expected


def test_a_fingerprint_of_zeros_counts_like_any_other() -> None:
    assert near_duplicates([0, 0], ["train", "test"]) == [(0, 1)]


def test_more_pairs_than_anyone_reads_are_cut_off() -> None:
    parts = ["train", "test"] * 1000
    assert len(near_duplicates([7] * 2000, parts)) == 100_000
    assert len(near_duplicates([7] * 2000, parts, most=5)) == 5


@pytest.mark.parametrize("border", [False, True])
def test_thirty_thousand_pictures_are_compared_in_well_under_a_second(border: bool) -> None:
    chance = random.Random(1)
    shown = sum(1 << bit for bit in range(256) if 3 <= bit % 16 < 13) if border else (1 << 256) - 1
    hashes = [chance.getrandbits(256) & shown for _ in range(30_000)]
    hashes[7] = hashes[29_998] ^ 0b10101
    parts = ["train" if number % 10 < 7 else "val" if number % 10 == 7 else "test" for number in range(30_000)]
    start = time.process_time()
    pairs = near_duplicates(hashes, parts, 8)
    assert time.process_time() - start < 3
    assert pairs == [(7, 29_998)]


def test_the_same_bytes_are_grouped_in_their_order() -> None:
    assert same_bytes([b"x", b"y", None, b"x", b"z", b"y", None, b"x"]) == [[0, 3, 7], [1, 5]]
    assert same_bytes([]) == []
