"""What a sweep has still to compute, told from what its stages cost before."""

import json
from pathlib import Path
from typing import Any

import pytest

from reprolens.sweeps.estimate import Estimate, Work, describe, estimate, results_folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def ran(root: Path, cache: Path, stage: str, key: str, seconds: float, size: int, kept: bool = True) -> None:
    """Leave what a stage leaves that ran in a sweep: its cost, and its output in the cache."""
    name = f"{len(list(root.rglob('*.json'))):032x}"
    folder = results_folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stage}-{key}.lock").touch()
    (folder / f"{stage}-{key}.json").write_text(json.dumps({"seconds": seconds, "bytes": size, "objects": [name]}))
    if kept:
        place = cache / "files" / "md5" / name[:2] / name[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"")


def grid(**values: list[str]) -> list[dict[str, str]]:
    return [dict(zip(values, keys, strict=True)) for keys in zip(*values.values(), strict=True)]


def test_results_that_trials_share_are_counted_once(tmp_path: Path, cache: Path) -> None:
    result = estimate(tmp_path, cache, grid(convert=["a", "a", "b", "b"], train=list("wxyz")), 1, 4)
    assert result == Estimate((Work("convert", 2, 0), Work("train", 4, 0)), 0.0, 0, ("convert", "train"))


def test_what_is_in_the_cache_costs_nothing_and_the_rest_what_the_stage_cost_before(
    tmp_path: Path, cache: Path
) -> None:
    ran(tmp_path, cache, "train", "w", 10.0, 100)
    ran(tmp_path, cache, "train", "other", 30.0, 300)
    result = estimate(tmp_path, cache, grid(train=list("wxyz")), 1, 4)
    assert result == Estimate((Work("train", 4, 1),), 3 * 20.0, 3 * 200, ())


def test_one_long_run_does_not_make_the_estimate(tmp_path: Path, cache: Path) -> None:
    for number, seconds in enumerate((10.0, 11.0, 1000.0)):
        ran(tmp_path, cache, "train", f"k{number}", seconds, 1)
    assert estimate(tmp_path, cache, grid(train=["new"]), 1, 1).seconds == 11.0


def test_result_that_was_removed_from_the_cache_is_computed_again(tmp_path: Path, cache: Path) -> None:
    ran(tmp_path, cache, "train", "w", 10.0, 100, kept=False)
    assert estimate(tmp_path, cache, grid(train=["w"]), 1, 1).works == (Work("train", 1, 0),)


def test_key_of_another_stage_is_not_this_stages(tmp_path: Path, cache: Path) -> None:
    ran(tmp_path, cache, "pre-train", "w", 10.0, 100)
    result = estimate(tmp_path, cache, grid(train=["w"]), 1, 1)
    assert result == Estimate((Work("train", 1, 0),), 0.0, 0, ("train",))


@pytest.mark.parametrize(("workers", "total", "seconds"), [(1, 4, 40.0), (2, 4, 20.0), (4, 4, 10.0), (9, 4, 10.0)])
def test_workers_share_the_time_but_no_more_of_them_than_trials(
    tmp_path: Path, cache: Path, workers: int, total: int, seconds: float
) -> None:
    ran(tmp_path, cache, "train", "before", 10.0, 100)
    assert estimate(tmp_path, cache, grid(train=list("wxyz")), workers, total).seconds == seconds


def test_search_counts_a_stage_that_differs_for_every_trial_and_one_that_does_not_once(
    tmp_path: Path, cache: Path
) -> None:
    ran(tmp_path, cache, "train", "w", 10.0, 100)
    ran(tmp_path, cache, "convert", "a", 5.0, 100)
    result = estimate(tmp_path, cache, grid(convert=["a", "a"], train=["w", "x"]), 1, 20)
    assert result.works == (Work("convert", 1, 1), Work("train", 20, 1))
    assert result.seconds == 19 * 10.0


def test_cached_never_exceeds_what_is_wanted(tmp_path: Path, cache: Path) -> None:
    for key in "wxyz":
        ran(tmp_path, cache, "train", key, 10.0, 100)
    result = estimate(tmp_path, cache, grid(train=list("wxyz")), 1, 2)
    assert (result.works, result.seconds) == ((Work("train", 2, 2),), 0.0)


def test_record_that_was_not_written_whole_counts_as_none(tmp_path: Path, cache: Path) -> None:
    ran(tmp_path, cache, "train", "w", 10.0, 100)
    for name, text in (("train-x.json", ""), ("train-y.json", '{"seconds": 1')):
        (results_folder(tmp_path) / name).write_text(text)
    assert estimate(tmp_path, cache, grid(train=list("wxy")), 1, 3) == Estimate((Work("train", 3, 1),), 20.0, 200, ())


@pytest.mark.parametrize(
    ("changes", "workers", "lines"),
    [
        ({"unknown": ("train",)}, 1, ["no estimate of time and disk: train never ran in a sweep here"]),
        ({"seconds": 59.4, "bytes": 2_600_000}, 1, ["about 59 s, 3 MB of disk"]),
        ({"seconds": 59.6}, 1, ["about 1 min, 0 MB of disk"]),
        ({"seconds": 3599.0}, 2, ["about 59 min with 2 at a time, 0 MB of disk"]),
        ({"seconds": 7260.0}, 4, ["about 2 h 1 min with 4 at a time, 0 MB of disk"]),
        ({}, 4, []),
    ],
)
def test_description_says_what_runs_how_long_and_how_large(
    changes: dict[str, Any], workers: int, lines: list[str]
) -> None:
    values: dict[str, Any] = {
        "works": (Work("convert", 2, 2), Work("train", 4, 1)),
        "seconds": 0.0,
        "bytes": 0,
        "unknown": (),
    }
    assert describe(Estimate(**values | changes), workers) == ["to compute: convert 0 of 2, train 3 of 4", *lines]
