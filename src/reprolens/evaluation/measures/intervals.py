"""95 % intervals by bootstrap over pictures, for whatever can be measured of pictures that count several times.

The pictures are drawn, and the interval is taken, as in bootstrap.py, which knows detections; this is for the other
tasks.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from reprolens.evaluation.measures.bootstrap import FEWEST_IMAGES, basic_interval, over_resamples

Metrics = dict[str, float | None]
Measure = Callable[[NDArray[np.signedinteger]], dict[str, NDArray[np.float64]]]
"""Of how often each picture counts, `(B, pictures)`: each number, `(B,)`, NaN where undefined."""


def basic_intervals(measure: Measure, images: int, resamples: int, seed: int) -> Metrics:
    """Return `<key>/low` and `<key>/high` of every number of `measure`, which lie from 0 to 1; None if undefined.

    The basic interval, widened to hold the number itself. It says nothing about errors that no picture shows: of a
    model that is right about all pictures it is [1, 1]. Without resamples or pictures there are none.
    """
    if not images or not resamples:
        return {}
    whole = measure(np.ones((1, images), np.int32))
    if images < FEWEST_IMAGES:
        return {f"{key}/{end}": None for key in whole for end in ("low", "high")}
    blocks = over_resamples(measure, images, images, resamples, seed)
    ends: Metrics = {}
    for key, (number,) in whole.items():
        low, high = basic_interval(float(number), np.concatenate([block[key] for block in blocks]))
        ends |= {f"{key}/low": low, f"{key}/high": high}
    return ends


def with_intervals(metrics: Mapping[str, float | None], ends: Mapping[str, float | None]) -> Metrics:
    """Return the metrics with each one's `<key>/low` and `<key>/high`, where `ends` has them, behind it.

    They hold the metric also where it was summed in another order, and so differs in its last digit.
    """
    together: Metrics = {}
    for key, value in metrics.items():
        together[key] = value
        for end, outer in ((f"{key}/low", min), (f"{key}/high", max)):
            if end in ends:
                found = ends[end]
                together[end] = found if found is None or value is None else outer(found, value)
    return together


def class_key(name: str, label: str) -> str:
    """Return `<name>/<class>`, which never is the key of an interval's end.

    So a class called low has `<name>/class/low`; so has each whose name ends in /low or /high or begins with class/.
    """
    taken = f"/{label}".endswith(("/low", "/high")) or label.startswith("class/")
    return f"{name}/class/{label}" if taken else f"{name}/{label}"
