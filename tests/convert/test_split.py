"""Laws of sharing pictures out to train, val and test."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprolens.config import Voc
from reprolens.convert import convert
from reprolens.convert.source import Problem, SourceImage
from reprolens.convert.split import split
from reprolens.errors import DataError
from reprolens.voc import Object, Record, read_folder

RATIOS = [0.7, 0.1, 0.2]
SPLITS = ("train", "val", "test")


def _images(named: Sequence[str | None], classes: Sequence[str] = ("cat",)) -> list[SourceImage]:
    return [
        SourceImage(
            Record(
                f"{number:03d}", f"{number:03d}.jpg", 8, 6, 3, (Object(classes[number % len(classes)], (0, 0, 5, 5)),)
            ),
            name,
            b"",
            f"{number:03d}.xml",
        )
        for number, name in enumerate(named)
    ]


def _ids(splits: Mapping[str, Sequence[Record]]) -> dict[str, list[str]]:
    return {name: [record.id for record in records] for name, records in splits.items()}


NAMED = st.lists(st.sampled_from([None, "train", "val", "test", "trainval"]), min_size=1, max_size=30)


@settings(deadline=None)
@given(NAMED, st.integers(0, 2**32 - 1))
def test_every_picture_is_in_one_split_or_reported_as_left_out(named: list[str | None], seed: int) -> None:
    problems: list[Problem] = []
    splits = _ids(split(_images(named), RATIOS, seed, problems))
    placed = [id for ids in splits.values() for id in ids]
    dropped = [problem.place.removesuffix(".xml") for problem in problems if problem.action == "drop"]
    assert sorted(placed + dropped) == [f"{number:03d}" for number in range(len(named))]
    assert all(ids == sorted(ids) for ids in splits.values())


@settings(deadline=None)
@given(NAMED, st.integers(0, 2**32 - 1))
def test_what_the_source_names_for_val_or_test_stays_there_and_train_only_gives(
    named: list[str | None], seed: int
) -> None:
    splits = _ids(split(_images(named), RATIOS, seed, []))
    for name in ("val", "test"):
        own = [f"{number:03d}" for number, given in enumerate(named) if given == name]
        if own:
            assert splits[name] == own
    for number, given_name in enumerate(named):
        if given_name == "trainval" and "test" in named:
            assert f"{number:03d}" not in splits["test"]


@settings(deadline=None)
@given(NAMED, st.integers(0, 2**32 - 1))
def test_the_seed_alone_decides(named: list[str | None], seed: int) -> None:
    first: list[Problem] = []
    second: list[Problem] = []
    assert split(_images(named), RATIOS, seed, first) == split(_images(named), RATIOS, seed, second)
    assert first == second


@given(st.integers(3, 300), st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20)))
def test_shares_follow_the_ratios_and_none_is_empty(count: int, weights: tuple[int, int, int]) -> None:
    ratios = [weight / sum(weights) for weight in weights]
    splits = split(_images([None] * count), ratios, 1, [])
    for name, ratio in zip(SPLITS, ratios, strict=True):
        assert splits[name]
        assert abs(len(splits[name]) - ratio * count) <= 2


@given(st.integers(6, 60), st.integers(1, 20), st.integers(0, 1000))
def test_train_gets_every_class_that_fits_into_it(count: int, classes: int, seed: int) -> None:
    images = _images([None] * count, [f"class {number}" for number in range(classes)])
    splits = split(images, RATIOS, seed, [])
    shown = {item.name for record in splits["train"] for item in record.objects}
    assert len(shown) == min(classes, count, len(splits["train"]))


# Image sets by the numbers of the pictures they name, of 20; how many train, val and test get; what is reported.
PARTIAL: dict[str, tuple[dict[str, Sequence[int]], list[int], dict[str, int]]] = {
    "none": ({}, [14, 2, 4], {}),
    "all": ({"train": range(10), "val": range(10, 15), "test": range(15, 20)}, [10, 5, 5], {}),
    "all, some unnamed": (
        {"train": range(10), "val": range(10, 13), "test": range(13, 15)}, [10, 3, 2], {"not_in_image_sets": 5},
    ),
    "train and val": ({"train": range(14), "val": range(14, 20)}, [11, 6, 3], {"missing_image_set": 1}),
    "train and val, some unnamed": (
        {"train": range(10), "val": range(10, 15)}, [10, 5, 5], {"missing_image_set": 1},
    ),
    "train": ({"train": range(20)}, [14, 2, 4], {"missing_image_set": 2}),
    "train, some unnamed": ({"train": range(14)}, [14, 2, 4], {"missing_image_set": 2}),
    "train and test": ({"train": range(16), "test": range(16, 20)}, [14, 2, 4], {"missing_image_set": 1}),
    "trainval": ({"trainval": range(20)}, [14, 2, 4], {}),
    "trainval and test": ({"trainval": range(16), "test": range(16, 20)}, [14, 2, 4], {}),
    "trainval, some unnamed": ({"trainval": range(16)}, [14, 2, 4], {"missing_image_set": 1}),
    "trainval and train": (
        {"trainval": range(16), "train": range(12), "test": range(16, 20)}, [12, 4, 4], {},
    ),
    "all four, as VOC has them": (
        {"trainval": range(15), "train": range(10), "val": range(10, 15), "test": range(15, 20)}, [10, 5, 5], {},
    ),
    "empty test": ({"train": range(14), "val": range(14, 20), "test": []}, [11, 6, 3], {"missing_image_set": 1}),
}  # fmt: skip


@pytest.mark.parametrize("case", PARTIAL)
def test_partial_image_sets_do_what_their_author_means(
    case: str, source: Callable[..., Path], voc_config: Callable[..., Voc], tmp_path: Path
) -> None:
    sets, expected, reported = PARTIAL[case]
    report = convert(voc_config(source(20, sets)), 1, tmp_path / "voc")
    assert [report[f"images/{name}"] for name in SPLITS] == expected
    kinds: dict[str, int] = {}
    for problem in report["problem_list"]:
        kinds[problem["kind"]] = kinds.get(problem["kind"], 0) + 1
    assert kinds == reported
    splits = read_folder(tmp_path / "voc").splits
    for name in ("val", "test"):
        if sets.get(name):
            assert set(splits[name]) == {f"{number:02d}" for number in sets[name]}
    pictures = {path.stem for path in (tmp_path / "voc" / "JPEGImages").iterdir()}
    assert pictures == {id for ids in splits.values() for id in ids}


TOO_FEW: list[tuple[int, dict[str, Sequence[int]]]] = [
    (1, {}),
    (2, {}),
    (2, {"train": range(2)}),
    (5, {"val": range(5)}),
    (6, {"val": range(3), "test": range(3, 6)}),
]


@pytest.mark.parametrize(("count", "sets"), TOO_FEW)
def test_too_few_pictures_for_three_splits_are_refused(
    count: int, sets: Any, source: Callable[..., Path], voc_config: Callable[..., Voc], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="no picture is left for the split"):
        convert(voc_config(source(count, sets)), 1, tmp_path / "voc")
    assert not (tmp_path / "voc").exists()


def test_the_seed_of_the_experiment_shares_out(
    source: Callable[..., Path], voc_config: Callable[..., Voc], tmp_path: Path
) -> None:
    root = source(12)
    drawn = []
    for number, seed in enumerate((1, 1, 2)):
        convert(voc_config(root, ratios=[0.5, 0.25, 0.25]), seed, tmp_path / str(number))
        drawn.append(read_folder(tmp_path / str(number)).splits)
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(drawn[0][name]) for name in SPLITS] == [6, 3, 3]
