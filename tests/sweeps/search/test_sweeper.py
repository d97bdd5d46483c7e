"""The sweeper in a real Hydra application, with Hydra's launchers as they are."""

import json
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from reprolens.errors import ConfigError
from reprolens.sweeps.search.settings import read_settings
from reprolens.sweeps.search.space import parse
from reprolens.sweeps.search.study import open_study
from reprolens.sweeps.search.sweeper import check, corners

APP = """
import os, sys, time
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from reprolens.config.compose import search_path
from reprolens.sweeps.record import Status
from reprolens.sweeps.search import TARGET, register, work
from reprolens.sweeps.trial import Outcome

ROOT = Path(__file__).parent

def run(root, sweep, number, config, parameters, watch):
    (sweep / str(number)).mkdir()
    end = time.monotonic() + 60
    while config.tracking.name == "together" and number == 0 and not (sweep / "1").exists():
        assert time.monotonic() < end  # another worker starts the next trial meanwhile
        time.sleep(0.02)
    (sweep / str(number) / "process").write_text(str(os.getpid()))
    return Outcome(Status.done, (abs(config.optimizer.lr - 0.004),) * len(config.sweep.metric), None)

@hydra.main(version_base="1.3", config_path=str(ROOT), config_name="params")
def main(config):
    before = HydraConfig.get().job.num
    assert HydraConfig.get().sweeper._target_ == TARGET
    work(ROOT, Path(HydraConfig.get().sweep.dir).resolve(), run)
    assert HydraConfig.get().job.num == before
    return 1.0

if __name__ == "__main__":
    register()
    assert "optuna" not in sys.modules
    sys.argv += [search_path(ROOT), "hydra.sweep.dir=multirun/test", "hydra.sweep.subdir=${hydra.job.num}"]
    main()
"""
LR = "optimizer.lr=tag(log,interval(1e-4,1e-2))"


def app(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    (project / "app.py").write_text(APP)
    command = [sys.executable, "app.py", "-m", "hydra/sweeper=optuna", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)


def trials(project: Path) -> list[optuna.trial.FrozenTrial]:
    sweep = project / "multirun" / "test"
    return open_study(sweep, read_settings(sweep)).trials


def test_search_runs_inside_hydra_and_goes_on_with_more_trials(project: Path) -> None:
    arguments = (LR, "optimizer=adamw,sgd", "seed=3", "sweep.direction=minimize", "hydra.sweeper.n_trials=3")
    done = app(project, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    first = trials(project)
    assert len(first) == 3
    done = app(project, *arguments[:-1], "hydra.sweeper.n_trials=5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [trial.params for trial in trials(project)[:3]] == [trial.params for trial in first]
    assert len(trials(project)) == 5
    assert all(trial.value == abs(trial.params["optimizer.lr"] - 0.004) for trial in trials(project))
    sweep = project / "multirun" / "test"
    assert read_settings(sweep).study_name == "test"
    assert sorted(path.name for path in sweep.iterdir() if path.name.isdigit()) == ["0", "1", "2", "3", "4"]
    assert (sweep / ".workers" / "0").is_dir()


def test_joblib_runs_workers_side_by_side(project: Path) -> None:
    own = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_trials=10", "tracking.name=together")
    done = app(project, LR, *own, "sweep.metric=[a,b]", "sweep.direction=[minimize,maximize]")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [trial.state.name for trial in trials(project)] == ["COMPLETE"] * 10
    assert len({path.read_text() for path in project.glob("multirun/test/*/process")}) == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            (LR, "model=fcos_mobilenet_v2,nosuch"),
            "error: optimizer.lr=0.0001 model=nosuch: command line: model: there is",
        ),
        (("optimizer.lr=interval(-1,1)",), "error: optimizer.lr=-1.0: "),
        ((LR, "hydra.sweeper.n_trials=0"), "error: hydra.sweeper.n_trials: must be"),
        (
            (LR, "hydra.sweeper.pruner=hyperband", "hydra.sweeper.pruning.min_epochs=999"),
            "error: hydra.sweeper.pruning",
        ),
        ((LR, "hydra.sweeper.storage=sqlite:////no/such/a.db"), "error: hydra.sweeper.storage: "),
    ],
)
def test_what_is_wrong_stops_before_anything_runs_in_one_line(
    arguments: tuple[str, ...], line: str, project: Path
) -> None:
    done = app(project, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert not list(project.glob("multirun/test/*/process"))


def test_check_composes_each_choice_and_both_ends(project: Path) -> None:
    space = parse(["seed=1,2,3", "trainer.max_epochs=range(2,9)"], {})
    assert len(corners(space)) == 1 + 2 + 1
    configs = check(project, space)
    assert {config.seed for config in configs} == {1, 2, 3}
    assert max(config.trainer.max_epochs for config in configs) == 8
    with pytest.raises(ConfigError, match=r"trainer\.max_epochs=-3"):
        check(project, parse(["trainer.max_epochs=5,-3"], {}))


def test_choices_file_names_every_key_of_the_sweeper(project: Path) -> None:
    done = app(project, LR, "hydra.sweeper.n_trials=1", "hydra.sweeper.pruner=median", "hydra.sweeper.seed=8")
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((project / "multirun" / "test" / "search.json").read_text())
    assert (written["n_trials"], written["pruner"], written["seed"], written["sampler"]) == (1, "median", 8, "tpe")
    assert written["max_epochs"] >= 1
