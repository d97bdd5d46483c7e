"""What all readers of predictions refuse, and the words in which they quote it."""

import json
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reprolens.errors import DataError

FURTHEST = 1e100
"""The largest number that a prediction may hold: the area of a box of such sides is still a number."""

_LONGEST = 60
_CONSTANTS = ("NaN", "Infinity", "-Infinity")


def quoted(name: str) -> str:
    """Return a name in quotes, on one line; of a long one, its beginning and end."""
    return repr(name if len(name) <= _LONGEST else f"{name[:35]}...{name[-20:]}")


def shown(value: object) -> str:
    """Return a value as JSON has it, of a long one the beginning."""
    text = json.dumps(value, ensure_ascii=False)
    for constant in _CONSTANTS:
        text = text.replace(f'"{constant}"', constant)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def fault_of(part: float | str | None) -> str | None:
    """Return what is wrong with one number of a JSON file, if something is; its reader makes texts of NaN and such."""
    if part is None or part in _CONSTANTS:
        return "which must be finite numbers"
    if isinstance(part, str):
        return f"but {shown(part)} in quotes is text, not a number"
    return f"which reaches further than {FURTHEST:g}; leave it out" if abs(part) > FURTHEST else None


def check_numbers(values: NDArray[np.float64], where: Callable[[int], str], form: str) -> None:
    """Raise DataError with the first of N rows, `(N, K)`, that is not of finite numbers up to `FURTHEST`.

    `where` says of a row its file and line, `form` what a line should hold.
    """
    for bad, what in (
        (~np.isfinite(values), f"must be finite numbers; {form}"),
        (np.abs(values) > FURTHEST, f"reaches further than {FURTHEST:g}; leave it out"),
    ):
        if bad.any():
            row = int(np.argmax(bad.any(axis=1)))
            raise DataError(f"{where(row)}: {values[row].tolist()} {what}")
