"""How fast files are beside torch, on the same pictures, in the same run, in turns."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from reprolens.errors import first_line
from reprolens.inference.model import Model, Pixels
from reprolens.progress import track

# Each has some runs of its own before the next one's turn, and begins after a pause and a few runs that do not count,
# so that drift of the machine meets all alike, but not another's threads: those of OpenMP (torch) and onnxruntime
# spin for a while after each run, for cores that the next one needs. Measured with fcos_mobilenet_v2 at 160 x 160 on
# two cores, ms of torch and of onnxruntime, median (95th percentile):
#   each for itself, 60 runs in a row        15.0 (16.5)   3.5 (3.7)
#   in turns run by run                      48.5 (73.2)   6.9 (12.3)
#   in turns of 10 after 2 that do not count 14.9 (15.7)   3.5 (7.6)
#   the same, each after a pause of 50 ms    14.8 (15.2)   3.5 (3.8)
_TURN, _WARM_UP, _PAUSE = 10, 2, 0.05

Name = TypeVar("Name")


@dataclass(frozen=True)
class Speed:
    """Milliseconds for one picture, median and 95th percentile, and pictures a second where many are given at once."""

    p50: float
    p95: float
    images_per_second: float

    def facts(self) -> dict[str, Any]:
        """Return the entries of reports/export.json, without the format's name."""
        return {
            "latency_ms/p50": round(self.p50, 3),
            "latency_ms/p95": round(self.p95, 3),
            "images_per_second": round(self.images_per_second, 2),
        }


def measure_speed(
    models: Mapping[Name, Model], pictures: list[Pixels], runs: int, batch: int
) -> tuple[dict[Name, Speed], dict[Name, str]]:
    """Return the speed of each model, and why those that fail have none.

    Each is timed `runs` times on one of `pictures (H, W, 3)`, from the array to its detections, then on about as many
    pictures given `batch` at a time, which a file that takes fewer has to go through in turns.
    """
    same = [picture for picture in pictures if picture.shape == pictures[0].shape]
    together = np.stack([same[place % len(same)] for place in range(batch)])
    latencies, failed = time_in_turns(
        {name: [item[None] for item in pictures] for name in models}, models, runs, "gate: latency"
    )
    left = {name: model for name, model in models.items() if name not in failed}
    full, more = time_in_turns({name: [together] for name in left}, left, math.ceil(runs / batch), "gate: throughput")
    speeds = {
        name: Speed(
            float(np.percentile(latencies[name], 50)) * 1000,
            float(np.percentile(latencies[name], 95)) * 1000,
            batch / float(np.median(full[name])),
        )
        for name in full
    }
    return speeds, failed | more


def time_in_turns(
    given: Mapping[Name, list[Pixels]], models: Mapping[Name, Model], runs: int, label: str
) -> tuple[dict[Name, list[float]], dict[Name, str]]:
    """Return the seconds of `runs` runs of each model, and why those that fail have none.

    `given` has the batches `(B, H, W, 3)` that each takes one after the other. `label` is shown beside the progress.
    """
    times: dict[Name, list[float]] = {name: [] for name in models}
    failed: dict[Name, str] = {}
    names = list(models)
    turns = [min(_TURN, runs - start) for start in range(0, runs, _TURN)]
    order = [(name, turn) for place, turn in enumerate(turns) for name in _rotated(names, place)]
    for name, turn in track(order, label):
        if name in failed:
            continue
        time.sleep(_PAUSE)
        try:
            for number in range(-_WARM_UP, turn):
                images = given[name][(len(times[name]) + number) % len(given[name])]
                start = time.perf_counter()
                models[name](images)
                if number >= 0:
                    times[name].append(time.perf_counter() - start)
        except Exception as error:  # runtimes raise kinds of their own
            failed[name] = f"fails on {len(given[name][0])} pictures at once: {first_line(error)}"
            del times[name]
    return times, failed


def _rotated(names: list[Name], places: int) -> list[Name]:
    places %= len(names)
    return [*names[places:], *names[:places]]
