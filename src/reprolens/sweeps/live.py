"""Where the trials of a sweep are at this moment, read from the few small files that they write as they go.

The lock of a workspace is never looked at: a process that opens and closes a file which it has locked itself loses
that lock, and the watcher may live in the process that runs the trial.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import yaml

from reprolens.errors import SweepError
from reprolens.sweeps.record import Status, Sweep, Trial, read_sweep, read_trial, trial_folder
from reprolens.tracking.partial import read_history
from reprolens.tracking.reports import best_is

STAGES = ("compose", "convert", "pretrain", "train", "evaluate", "export", "track")
"""The stages in the order in which they run, for what is left of a trial."""

_TAIL_BYTES = 1 << 16
_STAGE = re.compile(rb"^(?:Running stage|Waiting for another trial that is computing) '([^'\n]+)'", re.MULTILINE)

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """A trial as it stands. `epoch` of `epochs` are trained; `best` is the best validation metric so far.

    `elapsed` are the seconds that its last run took until now, `left` those that it may still take, None if unknown.
    """

    trial: Trial
    stage: str | None = None
    epoch: int | None = None
    epochs: int | None = None
    best: float | None = None
    elapsed: float | None = None
    left: float | None = None


@dataclass(frozen=True)
class Glance:
    """A sweep as it stands: the trials that have a record, in the order of their numbers, and how many there are.

    `left` are the seconds until all are done, with as many workers as run now; None while nothing is known.
    """

    sweep: Sweep
    trials: tuple[Progress, ...]
    counts: Mapping[Status, int]
    left: float | None


@dataclass
class Reader:
    """Reads a sweep's folder again and again, and of that only the files that have changed."""

    folder: Path
    _files: dict[Path, tuple[tuple[int, int], Any]] = field(default_factory=dict)
    _stages: dict[int, tuple[int, str | None]] = field(default_factory=dict)

    def glance(self, now: float | None = None) -> Glance | None:
        """Return where the sweep stands, None as long as it has no plan. `now` are seconds since 1970."""
        now = time.time() if now is None else now
        sweep = self._read(self.folder / "sweep.json", lambda path: read_sweep(path.parent))
        if sweep is None:
            return None
        trials = [self._taken_up(trial, sweep) for trial in self._trials(sweep)]
        usual = _usual_seconds(trials, sweep)
        progress = tuple(self._progress(trial, sweep, usual, now) for trial in trials)
        counts = {status: sum(trial.status == status for trial in trials) for status in Status}
        counts[Status.waiting] += max(0, sweep.total - len(trials))
        return Glance(sweep, progress, counts, _seconds_left(progress, counts, usual))

    def _read(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """Return what is in a file, read again only if it has changed; None where it is missing or damaged."""
        try:
            status = path.stat()
            key = (status.st_mtime_ns, status.st_size)
            if path not in self._files or self._files[path][0] != key:
                self._files[path] = key, read(path)
        except (OSError, ValueError, SweepError):
            self._files.pop(path, None)
        value: T | None = self._files[path][1] if path in self._files else None
        return value

    def _trials(self, sweep: Sweep) -> list[Trial]:
        """Return the trials of this start; those of a search, which adds to them, are all that there are."""
        numbers: Sequence[int] = sweep.trials
        if len(sweep.trials) < sweep.total:
            with suppress(OSError):
                numbers = sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdigit())
        paths = (trial_folder(self.folder, number) / "trial.json" for number in numbers)
        found = (self._read(path, lambda path: read_trial(path.parent)) for path in paths)
        return [trial for trial in found if trial is not None]

    def _taken_up(self, trial: Trial, sweep: Sweep) -> Trial:
        """Return the trial, as waiting where it is one of an earlier start that was killed and nobody runs it."""
        if trial.status != Status.running or (trial.started or 0) >= sweep.started:
            return trial
        folder = trial_folder(self.folder, trial.number)
        touched = [_changed(folder / name) for name in ("trial.json", "dvc.log", "reports/history.csv")]
        return trial if max(touched) >= sweep.started else _as_waiting(trial)

    def _progress(self, trial: Trial, sweep: Sweep, usual: Mapping[str, float], now: float) -> Progress:
        if trial.status == Status.waiting:
            return Progress(trial)
        folder = trial_folder(self.folder, trial.number)
        epochs = self._read(folder / "config.yaml", _read_epochs)
        stage = self._stage(trial, folder) if trial.status == Status.running else None
        rows: list[dict[str, float]] = []
        if trial.status != Status.running or stage not in (None, "compose", "convert", "pretrain"):
            rows = self._read(folder / "reports" / "history.csv", lambda path: read_history(path.parents[1])) or []
        elapsed = trial.seconds if trial.status != Status.running else now - (trial.started or now)
        epoch = int(rows[-1]["epoch"]) if rows else None
        left = _trial_left(stage, rows, epochs, usual, elapsed) if trial.status == Status.running else None
        return Progress(trial, stage, epoch, epochs, _best(rows, sweep.metrics[0]), elapsed, left)

    def _stage(self, trial: Trial, folder: Path) -> str | None:
        """Return the stage that runs, from what was added to the log since the last look."""
        log = folder / "dvc.log"
        offset, stage = self._stages.get(trial.number, (0, None))
        with suppress(OSError), log.open("rb") as file:
            if log.stat().st_mtime < (trial.started or 0) - 1:
                return None  # the log of an earlier run
            size = file.seek(0, 2)
            file.seek(max(offset if offset <= size else 0, size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES)
            end = text.rfind(b"\n") + 1  # the rest of a line may still come
            offset = file.tell() - len(text) + end
            if found := _STAGE.findall(text[:end]):
                stage = found[-1].decode(errors="replace")
        self._stages[trial.number] = offset, stage
        return stage


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _as_waiting(trial: Trial) -> Trial:
    return Trial(trial.number, trial.id, trial.parameters)


def _read_epochs(path: Path) -> int | None:
    """Return the epochs that a composed configuration asks for, None where it counts steps only."""
    try:
        epochs = yaml.safe_load(path.read_text(encoding="utf-8"))["trainer"]["max_epochs"]
    except (yaml.YAMLError, KeyError, TypeError):
        return None
    return epochs if isinstance(epochs, int) else None


def _best(rows: Sequence[Mapping[str, float]], metric: str) -> float | None:
    """Return the best value of the validation metric that comes nearest to the objective."""
    columns = list(dict.fromkeys(name for row in rows for name in row if name.startswith("val/")))
    wanted = ("val/map50", "val/map") if "50" in metric else ("val/map",)
    column = next((name for name in (metric, *wanted, *columns) if name in columns), None)
    values = [row[column] for row in rows if column in row] if column else []
    return None if not values else max(values) if best_is(column or "") == "max" else min(values)


def _usual_seconds(trials: Sequence[Trial], sweep: Sweep) -> dict[str, float]:
    """Return what a stage took on average where it was executed, and under "" what such a whole trial took.

    Trials that came from the cache in seconds say nothing about those to come, so they count only where all did.
    """
    done = [trial for trial in trials if trial.status == Status.done and trial.seconds is not None]
    ran = [trial for trial in done if trial.stages.get("train", {}).get("executed", True)]
    seconds: dict[str, list[float]] = {}
    for trial in ran or [trial for trial in done if (trial.started or 0) >= sweep.started]:
        seconds.setdefault("", []).append(trial.seconds or 0.0)
        for name, stage in trial.stages.items():
            if stage.get("executed", True):
                seconds.setdefault(name, []).append(float(stage.get("seconds", 0.0)))
    return {name: fmean(values) for name, values in seconds.items()}


def _trial_left(
    stage: str | None,
    rows: Sequence[Mapping[str, float]],
    epochs: int | None,
    usual: Mapping[str, float],
    elapsed: float | None,
) -> float | None:
    """Return the seconds that a running trial may still take: by its own pace in training, else by the others'."""
    later = sum(usual.get(name, 0.0) for name in STAGES[STAGES.index(stage) + 1 :]) if stage in STAGES else 0.0
    if stage == "train" and epochs and rows and "seconds" in rows[-1]:
        pace = rows[-1]["seconds"] / max(1.0, rows[-1]["epoch"])
        return max(0.0, epochs - rows[-1]["epoch"]) * pace + later
    if stage in ("evaluate", "export", "track"):
        return usual.get(stage, 0.0) / 2 + later if stage in usual else None
    return max(0.0, usual[""] - (elapsed or 0.0)) if "" in usual else None


def _seconds_left(trials: Sequence[Progress], counts: Mapping[Status, int], usual: Mapping[str, float]) -> float | None:
    running = [item for item in trials if item.trial.status == Status.running]
    whole = usual.get("")
    if whole is None:  # nobody is done yet: the ones that run tell what one takes
        totals = [(item.elapsed or 0.0) + item.left for item in running if item.left is not None]
        whole = fmean(totals) if totals else None
    if whole is None:
        return None if running or counts[Status.waiting] else 0.0
    lefts = [item.left if item.left is not None else max(0.0, whole - (item.elapsed or 0.0)) for item in running]
    work = sum(lefts) + counts[Status.waiting] * whole
    return max([work / max(1, len(running)), *lefts])
