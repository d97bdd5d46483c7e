"""How parameters, numbers and times are written: the same in the live table, the leaderboard and the pages."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from reprolens.sweeps.record import Trial

MISSING = "-"
"""What stands where a trial has no such value."""


def write_value(value: Any) -> str:
    """Return a parameter's value as one would type it on the command line, numbers with five digits that count."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.5g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(write_value(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False, default=str)


def write_parameters(parameters: Mapping[str, Any]) -> str:
    """Return `key=value` of all parameters in one line."""
    return " ".join(f"{name}={write_value(value)}" for name, value in parameters.items())


def write_number(value: float | None) -> str:
    """Return a metric with four digits that count: 0.9134, 12.50, 1.250e+06."""
    if value is None or not math.isfinite(value):
        return MISSING if value is None else str(value)
    if value == 0 or 1e-3 <= abs(value) < 1:
        return f"{value:.4f}"
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e6 else f"{value:#.4g}".removesuffix(".")


def write_duration(seconds: float | None) -> str:
    """Return a time as its two largest units: `1.5 s`, `42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None:
        return MISSING
    if 0 < seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = max(0, round(seconds))
    for name, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // part} {smaller}"
    return f"{whole} s"


def shorten_names(names: Iterable[str]) -> dict[str, str]:
    """Return for each dotted name its last part, or as many of its last parts as tell it from the others."""
    parts = {name: name.split(".") for name in names}
    short = {}
    for name, mine in parts.items():
        others = [other for key, other in parts.items() if key != name]
        length = next((n for n in range(1, len(mine)) if all(other[-n:] != mine[-n:] for other in others)), len(mine))
        short[name] = ".".join(mine[-length:])
    return short


def varied_parameters(trials: Iterable[Trial]) -> tuple[str, ...]:
    """Return the names of the parameters of all `trials`, in the order in which they first appear."""
    return tuple(dict.fromkeys(name for trial in trials for name in trial.parameters))


def same_value(value: Any) -> str:
    """Return what two equal parameter values share: their JSON, so that lists can be keys and 1 is not true."""
    return json.dumps(value, sort_keys=True, default=str)
