"""How values, metrics and times are written: the same in every page and table."""

import json
import math
from typing import Any

MISSING = "-"
"""What stands where there is no value."""


def write_value(value: Any) -> str:
    """Return a parameter's value as one would type it on the command line, numbers with five digits that count."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.5g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(write_value(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False, default=str)


def write_number(value: float | None) -> str:
    """Return a metric with four digits that count: 0.9134, 12.50, 1.250e+06."""
    if value is None or not math.isfinite(value):
        return MISSING if value is None else str(value)
    if value == 0 or 1e-3 <= abs(value) < 1:
        return f"{value:.4f}"
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e6 else f"{value:#.4g}".removesuffix(".")


def write_duration(seconds: float | None) -> str:
    """Return a time as its two largest units: `1.5 s`, `42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None:
        return MISSING
    if 0 < seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = max(0, round(seconds))
    for name, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // part} {smaller}"
    return f"{whole} s"
