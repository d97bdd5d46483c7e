"""Laws of sharing pictures out to train, val and test."""

import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprolens.config import Voc
from reprolens.convert.convert import convert
from reprolens.convert.source import Problem
from reprolens.convert.split import Entry, split
from reprolens.errors import DataError
from reprolens.voc import read_folder

RATIOS = [0.7, 0.1, 0.2]
SPLITS = ("train", "val", "test")


def _entries(named: Sequence[str | None], classes: Sequence[str] = ("cat",)) -> list[Entry]:
    return [
        Entry(f"{number:03d}", name, frozenset({classes[number % len(classes)]}), place=f"{number:03d}.xml")
        for number, name in enumerate(named)
    ]


NAMED = st.lists(st.sampled_from([None, "train", "val", "test", "trainval"]), min_size=1, max_size=30)
GROUPS = st.lists(st.sampled_from([None, "a", "b", "c", "d"]), min_size=30, max_size=30)


@settings(deadline=None)
@given(NAMED, st.integers(0, 2**32 - 1))
def test_every_picture_is_in_one_split_or_reported_as_left_out(named: list[str | None], seed: int) -> None:
    problems: list[Problem] = []
    splits = split(_entries(named), RATIOS, seed, problems)
    placed = [id for ids in splits.values() for id in ids]
    dropped = [problem.place.removesuffix(".xml") for problem in problems if problem.action == "drop"]
    assert sorted(placed + dropped) == [f"{number:03d}" for number in range(len(named))]
    assert all(ids == sorted(ids) for ids in splits.values())


@settings(deadline=None)
@given(NAMED, st.integers(0, 2**32 - 1))
def test_what_the_source_names_for_val_or_test_stays_there_and_train_only_gives(
    named: list[str | None], seed: int
) -> None:
    splits = split(_entries(named), RATIOS, seed, [])
    for name in ("val", "test"):
        own = [f"{number:03d}" for number, given in enumerate(named) if given == name]
        if own:
            assert splits[name] == own
    for number, given_name in enumerate(named):
        if given_name == "trainval" and "test" in named:
            assert f"{number:03d}" not in splits["test"]


@settings(deadline=None)
@given(NAMED, GROUPS, st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_the_seed_alone_decides_not_the_order(
    named: list[str | None], grouped: list[str | None], seed: int, chance: random.Random
) -> None:
    entries = _grouped(_entries(named), grouped)
    shuffled = list(entries)
    chance.shuffle(shuffled)
    try:
        first: list[Problem] = []
        drawn = split(entries, RATIOS, seed, first)
    except DataError:
        with pytest.raises(DataError):
            split(shuffled, RATIOS, seed, [])
        return
    second: list[Problem] = []
    assert drawn == split(shuffled, RATIOS, seed, second)
    assert first == second


@given(st.integers(3, 300), st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20)))
def test_sizes_are_the_ratios_to_the_picture_and_none_is_empty(count: int, weights: tuple[int, int, int]) -> None:
    ratios = [weight / sum(weights) for weight in weights]
    splits = split(_entries([None] * count), ratios, 1, [])
    small = any(ratio * count < 1 for ratio in ratios)  # then one picture is taken from another split
    for name, ratio in zip(SPLITS, ratios, strict=True):
        assert splits[name]
        assert abs(len(splits[name]) - ratio * count) < (3 if small else 1)


@given(st.integers(6, 60), st.integers(1, 20), st.integers(0, 1000))
def test_train_gets_every_class_that_fits_into_it(count: int, classes: int, seed: int) -> None:
    entries = _entries([None] * count, [f"class {number}" for number in range(classes)])
    train = set(split(entries, RATIOS, seed, [])["train"])
    shown = {name for entry in entries if entry.id in train for name in entry.classes}
    assert len(shown) == min(classes, count, len(train))


@given(st.lists(st.frozensets(st.sampled_from("abcdefgh")), min_size=20, max_size=60), st.integers(0, 1000))
def test_train_shows_every_class_of_pictures_that_show_several(shown: list[frozenset[str]], seed: int) -> None:
    entries = [Entry(f"{number:03d}", None, classes) for number, classes in enumerate(shown)]
    train = set(split(entries, RATIOS, seed, [])["train"])
    learnt = {name for entry in entries if entry.id in train for name in entry.classes}
    assert learnt == {name for classes in shown for name in classes}


# ---- classes


def _skewed(count: int, classes: int, groups: int = 0) -> list[Entry]:
    """Return pictures that show none to five of classes of which the commonest is 200 times as common as the rarest."""
    chance = random.Random(3)
    weights = [1 / (number + 1) ** 1.2 for number in range(classes)]
    return [
        Entry(
            f"{number:06d}",
            None,
            frozenset(map(str, chance.choices(range(classes), weights, k=chance.choice((0, 1, 1, 2, 2, 3, 5))))),
            f"scene {chance.randrange(groups)}" if groups else None,
        )
        for number in range(count)
    ]


def _errors(entries: Sequence[Entry], splits: Mapping[str, Sequence[str]]) -> list[float]:
    """Return by how many pictures each split misses its share of each class, and of the pictures that show none."""
    shown = {entry.id: entry.classes or {"none"} for entry in entries}
    counts = {name: Counter(label for id in ids for label in shown[id]) for name, ids in splits.items()}
    total = sum(counts.values(), Counter())
    return [
        abs(counts[name][label] - ratio * total[label])
        for name, ratio in zip(SPLITS, RATIOS, strict=True)
        for label in total
    ]


def _at_random(entries: Sequence[Entry], seed: int) -> dict[str, list[str]]:
    ids = [entry.id for entry in entries]
    random.Random(seed).shuffle(ids)
    bounds = [0, round(len(ids) * 0.7), round(len(ids) * 0.8), len(ids)]
    return {name: ids[start:end] for name, start, end in zip(SPLITS, bounds, bounds[1:], strict=False)}


@pytest.mark.parametrize(("groups", "gain"), [(0, 4.0), (400, 1.4)])
def test_each_split_gets_its_share_of_every_class_far_better_than_at_random(groups: int, gain: float) -> None:
    entries = _skewed(3000, 60, groups)
    ours = _errors(entries, split(entries, RATIOS, 1, []))
    drawn = [_errors(entries, _at_random(entries, seed)) for seed in range(5)]
    assert mean(ours) * gain < mean(map(mean, drawn))
    assert max(ours) < mean(map(max, drawn))
    if not groups:
        assert mean(ours) < 0.5  # the nearest whole number is 0.25 away on average


def test_a_class_of_ten_pictures_is_shared_out_seven_one_two() -> None:
    entries = [Entry(f"{number:03d}", None, {"rare"} if number % 20 == 0 else {"common"}) for number in range(200)]
    splits = split(entries, RATIOS, 5, [])
    assert [sum(int(id) % 20 == 0 for id in splits[name]) for name in SPLITS] == [7, 1, 2]


def test_a_hundred_thousand_pictures_take_about_a_second() -> None:
    entries = _skewed(100_000, 80)
    start = time.process_time()
    split(entries, RATIOS, 1, [])
    assert time.process_time() - start < 6


def test_memory_grows_with_the_number_of_pictures() -> None:
    entries = _skewed(8000, 20)
    peaks = []
    for count in (2000, 8000):
        tracemalloc.start()
        split(entries[:count], RATIOS, 1, [])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 5 * peaks[0]
    assert peaks[1] < 1000 * 8000


# ---- groups


def _grouped(entries: Sequence[Entry], grouped: Sequence[str | None]) -> list[Entry]:
    return [replace(entry, group=group) for entry, group in zip(entries, grouped, strict=False)]


@settings(deadline=None)
@given(NAMED, GROUPS, st.integers(0, 1000))
def test_groups_part_only_where_the_source_parts_them(
    named: list[str | None], grouped: list[str | None], seed: int
) -> None:
    entries = _grouped(_entries(named), grouped)
    problems: list[Problem] = []
    try:
        splits = split(entries, RATIOS, seed, problems)
    except DataError:
        return
    part = {id: name for name, ids in splits.items() for id in ids}
    for group in {entry.group for entry in entries} - {None}:
        members = [entry for entry in entries if entry.group == group]
        names = {entry.split for entry in members if entry.split in SPLITS}
        places = {part[entry.id] for entry in members if entry.id in part}
        told = any(problem.kind == "parted_group" for problem in problems)
        assert told or len(names) < 2
        # trainval is not to go to test, even if the source has others of the group there
        both = any(entry.split == "trainval" for entry in members) and names == {"test"}
        assert len(places) <= max(len(names), 1) + both
        assert names <= places or "train" in names
    for entry in entries:
        if entry.split in ("val", "test"):
            assert part[entry.id] == entry.split


@settings(deadline=None)
@given(st.lists(st.integers(1, 12), min_size=3, max_size=40), st.integers(0, 1000))
def test_sizes_of_splits_of_groups_are_off_by_less_than_two_of_the_largest(sizes: list[int], seed: int) -> None:
    entries = [
        Entry(f"{group:02d}-{number}", None, {"cat"}, str(group))
        for group, size in enumerate(sizes)
        for number in range(size)
    ]
    splits = split(entries, RATIOS, seed, [])
    for name, ratio in zip(SPLITS, RATIOS, strict=True):
        assert splits[name]
        assert abs(len(splits[name]) - ratio * len(entries)) < 2 * max(sizes) + 3


def test_a_loose_picture_follows_its_group_into_a_split_that_the_source_names() -> None:
    named = ["train"] * 6 + ["val"] * 2 + [None] * 6
    entries = _grouped(_entries(named), [*"aaabbb", "c", "c", "a", "c", *"defg"])
    problems: list[Problem] = []
    splits = split(entries, RATIOS, 1, problems)
    assert splits == {
        "train": [f"{number:03d}" for number in (*range(6), 8)],
        "val": ["006", "007", "009"],
        "test": [f"{number:03d}" for number in range(10, 14)],
    }
    assert [(problem.kind, problem.place) for problem in problems] == [
        ("not_in_image_sets", "train"), ("not_in_image_sets", "val"), ("missing_image_set", "test"),
    ]  # fmt: skip


def test_a_test_split_taken_from_train_gets_nothing_of_a_group_that_val_has_too() -> None:
    entries = _grouped(_entries(["train"] * 20 + ["val"] * 5), [*"aaaaabbbbbcdefghijkl", *"aabbz"])
    problems: list[Problem] = []
    splits = split(entries, RATIOS, 1, problems)
    assert {entry.group for entry in entries if entry.id in splits["test"]} <= set("cdefghijkl")
    assert len(splits["test"]) == 4
    (parted,) = [problem for problem in problems if problem.kind == "parted_group"]
    assert "2 in all: 'a' is in train and val" in parted.reason


@pytest.mark.parametrize("grouped", [["a"] * 12, ["a", "b"] * 6])
def test_too_few_groups_are_an_error_that_names_the_knob(grouped: list[str | None]) -> None:
    with pytest.raises(DataError, match=r"no picture is left for val( and test)?: the groups of data\.group_by"):
        split(_grouped(_entries([None] * 12), grouped), RATIOS, 1, [])


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
