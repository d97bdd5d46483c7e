"""What is left of a result when chance is taken out: mean and interval over trials that differ only in their seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reprolens.sweeps.record import Trial
from reprolens.sweeps.wording import same_value

SEED = "seed"


@dataclass(frozen=True)
class Interval:
    """A confidence interval of 95 %."""

    low: float
    high: float


@dataclass(frozen=True)
class Group:
    """Trials that differ in nothing but the seed: their numbers, and of each objective mean and interval.

    The interval is that of Student's t over the seeds, None of fewer than three: of two it would be 13 errors wide.
    """

    parameters: dict[str, Any]
    trials: tuple[int, ...]
    means: tuple[float, ...]
    intervals: tuple[Interval | None, ...]


def group_seeds(trials: Sequence[Trial]) -> list[Group]:
    """Return a group for each combination of the other parameters, in the order of `trials`.

    There is none if no two trials differ in the seed only. A combination that was run twice counts once. Trials without
    values are left out.
    """
    if len({same_value(trial.parameters[SEED]) for trial in trials if SEED in trial.parameters}) < 2:
        return []
    groups: dict[str, dict[str, Trial]] = {}
    for trial in trials:
        if trial.values is not None and SEED in trial.parameters:
            members = groups.setdefault(same_value(_others(trial)), {})
            members.setdefault(same_value(trial.parameters[SEED]), trial)
    if all(len(members) < 2 for members in groups.values()):
        return []  # a search that drew every seed with other parameters
    return [_summarize(list(members.values())) for members in groups.values()]


def mean_interval(values: Sequence[float]) -> tuple[float, Interval | None]:
    """Return the mean, and the 95 % interval of Student's t around it: s / sqrt(n) times the quantile of n - 1.

    There is no interval of fewer than three values.
    """
    mean = math.fsum(values) / len(values)
    if len(values) < 3:
        return mean, None
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    half = t_quantile(len(values) - 1) * deviation / math.sqrt(len(values))
    return mean, Interval(mean - half, mean + half)


def t_quantile(freedom: int, level: float = 0.95) -> float:
    """Return the t that Student's distribution stays within, between -t and t, with probability `level`.

    The probability is the finite sum of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4,
    exact for whole degrees of freedom; it grows with the angle arctan(t / sqrt(freedom)), which is found by halving.
    """
    low, high = 0.0, math.pi / 2
    while low < (angle := (low + high) / 2) < high:
        low, high = (angle, high) if _probability(angle, freedom) < level else (low, angle)
    return math.sqrt(freedom) * math.tan(low)


def _probability(angle: float, freedom: int) -> float:
    """Return A(t | freedom) at t = sqrt(freedom) * tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    # The terms are cos * 2/3 cos^2 * 4/5 cos^2 ... for odd degrees of freedom, 1 * 1/2 cos^2 * 3/4 cos^2 ... for even.
    term, total = cosine if odd else 1.0, 0.0
    for index in range(2 + odd, freedom + 1, 2):
        total += term
        term *= (index - 1) / index * cosine**2
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def _others(trial: Trial) -> dict[str, Any]:
    return {name: value for name, value in trial.parameters.items() if name != SEED}


def _summarize(trials: Sequence[Trial]) -> Group:
    columns = zip(*(trial.values or () for trial in trials), strict=True)
    means, intervals = zip(*(mean_interval(values) for values in columns), strict=True)
    return Group(_others(trials[0]), tuple(trial.number for trial in trials), means, intervals)
