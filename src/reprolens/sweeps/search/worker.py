"""One worker of a search: it asks the study for a trial, runs it, tells what came out, until there are enough.

Any number of workers share a sweep's folder, on one machine or several, and none waits for another. A trial belongs to
the worker that holds its lock in `.claims/`; where the study calls a trial running and nobody holds its lock, its
process was killed, and the next worker that looks for work goes on with it.
"""

import csv
import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from reprolens.config import Config
from reprolens.errors import ConfigError, SweepError, suggest
from reprolens.sweeps.locks import SweepBusyError, held, is_held
from reprolens.sweeps.record import CONFIG, Status, Trial, read_trials, trial_folder, write_trial
from reprolens.sweeps.search.settings import Settings, read_settings
from reprolens.tracking.partial import read_history

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as Asked

Watch = Callable[[Path], bool]


@dataclass(frozen=True)
class Claim:
    """A trial that is this process's until `lock` is closed."""

    asked: "Asked"
    lock: ExitStack

    @property
    def number(self) -> int:
        """The trial's number, which is also its folder's name."""
        return self.asked.number


def work(root: Path, sweep: Path, run: Callable[..., Any] | None = None) -> None:
    """Run trials of the search in the folder `sweep` until its study has as many as it should have.

    `root` is the repository, `run` is reprolens.sweeps.trial.run_trial or has its signature. A trial that fails is told
    so to the study and the next one is asked; whatever stops the worker leaves its trial running in the study, so that
    the next start goes on with it. Raises SweepError if too many trials failed, or the study cannot be read or written.
    """
    from reprolens.sweeps.search.study import open_study, storage_errors

    run = run or _run_trial()
    settings = read_settings(sweep)
    with storage_errors(sweep), exclusive(sweep):
        study = open_study(sweep, settings)
    while True:
        with storage_errors(sweep):
            claim = _claim(study, sweep, settings)
        if claim is None:
            return
        with claim.lock:
            _run(root, sweep, settings, study, claim, run)


def exclusive(sweep: Path) -> AbstractContextManager[None]:
    """Hold the search's lock: one process at a time opens the study or looks for its next trial."""
    return held(sweep / ".search.lock", wait=True)


def retry(study: "Study", sweep: Path, every: bool) -> None:
    """Enqueue failed trials again: `every` one, else those that were killed from outside. Call it under `exclusive`."""
    killed = {trial.number for trial in read_trials(sweep) if trial.status == Status.failed and trial.code is None}
    for trial in _failed(study.get_trials(deepcopy=False)):
        if every or trial.number in killed:
            study.enqueue_trial(trial.params, user_attrs={"retries": trial.number})


@contextmanager
def own_hydra() -> Iterator[None]:
    """Give Hydra its state back after the block, because composing sets it up anew."""
    hydra, config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = hydra
        HydraConfig.instance().cfg = config


def _run_trial() -> Callable[..., Any]:
    from reprolens.sweeps.trial import run_trial

    return run_trial


def _claim(study: "Study", sweep: Path, settings: Settings) -> Claim | None:
    """Return the next trial: one whose process was killed, else one that is retried, else a new one; None: enough."""
    from optuna.trial import TrialState

    with exclusive(sweep):
        trials = study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                claim = _abandoned(study, sweep, settings, trial)
                if claim is not None:
                    return claim
        failed = len(_failed(trials))
        if failed > settings.max_failures:
            raise SweepError(
                f"{sweep.name}: {failed} of {settings.n_trials} trials failed, more than sweep.max_failure_rate "
                "allows; see their dvc.log, then start again with sweep.retry_failed=true"
            )
        waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
        if not waiting and len(trials) - len(_retried(trials)) >= settings.n_trials:
            return None
        number = waiting[0] if waiting else len(trials)
        lock = _lock(sweep, number)
        assert lock is not None  # nobody claims a trial that is not yet running
        study.sampler = _sampler(settings, number)
        return Claim(study.ask(settings.space.dimensions), lock)


def _abandoned(study: "Study", sweep: Path, settings: Settings, trial: "FrozenTrial") -> Claim | None:
    """Claim a running trial that no living process runs."""
    import optuna

    lock = _lock(sweep, trial.number)
    if lock is None:
        return None
    now = study.get_trials(deepcopy=False)[trial.number]  # its worker may have told and released it since
    if now.state != optuna.trial.TrialState.RUNNING or is_held(trial_folder(sweep, trial.number) / ".lock"):
        lock.close()
        return None
    study.sampler = _sampler(settings, trial.number)
    asked = optuna.trial.Trial(study, trial._trial_id)
    if set(now.params) != set(settings.space.dimensions):
        _ask_rest(asked, now, settings)
    return Claim(asked, lock)


def _ask_rest(asked: "Asked", trial: "FrozenTrial", settings: Settings) -> None:
    """Do the rest of Study.ask for a trial whose process was killed in the middle of it, with the same chance.

    A parameter that is there is drawn again and thrown away where it was drawn by itself, so that the next one draws
    what it would have drawn.
    """
    relative = asked.relative_params
    for name, distribution in settings.space.dimensions.items():
        if name not in trial.params:
            asked._suggest(name, distribution)
        elif name not in relative and not distribution.single():
            asked.study.sampler.sample_independent(asked.study, trial, name, distribution)


def _lock(sweep: Path, number: int) -> ExitStack | None:
    """Take the lock by which a trial is its worker's; None if another process has it."""
    lock = ExitStack()
    try:
        lock.enter_context(held(sweep / ".claims" / str(number)))
    except SweepBusyError:
        return None
    return lock


def _sampler(settings: Settings, number: int) -> Any:
    from reprolens.sweeps.search.samplers import sampler

    return sampler(settings.sampler, settings.seed, settings.space.dimensions, number, settings.n_trials)


def _retried(trials: "list[FrozenTrial]") -> set[int]:
    return {trial.user_attrs["retries"] for trial in trials if "retries" in trial.user_attrs}


def _failed(trials: "list[FrozenTrial]") -> "list[FrozenTrial]":
    from optuna.trial import TrialState

    retried = _retried(trials)
    return [trial for trial in trials if trial.state == TrialState.FAIL and trial.number not in retried]


def _run(root: Path, sweep: Path, settings: Settings, study: "Study", claim: Claim, run: Callable[..., Any]) -> None:
    """Run a claimed trial and tell the study what came out."""
    from reprolens.sweeps.search.study import storage_errors

    values = claim.asked.params
    parameters = settings.space.parameters(values)
    overrides = settings.space.overrides(values)
    try:
        config = composed(sweep / CONFIG if (sweep / CONFIG).is_dir() else root, overrides)
    except ConfigError as error:
        _write_failure(sweep, claim.number, overrides, parameters, str(error))
        with storage_errors(sweep):
            _tell(study, claim, Status.failed, None)
        return
    prunes = settings.pruner != "none"
    watch = _watch(sweep, claim.asked, settings) if prunes else None
    outcome = run(root, sweep, claim.number, config, parameters, watch)
    with storage_errors(sweep):
        _tell(study, claim, outcome.status, outcome.values)
    if prunes and outcome.status == Status.done:
        _check_metric(trial_folder(sweep, claim.number), settings.pruning.metric)


def composed(root: Path, overrides: tuple[str, ...]) -> Config:
    """Compose and check the configuration of one point of the space, inside a running Hydra."""
    from reprolens.config.compose import compose

    with own_hydra():
        return compose(root, overrides)


def _tell(study: "Study", claim: Claim, status: Status, values: tuple[float, ...] | None) -> None:
    from optuna.samplers import RandomSampler
    from optuna.trial import TrialState

    study.sampler = RandomSampler()  # the search's own is only asked: told, the grid's would stop a loop of Optuna's
    if status == Status.done and values is not None and all(math.isfinite(value) for value in values):
        study.tell(claim.number, list(values))
    else:
        study.tell(claim.number, state=TrialState.PRUNED if status == Status.pruned else TrialState.FAIL)


def _write_failure(
    sweep: Path, number: int, overrides: tuple[str, ...], parameters: dict[str, Any], error: str
) -> None:
    """Record a combination that has no configuration, and so no hash of one, where the others have their record."""
    name = hashlib.sha256("\n".join(overrides).encode()).hexdigest()[:8]
    trial_folder(sweep, number).mkdir(parents=True, exist_ok=True)
    write_trial(sweep, Trial(number, name, parameters, Status.failed, error=error, code=""))


def _watch(sweep: Path, asked: "Asked", settings: Settings) -> Watch:
    """Return what reports a trial's new epochs to the study and says whether the trial is to be stopped.

    history.csv is written anew after a resume, so that rows come again: an epoch is reported once.
    """
    from reprolens.sweeps.search.study import storage_errors

    (study,) = settings.directions
    sign = 1.0 if study == settings.pruning.direction else -1.0  # Optuna compares epochs as it compares trials
    reported = set(asked.study.get_trials(deepcopy=False)[asked.number].intermediate_values)
    pending = bool(reported)  # a process killed between the report and the answer has left the question open

    def watch(workspace: Path) -> bool:
        nonlocal pending
        for epoch, value in _epochs(workspace, settings.pruning.metric):
            if epoch in reported and not pending:
                continue
            with storage_errors(sweep):
                if epoch not in reported:
                    asked.report(sign * value, epoch)
                    reported.add(epoch)
                pending = False
                if asked.should_prune():
                    return True
        return False

    return watch


def _epochs(workspace: Path, metric: str) -> list[tuple[int, float]]:
    """Return (epoch, value) of the rows that have the metric; a row that is being written has not."""
    return [(int(row["epoch"]), row[metric]) for row in read_history(workspace) if metric in row]


def _check_metric(workspace: Path, metric: str) -> None:
    """Raise SweepError if a finished training never measured what the pruner compares; it would never prune."""
    path = workspace / "reports" / "history.csv"
    if path.is_file() and not _epochs(workspace, metric):
        with path.open(encoding="utf-8", newline="") as file:
            columns = next(csv.reader(file), [])
        raise SweepError(f"hydra.sweeper.pruning.metric: history.csv has no {metric!r}; {suggest(metric, columns)}")
