"""Reports read while other processes write them, or after a failure: what is not whole counts as not there."""

import csv
import json
import math
from pathlib import Path
from typing import Any

REPORTS = ("evaluation", "export", "train", "dataset", "pretrain")
"""The JSON reports, in the order in which a value is looked up in them."""


def read_object(path: Path) -> dict[str, Any]:
    """Return a report's JSON object, empty where the file is missing, damaged or half there."""
    value = _read_json(path)
    return value if isinstance(value, dict) else {}


def read_list(path: Path) -> list[Any]:
    """Return a report's JSON list, empty where the file is missing, damaged or half there."""
    value = _read_json(path)
    return value if isinstance(value, list) else []


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file by the names in its header; a row that is too short or too long is left out."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    return [row for row in rows if None not in row and None not in row.values()]


def read_history(root: Path) -> list[dict[str, float]]:
    """Return the rows of `root`/reports/history.csv, without what is empty or no finite number; no half rows."""
    history = []
    for row in read_table(root / "reports" / "history.csv"):
        numbers = {name: number for name, text in row.items() if (number := read_number(text)) is not None}
        if "epoch" in numbers:
            history.append(numbers)
    return history


def read_number(value: object) -> float | None:
    """Return the finite number that a cell of a table or a JSON value holds, else None; truth values are none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
