"""Plans of sweeps: the same command is the same sweep, a longer one goes on with it, and a wrong one is one line."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from reprolens.config.compose import compose
from reprolens.errors import ConfigError, ReprolensError
from reprolens.sweeps.estimate import results_folder
from reprolens.sweeps.plan import Plan, hydra_part, is_search, make_plan, write_plan
from reprolens.sweeps.record import Status, read_sweep, read_trials, write_trial
from reprolens.sweeps.stages import config_id, joined, read_stages, stage_keys
from reprolens.sweeps.trial_config import trial_config

GRID = ("optimizer.lr=1e-3,3e-3", "trainer.max_epochs=2")
OPTUNA = "hydra/sweeper=optuna"
SEARCH = (OPTUNA, "optimizer.lr=interval(1e-3,3e-3)", "trainer.max_epochs=2")


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def new_clone(source: Path, target: Path) -> Path:
    git(source, "clone", "-q", str(source), str(target))
    return target


@pytest.fixture(scope="module")
def clone(fresh_clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clone in which tests only plan."""
    return new_clone(fresh_clone, tmp_path_factory.mktemp("plan") / "clone")


@pytest.fixture(scope="module")
def plan(clone: Path) -> Callable[..., Plan]:
    """Return what plans a multirun in the clone: (*arguments) -> plan; each only once, because DVC starts slowly."""
    return cache(lambda *arguments: make_plan(clone, arguments, multirun=True))


def test_plan_has_each_combination_as_hydra_orders_them(plan: Callable[..., Plan], clone: Path) -> None:
    made = plan(*GRID)
    assert [(trial.number, trial.parameters) for trial in made.trials] == [
        (0, {"optimizer.lr": 1e-3}),
        (1, {"optimizer.lr": 3e-3}),
    ]
    expected = [config_id(compose(clone, [f"optimizer.lr={lr}", GRID[1]])) for lr in ("1e-3", "3e-3")]
    assert [trial.id for trial in made.trials] == expected
    assert (made.sweep.total, made.sweep.overrides, made.search) == (2, GRID, False)
    assert made.folder == clone / "multirun" / made.sweep.name
    assert Path(made.sweep.cache) == clone / ".dvc" / "cache"


def test_planning_runs_nothing_and_writes_nothing_a_user_sees(plan: Callable[..., Plan], clone: Path) -> None:
    made = plan(*GRID)
    assert not (clone / "multirun").exists()
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "for-each-ref", "refs/exps") == ""
    assert made.lines[0] == f"multirun/{made.sweep.name}: 2 trials"
    assert made.lines[1].startswith("to compute: compose 2 of 2, convert 1 of 1, pretrain 1 of 1, train 2 of 2, ")


def test_name_is_the_same_when_a_value_is_added_or_the_order_is_another(plan: Callable[..., Plan]) -> None:
    name = plan(*GRID).sweep.name
    assert name.startswith("lr-")
    added = ("trainer.max_epochs=2", "optimizer.lr=3e-3,1e-2,1e-3", "tracking.notes=more", "sweep.retry_failed=true")
    assert plan(*added).sweep.name == name


def test_name_is_another_when_a_fixed_value_or_what_varies_is_another(plan: Callable[..., Plan]) -> None:
    names = {plan(*arguments).sweep.name for arguments in (GRID, ("seed=1,2,1",), ("optimizer.lr=1e-3,3e-3",))}
    assert len(names) == 3


def test_search_is_another_sweep_than_a_grid_over_the_same_key(plan: Callable[..., Plan]) -> None:
    assert plan(*SEARCH).sweep.name != plan(*GRID).sweep.name  # both number their trials from 0


def test_combination_that_is_asked_for_twice_is_one_trial(plan: Callable[..., Plan]) -> None:
    made = plan("seed=1,2,1")
    assert [trial.parameters["seed"] for trial in made.trials] == [1, 2]
    assert [trial.number for trial in made.trials] == [0, 1]
    assert made.sweep.total == 2


def test_choices_can_be_named_by_a_pattern_as_in_hydra(plan: Callable[..., Plan], clone: Path) -> None:
    found = {trial.parameters["schedule"] for trial in plan("schedule=glob(*)").trials}
    assert found == {path.stem for path in (clone / "conf" / "schedule").glob("*.yaml")}


def test_search_has_as_many_trials_as_it_is_given_and_none_of_them_yet(plan: Callable[..., Plan]) -> None:
    made = plan(*SEARCH)
    assert (made.search, made.trials, made.sweep.total) == (True, (), 20)
    assert "convert 1 of 1, pretrain 1 of 1, train 20 of 20" in made.lines[1]


def test_next_start_keeps_numbers_and_takes_up_what_is_not_done(fresh_clone: Path, tmp_path: Path) -> None:
    root = new_clone(fresh_clone, tmp_path / "clone")
    first = make_plan(root, ["optimizer.lr=1e-3,2e-3,3e-3,4e-3,5e-3", "sweep.name=mine"], multirun=True)
    write_plan(root, first)
    folder = root / "multirun" / "mine"
    assert read_trials(folder) == list(first.trials)
    assert read_sweep(folder) == first.sweep
    stand: list[dict[str, Any]] = [
        {"status": Status.done, "values": (0.5,)},
        {"status": Status.done, "values": (0.5,), "code": "of other sources"},
        {"status": Status.failed},
        {"status": Status.failed, "code": None},  # a process of it was killed
        {"status": Status.running},
    ]
    for trial, changes in zip(first.trials, stand, strict=True):
        own = compose(root, [f"optimizer.lr={trial.parameters['optimizer.lr']}", "sweep.name=mine"])
        own = trial_config(root, own, "mine", trial.parameters)
        code = joined(stage_keys(root, first.sweep.tree, own, read_stages(root, first.sweep.tree, own)))
        write_trial(folder, replace(trial, **{"code": code, **changes}))
    second = make_plan(root, ["optimizer.lr=9e-3,5e-3,4e-3,3e-3,2e-3,1e-3", "sweep.name=mine"], multirun=True)
    numbers = {trial.parameters["optimizer.lr"]: trial.number for trial in second.trials}
    assert numbers == {1e-3: 0, 2e-3: 1, 3e-3: 2, 4e-3: 3, 5e-3: 4, 9e-3: 5}
    assert {trial.number: trial.status.value for trial in second.trials} == dict(
        enumerate(("done", "waiting", "failed", "waiting", "waiting", "waiting"))
    )
    assert second.lines[0] == "multirun/mine: 6 trials, 1 of them done before"


def test_single_trial_is_a_sweep_of_one_named_by_all_its_overrides(clone: Path) -> None:
    made = make_plan(clone, ["optimizer.lr=1e-3", "seed=4"], multirun=False)
    assert made.sweep.name.startswith("fcos_mobilenet_v2-")
    assert [trial.parameters for trial in made.trials] == [{"optimizer.lr": 1e-3, "seed": 4}]


def one_line(root: Path, arguments: list[str], multirun: bool = True) -> str:
    with pytest.raises(ReprolensError) as caught:
        make_plan(root, arguments, multirun)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_invalid_combination_is_named(clone: Path) -> None:
    line = one_line(clone, ["model.image_size=[96,96],[16,96]", "seed=7"])
    assert "model.image_size=[16,96] seed=7" in line
    assert line.endswith("model.image_size: must be [height, width], each at least 32")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["optimizer.lr=interval(1e-4,1e-2)"], "add hydra/sweeper=optuna"),
        (["optimizer.lr=1e-3,fast"], "optimizer.lr: 'fast' is not a number"),
        (["optimzer.lr=1e-3,2e-3"], "did you mean optimizer"),
        (["model=fcos_mobilenet_v2,fcos_mobilnet"], "did you mean fcos_mobilenet_v2"),
        (["optimizer.lr"], "override 'optimizer.lr': cannot be read"),
        (["seed=1,2", "hydra/launcher=jobliib"], "hydra/launcher: there is no choice 'jobliib'; did you mean joblib"),
        (["seed=1,2", "hydra/sweeper=optun"], "hydra/sweeper: there is no choice 'optun'; did you mean optuna"),
        ([OPTUNA, "seed=1"], "nothing to search"),
        ([OPTUNA, "model.image_size=[96,96],[16,96]"], "model.image_size=[16,96]: "),
        (["seed=1,2", "sweep.name=a/b"], "sweep.name: names a folder"),
    ],
)
def test_wrong_command_is_one_line_that_says_what_to_do(clone: Path, arguments: list[str], part: str) -> None:
    assert part in one_line(clone, arguments)


def test_many_values_without_multirun_are_one_line(clone: Path) -> None:
    assert "optimizer.lr" in one_line(clone, ["optimizer.lr=1e-3,2e-3"], multirun=False)


def test_folder_that_is_no_git_repository_is_one_line(fresh_clone: Path, tmp_path: Path) -> None:
    root = tmp_path / "export"
    root.mkdir()
    for name in ("conf", "params.yaml", "dvc.yaml"):
        copy = shutil.copytree if (fresh_clone / name).is_dir() else shutil.copy2
        copy(fresh_clone / name, root / name)
    assert "git init, then commit" in one_line(root, ["seed=1,2"])


def test_folder_that_is_no_dvc_repository_is_one_line(fresh_clone: Path, tmp_path: Path) -> None:
    root = new_clone(fresh_clone, tmp_path / "clone")
    shutil.rmtree(root / ".dvc")
    line = one_line(root, ["seed=2"])
    assert "dvc" in line and not (root / "multirun").exists()


def test_data_folder_that_git_ignores_is_no_obstacle(fresh_clone: Path, tmp_path: Path) -> None:
    root = new_clone(fresh_clone, tmp_path / "clone")
    (root / "data" / "mine").mkdir()
    shutil.copy2(root / "data" / "digits" / "digits.csv.gz", root / "data" / "mine")
    (root / ".git" / "info" / "exclude").write_text("/data/mine\n")
    made = make_plan(root, ["data.path=data/mine"], multirun=False)
    assert made.sweep.tree == git(root, "rev-parse", "HEAD^{tree}").strip()


def test_cache_that_cannot_be_written_is_one_line_that_names_it(fresh_clone: Path, tmp_path: Path) -> None:
    root = new_clone(fresh_clone, tmp_path / "clone")
    (root / ".dvc" / "config.local").write_text("[cache]\n    dir = /proc/cache\n")
    assert one_line(root, ["seed=2"]).startswith("/proc/cache: cannot be written (")
    assert not (root / "multirun").exists() or not list((root / "multirun").iterdir())


def test_disk_that_is_too_small_is_one_line_that_says_how_much_is_missing(
    fresh_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = new_clone(fresh_clone, tmp_path / "clone")
    results_folder(root).mkdir(parents=True)
    cost = json.dumps({"seconds": 1.0, "bytes": 6 * 10**9, "objects": ["0" * 32]})
    (results_folder(root) / "train-0123456789abcdef.json").write_text(cost)
    usage = shutil.disk_usage(root)._replace(free=5 * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    line = one_line(root, ["seed=2"])
    assert line.endswith("6.0 GB are needed, 5.0 GB are free; make room with dvc gc --workspace --all-experiments")


def test_search_is_told_from_a_grid_by_the_sweeper(clone: Path) -> None:
    assert is_search(hydra_part(clone, [OPTUNA]))
    assert not is_search(hydra_part(clone, ["seed=1,2"]))
    with pytest.raises(ConfigError):
        hydra_part(clone, ["hydra.sweeper.no_such_key=1"])
