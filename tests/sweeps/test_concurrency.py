"""Sweeps beside each other: a search that several drivers share, two drivers on one grid, one W&B run a trial."""

import json
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tracking.written import read_run

pytestmark = pytest.mark.slow

SEARCH = (
    "-m",
    "hydra/sweeper=optuna",
    "hydra/launcher=joblib",
    "sweep.name=search",
    "trainer.max_epochs=4",
    "optimizer.lr=tag(log,interval(1e-4,1e-1))",
    "hydra.sweeper.sampler=random",
    "hydra.sweeper.n_trials=6",
    "hydra.sweeper.pruner=median",
    "hydra.sweeper.pruning.startup_trials=2",
)
SLOW = {"CHEAP_SECONDS": "0.7"}


@dataclass(frozen=True)
class Searched:
    """A search that was killed, then finished by two drivers side by side: what it left and what they printed."""

    project: Any
    finished_before: dict[int, Any]
    first: str
    second: str


@pytest.fixture(scope="module")
def searched(shared_project: Any) -> Searched:
    project = shared_project
    killed = project.start(*SEARCH, **SLOW)
    project.wait_until(lambda: "done" in project.statuses("search"), "a trial is done", seconds=60)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    finished = {number: trial for number, trial in project.trials("search").items() if trial["status"] == "done"}
    project.kill_all()
    killed.communicate()
    since = project.mark()
    one = project.start(*SEARCH, **SLOW)
    project.wait_until(lambda: project.events("begin", since), "it goes on")
    two = project.start(*SEARCH, **SLOW)
    outputs = [process.communicate(timeout=120) for process in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], outputs
    assert "Traceback" not in str(outputs)
    return Searched(project, finished, "".join(outputs[0]), "".join(outputs[1]))


def test_search_that_was_killed_goes_on_to_as_many_trials_as_asked_and_none_is_there_twice(searched: Searched) -> None:
    trials = searched.project.trials("search")
    assert list(trials) == list(range(6))
    assert len({trial["id"] for trial in trials.values()}) == 6
    assert {trial["status"] for trial in trials.values()} <= {"done", "pruned"}
    for number, trial in searched.finished_before.items():
        assert {**trials[number], "started": 0, "finished": 0} == {**trial, "started": 0, "finished": 0}
    workspaces = (searched.project.root / "multirun" / "search").glob("[0-9]*/params.yaml")
    assert sorted(int(path.parent.name) for path in workspaces) == list(range(6))
    assert searched.project.events("collision") == []


def test_pruner_stops_a_bad_training_early_by_its_history(searched: Searched) -> None:
    trials = searched.project.trials("search")
    pruned = [trial for trial in trials.values() if trial["status"] == "pruned"]
    best = max(trial["values"][0] for trial in trials.values() if trial["values"])
    assert pruned
    for trial in pruned:
        history = searched.project.root / "multirun" / "search" / str(trial["number"]) / "reports" / "history.csv"
        rows = history.read_text().splitlines()[1:]
        assert 1 < len(rows) < 4
        assert float(rows[-1].split(",")[4]) < best
        assert trial["values"] is None and trial["experiment"] is None


def test_second_driver_joins_a_search(searched: Searched) -> None:
    assert "joins the search" in searched.first + searched.second


def test_search_that_is_finished_runs_nothing_when_started_again(searched: Searched) -> None:
    before, since = searched.project.trials("search"), searched.project.mark()
    searched.project.finish(*SEARCH)
    assert searched.project.executed(since) == {}
    assert searched.project.trials("search") == before


def test_second_driver_on_a_grid_says_so_in_one_line_and_the_first_goes_on(shared_project: Any) -> None:
    project, since = shared_project, shared_project.mark()
    command = ("-m", "sweep.name=two", "optimizer.lr=7e-3,8e-3")
    first = project.start(*command, CHEAP_SECONDS="1")
    project.wait_until(lambda: project.events("begin", since), "a training has begun")
    second = project.sweep(*command)
    assert second.returncode == 2
    (line,) = second.stderr.splitlines()
    assert re.match(
        rf"error: .*multirun/two: process {first.pid} on .* is working on it; wait for it, or stop it", line
    )
    output, errors = first.communicate(timeout=60)
    assert first.returncode == 0, output + errors
    assert project.statuses("two") == ["done", "done"]
    assert project.executed(since)["train"] == 2


# ---- one W&B run a trial


def read_runs(root: Path) -> list[dict[str, Any]]:
    """Return folder, id, group, learning rate and exit code of each offline run in a repository."""
    runs = [read_run(folder) for folder in sorted((root / "wandb").glob("offline-run-*"))]
    return [
        {
            "folder": f"wandb/{run.folder.name}",
            "id": run.run.run_id,
            "group": run.run.run_group,
            "lr": run.config["optimizer"]["lr"],
            "exit": run.exit_code,
        }
        for run in runs
    ]


def test_every_trial_is_one_run_of_the_sweep_s_group_and_a_failed_one_is_marked(new_project: Any) -> None:
    project = new_project("track")
    command = ("-m", "sweep.name=tracked", "tracking=offline", "optimizer.lr=1e-3,2e-3,3e-3")
    project.finish(*command, CHEAP_FAILING_LR="0.003")
    assert project.statuses("tracked") == ["done", "done", "failed"]
    runs = read_runs(project.root)
    assert sorted((run["lr"], run["group"], run["exit"] != 0) for run in runs) == [
        (0.001, "tracked", False),
        (0.002, "tracked", False),
        (0.003, "tracked", True),
    ]
    assert len({run["id"] for run in runs}) == 3
    for number, lr in enumerate([0.001, 0.002]):
        said = json.loads((project.root / "multirun" / "tracked" / str(number) / "reports" / "run.json").read_text())
        (run,) = [run for run in runs if run["lr"] == lr]
        assert (said["id"], said["folder"]) == (run["id"], run["folder"])

    # Tried again with success, the failure's run gives way; what came from the cache keeps its own.
    project.finish(*command, "sweep.retry_failed=true")
    again = read_runs(project.root)
    assert sorted((run["lr"], run["exit"]) for run in again) == [(0.001, 0), (0.002, 0), (0.003, 0)]
    assert {run["folder"] for run in runs if not run["exit"]} < {run["folder"] for run in again}
