"""One complete W&B run a trial, written from the reports."""

import hashlib
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reprolens.config import Config
from reprolens.config.schema import Mode, Unreachable
from reprolens.errors import TrackingError
from reprolens.tracking.artifacts import check_files, log_artifacts
from reprolens.tracking.failure import retract_failure
from reprolens.tracking.identity import Identity, identify
from reprolens.tracking.media import build_media
from reprolens.tracking.reports import Reports, read_reports, summary
from reprolens.tracking.run import define_metrics, finished, log_history, one_line, open_run
from reprolens.tracking.session import session, stage_artifacts_in
from reprolens.tracking.sync import Fate, send
from reprolens.tracking.transaction_log import PICTURES, find_log

SHOWN = ("plots", "samples", "sheets")
"""The folders of reports/ with what pictures and tables are made of."""


@dataclass(frozen=True)
class Trial:
    """What a run is written from, all of it read and checked."""

    root: Path
    config: Config
    identity: Identity
    reports: Reports


def publish(root: Path, config: Config) -> dict[str, str]:
    """Write the W&B run of the experiment in the repository `root`, and return what reports/run.json says of it.

    The run holds the configuration, the history, the final metrics, curves, tables, pictures with boxes and, if
    tracking.artifacts, the data set by reference, the model, its exported files and the predictions. It is one whole
    folder in `root`/wandb, in any mode. Its id follows from the experiment, so publishing the same one again replaces
    its folder.
    Online the folder is then sent: to the run that training wrote live, if it did, of which the rows that the server
    has are not sent again; and the server is asked whether it has everything.

    `tracking` alone decides what is written and where: of the WANDB_* variables only those count that say how to reach
    the server (`session.ACCESS`), so WANDB_MODE or WANDB_PROJECT change nothing. `os.environ` is the same after the
    call. Without key or server, or where the server did not take everything, a line on standard error says so, and the
    folder is left for `reprolens sync`; or, by tracking.unreachable, that is an error.

    Returns: `mode`, as it came to be; unless disabled also `id`, `name`, `project`, and `folder` relative to `root`
    (offline) or `url` (online).

    Raises TrackingError if a report is missing or damaged, or if W&B refuses the run; then nothing of it is left.
    """
    tracking = config.tracking
    if tracking.mode == Mode.disabled:
        return {"mode": Mode.disabled.value}
    root = root.resolve()
    reports = read_reports(root / "reports")
    identity = identify(root, config)
    if tracking.artifacts:
        check_files(root, reports)
    folder = _write(Trial(root, config, identity, reports))
    retract_failure(root)
    result = {"id": identity.id, "name": identity.name, "project": tracking.project}
    if tracking.mode == Mode.online:
        (sent,) = send([find_log(folder)], tracking.timeout)
        if sent.fate == Fate.sent:
            return result | {"mode": Mode.online.value, "url": sent.url}
        if tracking.unreachable == Unreachable.fail:
            raise TrackingError(f"tracking.mode: online, but {sent.reason}")
        print(f"tracking: {sent.reason}; the run is in wandb/, reprolens sync sends it", file=sys.stderr)
    return result | {"mode": Mode.offline.value, "folder": folder.relative_to(root).as_posix()}


def _write(trial: Trial) -> Path:
    """Write the whole run in a session of its own, remove what it replaces, and return its folder."""
    with session():
        try:
            media = build_media(trial.reports)  # before the run is opened, because a picture may be broken
        except OSError as error:
            raise TrackingError(f"W&B cannot write the run ({one_line(error)})") from None
        run = open_run(trial.root, trial.config, trial.identity, Mode.offline)
        with _replacing(trial, Path(run.dir).parent), finished(run):
            folder = stage_artifacts_in(run)
            define_metrics(run, trial.reports.columns)
            log_history(run, trial.reports.history)
            run.log(media)
            run.summary.update(summary(trial.reports) | {PICTURES: _digest(trial.root / "reports")})
            if trial.config.tracking.artifacts:
                log_artifacts(run, trial.root, trial.config, trial.identity, trial.reports)
    return folder


def _digest(reports: Path) -> str:
    """Return a digest over the files that pictures and tables are made of."""
    paths = sorted(path for name in SHOWN for path in (reports / name).glob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


@contextmanager
def _replacing(trial: Trial, folder: Path) -> Iterator[None]:
    """Remove the run's older folders once the one in `folder` is complete; if it fails, remove that one instead."""
    import wandb

    older = _folders(trial) - {folder}
    try:
        yield
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, wandb.errors.Error | OSError):
            raise TrackingError(f"W&B cannot write the run ({one_line(error)})") from None
        raise
    for path in older:
        shutil.rmtree(path, ignore_errors=True)


def _folders(trial: Trial) -> set[Path]:
    """Return the folders of this run, whatever their time and mode; wandb numbers those of the same second."""
    pattern = re.compile(rf"(offline-)?run-\d+_\d+-{trial.identity.id}(-\d+)?")
    return {path for path in (trial.root / "wandb").glob("*run-*") if pattern.fullmatch(path.name)}
