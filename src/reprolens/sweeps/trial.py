"""One trial: its workspace, `dvc repro` in it as a process of its own, and what came out.

A trial that fails is a result like another: it is recorded with its last lines, and nothing else stops.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
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
from reprolens.sweeps.locks import SweepBusyError, held
from reprolens.sweeps.process import (
    RUNNING,
    Order,
    ReproductionError,
    is_joblib_worker,
    last_lines,
    reproduce,
    sigterm_raised,
    stages_done,
)
from reprolens.sweeps.record import Status, Sweep, Trial, read_sweep, read_trial, trial_folder, write_trial
from reprolens.sweeps.slots import environment, side_by_side, slot
from reprolens.sweeps.stages import config_id, joined, read_stages, stage_keys
from reprolens.sweeps.trial_config import trial_config
from reprolens.sweeps.workspace import is_whole, make_workspace, tidy_workspace
from reprolens.tracking.failure import STAGES, is_published, publish_failure, retract_failure
from reprolens.tracking.partial import REPORTS, read_object


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: done, failed or pruned. `values` are its objectives, None unless it is done."""

    status: Status
    values: tuple[float, ...] | None = None
    error: str | None = None


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
    A trial that is done is taken as it is, and one that failed is not run again, where nothing that decides it has
    changed; unless sweep.retry_failed, or it was killed. An interruption (Ctrl-C, SIGTERM) stops its processes, leaves
    the trial to the next start, and is raised again.

    Raises SweepBusyError if another living process holds the workspace, SweepError if nothing can be written there.
    """
    folder = trial_folder(sweep, number)
    plan = read_sweep(sweep)
    own = trial_config(root, config, plan.name, parameters, plan.commits)
    keys = stage_keys(root, plan.tree, own, read_stages(root, plan.tree, own))
    trial = Trial(number, config_id(config), dict(parameters), Status.running, code=joined(keys), started=time.time())
    if is_joblib_worker():
        die_with_parent(by=signal.SIGTERM)  # it would wait for minutes for more to do when its driver is killed
    try:
        with held(folder / ".lock"), sigterm_raised():
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
            if trial.status == Status.failed:
                _publish_failure(folder, trial, own, next((name for name in keys if name not in trial.stages), "track"))
    except OSError as error:
        place = error.filename or folder
        raise SweepError(f"{place}: {error.strerror or error}; the trial cannot be written") from None
    return Outcome(trial.status, trial.values, trial.error)


def objectives(folder: Path, names: Sequence[str]) -> tuple[float, ...]:
    """Return the numbers that a workspace's reports have under `names`; the first report that has one counts.

    Raises ReproductionError for a name that no report has.
    """
    reports = [read_object(folder / "reports" / f"{name}.json") for name in REPORTS]
    values = []
    for name in names:
        found = [report[name] for report in reports if _is_number(report.get(name))]
        if not found:
            numbers = [key for report in reports for key, value in report.items() if _is_number(value)]
            raise ReproductionError(f"sweep.metric: no report has a number {name!r}; {suggest(name, numbers)}")
        values.append(float(found[0]))
    return tuple(values)


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
    with held(folder / RUNNING, wait=True):
        pass  # what a killed driver left behind may still be saving its training
    checkpoints = root / ".checkpoints" / keys["train"]
    make_workspace(root, folder, Snapshot(plan.tree, plan.baseline), config, plan.cache, checkpoints)
    retract_failure(folder)
    order = Order(dict(keys), str(results_folder(root)), os.getpid())
    places = _side_by_side()
    try:
        with slot(sweep_slots(root), places) if places > 1 else nullcontext() as place:
            if place:
                order = replace(order, cores=sorted(place.cores))
            pruned = reproduce(folder, order, environment(place) if place else {}, watch)
    except ReproductionError as error:
        trial = replace(trial, status=Status.failed, error=str(error), tail=last_lines(folder))
        if error.killed:
            trial = replace(trial, code=None)
    else:
        trial = replace(trial, status=Status.pruned if pruned else Status.done)
        tidy_workspace(folder)
        if pruned:
            _discard(checkpoints, results_folder(root) / f"train-{keys['train']}.lock")
        with suppress(OSError):  # empty when the training has ended
            checkpoints.rmdir()
    return replace(trial, stages=stages_done(folder), finished=time.time())


def _recorded(root: Path, folder: Path, plan: Sweep, trial: Trial, config: Config) -> Trial:
    """Return a finished trial's record with the objectives, once it is an experiment on the present commit."""
    name = f"{plan.name}-{trial.id}"
    try:
        values = objectives(folder, config.sweep.metric)
        record_experiment(root, folder, Snapshot(plan.tree, plan.baseline), name)
    except ReproductionError as error:
        return replace(trial, status=Status.failed, error=str(error), values=None)
    except SweepError as error:  # Git's store is full or locked; the next start tries again
        return replace(trial, status=Status.failed, error=str(error), values=None, code=None)
    return replace(trial, values=values, experiment=name)


def _publish_failure(folder: Path, trial: Trial, config: Config, stage: str) -> None:
    """Write the run of a failed trial, once its record is safe; where that fails too, its record says so.

    A stage that could say why it failed has done so itself, and a trial whose track stage is done has its run.
    """
    if stage not in STAGES or is_published(folder):
        return
    try:
        publish_failure(folder, config, stage, trial.error or "")
    except (ReprolensError, OSError) as error:
        write_trial(folder.parent, replace(trial, tail=(*trial.tail, f"no W&B run was written: {error}")))


def _discard(checkpoints: Path, lock: Path) -> None:
    """Remove what a pruned training saved, unless another trial is just beginning the same one."""
    with suppress(SweepBusyError), held(lock):
        shutil.rmtree(checkpoints, ignore_errors=True)


def sweep_slots(root: Path) -> Path:
    """Return where the places on a machine are locked: one folder for all sweeps of the repository."""
    return root / "multirun" / ".slots"


def _side_by_side() -> int:
    """Return how many trials share this machine, as the launcher says by which this process runs."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return 1
    return side_by_side(cast(Mapping[str, Any], HydraConfig.get().launcher))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
