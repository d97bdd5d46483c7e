"""Workers that share a sweep's folder, in real processes that are really killed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from reprolens.errors import SweepError
from reprolens.sweeps.record import Status, Trial, read_trial, trial_folder, write_trial
from reprolens.sweeps.search.samplers import Pruning
from reprolens.sweeps.search.study import open_study
from reprolens.sweeps.search.worker import exclusive, retry, work
from reprolens.sweeps.trial import Outcome

WORKER = """
import json, os, sys, time
from pathlib import Path
from reprolens.sweeps.locks import held
from reprolens.sweeps.record import Status
from reprolens.sweeps.search import work
from reprolens.sweeps.trial import Outcome

def run(root, sweep, number, config, parameters, watch):
    with held(sweep / str(number) / ".lock"):
        line = json.dumps([number, os.getpid(), parameters]) + "\\n"
        with (sweep / "ran.jsonl").open("a") as file:
            file.write(line)
        time.sleep(float(sys.argv[3]) if number == int(sys.argv[4]) else 0.05)
    return Outcome(Status.done, (config.optimizer.lr,), None)

work(Path(sys.argv[1]), Path(sys.argv[2]), run)
"""
"""A worker whose trial number argv[4] takes argv[3] seconds, and any other a moment; ran.jsonl tells who ran what."""


def start(root: Path, sweep: Path, seconds: float = 0.05, slow: int = 0) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", WORKER, str(root), str(sweep), str(seconds), str(slow)])


def ran(sweep: Path) -> list[tuple[int, int, dict[str, Any]]]:
    path = sweep / "ran.jsonl"
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.is_file() else []


def wait_for(sweep: Path, number: int) -> None:
    end = time.monotonic() + 60
    while number not in [line[0] for line in ran(sweep)]:
        assert time.monotonic() < end
        time.sleep(0.02)


def good(root: Path, sweep: Path, number: int, config: Any, parameters: Any, watch: Any) -> Outcome:
    return Outcome(Status.done, (config.optimizer.lr,), None)


def test_every_trial_is_run_once_by_workers_side_by_side(project: Path, search: Any) -> None:
    sweep, settings = search(n_trials=9)
    workers = [start(project, sweep) for _ in range(3)]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0]
    lines = ran(sweep)
    assert sorted(number for number, _, _ in lines) == list(range(9))
    study = open_study(sweep, settings)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 9
    assert all(trial.value == trial.params["optimizer.lr"] for trial in study.trials)


def test_nobody_waits_for_the_slowest(project: Path, search: Any) -> None:
    sweep, _ = search(n_trials=8)
    slow = start(project, sweep, seconds=60, slow=0)
    try:
        wait_for(sweep, 0)
        assert start(project, sweep).wait(60) == 0  # the others' work ends while the slow trial goes on
        assert slow.poll() is None
        by = Counter(process for _, process, _ in ran(sweep))
        assert by == {slow.pid: 1, next(process for process in by if process != slow.pid): 7}
    finally:
        slow.kill()
        slow.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_trial_of_a_killed_worker_is_gone_on_with(number: signal.Signals, project: Path, search: Any) -> None:
    sweep, settings = search(n_trials=3)
    killed = start(project, sweep, seconds=60, slow=1)
    wait_for(sweep, 1)
    killed.send_signal(number)
    assert killed.wait(30) != 0
    assert open_study(sweep, settings).trials[1].state == TrialState.RUNNING
    work(project, sweep, good)
    study = open_study(sweep, settings)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert study.trials[1].params == ran(sweep)[1][2]


@pytest.mark.parametrize("sampler", ["cmaes", "random"])
def test_worker_killed_between_two_parameters_asks_for_the_same(sampler: str, project: Path, search: Any) -> None:
    space = ("optimizer.lr=interval(1e-4,1e-2)", "optimizer.weight_decay=interval(0,1)")
    asked = []
    for kill in (False, True):
        sweep, settings = search(*space, sampler=sampler, n_trials=4, study_name=str(kill))
        for count in range(1, 5):
            limited = search(*space, sampler=sampler, n_trials=count, study_name=str(kill))[1]
            if kill:  # the journal as it was when the trial had been made and its first parameter set
                before = (sweep / "study.journal").read_bytes().count(b"\n") if count > 1 else None
            work(project, sweep, good)
            if kill and before:
                lines = (sweep / "study.journal").read_bytes().splitlines(keepends=True)
                made = next(i for i in range(before, len(lines)) if json.loads(lines[i])["op_code"] == 5)
                (sweep / "study.journal").write_bytes(b"".join(lines[: made + 1]))
                assert len(open_study(sweep, limited).trials[-1].params) == 1
                work(project, sweep, good)
        asked.append([trial.params for trial in open_study(sweep, settings).trials])
    assert asked[0] == asked[1]
    assert len(asked[0]) == 4


def test_more_trials_go_on_with_the_study(project: Path, search: Any) -> None:
    work(project, search(n_trials=2)[0], good)
    sweep, settings = search(n_trials=3)
    work(project, sweep, good)
    assert len(open_study(sweep, settings).trials) == 3


def test_combination_that_does_not_compose_fails_alone(project: Path, search: Any) -> None:
    sweep, settings = search("trainer.max_epochs=-1,5", sampler="grid", n_trials=2)
    work(project, sweep, good)
    trials = open_study(sweep, settings).trials
    assert {(trial.params["trainer.max_epochs"], trial.state) for trial in trials} == {
        ("-1", TrialState.FAIL),
        ("5", TrialState.COMPLETE),
    }
    failed = next(trial.number for trial in trials if trial.state == TrialState.FAIL)
    record = read_trial(trial_folder(sweep, failed))
    assert record is not None
    assert (record.status, record.parameters) == (Status.failed, {"trainer.max_epochs": -1})
    assert "max_epochs" in (record.error or "")


def test_too_many_failures_stop_the_search_and_retry_goes_on(project: Path, search: Any) -> None:
    sweep, settings = search(n_trials=6, max_failures=1.5)
    calls = []

    def bad(root: Path, sweep: Path, number: int, *_: Any) -> Outcome:
        calls.append(number)
        return Outcome(Status.failed, None, "no")

    with pytest.raises(SweepError, match="2 of 6 trials failed"):
        work(project, sweep, bad)
    with pytest.raises(SweepError):
        work(project, sweep, good)  # the failed ones stay failed
    assert calls == [0, 1]
    study = open_study(sweep, settings)
    with exclusive(sweep):
        retry(study, sweep, every=True)
    work(project, sweep, good)
    trials = open_study(sweep, settings).trials
    assert [trial.state for trial in trials] == [TrialState.FAIL] * 2 + [TrialState.COMPLETE] * 6
    assert [trial.params for trial in trials[2:4]] == [trial.params for trial in trials[:2]]
    with exclusive(sweep):
        retry(study, sweep, every=True)
    assert len(study.trials) == 8  # each once


def test_median_pruning_stops_a_bad_trial(project: Path, search: Any) -> None:
    sweep, settings = search(n_trials=5, pruner="median", pruning=Pruning(startup_trials=3), max_epochs=6)
    epochs = []

    def train(root: Path, sweep: Path, number: int, config: Any, parameters: Any, watch: Any) -> Outcome:
        """Write history.csv epoch by epoch, twice from the start, as a resumed training does; number 3 is bad."""
        path = sweep / str(number) / "reports" / "history.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        level = 0.1 if number == 3 else 0.5
        for epochs_done in (1, 2, 1, 2, 3, 4, 5, 6):
            with path.open("w", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(["epoch", "train/loss", "val/map"])
                rows.writerows([epoch, 1.0, level + epoch / 100] for epoch in range(1, epochs_done + 1))
                file.write("7,0")  # a line that is being written
            if watch(sweep / str(number)):
                epochs.append(epochs_done)
                return Outcome(Status.pruned, None, None)
        return Outcome(Status.done, (level,), None)

    work(project, sweep, train)
    trials = open_study(sweep, settings).trials
    states = [trial.state for trial in trials]
    assert states == [TrialState.COMPLETE] * 3 + [TrialState.PRUNED, TrialState.COMPLETE]
    assert epochs == [2]
    assert trials[0].intermediate_values == {epoch: 0.5 + epoch / 100 for epoch in range(1, 7)}


def test_metric_that_is_to_shrink_is_pruned_the_other_way(project: Path, search: Any) -> None:
    pruning = Pruning("train/loss", "minimize", startup_trials=1, warmup_epochs=0)
    sweep, settings = search(n_trials=3, pruner="median", pruning=pruning)

    def train(root: Path, sweep: Path, number: int, config: Any, parameters: Any, watch: Any) -> Outcome:
        path = sweep / str(number) / "reports" / "history.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"epoch,train/loss\n1,{[1.0, 2.0, 0.5][number]}\n")
        return Outcome(Status.pruned, None, None) if watch(sweep / str(number)) else Outcome(Status.done, (0.5,), None)

    work(project, sweep, train)
    states = [trial.state for trial in open_study(sweep, settings).trials]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]


def test_pruners_metric_that_no_epoch_has_is_named(project: Path, search: Any) -> None:
    sweep, _ = search(pruner="median", pruning=Pruning("val/mapp"))

    def train(root: Path, sweep: Path, number: int, *_: Any) -> Outcome:
        (sweep / str(number) / "reports").mkdir(parents=True)
        (sweep / str(number) / "reports" / "history.csv").write_text("epoch,val/map\n1,0.5\n")
        return Outcome(Status.done, (0.5,), None)

    with pytest.raises(SweepError, match="did you mean val/map"):
        work(project, sweep, train)


def test_value_that_is_no_number_is_a_failure(project: Path, search: Any) -> None:
    sweep, settings = search(n_trials=1)
    work(project, sweep, lambda *_: Outcome(Status.done, (float("nan"),), None))
    assert open_study(sweep, settings).trials[0].state == TrialState.FAIL


def test_trial_that_another_process_reproduces_is_left_to_it(project: Path, search: Any) -> None:
    sweep, settings = search(n_trials=1)
    study = open_study(sweep, settings)
    study.ask(settings.space.dimensions)
    hold = "import sys, time; from pathlib import Path; from reprolens.sweeps.locks import held\n"
    hold += "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", hold, str(sweep / "0" / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        work(project, sweep, good)
        assert open_study(sweep, settings).trials[0].state == TrialState.RUNNING
        os.kill(process.pid, signal.SIGKILL)
    work(project, sweep, good)
    assert open_study(sweep, settings).trials[0].state == TrialState.COMPLETE


def test_trial_that_was_killed_from_outside_is_retried_unasked(project: Path, search: Any) -> None:
    sweep, settings = search(n_trials=3)

    def fail(root: Path, sweep: Path, number: int, config: Any, parameters: Any, watch: Any) -> Outcome:
        """Fail twice: first killed, which says nothing of the trial, then for a reason of its own."""
        (sweep / str(number)).mkdir()
        if number < 2:
            code = None if number == 0 else "c0de"
            write_trial(sweep, Trial(number, "00000000", parameters, Status.failed, code=code))
            return Outcome(Status.failed, None, "no")
        return good(root, sweep, number, config, parameters, watch)

    work(project, sweep, fail)
    study = open_study(sweep, settings)
    with exclusive(sweep):
        retry(study, sweep, every=False)
    waiting = [trial for trial in study.trials if trial.state == TrialState.WAITING]
    assert [trial.user_attrs["retries"] for trial in waiting] == [0]
