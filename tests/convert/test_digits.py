"""Laws of the embedded default, the scenes of handwritten digits."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reprolens.config import Digits
from reprolens.convert import convert
from reprolens.convert.digits import _colour, _load_scans, _overlap, _share_out, read_digits
from reprolens.convert.source import SourceImage
from reprolens.errors import DataError
from reprolens.voc import read_folder

Tree = Callable[[Path], dict[str, bytes]]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    digits_config: Digits, tree: Tree, tmp_path: Path
) -> None:
    reports = [convert(digits_config, seed, tmp_path / name) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert reports[0] == reports[1]
    first, other = tree(tmp_path / "a"), tree(tmp_path / "c")
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first if name.endswith((".jpg", ".xml")))


def test_scenes_are_as_many_and_as_large_as_configured_and_nothing_is_wrong_with_them(
    digits_config: Digits, tmp_path: Path
) -> None:
    report = convert(digits_config, 3, tmp_path / "voc")
    folder = read_folder(tmp_path / "voc")
    assert {split: len(ids) for split, ids in folder.splits.items()} == {"train": 16, "val": 4, "test": 8}
    assert (report["images"], report["problems"], report["problem_list"]) == (28, 0, [])
    assert folder.classes == tuple("0123456789")
    counted = 0
    for split in folder.splits:
        for record in folder.records(split):
            counted += len(record.objects)
            with Image.open(folder.image(record)) as picture:
                picture.load()
                assert picture.size == (record.width, record.height) == (160, 160)
    assert report["boxes"] == counted > 28


@pytest.fixture(scope="module")
def scenes(digits_config: Digits) -> list[SourceImage]:
    return list(read_digits(replace(digits_config, train=60), 5))


def test_boxes_lie_inside_the_picture_and_keep_to_the_sizes(scenes: list[SourceImage], digits_config: Digits) -> None:
    sides = []
    for scene in scenes:
        for item in scene.record.objects:
            x0, y0, x1, y1 = item.box
            assert 0 <= x0 < x1 <= scene.record.width
            assert 0 <= y0 < y1 <= scene.record.height
            sides.append(max(x1 - x0, y1 - y0))
    # The ink of a scan is smaller than the scan; a slant of 12 degrees and a width of 1.15 make it larger.
    assert min(sides) >= digits_config.min_size / 2
    assert max(sides) <= digits_config.max_size * 1.5
    assert max(sides) > 2 * min(sides)


def test_no_two_boxes_overlap_by_more_than_the_bound(scenes: list[SourceImage], digits_config: Digits) -> None:
    overlaps = [
        _overlap(first.box, second.box)
        for scene in scenes
        for first, second in combinations(scene.record.objects, 2)
    ]  # fmt: skip
    assert max(overlaps) <= digits_config.max_overlap
    assert any(overlap > 0 for overlap in overlaps)


def test_overlap_is_the_share_of_the_smaller_box() -> None:
    assert _overlap((0, 0, 10, 10), (5, 5, 9, 9)) == 1
    assert _overlap((0, 0, 10, 10), (9, 0, 19, 10)) == 0.1
    assert _overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0


def test_a_scene_shows_no_more_digits_than_configured_and_all_classes_occur(
    scenes: list[SourceImage], digits_config: Digits
) -> None:
    counts = [len(scene.record.objects) for scene in scenes]
    assert max(counts) == digits_config.max_digits
    assert {item.name for scene in scenes for item in scene.record.objects} == set("0123456789")


def test_no_scan_is_in_two_splits_and_every_digit_is_in_each(digits_config: Digits) -> None:
    scans, labels = _load_scans(Path(digits_config.path) / "digits.csv.gz")
    assert scans.shape == (1797, 8, 8)
    for seed in range(5):
        shares = _share_out(labels, {"train": 1, "val": 1, "test": 1}, np.random.default_rng(seed))
        assert sorted(index for share in shares.values() for index in share) == list(range(1797))
        assert all(set(labels[share]) == set(range(10)) for share in shares.values())
        assert len(shares["train"]) > len(shares["test"]) > len(shares["val"]) > 150


@pytest.mark.parametrize("luminance", [12.0, 128.0, 243.0])
def test_ink_keeps_the_least_contrast_on_any_background(luminance: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        red, green, blue = _colour(luminance, 100, random)
        assert abs(0.299 * red + 0.587 * green + 0.114 * blue - luminance) >= 100


def test_the_smallest_digits_that_the_schema_allows_pass_every_check(digits_config: Digits, tmp_path: Path) -> None:
    tiny = replace(digits_config, image_size=32, min_size=8, max_size=8, train=60)
    assert convert(tiny, 1, tmp_path / "voc")["problems"] == 0


LINE = ",".join(["1"] * 64)
DAMAGED = {
    "missing": (None, "the folder is empty"),
    "empty file": (b"", "cannot be read as scans"),
    "not compressed": (b"1,2,3\n", "cannot be read as scans"),
    "nothing inside": (gzip.compress(b""), "cannot be read as scans"),
    "text inside": (gzip.compress(b"hello\n"), "cannot be read as scans"),
    "not ASCII": (gzip.compress(b"\xff\xfe"), "cannot be read as scans"),
    "short lines": (gzip.compress(b"1,2,3\n" * 200), "64 grey values and a digit"),
    "too few scans": (gzip.compress(f"{LINE},3\n".encode() * 50), "needs 10 scans"),
    "no digit": (gzip.compress("".join(f"{LINE},{i % 11}\n" for i in range(220)).encode()), "from 0 to 9"),
    "too bright": (
        gzip.compress("".join(f"{LINE},{i % 10}\n" for i in range(200)).encode().replace(b"1,", b"17,")),
        "0 to 16",
    ),
}


@pytest.mark.filterwarnings("ignore:loadtxt")
@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_scans_are_refused_in_one_line(case: str, digits_config: Digits, tmp_path: Path) -> None:
    content, reason = DAMAGED[case]
    if content is not None:
        (tmp_path / "digits.csv.gz").write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        convert(replace(digits_config, path=str(tmp_path)), 1, tmp_path / "voc")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "voc").exists()


@pytest.mark.parametrize("cut", [30, 100, 1000, -10])
def test_truncated_or_corrupt_compression_is_refused(cut: int, digits_config: Digits, tmp_path: Path) -> None:
    data = (Path(digits_config.path) / "digits.csv.gz").read_bytes()
    for damaged in (data[:cut], data[:cut] + b"\x00\xff" * 8 + data[cut:]):
        (tmp_path / "digits.csv.gz").write_bytes(damaged)
        with pytest.raises(DataError, match="cannot be read as scans"):
            convert(replace(digits_config, path=str(tmp_path)), 1, tmp_path / "voc")
