"""Optuna's samplers and pruners by name, and what each cannot do.

A sampler is made anew for every trial, its chance drawn from the search's seed and the trial's number; all else that it
knows it reads from the study. So a search that was killed asks for the same trials as one that was not.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reprolens.errors import ConfigError, suggest

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler


@dataclass(frozen=True)
class Pruning:
    """When a trial is stopped early. Epochs count from 1; `metric` is a column of history.csv.

    `direction` tells which way that metric gets better. `startup_trials` must be finished, and `warmup_epochs` of a
    trial be over, before median pruning stops it. Hyperband's trials get from `min_epochs` to `max_epochs`, None being
    the longest training of the search; of each rung one in `reduction_factor` goes on.
    """

    metric: str = "val/map"
    direction: str = "maximize"
    startup_trials: int = 5
    warmup_epochs: int = 1
    interval_epochs: int = 1
    min_epochs: int = 1
    max_epochs: int | None = None
    reduction_factor: int = 3


def sampler(
    name: str,
    seed: int,
    dimensions: Mapping[str, "BaseDistribution"],
    number: int,
    n_trials: int,
) -> "BaseSampler":
    """Return the sampler of trial `number`. `n_trials` sets the size of NSGA-II's generations."""
    import numpy as np
    from optuna.exceptions import ExperimentalWarning

    drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # multivariate TPE and CMA-ES with margin
        return _SAMPLERS[name](_Ask(seed, drawn, dimensions, n_trials))


def check_sampler(name: str, dimensions: Mapping[str, "BaseDistribution"], objectives: int) -> None:
    """Raise ConfigError in one line if the sampler does not exist or cannot search `dimensions`."""
    from optuna.distributions import CategoricalDistribution

    if name not in _SAMPLERS:
        raise ConfigError(f"hydra.sweeper.sampler: {name!r} does not exist; {suggest(name, _SAMPLERS)}")
    if name == "grid":
        grid(dimensions)
    if name == "cmaes":
        if objectives > 1:
            raise ConfigError(f"hydra.sweeper.sampler: cmaes has one objective, not {objectives}; use nsga2 or tpe")
        for key, distribution in dimensions.items():
            if isinstance(distribution, CategoricalDistribution):
                raise ConfigError(f"hydra.sweeper.sampler: cmaes searches numbers, but {key} is a choice; use tpe")


def grid(dimensions: Mapping[str, "BaseDistribution"]) -> dict[str, list[Any]]:
    """Return the values of each dimension. Raises ConfigError for an interval of real numbers, which has no end."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    values: dict[str, list[Any]] = {}
    for key, distribution in dimensions.items():
        if isinstance(distribution, CategoricalDistribution):
            values[key] = list(distribution.choices)
        elif isinstance(distribution, IntDistribution):
            values[key] = list(range(distribution.low, distribution.high + 1, distribution.step))
        elif isinstance(distribution, FloatDistribution) and distribution.step is not None:
            count = round((distribution.high - distribution.low) / distribution.step) + 1
            values[key] = [min(distribution.low + i * distribution.step, distribution.high) for i in range(count)]
        else:
            raise ConfigError(
                f"hydra.sweeper.sampler: grid cannot count {key}=interval(..); use range(..) or choice(..)"
            )
    return values


def trial_count(name: str, n_trials: int, dimensions: Mapping[str, "BaseDistribution"]) -> int:
    """Return how many trials there will be: `n_trials`, or the points of the grid where that has fewer."""
    return min(n_trials, math.prod(map(len, grid(dimensions).values()))) if name == "grid" else n_trials


def pruner(name: str, pruning: Pruning, max_epochs: int) -> "BasePruner":
    """Return the pruner; `max_epochs` is the longest training. Raises ConfigError for a name that does not exist."""
    if name not in _PRUNERS:
        raise ConfigError(f"hydra.sweeper.pruner: {name!r} does not exist; {suggest(name, _PRUNERS)}")
    return _PRUNERS[name](pruning, max_epochs)


def check_pruner(name: str, pruning: Pruning, objectives: int, max_epochs: int) -> None:
    """Raise ConfigError in one line if the pruner does not exist, its knobs are wrong, or there is no one objective."""
    least = {"startup_trials": 0, "warmup_epochs": 0, "interval_epochs": 1, "min_epochs": 1, "reduction_factor": 2}
    for key, least_value in least.items():
        value = getattr(pruning, key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least_value:
            raise ConfigError(
                f"hydra.sweeper.pruning.{key}: must be a whole number of at least {least_value}, not {value!r}"
            )
    longest = max_epochs if pruning.max_epochs is None else pruning.max_epochs
    if isinstance(longest, bool) or not isinstance(longest, int) or longest < pruning.min_epochs:
        raise ConfigError(
            f"hydra.sweeper.pruning.max_epochs: must be at least min_epochs, {pruning.min_epochs}, not {longest}"
        )
    if pruning.direction not in ("maximize", "minimize"):
        raise ConfigError(f"hydra.sweeper.pruning.direction: must be maximize or minimize, not {pruning.direction!r}")
    pruner(name, pruning, max_epochs)
    if name != "none" and objectives > 1:
        raise ConfigError(f"hydra.sweeper.pruner: {name} compares one objective, not {objectives}; use none")


@dataclass(frozen=True)
class _Ask:
    seed: int
    drawn: int
    dimensions: Mapping[str, "BaseDistribution"]
    n_trials: int


def _tpe(ask: _Ask) -> "BaseSampler":
    """Bergstra et al., 2011, with Falkner et al.'s multivariate kernel.

    Running trials count as bad ("constant liar"), so that workers side by side do not try the same.
    """
    from optuna.samplers import TPESampler

    return TPESampler(multivariate=True, constant_liar=True, seed=ask.drawn)


def _cmaes(ask: _Ask) -> "BaseSampler":
    """Hansen, 2016; where there are steps, on which it would get stuck, with the margin of Hamano et al., 2022."""
    from optuna.samplers import CmaEsSampler

    steps = any(getattr(distribution, "step", None) is not None for distribution in ask.dimensions.values())
    return CmaEsSampler(seed=ask.drawn, with_margin=steps, warn_independent_sampling=False)


def _nsga2(ask: _Ask) -> "BaseSampler":
    """Deb et al., 2002. Optuna's generations of 50 would leave most searches in the first one, which is random."""
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(population_size=min(50, max(4, ask.n_trials // 5)), seed=ask.drawn)


def _grid(ask: _Ask) -> "BaseSampler":
    from optuna.samplers import GridSampler

    return GridSampler(grid(ask.dimensions), seed=ask.seed)  # one seed for all trials: it decides the grid's order


def _random(ask: _Ask) -> "BaseSampler":
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=ask.drawn)


def _none(_pruning: Pruning, _max_epochs: int) -> "BasePruner":
    from optuna.pruners import NopPruner

    return NopPruner()


def _median(pruning: Pruning, _max_epochs: int) -> "BasePruner":
    from optuna.pruners import MedianPruner

    return MedianPruner(
        n_startup_trials=pruning.startup_trials,
        n_warmup_steps=pruning.warmup_epochs + 1,  # Optuna prunes at this step already, and epochs count from 1
        interval_steps=pruning.interval_epochs,
    )


def _hyperband(pruning: Pruning, max_epochs: int) -> "BasePruner":
    """Li et al., 2018."""
    from optuna.pruners import HyperbandPruner

    return HyperbandPruner(
        min_resource=pruning.min_epochs,
        max_resource=max_epochs if pruning.max_epochs is None else pruning.max_epochs,
        reduction_factor=pruning.reduction_factor,
    )


_SAMPLERS: Mapping[str, Callable[[_Ask], "BaseSampler"]] = {
    "tpe": _tpe,
    "cmaes": _cmaes,
    "nsga2": _nsga2,
    "grid": _grid,
    "random": _random,
}
_PRUNERS: Mapping[str, Callable[[Pruning, int], "BasePruner"]] = {
    "none": _none,
    "median": _median,
    "hyperband": _hyperband,
}
