"""Reports in a trial's workspace, read while other processes write them: what is not whole counts as not there."""

import csv
import json
import math
from pathlib import Path
from typing import Any

REPORTS = ("evaluation", "export", "train", "dataset", "pretrain")
"""The reports in which an objective is looked up, in this order."""


def read_object(path: Path) -> dict[str, Any]:
    """Return a report's JSON object, empty where the file is missing, damaged or half there."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_history(workspace: Path) -> list[dict[str, float]]:
    """Return the rows of reports/history.csv, without what is empty or no finite number; a half row is left out."""
    try:
        with (workspace / "reports" / "history.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    history = []
    for row in rows:
        numbers = {name: number for name, text in row.items() if name and (number := _number(text)) is not None}
        if "epoch" in numbers and None not in row and None not in row.values():
            history.append(numbers)
    return history


def _number(text: object) -> float | None:
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def read_list(path: Path) -> list[Any]:
    """Return a report's JSON list, empty where the file is missing, damaged or half there."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return value if isinstance(value, list) else []
