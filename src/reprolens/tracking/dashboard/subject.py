"""What a dashboard compares: which runs, by which number, over which keys of their configuration."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reprolens.errors import TrackingError
from reprolens.tracking.reports import STAGES, read_reports, summary

INTERVALS = (
    *("voc07/map50", "voc12/map50", "coco/ap", "coco/ap50", "coco/ap75"),
    *("coco_segm/ap", "coco_segm/ap50", "coco_segm/ap75"),
    *("precision", "recall", "f1", "best_f1"),
)
"""The numbers of evaluation.json that have a 95 % interval, `<key>/low` and `<key>/high`."""

USUAL = ("model.name", "optimizer.lr", "trainer.max_epochs", "seed")
"""The keys that are compared where nothing says which ones differ."""

MOST = 8
"""So many keys at most are compared where they have to be found: more axes and columns cannot be read."""

_NOT_THE_EXPERIMENT = ("tracking", "sweep", "dvc", "git", "environment")
_NAMING = ("name", "method", "source", "format")
"""The key that says which choice of its group a section is."""


@dataclass(frozen=True)
class Subject:
    """A project, the sweep in it that the report is about (None: all its trials), what is varied and what is wanted.

    `swept` are dotted keys of the configuration, `objective` is a key of the runs' summary.
    """

    project: str
    entity: str | None
    objective: str
    lower_is_better: bool = False
    swept: tuple[str, ...] = USUAL
    sweep: str | None = None


@dataclass(frozen=True)
class TrialRun:
    """One trial's run as W&B has it: `config` nested, `summary` flat, `url` only where it is on a server."""

    id: str
    name: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    url: str | None = None

    def number(self, key: str) -> float | None:
        """Return a number of the summary, None if there is none."""
        value = self.summary.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def read_trials(folders: Iterable[Path]) -> tuple[TrialRun, ...]:
    """Return the runs that were written in trials' workspaces; those that are unfinished or damaged are left out."""
    runs = []
    for folder in folders:
        with suppress(TrackingError, OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            written = json.loads((folder / "reports" / "run.json").read_text(encoding="utf-8"))
            config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
            runs.append(
                TrialRun(
                    id=str(written["id"]),
                    name=str(written["name"]),
                    config=dict(config),
                    summary=summary(read_reports(folder / "reports")),
                    url=written.get("url"),
                )
            )
    return tuple(runs)


def summary_key(metric: str, runs: Sequence[TrialRun]) -> str:
    """Return the name that a run's summary has for a number of a report: `seconds` is `train/seconds` there.

    That of the kept model on the val split, `val/map`, is `train/val/map`; under its own name stands the best epoch's.
    """
    if on_val(metric):
        return f"train/{metric.removeprefix('train/')}"
    names = (metric, *(f"{report}/{metric}" for report in reversed(STAGES)))
    return next((name for name in names if any(run.number(name) is not None for run in runs)), metric)


def on_val(key: str) -> bool:
    """Say whether a number is what training measured on the val split."""
    return key.startswith(("val/", "train/val/"))


def lower_is_better(key: str) -> bool:
    """Say whether less of a number is better, as of a loss, a time or a size."""
    return any(word in key for word in ("loss", "latency", "seconds", "size", "memory", "parameters", "tide/"))


def ranked(runs: Sequence[TrialRun], subject: Subject) -> list[TrialRun]:
    """Return the runs that have the objective, best first; equal ones by name and id."""
    sign = 1 if subject.lower_is_better else -1
    usable = [run for run in runs if run.number(subject.objective) is not None]
    return sorted(usable, key=lambda run: (sign * (run.number(subject.objective) or 0.0), run.name, run.id))


def swept_keys(names: Sequence[str], runs: Sequence[TrialRun]) -> tuple[str, ...]:
    """Return the keys of the configuration behind the names that a sweep varies.

    A choice of a group (`model`) is told by the key that names it (`model.name`), or, where the group has none, by the
    keys below it that differ. Without names, or if they lead nowhere, all keys that differ are returned, at most
    `MOST`; else `USUAL`.
    """
    differ = differing(runs)
    flat = _leaves(runs[0].config) if runs else {}
    found: list[str] = []
    for name in (name.lstrip("+~") for name in names):
        below = [key for key in flat if key.startswith(f"{name}.")]
        named = [key for key in (f"{name}.{leaf}" for leaf in _NAMING) if key in flat]
        found += [name] if name in flat else named[:1] or [key for key in below if key in differ][:MOST]
        if not runs and "." in name:  # nothing to look it up in, but a key all the same
            found.append(name)
    return tuple(dict.fromkeys(found)) or differ[:MOST] or USUAL


def differing(runs: Sequence[TrialRun]) -> tuple[str, ...]:
    """Return the keys of the experiment that not all runs have the same value of, in the configuration's order."""
    flat = [_leaves(run.config) for run in runs]
    keys = dict.fromkeys(key for leaves in flat for key in leaves)
    return tuple(key for key in keys if len({json.dumps(leaves.get(key), default=str) for leaves in flat}) > 1)


def value_of(config: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key, None if there is none."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the configuration by dotted key, without the sections that do not make the experiment."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if not prefix and key in _NOT_THE_EXPERIMENT:
            continue
        name = f"{prefix}{key}"
        leaves |= _leaves(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return leaves
