"""The average precision of each class, a bar a class."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reprolens.colors import class_hex
from reprolens.evaluation.reports.figures.theme import Theme, new_figure, save, shown_names, write_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = 40
_ENDS = 20
_ROW = 26
_ABOVE, _BELOW = 56, 62
"""Pixels over the first bar and under the last one."""


def draw_class_ap(
    classes: Sequence[str],
    voc12: Sequence[float | None],
    coco: Sequence[float | None],
    boxes: Sequence[int],
    folder: Path,
    name: str = "class_ap",
) -> None:
    """Draw a bar a class, best first, as long as its AP at IoU 0.5 (VOC2012), with COCO's AP as a mark.

    All have one entry a class; those whose VOC AP is None, without objects to be found, are left out. Of more than 40
    the 20 best and the 20 worst are drawn, with a gap between. Written by `theme.save`.
    """
    save(partial(_draw, classes, voc12, coco, boxes), folder, name)


def _draw(
    classes: Sequence[str],
    voc12: Sequence[float | None],
    coco: Sequence[float | None],
    boxes: Sequence[int],
    theme: Theme,
) -> "Figure":
    values = {index: value for index, value in enumerate(voc12) if value is not None}
    order = sorted(values, key=lambda index: -values[index])
    gap = len(order) > _MOST
    rows: list[int | None] = [*order[:_ENDS], None, *order[-_ENDS:]] if gap else [*order]
    height = _ROW * max(4, len(rows)) + _ABOVE + _BELOW
    figure = new_figure(height)
    axes = figure.add_axes((0.24, _BELOW / height, 0.71, 1 - (_ABOVE + _BELOW) / height))
    names = shown_names(classes)
    labels = ["" if index is None else f"\u200e{names[index]}\u200e  ({boxes[index]:,})" for index in rows]
    for place, index in enumerate(rows):
        if index is not None:
            _draw_class(axes, theme, place, values[index], coco[index], class_hex(index))
    if gap:
        text = f"{len(order) - 2 * _ENDS:,} more, AP from {values[order[-_ENDS - 1]]:.3f} to {values[order[_ENDS]]:.3f}"
        axes.text(0.01, _ENDS, f"⋮   {text}", va="center", fontsize=11, color=theme.muted)
    axes.set_yticks(range(len(rows)), labels, fontsize=11)
    axes.set(xlim=(0, 1), ylim=(max(4, len(rows)) - 0.4, -0.6), xticks=[tenth / 10 for tenth in range(11)])
    axes.set_xlabel("AP")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    _write_key(axes, theme, len(classes) - len(order))
    return figure


def _draw_class(axes: "Axes", theme: Theme, place: int, ap50: float, ap: float | None, color: str) -> None:
    axes.barh(place, ap50, color=color, height=0.66, zorder=2)
    axes.text(1.01, place, f"{ap50:.3f}", va="center", fontsize=11, clip_on=False)
    if ap is not None:
        edge = theme.foreground
        axes.plot(ap, place, "D", color=theme.background, markeredgecolor=edge, markersize=6, zorder=3, clip_on=False)


def _write_key(axes: "Axes", theme: Theme, left_out: int) -> None:
    without = f"; {left_out:,} without objects to be found left out" if left_out else ""
    note = f"bar: VOC2012 AP at IoU 0.5   ◇: COCO AP   (boxes){without}"
    write_title(axes, theme, "AP of each class", note)
