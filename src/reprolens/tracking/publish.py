"""One complete W&B run a trial, written from the reports."""

import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprolens.config import Config
from reprolens.config.schema import Mode
from reprolens.errors import TrackingError
from reprolens.tracking.artifacts import check_files, log_artifacts
from reprolens.tracking.identity import Identity, identify
from reprolens.tracking.media import build_media
from reprolens.tracking.reports import Number, Reports, best_is, read_reports, summary
from reprolens.tracking.session import FINISH_TIMEOUT, session, settings, stage_artifacts_in

if TYPE_CHECKING:
    import wandb


class UnreachableError(Exception):
    """The server did not open the run; the message says why."""


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
    tracking.artifacts, the data set by reference and both models. Its id follows from the experiment: publishing the
    same one again replaces its folder in `root`/wandb offline, and continues its run online, where rows of the history
    that the server already has are not sent again.

    `tracking` alone decides what is written and where: of the WANDB_* variables only those count that say how to reach
    the server (`session.ACCESS`), so WANDB_MODE or WANDB_PROJECT change nothing. Without a key or a server an online
    run is written offline, and one line on standard error says so. `os.environ` is the same after the call.

    Returns: `mode`, as it came to be; unless disabled also `id`, `name`, `project`, and `folder` relative to `root`
    (offline) or `url` (online).

    Raises TrackingError if a report is missing or damaged, if W&B refuses the run, or if an upload does not end. Unless
    the run was already open on the server, nothing of it is left.
    """
    if config.tracking.mode == Mode.disabled:
        return {"mode": Mode.disabled.value}
    root = root.resolve()
    reports, identity = read_reports(root / "reports"), identify(root, config)
    if config.tracking.artifacts:
        check_files(root)
    trial = Trial(root, config, identity, reports)
    if config.tracking.mode == Mode.online:
        try:
            return _write(trial, Mode.online)
        except UnreachableError as error:
            print(f"tracking: {error}; the run is written offline, send it with wandb sync", file=sys.stderr)
    return _write(trial, Mode.offline)


def _write(trial: Trial, mode: Mode) -> dict[str, str]:
    """Write the whole run in a session of its own, then remove what it replaces."""
    with session():
        media = build_media(trial.reports)  # before the run is opened, because a picture may be broken
        with _replacing(trial, mode), finished(open_run(trial.root, trial.config, trial.identity, mode)) as run:
            folder, url = stage_artifacts_in(run), run.url
            define_metrics(run, trial.reports.columns)
            _log_history(run, trial.reports.history, media)
            run.summary.update(summary(trial.reports))
            if trial.config.tracking.artifacts:
                log_artifacts(run, trial.root, trial.config, trial.identity, trial.reports)
    result = {"id": trial.identity.id, "name": trial.identity.name, "mode": mode.value}
    result["project"] = trial.config.tracking.project
    place = {"url": url or ""} if mode == Mode.online else {"folder": folder.relative_to(trial.root).as_posix()}
    return result | place


def open_run(root: Path, config: Config, identity: Identity, mode: Mode) -> "wandb.Run":
    """Open the run. Raises UnreachableError if that needs a server which does not answer or does not know us."""
    import wandb

    tracking = config.tracking
    try:
        if mode == Mode.online:
            wandb.setup(wandb.Settings(mode="online", silent=True))
            if not wandb.login(prompt=False, verify=False):
                raise UnreachableError("no W&B key is set (wandb login, or WANDB_API_KEY)")
        return wandb.init(
            dir=str(root),
            mode=mode.value,
            id=identity.id,
            resume="allow" if mode == Mode.online else None,  # wandb cannot resume offline
            project=tracking.project,
            entity=tracking.entity,
            name=identity.name,
            group=tracking.group,
            job_type="trial",
            tags=tracking.tags,
            notes=tracking.notes,
            config=dict(identity.config),
            allow_val_change=True,  # a resumed run takes the configuration of today, its `git` and `tracking` too
            settings=settings(),
        )
    except wandb.errors.CommError as error:  # no answer, or a key the server refuses
        if mode == Mode.online:
            raise UnreachableError(f"W&B did not open the run ({_line(error)})") from None
        raise TrackingError(f"W&B cannot write the run ({_line(error)})") from None
    except (wandb.errors.Error, ValueError) as error:  # ValueError: wandb.Settings refuses a value
        raise TrackingError(f"tracking: W&B refuses the run ({_line(error)}); change params.yaml") from None


@contextmanager
def finished(run: "wandb.Run") -> Iterator["wandb.Run"]:
    """Close the run in any case, as failed after an error. wandb's own context manager would print the traceback."""
    try:
        yield run
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish(exit_code=0)


def define_metrics(run: "wandb.Run", columns: tuple[str, ...]) -> None:
    """Draw what training measures over steps and the rest over epochs; keep the best of what validation measures."""
    for column in columns:
        if column in ("epoch", "global_step"):
            run.define_metric(column)
            continue
        axis = "global_step" if column == "lr" or column.startswith("train/") else "epoch"
        run.define_metric(column, step_metric=axis, summary=best_is(column) if column.startswith("val/") else None)


def _log_history(run: "wandb.Run", history: Sequence[Mapping[str, Number]], media: Mapping[str, Any]) -> None:
    """Log each row that the run lacks; the media go with the last one, so that the run has as many rows as the file."""
    sent = run.summary.get("epoch", -1) if run.resumed else -1
    rows = [row for row in history if row["epoch"] > sent]
    for row in rows[:-1]:
        run.log(dict(row))
    run.log({**(rows[-1] if rows else {}), **media})


@contextmanager
def _replacing(trial: Trial, mode: Mode) -> Iterator[None]:
    """Remove the run's older folders once the new one is complete; if it fails, remove the new one instead.

    What an open online run has not sent is only in its folder, so that one stays.
    """
    import wandb

    before = _folders(trial)
    try:
        yield
    except UnreachableError:
        _remove(_folders(trial) - before)
        raise
    except TimeoutError:
        raise TrackingError(
            f"W&B did not take the whole run within {FINISH_TIMEOUT:.0f} s; "
            f"send the rest with wandb sync wandb/run-*-{trial.identity.id}"
        ) from None
    except BaseException as error:
        if mode == Mode.offline:
            _remove(_folders(trial) - before)
        if isinstance(error, wandb.errors.Error | OSError):
            raise TrackingError(f"W&B cannot write the run ({_line(error)})") from None
        raise
    _remove(before)


def _folders(trial: Trial) -> set[Path]:
    """Return the folders of this run, whatever their time and mode; wandb numbers those of the same second."""
    pattern = re.compile(rf"(offline-)?run-\d+_\d+-{trial.identity.id}(-\d+)?")
    return {path for path in (trial.root / "wandb").glob("*run-*") if pattern.fullmatch(path.name)}


def _remove(folders: set[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _line(error: BaseException) -> str:
    """Return the error in one line; of a setting that wandb refuses only the reason, one of pydantic's list."""
    text = error.errors()[0]["msg"] if hasattr(error, "errors") else str(error)
    return " ".join(text.split())[:300] or type(error).__name__
