"""A run of Weights & Biases: opened under our id, given its history once, closed in any case."""

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from reprolens.config import Config
from reprolens.config.schema import Mode
from reprolens.errors import TrackingError
from reprolens.tracking.identity import Identity
from reprolens.tracking.reports import Number, best_is
from reprolens.tracking.session import settings

if TYPE_CHECKING:
    import wandb

AXES = ("epoch", "global_step")

CONNECT = 5.0
"""Seconds in which a server takes a connection."""


class UnreachableError(Exception):
    """The server did not open the run; the message says why."""


def open_run(root: Path, config: Config, identity: Identity, mode: Mode, watched: int | None = None) -> "wandb.Run":
    """Open the run, or online go on with it. `watched` is the process whose load the run shows, None: none's.

    Raises UnreachableError if that needs a server which does not answer or does not know us, TrackingError if W&B
    refuses the run.
    """
    import wandb

    tracking = config.tracking
    try:
        if mode == Mode.online:
            log_in()
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
            settings=settings(tracking.timeout, watched),
        )
    except OSError as error:
        raise TrackingError(f"W&B cannot write the run ({one_line(error)})") from None
    except wandb.errors.CommError as error:  # no answer, or a key the server refuses
        if mode == Mode.online:
            raise UnreachableError(f"W&B did not open the run ({one_line(error)})") from None
        raise TrackingError(f"W&B cannot write the run ({one_line(error)})") from None
    except (wandb.errors.Error, ValueError) as error:  # ValueError: wandb.Settings refuses a value
        raise TrackingError(f"tracking: W&B refuses the run ({one_line(error)}); change params.yaml") from None


def log_in() -> None:
    """Raise UnreachableError if no key is set for the server, or nothing listens where it should be."""
    import wandb

    server = wandb.setup(wandb.Settings(mode="online", silent=True)).settings.base_url
    if not wandb.login(prompt=False, verify=False):
        raise UnreachableError("no W&B key is set (wandb login, or WANDB_API_KEY)")
    address = urlsplit(server)
    host = address.hostname or ""
    if address.scheme in getproxies() and not proxy_bypass(host):
        return  # the proxy is asked, when there is something to ask
    try:
        socket.create_connection((host, address.port or (443 if address.scheme == "https" else 80)), CONNECT).close()
    except OSError as error:  # wandb itself would try for long
        raise UnreachableError(f"no W&B server answers at {server} ({error.strerror or error})") from None


@contextmanager
def finished(run: "wandb.Run") -> Iterator["wandb.Run"]:
    """Close the run in any case, as failed after an error. wandb's own context manager would print the traceback."""
    try:
        yield run
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish(exit_code=0)


def define_metrics(run: "wandb.Run", columns: Iterable[str]) -> None:
    """Draw what training measures over steps and the rest over epochs; keep the best of what validation measures."""
    for column in columns:
        if column in AXES:
            run.define_metric(column)
            continue
        axis = "global_step" if column == "lr" or column.startswith("train/") else "epoch"
        run.define_metric(column, step_metric=axis, summary=best_is(column) if column.startswith("val/") else None)


def as_rows(history: Iterable[Mapping[str, float]]) -> list[dict[str, Number]]:
    """Return rows in which epoch and step are whole numbers."""
    return [{name: int(value) if name in AXES else value for name, value in row.items()} for row in history]


def log_history(run: "wandb.Run", history: Sequence[Mapping[str, Number]]) -> None:
    """Log the rows, each a step of its own, from 0 on: so the count of those on the server says which it lacks."""
    for row in history:
        run.log(dict(row))


def one_line(error: BaseException) -> str:
    """Return the error in one line; of a setting that wandb refuses only the reason, one of pydantic's list.

    Of a server that does not answer wandb says that its own service is busy, or that a setting of ours was too small.
    """
    text = error.errors()[0]["msg"] if hasattr(error, "errors") else str(error)
    if "respond in time" in text or "init_timeout" in text:
        return "no answer in time"
    return " ".join(text.split())[:300] or type(error).__name__
