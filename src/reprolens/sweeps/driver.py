"""A sweep from its command line to its last line: plan it, let Hydra run it, show how it goes and what came out."""

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
from hydra._internal.utils import get_args_parser
from rich.console import Console

from reprolens.config import Config
from reprolens.config.compose import search_path
from reprolens.errors import ReprolensError, SweepError
from reprolens.sweeps.leaderboard import leaderboard, render
from reprolens.sweeps.locks import SweepBusyError, held
from reprolens.sweeps.page import write_pages
from reprolens.sweeps.plan import Plan, make_plan, write_plan
from reprolens.sweeps.process import GRACE, PROGRAM
from reprolens.sweeps.record import CONFIG, Status, Trial, read_sweep, read_trials, trial_folder
from reprolens.sweeps.search.sweeper import OptunaSweeper
from reprolens.sweeps.stages import config_id
from reprolens.sweeps.table import watching
from reprolens.sweeps.trial import Outcome, run_trial

QUIET = ("hydra/job_logging=none", "hydra/hydra_logging=none", "hydra.output_subdir=null")
"""What Hydra would print and write is in the table and in the trial's own files."""

HELP = """\
python -m pipelines.sweep [-m] [--dry-run] [--debug] [KEY=VALUE ...]

  KEY=VALUE    any key of `reprolens compose`, or a choice of a group in conf/; with -m also KEY=A,B,C
  -m           run every combination as a trial; without it, one trial
  --dry-run    check all combinations, say what is cached and how long the rest will take, and stop
  --debug      show where an error was raised

  hydra/launcher=basic | joblib | submitit_local | submitit_slurm | ray   where trials run (conf/hydra/launcher)
  hydra/sweeper=optuna                                      search instead of a grid (conf/hydra/sweeper)
  sweep.metric=... sweep.name=... sweep.retry_failed=true   see conf/sweep/default.yaml

Hydra's own flags: --hydra-help. Its syntax for values: https://hydra.cc/docs/advanced/override_grammar/basic/"""

ENVIRONMENT = {
    "HYDRA_FULL_ERROR": "1",  # errors arrive here as they were raised, not as a traceback on the terminal
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else Ray copies the whole repository to its workers under `uv run`
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a trial that keeps no GPU for itself may still see them
}
"""How the libraries are to behave, where the user has not said otherwise."""

# The presets in conf/hydra/launcher have the names of the plugins' own and all of their keys.
warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")


def drive(root: Path, arguments: Sequence[str], job: Callable[[], Any]) -> None:
    """Run the sweep of a command line, `job` being what `hydra.main` made of the task.

    Exits with status 2 and one line where the user has to do something, or where more trials failed than
    sweep.max_failure_rate allows; with 130 after Ctrl-C.
    """
    parser = get_args_parser()
    parser.allow_abbrev = False
    parser.add_argument("--dry-run", action="store_true", help="Say what would be done, and stop")
    parser.add_argument("--debug", action="store_true", help="Show where an error was raised")
    options = parser.parse_intermixed_args(arguments)
    to_hydra = [argument for argument in arguments if argument not in ("--dry-run", "--debug")]
    if options.help:
        print(HELP)
        return
    if options.hydra_help or options.cfg or options.info or options.shell_completion:
        sys.argv[1:] = [*to_hydra, search_path(root)]
        job()
        return
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    try:
        plan = make_plan(root, options.overrides, bool(options.multirun))
        for line in plan.lines:
            print(line, flush=True)
        if not options.dry_run:
            _run(root, plan, to_hydra, job)
    except ReprolensError as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt as interruption:
        print("interrupted; the same command goes on with it", file=sys.stderr)
        raise SystemExit(128 + (interruption.args or (signal.SIGINT,))[0]) from None
    except Exception as error:  # of a launcher: a worker was killed, no cluster answers
        if options.debug:
            raise
        reason = " ".join((str(error).strip().splitlines() or ["no reason given"])[0].split())
        print(f"error: {type(error).__name__}: {reason}; the same command goes on with the sweep", file=sys.stderr)
        raise SystemExit(2) from None


def one_trial(root: Path, sweep: Path, config: Config) -> Outcome:
    """Run the trial of a sweep's plan that has this configuration; wait where an earlier start's process still does.

    It is not started where more trials failed than sweep.max_failure_rate allows.
    """
    planned = {trial.id: trial for trial in read_trials(sweep)}.get(config_id(config))
    if planned is None:
        raise SweepError(f"{sweep}: this combination was not planned; start the sweep again")
    if _too_many_failed(sweep, config):
        return Outcome(Status.waiting)
    said = False
    while True:
        try:
            return run_trial(root, sweep, planned.number, config, planned.parameters)
        except SweepBusyError as error:
            if not said:
                print(error, file=sys.stderr, flush=True)
            said = True
            time.sleep(2)


def _run(root: Path, plan: Plan, arguments: Sequence[str], job: Callable[[], Any]) -> None:
    """Run a planned sweep. What came out is shown however it ended, unless it was interrupted."""
    failure: Exception | None = None
    with ExitStack() as stack:
        try:
            stack.enter_context(held(plan.folder / ".lock"))
            write_plan(root, plan)
        except SweepBusyError as error:
            if not plan.search:
                raise
            OptunaSweeper.joins = True
            print(f"joins the search: {error}", flush=True)
        number = plan.sweep.trials[0] if plan.sweep.trials else 0
        config = plan.folder / CONFIG
        folders = [f"hydra.sweep.dir={plan.folder}", f"hydra.run.dir={trial_folder(plan.folder, number)}"]
        settings = [*QUIET, search_path(config), *folders, "hydra.sweep.subdir=${hydra.job.num}"]
        sys.argv[1:] = ["--config-path", str(config), *arguments, *settings]
        with watching(plan.folder):
            try:
                job()
            except Exception as error:
                failure = error
    _conclude(plan, failure)


def _conclude(plan: Plan, failure: Exception | None) -> None:
    """Show what came out, then raise `failure`; or SweepError if too many trials failed, or the only one."""
    Console().print(render(leaderboard(plan.folder)))
    print(f"{write_pages(plan.folder)} shows it; reprolens promote {plan.sweep.name}/N takes trial N", flush=True)
    if failure:
        raise failure
    failed = [trial for trial in _planned(plan.folder) if trial.status == Status.failed]
    if failed and plan.sweep.total == 1:
        raise SweepError(f"{plan.folder.name}: {failed[0].error}")
    if _too_many_failed(plan.folder, plan.config):
        raise SweepError(
            f"{plan.folder.name}: {len(failed)} of {plan.sweep.total} trials failed, "
            f"the first with: {failed[0].error}; sweep.retry_failed=true runs them again"
        )


def _interrupted(number: int, frame: object) -> None:
    """Let the trainings that run save their state, then raise what Ctrl-C raises; a second signal does not wait.

    joblib kills its workers and all below them when it hears of an interruption, so this comes before.
    """
    signal.signal(number, signal.default_int_handler)
    running = [each for each in psutil.Process().children(recursive=True) if PROGRAM in _command(each)]
    for each in running:
        with suppress(psutil.NoSuchProcess):
            each.terminate()
    psutil.wait_procs(running, GRACE)
    raise KeyboardInterrupt(number)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _planned(folder: Path) -> list[Trial]:
    """Return the records of a sweep's trials; not those of values that a grid varies no more."""
    plan, trials = read_sweep(folder), read_trials(folder)
    return [trial for trial in trials if not plan.trials or trial.number in plan.trials]


def _too_many_failed(folder: Path, config: Config) -> bool:
    failed = sum(trial.status == Status.failed for trial in _planned(folder))
    return failed > config.sweep.max_failure_rate * read_sweep(folder).total
