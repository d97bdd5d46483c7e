"""What a sweep has still to compute, and what that took before: each stage leaves its cost beside its lock."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Work:
    """How many results of a stage a sweep needs, and how many of them are in the cache already."""

    stage: str
    wanted: int
    cached: int


@dataclass(frozen=True)
class Estimate:
    """`seconds` of wall time and `bytes` on the disk, of the stages that ran in a sweep before; `unknown` did not."""

    works: tuple[Work, ...]
    seconds: float
    bytes: int
    unknown: tuple[str, ...]


def results_folder(root: Path) -> Path:
    """Return where the locks of the stages lie and the records of what they cost, one for all sweeps."""
    return root / ".dvc" / "tmp" / "stages"


def estimate(root: Path, cache: Path, trials: Sequence[Mapping[str, str]], workers: int, total: int) -> Estimate:
    """Compare the stage keys of trials with what was computed before.

    `total` is how many trials there will be. Where that is more than `trials`, because a search makes them as it goes,
    a stage that differs among them is counted for every one.
    """
    costs = _costs(results_folder(root))
    works, unknown, seconds, size = [], [], 0.0, 0
    for stage in trials[0]:
        keys = {trial[stage] for trial in trials}
        wanted = len(keys) if len(trials) == total or len(keys) == 1 else total
        cached = sum(_is_cached(cache, costs[stage, key]) for key in keys if (stage, key) in costs)
        works.append(Work(stage, wanted, min(cached, wanted)))
        known = [cost for (name, _), cost in costs.items() if name == stage]
        missing = wanted - works[-1].cached
        if missing and known:
            seconds += missing * statistics.median(cost["seconds"] for cost in known)
            size += missing * int(statistics.median(cost["bytes"] for cost in known))
        elif missing:
            unknown.append(stage)
    return Estimate(tuple(works), seconds / max(1, min(workers, total)), size, tuple(unknown))


def describe(result: Estimate, workers: int) -> list[str]:
    """Return an estimate in a few lines: what is to be computed, how long and how large it will be."""
    parts = [f"{work.stage} {work.wanted - work.cached} of {work.wanted}" for work in result.works]
    lines = [f"to compute: {', '.join(parts)}"]
    if result.unknown:
        lines.append(f"no estimate of time and disk: {', '.join(result.unknown)} never ran in a sweep here")
    elif result.seconds:
        side_by_side = f" with {workers} at a time" if workers > 1 else ""
        lines.append(f"about {_duration(result.seconds)}{side_by_side}, {result.bytes / 1e6:.0f} MB of disk")
    return lines


def in_cache(cache: Path, name: str) -> bool:
    """Return whether DVC's cache has an object; of a folder that is its list of files."""
    return (cache / "files" / "md5" / name[:2] / name[2:]).exists()


def _costs(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    costs = {}
    for path in folder.glob("*.json"):
        stage, _, key = path.stem.rpartition("-")
        with suppress(OSError, ValueError):
            costs[stage, key] = json.loads(path.read_text(encoding="utf-8"))
    return costs


def _is_cached(cache: Path, cost: Mapping[str, Any]) -> bool:
    objects: Iterable[str] = cost.get("objects", ["unknown"])
    return all(in_cache(cache, name) for name in objects)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{rest} s"
