"""What a sweep's folder says of itself: sweep.json, and a trial.json in each trial's workspace.

A trial's file is written by the process that runs the trial and by no other, the sweep's by the driver; the live table,
the leaderboard, the pages and the next start of the same sweep read them.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from reprolens.errors import SweepError
from reprolens.files import write_json

CONFIG = ".config"
"""Where a sweep keeps params.yaml and conf/ as they were when it started; later trials are composed from there."""


class Status(StrEnum):
    """How far a trial is. A trial whose process was killed stays `running`, until the next start takes it up."""

    waiting = "waiting"
    running = "running"
    done = "done"
    failed = "failed"
    pruned = "pruned"


@dataclass(frozen=True)
class Trial:
    """One combination of a sweep.

    `id` are 8 hexadecimal digits of the composed configuration, so the same combination has the same id wherever it is
    run. `parameters` are the keys that the sweep varies and their values here. `values` are the objectives, in the
    order of sweep.metric, None until the trial is done. `stages` holds, of each stage that is up to date in the
    workspace, the seconds it took and whether it was executed or came from the cache. `code` tells with which sources
    it ran, `experiment` is the name of the DVC experiment, `started` and `finished` are seconds since 1970.
    """

    number: int
    id: str
    parameters: Mapping[str, Any]
    status: Status = Status.waiting
    values: tuple[float, ...] | None = None
    error: str | None = None
    tail: tuple[str, ...] = ()
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    code: str | None = None
    experiment: str | None = None
    started: float | None = None
    finished: float | None = None

    @property
    def seconds(self) -> float | None:
        """Seconds from the start to the end of the trial's last run, None while it goes on."""
        return None if self.started is None or self.finished is None else self.finished - self.started


@dataclass(frozen=True)
class Sweep:
    """What the driver plans. `trials` are the numbers of this start's trials; a search has none, its study knows them.

    `overrides` is the command line, `total` the number of trials there will be, `tree` the Git tree of the sources that
    every trial runs, `baseline` the commit on which the experiments are recorded, `cache` the repository's DVC cache,
    `code` the key of all that decides the first trial, or a search's settings beside what it varies, `commits` those of
    the repositories on this machine that starting weights are taken from (`workspace.weights_commits`).
    """

    name: str
    overrides: tuple[str, ...]
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    trials: tuple[int, ...]
    total: int
    tree: str
    baseline: str
    cache: str
    started: float
    code: str = ""
    commits: Mapping[str, str] = field(default_factory=dict)


def trial_folder(sweep: Path, number: int) -> Path:
    """Return the workspace of a trial."""
    return sweep / str(number)


def write_trial(sweep: Path, trial: Trial) -> None:
    """Write a trial's record into its workspace."""
    write_json(trial_folder(sweep, trial.number) / "trial.json", asdict(trial))


def read_trial(folder: Path) -> Trial | None:
    """Return the record in a workspace, None if there is none. Raises SweepError if it is damaged."""
    values = _read(folder / "trial.json")
    if values is None:
        return None
    try:
        trial = Trial(**values)
        objectives = None if trial.values is None else tuple(float(value) for value in trial.values)
        return replace(trial, status=Status(trial.status), values=objectives, tail=tuple(trial.tail))
    except (TypeError, ValueError):
        raise SweepError(f"{folder / 'trial.json'}: not a trial's record; remove the folder {folder}") from None


def read_trials(sweep: Path) -> list[Trial]:
    """Return the records of all trials in a sweep's folder, in the order of their numbers."""
    numbers = sorted(int(path.parent.name) for path in sweep.glob("*/trial.json") if path.parent.name.isdigit())
    found = (read_trial(trial_folder(sweep, number)) for number in numbers)
    return [trial for trial in found if trial is not None]


def write_sweep(folder: Path, sweep: Sweep) -> None:
    """Write the sweep's plan into its folder."""
    write_json(folder / "sweep.json", asdict(sweep))


def read_sweep(folder: Path) -> Sweep:
    """Return the plan in a sweep's folder. Raises SweepError if there is none or it is damaged."""
    values = _read(folder / "sweep.json")
    if values is None:
        raise SweepError(f"{folder}: no sweep here (sweep.json is missing)")
    try:
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return Sweep(**(values | lists))
    except TypeError:
        raise SweepError(f"{folder / 'sweep.json'}: not a sweep's plan; remove the folder {folder}") from None


def _read(path: Path) -> Any:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SweepError(f"{path}: cannot be read ({error}); remove the folder {path.parent}") from None
    if not isinstance(values, dict):
        raise SweepError(f"{path}: cannot be read (no mapping); remove the folder {path.parent}")
    return values
