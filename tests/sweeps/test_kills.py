"""Any process of a sweep is killed in the middle of a training: nothing is left behind, the same command goes on."""

import os
import random
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.slow

SLOW = {"CHEAP_SECONDS": "0.3"}
EPOCHS = 8


@pytest.fixture(autouse=True)
def _nothing_left(shared_project: Any) -> Iterator[None]:
    """End what a test that went wrong left running, for the next."""
    yield
    shared_project.kill_all()


def training(project: Any, since: int) -> dict[str, Any]:
    """Wait until a training has finished an epoch, and a little; return what it noted then."""
    project.wait_until(lambda: project.events("epoch", since), "an epoch")
    time.sleep(random.uniform(0, 0.4))
    return dict(project.events("epoch", since)[-1])


def victim(name: str, driver: int, training: int) -> int:
    """Return the id of a process of a sweep, found from its training."""
    above = psutil.Process(training).parents()
    dvc = next(process for process in above if "reprolens.sweeps.reproduce" in process.cmdline())
    worker = dvc.parent()
    assert worker is not None
    found = {"driver": driver, "worker": worker.pid, "dvc": dvc.pid, "training": training}[name]
    assert name != "worker" or found != driver
    return found


def check_nothing_lives(project: Any) -> None:
    project.wait_until(lambda: not project.processes(), "no process of the sweep is left", seconds=8)


def check_it_went_on(project: Any, sweep: str, since: int, killed: dict[str, Any]) -> None:
    """Check that all trials are done, and that the killed training, and nothing else that was done, was continued."""
    assert set(project.statuses(sweep)) == {"done"}
    (begin,) = [each for each in project.events("begin", since) if each["checkpoints"] == killed["checkpoints"]]
    assert begin["done"] >= killed["done"]
    assert project.executed(since)["convert"] == 0 and project.executed(since)["pretrain"] == 0
    epochs = [each["done"] for each in project.events("epoch") if each["checkpoints"] == killed["checkpoints"]]
    assert sorted(set(epochs)) == list(range(1, EPOCHS + 1))
    assert project.events("collision") == []


@pytest.mark.parametrize(("name", "key"), [("driver", 1), ("worker", 2), ("dvc", 3), ("training", 4)])
def test_kill_of_any_process_leaves_nothing_alive_and_the_same_command_goes_on(
    shared_project: Any, name: str, key: int
) -> None:
    project, sweep, since = shared_project, f"kill-{name}", shared_project.mark()
    values = f"0.{key}1" if name == "dvc" else f"0.{key}1,0.{key}2"
    command = ["-m", f"sweep.name={sweep}", f"trainer.max_epochs={EPOCHS}", f"optimizer.weight_decay={values}"]
    command += ["hydra/launcher=joblib"] if name in ("driver", "worker") else []
    process = project.start(*command, **SLOW)
    killed = training(project, since)
    os.kill(victim(name, process.pid, killed["pid"]), signal.SIGKILL)
    process.wait(30)
    check_nothing_lives(project)
    output, errors = process.communicate(timeout=1)
    assert "Traceback" not in output + errors, errors
    own = [each["done"] for each in project.events("epoch", since) if each["pid"] == killed["pid"]]
    assert max(own) < EPOCHS, "the training went on to its end behind the sweep's back"
    if name == "worker":
        assert process.returncode == 2
        assert len(re.findall("^error: ", errors, flags=re.MULTILINE)) == 1, errors
    if name == "dvc":  # the trial failed, and there is no other
        assert process.returncode == 2, errors
        assert project.statuses(sweep) == ["failed"]
    if name == "training":  # the trial failed, the other one was done all the same
        assert process.returncode == 0, errors
        assert project.statuses(sweep) == ["failed", "done"]
        assert "killed" in project.trials(sweep)[0]["error"]
    unfinished, since = len([status for status in project.statuses(sweep) if status != "done"]), project.mark()
    project.finish(*command, **SLOW)
    check_it_went_on(project, sweep, since, killed)
    assert project.executed(since)["train"] == unfinished


def test_start_at_once_after_a_kill_waits_for_what_is_still_saving(shared_project: Any) -> None:
    project, since = shared_project, shared_project.mark()
    command = ["-m", "sweep.name=at-once", f"trainer.max_epochs={EPOCHS}", "optimizer.weight_decay=0.81"]
    process = project.start(*command, **SLOW)
    killed = training(project, since)
    process.kill()
    process.wait(30)
    since = project.mark()
    project.finish(*command, **SLOW)
    check_it_went_on(project, "at-once", since, killed)


def test_edit_while_a_sweep_runs_changes_none_of_its_trials(shared_project: Any) -> None:
    project, since = shared_project, shared_project.mark()
    params = project.root / "params.yaml"
    before = params.read_text()
    process = project.start(
        "-m", "sweep.name=edited", "optimizer.weight_decay=0.91,0.92", "trainer.max_epochs=2", **SLOW
    )
    training(project, since)
    try:
        params.write_text(before.replace("\nseed: 1\n", "\nseed: 7\n"))
        assert params.read_text() != before
        output, errors = process.communicate(timeout=120)
    finally:
        params.write_text(before)
    assert process.returncode == 0, output + errors
    assert project.statuses("edited") == ["done", "done"]
    composed = [(project.root / "multirun" / "edited" / n / "config.yaml").read_text() for n in ("0", "1")]
    assert all("seed: 1\n" in text for text in composed)


@pytest.mark.parametrize(
    ("name", "number", "launcher", "statuses"),
    [
        ("SIGTERM", signal.SIGTERM, "basic", {143, 130}),
        ("Ctrl-C", signal.SIGINT, "basic", {130}),
        ("Ctrl-C-joblib", signal.SIGINT, "joblib", {130}),
    ],
)
def test_stopped_sweep_lets_the_training_save_says_one_line_and_goes_on_later(
    shared_project: Any, name: str, number: int, launcher: str, statuses: set[int]
) -> None:
    project, since = shared_project, shared_project.mark()
    key = {"SIGTERM": 5, "Ctrl-C": 6, "Ctrl-C-joblib": 7}[name]
    command = ["-m", f"sweep.name={name}", f"trainer.max_epochs={EPOCHS}", f"hydra/launcher={launcher}"]
    command += [f"optimizer.weight_decay=0.{key}1" + (f",0.{key}2" if launcher == "joblib" else "")]
    process = project.start(*command, **SLOW)
    stopped = training(project, since)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: to the whole foreground group
    else:
        process.send_signal(number)
    process.wait(30)
    check_nothing_lives(project)
    output, errors = process.communicate(timeout=1)
    assert process.returncode in statuses, (process.returncode, errors)
    assert "Traceback" not in output + errors, errors
    assert "the same command goes on" in errors.splitlines()[-1], errors
    assert {each["pid"] for each in project.events("begin", since)} == {
        each["pid"] for each in project.events("saved", since)
    }, "a training was not given the chance to save"
    assert project.trials(name)[0]["status"] == "running"
    since = project.mark()
    project.finish(*command, **SLOW)
    check_it_went_on(project, name, since, stopped)
