"""How parameters, numbers and times are written: the same in the live table, the leaderboard and the pages."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from reprolens.sweeps.record import Trial
from reprolens.tracking.wording import MISSING, write_duration, write_number, write_value

__all__ = ["MISSING", "write_duration", "write_number", "write_value"]


def write_parameters(parameters: Mapping[str, Any]) -> str:
    """Return `key=value` of all parameters in one line."""
    return " ".join(f"{name}={write_value(value)}" for name, value in parameters.items())


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
