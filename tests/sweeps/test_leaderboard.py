"""The leaderboard of sweeps that lie on disk as a sweep leaves them."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from reprolens.errors import SweepError
from reprolens.sweeps.importance import importances
from reprolens.sweeps.leaderboard import Measured, leaderboard, render
from reprolens.sweeps.record import Status, Sweep, Trial, write_sweep, write_trial
from reprolens.sweeps.seeds import Interval, mean_interval, t_quantile


def plan(folder: Path, total: int, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "name": folder.name,
        "overrides": (),
        "metrics": ("voc12/map50",),
        "directions": ("maximize",),
        "trials": tuple(range(total)),
        "total": total,
        "tree": "t",
        "baseline": "b",
        "cache": "c",
        "started": 1000.0,
    }
    write_sweep(folder, Sweep(**values | changes))
    return folder


def done(folder: Path, number: int, parameters: Mapping[str, Any], *values: float, **reports: Any) -> Trial:
    trial = Trial(number, f"{number:08x}", parameters, Status.done, values, started=1000.0, finished=1060.0)
    write_trial(folder, trial)
    for name, report in reports.items():
        path = folder / str(number) / "reports" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(report))
    return trial


def text_of(folder: Path, width: int = 140) -> str:
    console = Console(width=width, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(render(leaderboard(folder)))
    return console.export_text()


def trials(table: Sequence[tuple[Mapping[str, Any], float]]) -> list[Trial]:
    return [Trial(number, "", parameters, Status.done, (value,)) for number, (parameters, value) in enumerate(table)]


def test_best_comes_first_in_the_direction_of_the_first_objective(tmp_path: Path) -> None:
    for number, value in enumerate([0.3, 0.9, 0.5]):
        done(tmp_path, number, {"optimizer.lr": 10.0**-number}, value)
    assert [entry.trial.number for entry in leaderboard(plan(tmp_path, 3)).entries] == [1, 2, 0]
    assert [entry.trial.number for entry in leaderboard(plan(tmp_path, 3, directions=("minimize",))).entries] == [
        0,
        2,
        1,
    ]


def test_interval_and_epochs_come_from_the_reports_and_may_be_missing(tmp_path: Path) -> None:
    evaluation = {"voc12/map50": 0.9, "voc12/map50/low": 0.85, "voc12/map50/high": 0.93}
    done(tmp_path, 0, {}, 0.9, evaluation=evaluation, train={"epochs": 7})
    done(tmp_path, 1, {}, 0.8)
    (tmp_path / "1" / "reports").mkdir()
    (tmp_path / "1" / "reports" / "evaluation.json").write_text('{"voc12/map50": 0.')  # half there
    first, second = leaderboard(plan(tmp_path, 2)).entries
    assert (first.intervals, first.epochs) == ((Interval(0.85, 0.93),), 7)
    assert (second.intervals, second.epochs) == ((None,), None)


def test_what_test_says_is_told_and_ranks_nothing(tmp_path: Path) -> None:
    tested = {"split": "test", "coco/ap": 0.5, "coco/ap/low": 0.4, "coco/ap/high": 0.6, "voc12/map50": 0.75}
    done(tmp_path, 0, {}, 0.3, evaluation=tested | {"coco/ap": 0.9})
    done(tmp_path, 1, {}, 0.8, evaluation=tested)
    done(tmp_path, 2, {}, 0.2)
    board = leaderboard(plan(tmp_path, 3, metrics=("val/map",)))
    assert [entry.trial.number for entry in board.entries] == [1, 0, 2]
    assert [entry.test for entry in board.entries] == [
        Measured(0.5, Interval(0.4, 0.6)),
        Measured(0.9, Interval(0.4, 0.6)),
        None,
    ]
    assert [entry.intervals for entry in board.entries] == [(None,)] * 3
    shown = text_of(tmp_path)
    assert "test coco/ap" in shown
    assert "0.5000 [0.4000, 0.6000]" in shown
    assert "test is told, not ranked by" in shown
    by_map50 = leaderboard(plan(tmp_path, 3, metrics=("val/map50",)))
    assert (by_map50.test_key, by_map50.entries[0].test) == ("voc12/map50", Measured(0.75, None))


def test_what_is_not_measured_on_test_is_not_told_as_if_it_were(tmp_path: Path) -> None:
    done(tmp_path, 0, {}, 0.3, evaluation={"split": "val", "coco/ap": 0.9})
    assert leaderboard(plan(tmp_path, 1, metrics=("val/map",))).test_key is None
    assert "test" not in text_of(tmp_path).replace(tmp_path.name, "")


def test_every_trial_is_counted_once(tmp_path: Path) -> None:
    done(tmp_path, 0, {}, 0.9)
    for number, status in enumerate([Status.failed, Status.pruned, Status.running], 1):
        write_trial(tmp_path, Trial(number, "", {}, status))
    board = leaderboard(plan(tmp_path, 6))
    assert board.counts == {
        Status.waiting: 2,
        Status.running: 1,
        Status.done: 1,
        Status.failed: 1,
        Status.pruned: 1,
    }
    assert "1 of 6 trials done" in text_of(tmp_path)
    assert "1 pruned, 1 running, 2 waiting" in text_of(tmp_path)


def test_failed_trial_is_listed_with_its_error_and_last_lines(tmp_path: Path) -> None:
    tail = tuple(f"line {number}" for number in range(20))
    write_trial(tmp_path, Trial(0, "", {"model": "ssd"}, Status.failed, error="no [red]memory[/red]", tail=tail))
    shown = text_of(plan(tmp_path, 1))
    assert "trial 0 failed  model=ssd" in shown
    assert "no [red]memory[/red]" in shown  # what looks like Rich's markup is none
    assert "line 19" in shown
    assert "line 3" not in shown


def test_parameters_are_words_numbers_or_lists_and_may_be_missing(tmp_path: Path) -> None:
    done(tmp_path, 0, {"model": "[bold]ssd", "model.image_size": [320, 320], "deterministic": True}, 0.9)
    done(tmp_path, 1, {"model": "fcos", "optimizer.lr": 0.001}, 0.8)
    shown = text_of(plan(tmp_path, 2))
    assert "[bold]ssd" in shown
    assert "[320, 320]" in shown
    assert "true" in shown
    assert "0.001" in shown


def test_pareto_front_holds_what_nothing_beats_in_all_objectives(tmp_path: Path) -> None:
    for number, values in enumerate([(0.9, 10.0), (0.8, 5.0), (0.7, 7.0), (0.8, 5.0), (0.95, 20.0)]):
        done(tmp_path, number, {}, *values)
    plan(tmp_path, 5, metrics=("map", "latency"), directions=("maximize", "minimize"))
    assert [entry.trial.number for entry in leaderboard(tmp_path).front] == [4, 0, 1, 3]
    assert "on the Pareto front" in text_of(tmp_path)


def test_one_objective_has_no_pareto_front(tmp_path: Path) -> None:
    done(tmp_path, 0, {}, 0.9)
    assert leaderboard(plan(tmp_path, 1)).front == ()


def test_trials_that_differ_in_the_seed_only_make_one_group(tmp_path: Path) -> None:
    values = {("a", 1): 0.7, ("a", 2): 0.8, ("a", 3): 0.9, ("b", 1): 0.85, ("b", 2): 0.86, ("c", 1): 0.1}
    for number, ((model, seed), value) in enumerate(values.items()):
        done(tmp_path, number, {"model": model, "size": [1, 2], "seed": seed}, value)
    first, second, third = leaderboard(plan(tmp_path, 6)).groups
    assert (first.parameters, first.trials) == ({"model": "b", "size": [1, 2]}, (4, 3))
    assert second.means == (pytest.approx(0.8),)
    # s = 0.1, n = 3, t(0.975, 2) = 4.3027: half the interval is 4.3027 * 0.1 / sqrt(3)
    assert second.intervals[0] is not None
    assert second.intervals[0].high - 0.8 == pytest.approx(0.248414, abs=1e-5)
    assert third.intervals == (None,)


def test_combination_that_was_run_twice_counts_once_among_the_seeds(tmp_path: Path) -> None:
    for number, seed in enumerate([1, 1, 2]):
        done(tmp_path, number, {"seed": seed}, 0.5 + number / 10)
    (group,) = leaderboard(plan(tmp_path, 3)).groups
    assert len(group.trials) == 2


@pytest.mark.parametrize("parameters", [[{"lr": 1}, {"lr": 2}], [{"seed": 1, "lr": 1}, {"seed": 2, "lr": 2}]])
def test_no_groups_where_no_two_trials_differ_in_the_seed_only(tmp_path: Path, parameters: list[Any]) -> None:
    for number, values in enumerate(parameters):
        done(tmp_path, number, values, 0.5)
    assert leaderboard(plan(tmp_path, 2)).groups == ()


# 97.5 % points of Student's t, as in the tables, e.g. NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2
@pytest.mark.parametrize(
    ("freedom", "t"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (10, 2.228), (30, 2.042), (100, 1.984)],
)
def test_t_quantile_is_that_of_the_tables(freedom: int, t: float) -> None:
    assert t_quantile(freedom) == pytest.approx(t, abs=5e-4)


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, Interval(0.5, 0.5))


def test_parameter_that_decides_everything_is_the_most_important() -> None:
    grid = itertools.product(["a", "b"], [1e-4, 1e-3, 1e-2], [1, 2])
    table = [({"model": m, "lr": lr, "seed": s}, (m == "a") + 1e-3 * s + 1e-2 * (lr == 1e-3)) for m, lr, s in grid]
    shares = importances(trials(table), 0, "maximize")
    assert next(iter(shares)) == "model"
    assert shares["model"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)


def test_importance_looks_at_the_better_end() -> None:
    # lr decides among the good (a), decay among the bad (b)
    table = [
        ({"model": m, "lr": lr, "decay": d}, (m == "a") + 0.1 * (lr if m == "a" else d))
        for m, lr, d in itertools.product("ab", [1, 2, 3], [1, 2, 3])
    ]
    good, bad = (importances(trials(table), 0, direction) for direction in ("maximize", "minimize"))
    assert good["lr"] > good["decay"]
    assert bad["decay"] > bad["lr"]


@pytest.mark.parametrize(
    "table",
    [
        [({"lr": number}, float(number)) for number in range(3)],  # too few trials
        [({"lr": number}, 0.5) for number in range(8)],  # the objective is constant
        [({"lr": 1}, float(number)) for number in range(8)],  # the parameter is
        [({"name": f"n{number}"}, float(number)) for number in range(8)],  # no two trials share a name
        [({}, float(number)) for number in range(8)],
    ],
)
def test_nothing_is_said_about_importance_where_nothing_can_be(table: list[Any]) -> None:
    assert importances(trials(table), 0, "maximize") == {}


def test_importance_takes_ranges_lists_switches_and_missing_parameters() -> None:
    table = [
        ({"lr": 1e-4 * 1.3**n, "size": [n % 2, 1], "flip": n % 3 == 0} | ({"mixup": n % 2} if n % 4 else {}), n / 30)
        for n in range(30)
    ]
    shares = importances(trials(table), 0, "maximize")
    assert next(iter(shares)) == "lr"
    assert set(shares) == {"lr", "size", "flip", "mixup"}


def test_importance_leaves_optuna_as_it_speaks(capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    importances(trials([({"lr": n % 2}, float(n)) for n in range(6)]), 0, "maximize")
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


def test_folder_without_a_sweep_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="no sweep here"):
        leaderboard(tmp_path / "nothing")


def test_empty_sweep_has_an_empty_leaderboard(tmp_path: Path) -> None:
    assert leaderboard(plan(tmp_path, 2)).entries == ()
    assert "0 of 2 trials done" in text_of(tmp_path)
