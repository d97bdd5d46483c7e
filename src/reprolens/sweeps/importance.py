"""How much each parameter decides whether a trial is among the best: PED-ANOVA, as Optuna computes it.

Watanabe, Bansal and Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces",
IJCAI 2023 (https://arxiv.org/abs/2304.10255).
"""

import math
import warnings
from bisect import bisect_right
from collections.abc import Mapping, Sequence

from reprolens.sweeps.record import Trial
from reprolens.sweeps.wording import same_value, varied_parameters

MIN_TRIALS = 4
"""Fewer trials say nothing about which parameter matters."""

_FEW_VALUES = 8  # at most so many different numbers are taken as they are, as those of a grid
_TRIALS_PER_BIN = 6


def importances(trials: Sequence[Trial], objective: int, direction: str) -> dict[str, float]:
    """Return the share of each parameter in what makes a trial good, largest first; the shares add up to 1.

    `objective` is the index of the value looked at. Parameters that have one value only are left out, and so are
    names and lists that no two trials share. The result is empty where nothing can be said: fewer than four trials,
    no such parameter, or an objective that is the same everywhere.
    """
    usable = [trial for trial in trials if trial.values is not None and math.isfinite(trial.values[objective])]
    if len(usable) < MIN_TRIALS or len({trial.values[objective] for trial in usable if trial.values}) < 2:
        return {}
    named = {name: _choices(name, usable) for name in varied_parameters(usable)}
    named = {name: choices for name, choices in named.items() if choices}
    shares = _ped_anova(usable, objective, direction, named) if named else {}
    # In the evaluator, parameters come out of a set; sorted here, equal ones stand in the same order every time.
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return dict(ordered) if all(math.isfinite(share) for share in shares.values()) and any(shares.values()) else {}


def _ped_anova(
    trials: Sequence[Trial], objective: int, direction: str, named: Mapping[str, Mapping[int, str]]
) -> dict[str, float]:
    import optuna  # here, because it takes half a second

    told = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # without the line that says a study was created
    study = optuna.create_study(direction="maximize" if direction == "maximize" else "minimize")
    optuna.logging.set_verbosity(told)
    spaces: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.CategoricalDistribution(sorted(set(choices.values())))
        for name, choices in named.items()
    }
    for place, trial in enumerate(trials):
        params = {name: choices[place] for name, choices in named.items() if place in choices}
        distributions = {name: spaces[name] for name in params}
        value = (trial.values or ())[objective]
        study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=value))
    # Its documentation asks for at least five trials in the better part; of few trials that is the better half.
    better = min(0.5, max(0.1, 5 / len(trials)))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=better)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a choice was taken only once
        return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _choices(name: str, trials: Sequence[Trial]) -> dict[int, str]:
    """Return, of each place in `trials`, which choice of the parameter it took; empty where that explains nothing.

    Numbers from a range are put into bins of equally many trials: the density that PED-ANOVA would fit to a dozen of
    them follows their chance gaps, and would count for more than a choice that decides everything.
    """
    values = {place: trial.parameters[name] for place, trial in enumerate(trials) if name in trial.parameters}
    choices = {place: same_value(value) for place, value in values.items()}
    different = len(set(choices.values()))
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values.values())
    if numeric and different > min(_FEW_VALUES, len(values) // 2) and name != "seed":
        ordered = sorted(values.values())
        bins = max(2, min(_FEW_VALUES, len(ordered) // _TRIALS_PER_BIN))
        edges = [ordered[len(ordered) * index // bins] for index in range(1, bins)]
        choices = {place: str(bisect_right(edges, value)) for place, value in values.items()}
    return choices if 1 < len(set(choices.values())) < len(values) else {}
