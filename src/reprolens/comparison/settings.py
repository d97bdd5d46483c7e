"""In which settings experiments differ, and what they weigh and cost."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reprolens.errors import DataError
from reprolens.tracking import wording

_NO_RESULT = ("sweep", "tracking")
"""Sections of config.yaml that decide no result."""

_FACTS = (
    ("evaluation", "weights/sha256", "weights"),
    ("train", "parameters", "parameters"),
    ("train", "best/epoch", "kept epoch"),
    ("train", "seconds", "training, s"),
    ("train", "device", "trained on"),
    ("export", "onnx/size_mb", "ONNX size, MB"),
    ("export", "onnx/latency_ms/p50", "ONNX latency, ms"),
    ("dataset", "images/train", "training pictures"),
    ("evaluation", "near_duplicates", "near-duplicate pictures"),
)
_DIGITS = 12
"""Of a hash, those that are shown."""


@dataclass(frozen=True)
class Setting:
    """A setting's dotted name, and its value in each subject; `MISSING` where the subject has none."""

    name: str
    values: tuple[Any, ...]


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()
"""No value: None is one that a setting may have."""


def read_settings(path: Path) -> dict[str, Any]:
    """Return a config.yaml as dotted names and values, empty where there is none. Raises DataError if it is damaged.

    It is not checked against today's schema, which an older revision's need not fit.
    """
    try:
        composed = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        composed = None
    if not isinstance(composed, Mapping):
        raise DataError(f"{path}: not a composed configuration; dvc repro compose writes it anew")
    return dict(_flat({name: value for name, value in composed.items() if name not in _NO_RESULT}))


def different(configurations: Sequence[Mapping[str, Any]]) -> tuple[Setting, ...]:
    """Return the settings that not all configurations have alike, in the order in which they first occur.

    An empty configuration, of a subject that has none, differs in nothing.
    """
    known = [own for own in configurations if own]
    names = dict.fromkeys(name for own in known for name in own)
    found = (Setting(name, tuple(own.get(name, MISSING) for own in configurations)) for name in names)
    # By what is written, because 1 and True are equal in Python.
    return tuple(
        setting
        for setting in found
        if len({repr(value) for value, own in zip(setting.values, configurations, strict=True) if own}) > 1
    )


def facts(reports: Sequence[Mapping[str, Mapping[str, Any]]]) -> tuple[Setting, ...]:
    """Return what the subjects' reports (by name) say of weights, size and cost; nothing of what no report has."""
    rows = (
        Setting(title, tuple(_fact(own.get(report, {}).get(key, MISSING)) for own in reports))
        for report, key, title in _FACTS
    )
    return tuple(row for row in rows if any(value is not MISSING for value in row.values))


def write_setting(value: Any) -> str:
    """Return a setting's value as text, a dash where a subject has none."""
    return wording.MISSING if value is MISSING else wording.write_value(value)


def _fact(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_DIGITS] if len(value) == 64 else value
    return value if isinstance(value, int | float) else MISSING


def _flat(section: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
