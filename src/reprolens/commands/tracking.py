"""What is shown on W&B: sync, dashboard."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from reprolens.errors import ConfigError, TrackingError

if TYPE_CHECKING:
    from reprolens.tracking.dashboard.subject import Subject, TrialRun


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    dashboard = commands.add_parser("dashboard", help="save the W&B workspace and the report on the best trials")
    dashboard.add_argument("--sweep", metavar="NAME", help="a sweep in multirun/ (all trials of the project)")
    dashboard.add_argument("--objective", metavar="KEY", help="what the best trial is best in (the sweep's metric)")
    dashboard.add_argument("--best", type=int, default=5, metavar="N", help="trials that the report compares (5)")
    dashboard.add_argument("--json", action="store_true", help="print what would be saved; needs no account")
    dashboard.set_defaults(command=_dashboard)

    sync = commands.add_parser("sync", help="send the W&B runs that were written offline, and see that they arrived")
    sync.add_argument("folder", nargs="?", type=Path, default=Path("wandb"), help="folder of runs (wandb)")
    sync.add_argument("--timeout", type=float, default=600, metavar="S", help="seconds for the upload of each (600)")
    sync.set_defaults(command=_sync)


def _sync(options: argparse.Namespace) -> None:
    from reprolens.tracking.sync import Fate, send, unsent

    if not options.folder.is_dir():
        raise TrackingError(f"{options.folder}: no such folder; runs lie in wandb/ of the repository")
    logs = unsent(options.folder)
    problems: dict[str, list[str]] = {}
    for result in send(logs, options.timeout):
        if result.cut:
            print(f"{result.name}: {result.cut} bytes cut off that a killed process left half written")
        if result.fate == Fate.failed:
            problems.setdefault(result.reason, []).append(result.name)
        else:
            print(f"{result.name}: {result.url or result.reason}", flush=True)
    if problems:
        raise TrackingError("\n".join(f"{', '.join(names)}: {reason}" for reason, names in problems.items()))
    if not logs:
        print(f"all runs in {options.folder} were sent")


def _dashboard(options: argparse.Namespace) -> None:
    if options.best < 1:
        raise ConfigError(f"--best {options.best}: must be at least 1")
    try:
        from reprolens.tracking.dashboard.save import save, specification, to_json
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "wandb_workspaces":
            raise
        raise TrackingError("dashboard: needs wandb-workspaces; pip install 'reprolens[dashboard]'") from None
    from reprolens.tracking.dashboard.subject import summary_key, swept_keys

    subject, names, runs = _compared(options)
    if options.json:
        objective = summary_key(subject.objective, runs)
        subject = dataclasses.replace(subject, objective=objective, swept=swept_keys(names, runs))
        print(to_json(specification(subject, runs, options.best)))
        return
    saved = save(subject, names, options.best)
    done = "updated" if saved.updated else "saved"
    print(f"dashboard: workspace {done}, {saved.workspace}\ndashboard: report {done}, {saved.report}")


def _compared(options: argparse.Namespace) -> "tuple[Subject, tuple[str, ...], tuple[TrialRun, ...]]":
    """Return what is compared, the names that the sweep varies, and the trials of it that lie here."""
    from reprolens.config.compose import compose
    from reprolens.tracking.dashboard.subject import Subject, lower_is_better, read_trials, summary_key

    names: tuple[str, ...] = ()
    runs: tuple[TrialRun, ...] = ()
    group: str | None = None
    if options.sweep is None:
        config = compose(Path())
        goals = dict(zip(config.sweep.metric, map(str, config.sweep.direction), strict=True))
    else:
        from reprolens.sweeps.plan import MULTIRUN
        from reprolens.sweeps.record import read_sweep, trial_folder
        from reprolens.sweeps.record import read_trials as read_records

        folder = MULTIRUN / options.sweep if (MULTIRUN / options.sweep).is_dir() else Path(options.sweep)
        sweep = read_sweep(folder)
        config = compose(Path(), [override for override in sweep.overrides if override.startswith("tracking")])
        goals = dict(zip(sweep.metrics, sweep.directions, strict=True))
        records = read_records(folder)
        names = tuple(dict.fromkeys(name for record in records for name in record.parameters))
        runs = read_trials(trial_folder(folder, record.number) for record in records)
        group = config.tracking.group or sweep.name
    objective = options.objective or next(iter(goals))
    lower = goals[objective] == "minimize" if objective in goals else lower_is_better(objective)
    return (
        Subject(config.tracking.project, config.tracking.entity, summary_key(objective, runs), lower, sweep=group),
        names,
        runs,
    )
