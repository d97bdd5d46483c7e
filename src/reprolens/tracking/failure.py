"""The run of a failed experiment: its configuration, its error, what there is of its history; marked as failed."""

import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from reprolens.config import Config, load
from reprolens.config.schema import Mode
from reprolens.errors import StoppedError
from reprolens.files import write_json
from reprolens.secrets import without_secrets
from reprolens.tracking.identity import identify_unfinished
from reprolens.tracking.partial import read_history, read_object
from reprolens.tracking.run import as_rows, define_metrics, finished, log_history, one_line, open_run
from reprolens.tracking.session import session, stage_artifacts_in
from reprolens.tracking.sync import send
from reprolens.tracking.transaction_log import find_log

MARK = Path(".dvc/tmp/wandb-run.json")
"""Where a repository says which training it is at, and which run stands for its failure."""

TRAINED = ("train", "evaluate", "export")
"""The stages at which there is a training, so a history."""

PATIENCE = 30.0
"""Seconds in which the run of a failure must be sent: the user waits for the prompt."""

LONGEST = 4000
"""Characters of an error that are kept."""

STAGES = ("convert", "pretrain", *TRAINED)
"""The stages whose failure has a run: when compose fails there is no configuration, when track does, no W&B."""


class _FailedError(Exception):
    """Raised inside an open run, so that it is closed as failed."""


def note_training(root: Path, fingerprint: str) -> None:
    """Remember which training has begun, so that if it fails, the run is the one that a second attempt goes on with."""
    write_json(root / MARK, read_object(root / MARK) | {"training": fingerprint})


def record_failure(root: Path, stage: str, error: Exception) -> None:
    """Write a run for the error that ended a stage, if config.yaml says how; a line says so where that fails too.

    A training that was told to stop has not failed.
    """
    if stage not in STAGES or isinstance(error, StoppedError):
        return
    try:
        publish_failure(root, load(root / "config.yaml"), stage, str(error) or type(error).__name__)
    except Exception as second:  # whatever it is, the first error is what the user has to see
        print(f"tracking: no run was written for this failure ({one_line(second)})", file=sys.stderr)


def publish_failure(root: Path, config: Config, stage: str, error: str) -> None:
    """Write a run of the experiment in `root` that failed at `stage`, and online send it.

    It takes the place of an earlier failure's. Without a server it stays in wandb/, for `reprolens sync`. Raises
    TrackingError if W&B refuses the run.
    """
    if config.tracking.mode == Mode.disabled:
        return
    root = root.resolve()
    training = _training(root, stage)
    retract_failure(root)
    folder = _write(root, config, stage, error, training)
    if config.tracking.mode == Mode.online:
        list(send([find_log(folder)], min(config.tracking.timeout, PATIENCE)))  # what is not sent stays for sync


def is_published(root: Path) -> bool:
    """Return whether there is a run of a failure that has not been retracted."""
    return "failed" in read_object(root / MARK)


def retract_failure(root: Path) -> None:
    """Remove the run of a failure that is tried again or is over, and forget the training that was at work.

    One that was sent to a server stays there. An attempt that fails before its own training begins must not be taken
    for the training before, whose run may be a success.
    """
    folder = str(read_object(root / MARK).get("failed"))
    if re.fullmatch(r"offline-run-[\w-]+", folder):
        shutil.rmtree(root / "wandb" / folder, ignore_errors=True)
    (root / MARK).unlink(missing_ok=True)


def _write(root: Path, config: Config, stage: str, error: str, training: str | None) -> Path:
    rows = as_rows(read_history(root)) if training else []  # else it is an earlier training's
    identity = identify_unfinished(root, config, training)
    with session(), suppress(_FailedError), finished(open_run(root, config, identity, Mode.offline)) as run:
        folder = stage_artifacts_in(run)
        write_json(root / MARK, {"failed": folder.name})
        define_metrics(run, dict.fromkeys(column for row in rows for column in row))
        log_history(run, rows)
        run.summary.update({"error": without_secrets(error)[:LONGEST], "error/stage": stage})
        raise _FailedError
    return folder


def _training(root: Path, stage: str) -> str | None:
    """Return the fingerprint of the training that failed, or whose results could not be used."""
    if stage not in TRAINED:
        return None
    reported = read_object(root / "reports" / "train.json").get("fingerprint") if stage != "train" else None
    known = reported or read_object(root / MARK).get("training")
    return str(known) if known else None
