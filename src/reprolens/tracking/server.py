"""What the server holds of a run, asked of the server. wandb reports success when it was not taken, too."""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from reprolens.tracking.run import UnreachableError, log_in, one_line
from reprolens.tracking.transaction_log import PICTURES, LoggedArtifact, RunLog

if TYPE_CHECKING:
    from wandb import Artifact
    from wandb.apis.public import Api, Run

BEST = "best"
"""The alias of the best version of an artifact, by the first objective of its experiment."""

REQUEST_TIMEOUT = 10
"""Seconds to wait for an answer."""

POLL = 0.5
"""Seconds between two looks at a run that is not whole yet."""

COMPARED = ("epoch", "global_step", "lr", "train/", "val/")
"""How the columns of the history begin that are the same for the same training; the others are clocks'."""

_SHOWN = 3


@dataclass(frozen=True)
class Held:
    """What the server holds of a run. `lines` counts the rows of its history."""

    run: "Run"
    lines: int

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """The rows of the history as they came."""
        rows = self.run.history(samples=max(500, self.lines), pandas=False) if self.lines else []
        return [dict(row) for row in rows]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the history that have an epoch."""
        return [row for row in self.history if row.get("epoch") is not None]

    @cached_property
    def epochs(self) -> set[float]:
        """The epochs of the history."""
        return {row["epoch"] for row in self.rows}

    @property
    def pictures(self) -> str | None:
        """Which reports its pictures and tables show, which lie in a row without an epoch; None without such a row."""
        value = self.run.summary.get(PICTURES)
        return None if value is None or len(self.rows) == len(self.history) else str(value)

    def is_another(self, log: RunLog) -> bool:
        """Return whether this is the run of another training than the log's, which has the same id all the same.

        A training may end differently under one fingerprint: it was bounded by time, or ran on a GPU.
        """
        ours = {row["epoch"]: row for row in log.rows}
        if log.is_published and not ours.keys() >= self.epochs:
            return True
        return any(not _agree(row, ours[row["epoch"]]) for row in self.rows if row["epoch"] in ours)


def connect() -> "Api":
    """Return the public client, once the server has answered and knows us. Raises UnreachableError if it does not."""
    import wandb

    log_in()
    try:
        api = wandb.Api(timeout=REQUEST_TIMEOUT)
        if not api.viewer.entity:
            raise UnreachableError("the account has no default entity; set tracking.entity")
    except refusals() as error:
        raise UnreachableError(f"W&B does not let us in ({one_line(error)})") from None
    return api


def refusals() -> tuple[type[Exception], ...]:
    """Return what the public client raises where the server does not answer, or refuses."""
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    return wandb.errors.Error, WandbApiFailedError, ValueError, OSError


def hold(api: "Api", log: RunLog, patience: float) -> Held | None:
    """Return what the server holds of a run, None if it does not know it.

    Its parts learn of a run one by one, so where it has not all rows, and none is of another training, it is asked
    again, for at most `patience` seconds: a row that it only shows late must not be sent twice.
    """
    ends = time.monotonic() + patience
    while True:
        held = _look(api, log)
        if held is None or held.epochs >= {row["epoch"] for row in log.rows} or time.monotonic() > ends:
            return held
        if held.is_another(log):
            return held
        time.sleep(POLL)


def lacking(api: "Api", log: RunLog, patience: float) -> list[str]:
    """Return what is wrong with a run on the server after `patience` seconds, in words: empty where it is whole."""
    ends = time.monotonic() + patience
    while True:
        held = _look(api, log)
        found = list(_lacking(api, held, log)) if held else ["lacks the run"]
        if not found or time.monotonic() > ends:
            return found
        time.sleep(POLL)


def mark_best(api: "Api", log: RunLog) -> None:
    """Give the alias `best` to the best of all versions of each of the run's models.

    A version says in its metadata what it was measured by. Only those are compared that were measured by the same
    objective on the same data as this run's; of equals the first keeps it.
    """
    for logged in log.artifacts:
        objective = logged.metadata.get("objective")
        if not objective:
            continue
        every = _versions(api, log, logged)
        for version in every:
            if version.digest == logged.digest and version.metadata.get("objective") != objective:
                version.metadata["objective"] = objective  # the same model was evaluated anew
                version.save()
        same = ("name", "direction", "data")
        rivals = [version for version in every if all(_goal(version).get(key) == objective[key] for key in same)]
        sign = 1 if objective["direction"] == "maximize" else -1
        best = max(rivals, key=lambda version: (sign * _goal(version)["value"], BEST in version.aliases), default=None)
        if best is not None and BEST not in best.aliases:
            best.aliases.append(BEST)
            best.save()


def _look(api: "Api", log: RunLog) -> Held | None:
    import wandb
    from wandb.apis.public.runs import RunNotFoundError

    api.flush()  # it remembers runs
    try:
        run = api.run(_place(api, log, log.id))
    except wandb.errors.CommError as error:
        if isinstance(error.exc, RunNotFoundError):
            return None
        raise
    return Held(run, int(run.historyLineCount or 0))


def _place(api: "Api", log: RunLog, name: str) -> str:
    return f"{log.entity or api.default_entity}/{log.project}/{name}"


def _versions(api: "Api", log: RunLog, logged: LoggedArtifact) -> list["Artifact"]:
    """Return the versions of an artifact's collection, the first one first."""
    versions = list(api.artifacts(logged.type, _place(api, log, logged.name), per_page=100))
    return sorted(versions, key=lambda version: int(version.version.lstrip("v")))


def _goal(version: "Artifact") -> dict[str, Any]:
    goal = version.metadata.get("objective")
    return goal if isinstance(goal, dict) else {}


def _lacking(api: "Api", held: Held, log: RunLog) -> Iterator[str]:
    if missing := {row["epoch"] for row in log.rows} - held.epochs:
        yield f"lacks {len(missing)} of {len(log.rows)} rows of the history"
    elif len(held.rows) > len(held.epochs):
        yield f"has {len(held.rows) - len(held.epochs)} rows of the history twice"
    if log.is_published and held.pictures != str(log.summary[PICTURES]):
        yield "lacks the pictures"
    if log.exit_code is not None and held.run.state == "running":
        yield "lacks its end"
    there = dict(held.run.summary)
    scalars = {name: value for name, value in log.summary.items() if isinstance(value, bool | int | float | str)}
    if names := [
        name for name, value in scalars.items() if not name.startswith("_") and not _same(there.get(name), value)
    ]:
        yield f"lacks {len(names)} values of the summary ({_some(names)})"
    if names := sorted(set(log.files) - {file.name for file in held.run.files(per_page=1000) if file.size != 0}):
        yield f"lacks {len(names)} files ({_some(names)})"
    digests = {artifact.digest for artifact in (*held.run.logged_artifacts(), *held.run.used_artifacts())}
    others = [logged for logged in log.artifacts if logged.digest not in digests]  # perhaps another run made it first
    if names := [
        logged.name for logged in others if logged.digest not in {item.digest for item in _versions(api, log, logged)}
    ]:
        yield f"lacks {len(names)} artifacts ({_some(names)})"


def _agree(one: dict[str, Any], other: dict[str, float]) -> bool:
    return all(_same(one[name], value) for name, value in other.items() if name.startswith(COMPARED) and name in one)


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, NaN equal to itself; the last digits of numbers aside.

    What JSON has no number for a server may say in words: "NaN", "Infinity".
    """
    if isinstance(one, str) and isinstance(other, float) and not math.isfinite(other):
        return one == json.dumps(other)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
