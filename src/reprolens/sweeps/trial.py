"""One trial: its workspace, `dvc repro` in it as a process of its own, and what came out.

A trial that fails is a result like another: it is recorded with its last lines, and nothing else stops.
"""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from reprolens.config import Config
from reprolens.errors import ReprolensError, SweepError, suggest
from reprolens.parent import die_with_parent
from reprolens.sweeps.estimate import results_folder
from reprolens.sweeps.experiment import record_experiment
from reprolens.sweeps.git import Snapshot
from reprolens.sweeps.locks import held
from reprolens.sweeps.record import Status, Sweep, Trial, read_sweep, read_trial, trial_folder, write_trial
from reprolens.sweeps.slots import environment, side_by_side, slot
from reprolens.sweeps.stages import config_id, joined, read_stages, stage_keys
from reprolens.sweeps.workspace import dvc_environment, is_whole, make_workspace, tidy_workspace, trial_config
from reprolens.tracking import publish_failure, retract_failure

LOG = "dvc.log"
DONE = ".dvc/tmp/stages.json"
TAIL = 15
"""Lines of a failed trial's log that its record keeps."""

POLL = 0.5
"""Seconds between two looks at a running trial."""

GRACE = 60.0
"""Seconds that a training has to write a checkpoint when its trial is stopped."""

REPRODUCE = "reprolens.sweeps.reproduce"
"""The program that runs DVC in a workspace. It is not imported here, because that would import DVC."""

STOPPED = 128 + signal.SIGTERM
"""The exit status of `reprolens.sweeps.reproduce` when it was told to stop."""

REPORTS = ("evaluation", "export", "train", "dataset", "pretrain")
"""Where an objective is looked up, in this order."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: done, failed or pruned. `values` are its objectives, None unless it is done."""

    status: Status
    values: tuple[float, ...] | None = None
    error: str | None = None


class _TrialError(ReprolensError):
    """The trial failed. `killed`: a process of it was, from outside, which says nothing about the trial."""

    def __init__(self, line: str, killed: bool = False) -> None:
        super().__init__(line)
        self.killed = killed


def run_trial(
    root: Path,
    sweep: Path,
    number: int,
    config: Config,
    parameters: Mapping[str, Any],
    watch: Callable[[Path], bool] | None = None,
) -> Outcome:
    """Reproduce `config` in the workspace `sweep`/`number` and record it as a DVC experiment; return how it ended.

    `watch` is called about every half second with the workspace; where it returns True the trial is stopped and pruned.
    A trial that failed with the same sources before is not run again, unless sweep.retry_failed or it was killed. An
    interruption (Ctrl-C, SIGTERM) stops its processes, leaves the trial to the next start, and is raised again.

    Raises SweepBusyError if another living process holds the workspace, SweepError if nothing can be written there.
    """
    folder = trial_folder(sweep, number)
    plan = read_sweep(sweep)
    own = trial_config(root, config, plan.name)
    keys = stage_keys(root, plan.tree, own, read_stages(root, plan.tree, own))
    trial = Trial(number, config_id(config), dict(parameters), Status.running, code=joined(keys), started=time.time())
    if _is_joblib_worker():
        die_with_parent(by=signal.SIGTERM)  # it would wait for minutes for more to do when its driver is killed
    try:
        with held(folder / ".lock"), _sigterm_raised():
            before = read_trial(folder)
            same = before is not None and (before.id, before.code) == (trial.id, trial.code)
            if before and same and before.status == Status.failed and not config.sweep.retry_failed:
                return Outcome(Status.failed, error=before.error)
            if before and same and before.status == Status.done and is_whole(folder, Path(plan.cache)):
                trial = replace(before, parameters=dict(parameters))
            else:
                write_trial(sweep, trial)
                trial = _run(root, folder, plan, trial, own, keys, watch)
            if trial.status == Status.done:
                trial = _recorded(root, folder, plan, trial, config)
            write_trial(sweep, trial)
    except OSError as error:
        place = error.filename or folder
        raise SweepError(f"{place}: {error.strerror or error}; the trial cannot be written") from None
    return Outcome(trial.status, trial.values, trial.error)


def _run(
    root: Path,
    folder: Path,
    plan: Sweep,
    trial: Trial,
    config: Config,
    keys: Mapping[str, str],
    watch: Callable[[Path], bool] | None,
) -> Trial:
    """Run a trial that is recorded as running, and return its record when it has ended."""
    snapshot = Snapshot(plan.tree, plan.baseline)
    checkpoints = keys["train"]
    make_workspace(root, folder, snapshot, config, plan.cache, checkpoints)
    retract_failure(folder)
    order = {"keys": dict(keys), "results": str(results_folder(root)), "parent": os.getpid()}
    try:
        places = _side_by_side()
        with slot(folder.parent / ".slots", places) if places > 1 else nullcontext() as place:
            if place:
                order["cores"] = sorted(place.cores)
            pruned = _reproduce(folder, order, dvc_environment(folder) | (environment(place) if place else {}), watch)
        if pruned:
            return replace(trial, status=Status.pruned, stages=_stages(folder), finished=time.time())
    except _TrialError as error:
        publish_failure(folder, config, str(error))
        return replace(
            trial,
            status=Status.failed,
            error=str(error),
            tail=tuple(_tail(folder / LOG)),
            stages=_stages(folder),
            code=None if error.killed else trial.code,
            finished=time.time(),
        )
    tidy_workspace(folder)
    with suppress(OSError):  # empty when the training has ended
        (root / ".checkpoints" / checkpoints).rmdir()
    return replace(trial, status=Status.done, stages=_stages(folder), finished=time.time())


def _recorded(root: Path, folder: Path, plan: Sweep, trial: Trial, config: Config) -> Trial:
    """Return a finished trial's record with the objectives, once it is an experiment on the present commit."""
    try:
        values = objectives(folder, config.sweep.metric)
    except _TrialError as error:
        return replace(trial, status=Status.failed, error=str(error), values=None)
    name = f"{plan.name}-{trial.id}"
    record_experiment(root, folder, Snapshot(plan.tree, plan.baseline), name)
    return replace(trial, values=values, experiment=name)


def _side_by_side() -> int:
    """Return how many trials share this machine, as the launcher says by which this process runs."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return 1
    return side_by_side(cast(Mapping[str, Any], HydraConfig.get().launcher))


def objectives(folder: Path, names: Sequence[str]) -> tuple[float, ...]:
    """Return the numbers that a workspace's reports have under `names`; the first report that has one counts."""
    reports = {name: _report(folder / "reports" / f"{name}.json") for name in REPORTS}
    values = []
    for name in names:
        found = [report[name] for report in reports.values() if _is_number(report.get(name))]
        if not found:
            numbers = [key for key, value in reports["evaluation"].items() if _is_number(value)]
            raise _TrialError(f"sweep.metric: no report has a number {name!r}; {suggest(name, numbers)}")
        values.append(float(found[0]))
    return tuple(values)


def _report(path: Path) -> dict[str, Any]:
    values = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(values, dict)
    return values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _reproduce(
    folder: Path, order: Mapping[str, Any], environment: Mapping[str, str], watch: Callable[[Path], bool] | None
) -> bool:
    """Run `reprolens.sweeps.reproduce` in the workspace and return whether it was pruned. Raises _TrialError."""
    command = [sys.executable, "-m", REPRODUCE]
    with (folder / LOG).open("ab") as log:
        start = log.tell()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,  # so that all of it can be stopped, and a Ctrl-C at the terminal is passed on by us alone
        )
        try:
            assert process.stdin is not None
            with suppress(BrokenPipeError), process.stdin as stdin:
                stdin.write(json.dumps(order).encode())
            while True:
                try:
                    status = process.wait(POLL)
                    break
                except subprocess.TimeoutExpired:
                    if watch and watch(folder):
                        _stop(process)
                        return True
        except BaseException:
            _stop(process)
            raise
    if status == STOPPED:
        raise KeyboardInterrupt
    if status:
        with (folder / LOG).open("rb") as log:
            log.seek(start)
            text = log.read().decode(errors="replace")
        raise _failed(text, status)
    return False


def _failed(text: str, status: int) -> _TrialError:
    """Return the error of a log: the line in which a stage says it, else DVC's, else the last one."""
    lines = [line for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("error: ")] or [line for line in lines if "ERROR: " in line]
    killed = status < 0 or re.search(r"exited with (-9|137)$", text.strip()) is not None
    if killed:
        return _TrialError("a process of the trial was killed (out of memory?); the next start goes on with it", killed)
    return _TrialError((said or lines or ["no output"])[-1].removeprefix("error: ").removeprefix("ERROR: "))


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let the stage that runs end, which saves a training's state, and kill what is left after the time of grace."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(log: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
    return []


def _stages(folder: Path) -> dict[str, Any]:
    with suppress(FileNotFoundError):
        return dict(json.loads((folder / DONE).read_text(encoding="utf-8")))
    return {}


def _is_joblib_worker() -> bool:
    return multiprocessing.current_process().name.startswith("LokyProcess")


@contextmanager
def _sigterm_raised() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, so that a trial is stopped in good order; a launcher's own treatment is kept."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except SystemExit as error:
        if _is_joblib_worker():
            os._exit(int(str(error)))  # joblib would catch it, and keep the worker
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
