"""Laws of pictures that are in several splits, byte for byte."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reprolens.config import Voc
from reprolens.convert import convert
from reprolens.convert.inspection import inspect
from reprolens.errors import DataError
from reprolens.evaluation.fingerprint import check_leaks
from reprolens.voc import Folder, read_folder
from reprolens.voc.folder import SPLITS

Make = Callable[..., Voc]
Source = Callable[..., Path]


def same(root: Path, first: int, *others: int) -> None:
    """Make some pictures the same as the first."""
    for other in others:
        shutil.copy2(root / "JPEGImages" / f"{first:02d}.jpg", root / "JPEGImages" / f"{other:02d}.jpg")


def leaks(report: dict[str, Any]) -> list[tuple[str, str]]:
    return [(problem["file"], problem["reason"]) for problem in report["problem_list"] if problem["kind"] == "leak"]


def files(folder: Folder) -> set[str]:
    return {path.stem for path in (folder.root / "JPEGImages").iterdir()}


def assert_no_leaks(folder: Folder) -> None:
    for split in SPLITS:
        check_leaks(folder, split)


def test_a_picture_in_two_splits_stays_in_the_more_final_one(source: Source, voc_config: Make, tmp_path: Path) -> None:
    root = source(9, {"train": [0, 1, 2, 3], "val": [4, 5], "test": [6, 7, 8]})
    same(root, 6, 0, 1)
    same(root, 7, 4)
    same(root, 5, 2)
    report = convert(voc_config(root), 1, tmp_path / "voc")
    assert leaks(report) == [
        ("00.jpg", "in train, the same picture as 06.jpg in test, byte for byte"),
        ("01.jpg", "in train, the same picture as 06.jpg in test, byte for byte"),
        ("02.jpg", "in train, the same picture as 05.jpg in val, byte for byte"),
        ("04.jpg", "in val, the same picture as 07.jpg in test, byte for byte"),
    ]
    folder = read_folder(tmp_path / "voc")
    assert folder.splits == {"train": ("03",), "val": ("05",), "test": ("06", "07", "08")}
    assert files(folder) == {"03", "05", "06", "07", "08"}
    assert (report["images"], report["images/train"], report["near_duplicates"]) == (5, 1, 0)
    assert_no_leaks(folder)


def test_a_picture_in_all_splits_is_left_in_test_alone(source: Source, voc_config: Make, tmp_path: Path) -> None:
    root = source(6, {"train": [0, 1], "val": [2, 3], "test": [4, 5]})
    same(root, 4, 0, 2)
    convert(voc_config(root), 1, tmp_path / "voc")
    assert read_folder(tmp_path / "voc").splits == {"train": ("01",), "val": ("03",), "test": ("04", "05")}


def test_the_same_picture_twice_in_one_split_is_no_leak(source: Source, voc_config: Make, tmp_path: Path) -> None:
    root = source(6, {"train": [0, 1], "val": [2, 3], "test": [4, 5]})
    same(root, 4, 5)
    same(root, 0, 1)
    report = convert(voc_config(root), 1, tmp_path / "voc")
    assert [problem["kind"] for problem in report["problem_list"]] == ["duplicate_image"] * 2
    assert report["images"] == 6


def test_a_leak_can_be_refused(source: Source, voc_config: Make, tmp_path: Path) -> None:
    root = source(6, {"train": [0, 1], "val": [2, 3], "test": [4, 5]})
    same(root, 4, 0)
    with pytest.raises(DataError, match=r"in train, the same picture as 04\.jpg in test.*data\.policy\.leak to drop"):
        convert(voc_config(root, leak="fail"), 1, tmp_path / "voc")
    assert not (tmp_path / "voc").exists()


def test_a_test_split_that_is_a_copy_of_val_is_refused_with_what_to_do(
    source: Source, voc_config: Make, tmp_path: Path
) -> None:
    root = source(6, {"train": [0, 1], "val": [2, 3], "test": [4, 5]})
    same(root, 2, 4)
    same(root, 3, 5)
    with pytest.raises(DataError, match=r"all 2 pictures of val are in test too.*take one of the two away"):
        convert(voc_config(root), 1, tmp_path / "voc")
    assert not (tmp_path / "voc").exists()


@pytest.mark.parametrize(
    "sets", [{}, {"trainval": range(8), "test": [8, 9]}, {"test": [9]}, {"train": [0], "test": [9]}]
)
def test_the_same_pictures_are_drawn_into_the_same_split(
    sets: dict[str, Any], source: Source, voc_config: Make, tmp_path: Path
) -> None:
    root = source(10, sets)
    same(root, 1, 2, 3)
    same(root, 4, 5)
    for seed in range(4):
        report = convert(voc_config(root, [0.4, 0.3, 0.3]), seed, tmp_path / "voc")
        assert leaks(report) == []
        assert report["images"] == 10
        folder = read_folder(tmp_path / "voc")
        homes = {id: split for split, ids in folder.splits.items() for id in ids}
        assert homes["01"] == homes["02"] == homes["03"]
        assert homes["04"] == homes["05"]
        assert_no_leaks(folder)


def test_groups_that_share_a_picture_stay_together(
    source: Source, voc_config: Make, annotate: Callable[..., None], tmp_path: Path
) -> None:
    root = source(0)
    for scene in "abcdef":
        for shot in "12":
            annotate(root, f"{scene}{shot}")
    pictures = root / "JPEGImages"
    shutil.copy2(pictures / "a1.jpg", pictures / "c2.jpg")
    shutil.copy2(pictures / "c1.jpg", pictures / "e1.jpg")
    for seed in range(4):
        config = replace(voc_config(root, [0.5, 0.25, 0.25]), group_by="^(.)")
        convert(config, seed, tmp_path / "voc")
        folder = read_folder(tmp_path / "voc")
        homes = {id: split for split, ids in folder.splits.items() for id in ids}
        assert len({homes[f"{scene}{shot}"] for scene in "ace" for shot in "12"}) == 1
        assert_no_leaks(folder)


def test_too_few_different_pictures_are_an_error_that_says_so(source: Source, voc_config: Make, tmp_path: Path) -> None:
    root = source(3)
    same(root, 0, 1)
    with pytest.raises(DataError, match=r"no picture is left for test: .*the same byte for byte"):
        convert(voc_config(root), 1, tmp_path / "voc")


def test_inspect_tells_of_leaks_and_takes_nothing_away(source: Source, voc_config: Make) -> None:
    root = source(6, {"train": [0, 1], "val": [2, 3], "test": [4, 5]})
    same(root, 2, 4)
    same(root, 3, 5)
    report = inspect(voc_config(root))
    assert [file for file, _ in leaks(report)] == ["02.jpg", "03.jpg"]
    assert (report["images/val"], report["images/test"], report["near_duplicates"]) == (2, 2, 0)
