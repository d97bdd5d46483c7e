"""The filters of wandb.Api().runs(): the part of MongoDB's query language that people write there."""

import operator
import re
from collections.abc import Callable
from typing import Any

from tracking.server.state import ServedRun

ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def matches(run: ServedRun, filters: dict[str, Any]) -> bool:
    """Tell whether a run passes the filters.

    Raises:
        ValueError: an operator or a field that is not known here.
    """
    for name, wanted in filters.items():
        if name == "$and":
            passed = all(matches(run, part) for part in wanted)
        elif name == "$or":
            passed = any(matches(run, part) for part in wanted)
        elif name == "$not":
            passed = not matches(run, wanted)
        else:
            passed = _holds(_value(run, name), wanted)
        if not passed:
            return False
    return True


def _value(run: ServedRun, name: str) -> Any:
    fields = {
        "name": run.id,
        "display_name": run.display_name or run.id,
        "group": run.group,
        "job_type": run.job_type,
        "state": run.state,
        "tags": run.tags,
        "notes": run.notes,
        "sweep": run.sweep,
    }
    section, _, rest = name.partition(".")
    if section == "config":
        return _inside(run.config, rest.removesuffix(".value"))
    if section in ("summary_metrics", "summaryMetrics", "summary"):
        return _inside(run.summary, rest)
    field = re.sub(r"(?<=[a-z])([A-Z])", lambda found: f"_{found[1].lower()}", name)
    if field not in fields:
        raise ValueError(f"filter on {name}")
    return fields[field]


def _inside(values: Any, path: str) -> Any:
    if not isinstance(values, dict):
        return None
    if path in values:  # names with dots in them
        return values[path]
    first, _, rest = path.partition(".")
    return _inside(values.get(first), rest) if rest else None


def _holds(value: Any, wanted: Any) -> bool:
    if not (isinstance(wanted, dict) and any(key.startswith("$") for key in wanted)):
        return value == wanted or (isinstance(value, list) and wanted in value)
    return all(_operator(name, value, operand) for name, operand in wanted.items())


def _operator(name: str, value: Any, operand: Any) -> bool:
    if name == "$eq":
        return _holds(value, operand)
    if name == "$ne":
        return not _holds(value, operand)
    if name == "$in":
        return any(_holds(value, one) for one in operand)
    if name == "$nin":
        return not any(_holds(value, one) for one in operand)
    if name == "$exists":
        return (value is not None) is bool(operand)
    if name == "$regex":
        return isinstance(value, str) and re.search(operand, value) is not None
    if name in ORDERED:
        return value is not None and ORDERED[name](value, operand)
    raise ValueError(f"filter with {name}")
