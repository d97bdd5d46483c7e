"""Tables of numbers in a page: what their cells say, and the bars behind them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A number of a table as text, and the length of its bar in per cent."""

    text: str
    bar: float | None = None


@dataclass(frozen=True)
class Row:
    """A line of a table: `cells` has one a column, `color` is the class's, empty for none."""

    name: str
    cells: tuple[Cell, ...]
    color: str = ""


@dataclass(frozen=True)
class Table:
    """Numbers under `columns`."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def percent(share: float) -> float:
    """Return a share of a bar's length in per cent, from 0 to 100."""
    return round(100 * min(1.0, max(0.0, share)), 1)
