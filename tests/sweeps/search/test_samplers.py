"""What each sampler finds, refuses and remembers."""

from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import optuna
import pytest

from reprolens.errors import ConfigError
from reprolens.sweeps.search.samplers import Pruning, check_pruner, check_sampler, grid, pruner, sampler, trial_count
from reprolens.sweeps.search.settings import Settings
from reprolens.sweeps.search.space import parse
from reprolens.sweeps.search.study import open_study

NUMBERS = ("x=interval(-5,5)", "y=interval(-5,5)")
STEPS = ("x=range(-5,6)", "y=range(-5,6)")


def bowl(values: dict[str, float]) -> float:
    return (values["x"] - 1.7) ** 2 + (values["y"] + 2.2) ** 2


def front(values: dict[str, float]) -> list[float]:
    return [values["x"] ** 2 + values["y"] ** 2, (values["x"] - 2) ** 2 + values["y"] ** 2]


def run(sweep: Path, settings: Settings, trials: int, cost: Callable[..., Any], kill: bool = False) -> optuna.Study:
    """Ask and tell as a worker does; with `kill`, everything is thrown away and loaded again at every step."""
    study = open_study(sweep, settings)
    dimensions = settings.space.dimensions
    for number in range(trials):
        study.sampler = sampler(settings.sampler, settings.seed, dimensions, number, settings.n_trials)
        values = study.ask(dimensions).params
        if kill:
            study = open_study(sweep, settings)
        study.sampler = optuna.samplers.RandomSampler()
        study.tell(number, cost(values))
        if kill:
            study = open_study(sweep, settings)
    return study


def found(name: str, search: Any, seed: int, arguments: tuple[str, ...] = NUMBERS) -> float:
    settings = {
        "sampler": name,
        "seed": seed,
        "n_trials": 50,
        "directions": ("minimize",),
        "study_name": f"{name}{seed}",
    }
    return float(run(*search(*arguments, **settings), 50, bowl).best_value)


@pytest.mark.parametrize("name", ["tpe", "cmaes"])
def test_sampler_finds_the_optimum_better_than_chance(name: str, search: Any) -> None:
    random = mean(found("random", search, seed) for seed in range(2))
    assert mean(found(name, search, seed) for seed in range(2)) < random / 3


def test_cmaes_finds_the_optimum_among_steps(search: Any) -> None:
    assert found("cmaes", search, 0, STEPS) == pytest.approx(0.3**2 + 0.2**2)


def test_nsga2_finds_the_pareto_front(search: Any) -> None:
    settings = {"sampler": "nsga2", "n_trials": 150, "directions": ("minimize",) * 2, "metrics": ("a", "b")}
    best = run(*search(*NUMBERS, **settings), 150, front).best_trials
    assert len(best) >= 5
    on_front = [trial for trial in best if abs(trial.params["y"]) < 1 and -0.5 < trial.params["x"] < 2.5]
    assert len(on_front) >= 0.8 * len(best)  # the front is y = 0, 0 <= x <= 2


def test_grid_visits_every_point_once(search: Any) -> None:
    sweep, settings = search("x=1,2,3", "y=range(0.0,0.3,0.1)", sampler="grid", n_trials=9)
    assert trial_count("grid", 20, settings.space.dimensions) == 9
    study = run(sweep, settings, 9, lambda values: values["y"], kill=True)
    points = {(trial.params["x"], round(trial.params["y"], 9)) for trial in study.trials}
    assert points == {(x, y) for x in ("1", "2", "3") for y in (0.0, 0.1, 0.2)}


@pytest.mark.parametrize(
    ("name", "arguments", "cost", "directions"),
    [
        ("tpe", (*NUMBERS, "c=a,b"), bowl, ("minimize",)),
        ("tpe", NUMBERS, front, ("minimize",) * 2),
        ("cmaes", NUMBERS, bowl, ("minimize",)),
        ("cmaes", STEPS, bowl, ("minimize",)),
        ("nsga2", NUMBERS, front, ("minimize",) * 2),
        ("grid", STEPS, bowl, ("minimize",)),
        ("random", NUMBERS, bowl, ("minimize",)),
    ],
)
def test_killed_search_asks_the_same_as_an_uninterrupted_one(
    name: str, arguments: tuple[str, ...], cost: Any, directions: tuple[str, ...], search: Any
) -> None:
    asked = []
    for kill in (False, True):
        settings = {"sampler": name, "n_trials": 24, "directions": directions, "study_name": str(kill)}
        study = run(*search(*arguments, **settings), 24, cost, kill=kill)
        asked.append([trial.params for trial in study.trials])
    assert asked[0] == asked[1]
    assert len({str(point) for point in asked[0]}) > 5


def test_another_seed_asks_for_others(search: Any) -> None:
    asked = [run(*search(*NUMBERS, seed=seed, study_name=f"{seed}"), 3, bowl).trials for seed in (1, 2)]
    assert asked[0][0].params != asked[1][0].params


@pytest.mark.parametrize(
    ("name", "arguments", "objectives", "advice"),
    [
        ("grid", ("a=interval(0,1)",), 1, "grid cannot count a"),
        ("cmaes", ("a=interval(0,1)",), 2, "one objective"),
        ("cmaes", ("a=x,y",), 1, "a is a choice"),
        ("cmeas", ("a=x,y",), 1, "did you mean cmaes"),
    ],
)
def test_sampler_refuses_what_it_cannot_do(name: str, arguments: tuple[str, ...], objectives: int, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        check_sampler(name, parse(arguments, {}).dimensions, objectives)


@pytest.mark.parametrize(
    ("name", "knobs", "objectives", "advice"),
    [
        ("medain", {}, 1, "did you mean median"),
        ("median", {}, 2, "one objective"),
        ("median", {"startup_trials": -1}, 1, "startup_trials"),
        ("hyperband", {"min_epochs": 10}, 1, "max_epochs"),
        ("none", {"direction": "up"}, 1, "maximize or minimize"),
    ],
)
def test_pruner_refuses_what_it_cannot_do(name: str, knobs: dict[str, Any], objectives: int, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        check_pruner(name, Pruning(**knobs), objectives, 9)


def test_grid_counts_whole_numbers() -> None:
    assert grid(parse(["a=int(interval(2,5))", "b=x,y"], {}).dimensions) == {"a": [2, 3, 4, 5], "b": ["x", "y"]}


def test_hyperband_gives_the_longest_training_to_few(search: Any) -> None:
    sweep, settings = search(*NUMBERS, pruner="hyperband", n_trials=27)
    study = open_study(sweep, settings)
    epochs = []
    for number in range(27):
        trial = study.ask(settings.space.dimensions)
        for epoch in range(1, 10):
            trial.report(trial.params["x"], epoch)
            if trial.should_prune():
                break
        epochs.append(epoch)
        study.tell(number, 0.0)
    assert max(epochs) == 9
    assert sum(epochs) < 0.7 * 9 * 27
    assert isinstance(pruner("none", Pruning(), 9), optuna.pruners.NopPruner)
