"""What each kind of error costs, a bar a kind."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reprolens.evaluation.findings.errors import KINDS, ErrorKind
from reprolens.evaluation.reports.figures.theme import Theme, new_figure, save, write_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = ("#e6194b", "#1f77ff", "#9b5de5", "#ff7f0e", "#7896b4", "#2ca02c")
"""In the order of `KINDS`; seen on light and on dark."""


def draw_errors(errors: Sequence[ErrorKind], folder: Path, name: str = "errors") -> None:
    """Draw a bar a kind, as long as its cost in AP50, with cost and count behind it; written by `theme.save`."""
    save(partial(_draw, errors), folder, name)


def _draw(errors: Sequence[ErrorKind], theme: Theme) -> "Figure":
    figure = new_figure(460)
    axes = figure.add_axes((0.22, 0.13, 0.74, 0.74))
    most = max([0.0, *(error.cost for error in errors)]) or 0.01
    for place, (error, color) in enumerate(zip(errors, _COLORS, strict=True)):
        length = max(0.0, error.cost)  # mending a kind may also cost a little
        axes.barh(place, length, color=color, height=0.62)
        axes.text(length + most * 0.01, place, f"{error.cost:z.4f}", va="center", fontsize=11)
        axes.text(most * 1.27, place, f"{error.count:,}", va="center", ha="right", fontsize=11, color=theme.muted)
    axes.text(most * 1.27, -0.75, "errors, at any score", ha="right", fontsize=11, color=theme.muted)
    axes.set_yticks(range(len(errors)), [f"{KINDS[error.name]}  {error.name}" for error in errors], fontsize=11)
    axes.set(xlim=(0, most * 1.28), xlabel="AP50 lost")
    axes.invert_yaxis()
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    write_title(axes, theme, "What each kind of error costs", "TIDE, IoU 0.5")
    return figure
