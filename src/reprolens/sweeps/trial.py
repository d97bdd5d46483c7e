"""One trial: a workspace, `dvc repro` in it, and the metric that came out.

Parallel reproductions on one cache are safe, but DVC would run a stage that several trials share once in each. So the
shared stages are brought up first, under a lock whose name is a hash of all that decides their result.
"""

import fcntl
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from reprolens.config import Config
from reprolens.errors import ReprolensError, suggest
from reprolens.sweeps.workspace import make_workspace

SHARED = {"convert": ("seed", "data"), "pretrain": ("seed", "data", "model", "pretrain")}
"""Stages that trials may share, in order, and the parts of the configuration that decide their results."""


class TrialError(ReprolensError):
    """A trial's reproduction failed, or its report lacks the metric asked for."""


def run_trial(root: Path, folder: Path, config: Config) -> float:
    """Reproduce `config` in `folder` and return its `sweep.metric`. Raises TrialError if that fails."""
    # The group keeps the trials of a sweep together in the dashboard.
    group = config.tracking.group or folder.parent.relative_to(root).as_posix()
    config = replace(config, tracking=replace(config.tracking, group=group))
    config = make_workspace(root, folder, config)
    with (folder / "dvc.log").open("a", encoding="utf-8") as log:
        for stage, sections in SHARED.items():
            with _lock(root, stage, {name: asdict(config)[name] for name in sections}):
                _repro(folder, log, stage)
        _repro(folder, log)
    return _metric(folder / "reports" / "evaluation.json", config.sweep.metric)


@contextmanager
def _lock(root: Path, stage: str, decides: dict[str, Any] | Any) -> Iterator[None]:
    key = hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()[:16]
    path = root / ".dvc" / "tmp" / f"{stage}-{key}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _repro(folder: Path, log: IO[str], *stages: str) -> None:
    """Run `dvc repro` as a process of its own, so that any launcher may run trials in threads or processes."""
    log.flush()
    command = [sys.executable, "-m", "dvc", "repro", *stages]
    if subprocess.run(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT).returncode:
        lines = (folder / "dvc.log").read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in lines if line.startswith("error: ")] or lines[-1:]
        reason = errors[-1].removeprefix("error: ") if errors else "no output"
        raise TrialError(f"{folder.name}: {reason} (whole log: {folder / 'dvc.log'})")


def _metric(path: Path, name: str) -> float:
    metrics = json.loads(path.read_text(encoding="utf-8"))
    value = metrics.get(name)
    if not isinstance(value, int | float):
        numbers = [key for key, number in metrics.items() if isinstance(number, int | float)]
        raise TrialError(f"sweep.metric: {path.name} has no number {name!r}; {suggest(name, numbers)}")
    return float(value)
