"""The run of a trial that failed: its configuration, what there is of its history, its error; marked as failed."""

import csv
import json
import re
import shutil
from contextlib import suppress
from pathlib import Path

from reprolens.config import Config
from reprolens.config.schema import Mode
from reprolens.files import write_json
from reprolens.tracking.identity import identify
from reprolens.tracking.publish import UnreachableError, define_metrics, finished, open_run
from reprolens.tracking.session import session, stage_artifacts_in

MARK = "failed-run.json"
"""Where a workspace says which run stands for its failure."""


class _FailedError(Exception):
    """Raised inside an open run, so that it is closed as failed."""


def publish_failure(root: Path, config: Config, error: str) -> None:
    """Write a run of the failed experiment in `root`, in the mode of its configuration; offline if that cannot be had.

    Raises TrackingError if W&B refuses the run.
    """
    if config.tracking.mode == Mode.disabled:
        return
    modes = [Mode.online, Mode.offline] if config.tracking.mode == Mode.online else [Mode.offline]
    for mode in modes:
        with suppress(UnreachableError):
            _write(root.resolve(), config, error, mode)
            return


def retract_failure(root: Path) -> None:
    """Remove the run of a failure that is tried again. One that was sent to a server stays there."""
    mark = root / MARK
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        folder = str(json.loads(mark.read_text(encoding="utf-8"))["folder"])
        if re.fullmatch(r"offline-run-[\w-]+", folder):
            shutil.rmtree(root / "wandb" / folder, ignore_errors=True)
    mark.unlink(missing_ok=True)


def _write(root: Path, config: Config, error: str, mode: Mode) -> None:
    rows = _history(root / "reports" / "history.csv")
    identity = identify(root, config, finished=False)
    with (
        session(),
        suppress(_FailedError),
        finished(open_run(root, config, identity, mode)) as run,
    ):
        if mode == Mode.offline:
            write_json(root / MARK, {"folder": stage_artifacts_in(run).name})
        define_metrics(run, tuple(dict.fromkeys(column for row in rows for column in row)))
        for row in rows:
            run.log(row)
        run.summary["error"] = error
        raise _FailedError


def _history(path: Path) -> list[dict[str, float]]:
    """Return the rows of a history that may stop anywhere; what is no number is left out."""
    rows = []
    with suppress(OSError, UnicodeDecodeError, csv.Error), path.open(encoding="utf-8", newline="") as file:
        for texts in csv.DictReader(file):
            row = {}
            for column, text in texts.items():
                with suppress(TypeError, ValueError, OverflowError):
                    number = float(text)
                    row[column] = int(number) if column in ("epoch", "global_step") else number
            rows.append(row)
    return rows
