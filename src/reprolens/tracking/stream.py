"""The process that sends a training's history to the server while it runs: `python -m reprolens.tracking.stream`.

Its arguments are the repository, the training's fingerprint and process. It reads a line after every epoch, the last
one telling how the training ended; where that one is missing, the training was killed. See live.py.
"""

import contextlib
import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprolens.config import Config, load
from reprolens.config.schema import Mode, Unreachable
from reprolens.errors import ReprolensError
from reprolens.tracking.identity import identify_unfinished
from reprolens.tracking.live import GRACE, OPEN
from reprolens.tracking.partial import read_history
from reprolens.tracking.run import UnreachableError, as_rows, define_metrics, log_history, one_line, open_run
from reprolens.tracking.session import session, stage_artifacts_in
from reprolens.tracking.transaction_log import PICTURES

if TYPE_CHECKING:
    import wandb

KILLED = {"state": "failed", "error": "the training was killed"}


def main() -> None:
    """Open the run, send rows until the training ends, close the run."""
    root, fingerprint, training = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends when its training has ended
    with contextlib.suppress(OSError):
        os.nice(5)  # the training comes first
    config = load(root / "config.yaml")
    watched = training if config.tracking.system_metrics else None
    with session():
        try:
            identity = identify_unfinished(root, config, fingerprint)
            run = open_run(root, _hurried(config), identity, Mode.online, watched)
        except (UnreachableError, ReprolensError) as error:
            _refuse(str(error), config.tracking.unreachable)
            return
        stage_artifacts_in(run)
        _answer(OPEN)
        try:
            if run.resumed and run.summary.get(PICTURES):  # a training done again may end in other rows
                print("tracking: this training's run is whole already, track brings it up to date", file=sys.stderr)
                run.finish()
                return
            _follow(run, root)
        except Exception as error:
            print(f"tracking: the rest of the run is sent by the track stage ({one_line(error)})", file=sys.stderr)


def _hurried(config: Config) -> Config:
    """Return the configuration with a timeout after which there is time left to say what became of the run."""
    return dataclasses.replace(
        config, tracking=dataclasses.replace(config.tracking, timeout=min(config.tracking.timeout, GRACE / 2))
    )


def _refuse(reason: str, unreachable: Unreachable) -> None:
    """Tell the training why there is no run, or, if it does not wait for that, whoever started it."""
    if unreachable == Unreachable.fail:
        _answer(reason)
    else:
        print(f"tracking: {reason}; training goes on, the run is written afterwards", file=sys.stderr)


def _answer(line: str) -> None:
    with contextlib.suppress(OSError):  # the training may be gone
        print(line, flush=True)


def _follow(run: "wandb.Run", root: Path) -> None:
    """Send the rows that are there, and those of each epoch, then how the training ended."""
    sent = run.starting_step if run.resumed else 0  # an earlier attempt at the training may have sent some
    defined = set[str]()
    ended: dict[str, Any] = KILLED
    if run.resumed and run.summary.get("error"):
        run.summary.update({"error": None, "error/stage": None})  # an earlier attempt's
    for line in sys.stdin:
        history = as_rows(read_history(root))
        columns = dict.fromkeys(column for row in history for column in row if column not in defined)
        define_metrics(run, columns)
        defined |= columns.keys()
        log_history(run, history[sent:])
        sent = max(sent, len(history))
        if line.strip():
            ended = json.loads(line)
            break
    if ended["state"] == "stopped":
        run.mark_preempting()
    if error := ended.get("error"):
        run.summary.update({"error": error, "error/stage": "train"})
    run.finish(exit_code=0 if ended["state"] == "finished" else 1)


if __name__ == "__main__":
    main()
