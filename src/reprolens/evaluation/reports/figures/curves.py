"""Precision over recall, a line a class."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reprolens.colors import class_hex
from reprolens.evaluation.measures.voc_ap import Curve, all_point_ap, mean_ap
from reprolens.evaluation.reports.figures.theme import Theme, new_figure, save, shown_names, write_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEGEND_ROWS = 22
_LEGEND_CLASSES = 2 * _LEGEND_ROWS
_LEVELS = np.linspace(0, 1, 501)
"""Recalls at which a long curve is drawn: nearer to each other than pixels."""


def draw_pr_curves(curves: Sequence[Curve], classes: Sequence[str], folder: Path, name: str = "pr") -> None:
    """Draw each class's precision over recall at IoU 0.5, and the mean over the classes; written by `theme.save`.

    What is drawn is the envelope: the area under a line is the class's AP (VOC2010-2012), which the legend gives beside
    the number of boxes. Beyond 44 classes, those with fewest boxes are drawn in grey and have no entry.
    """
    save(partial(_draw, curves, classes), folder, name)


def _draw(curves: Sequence[Curve], classes: Sequence[str], theme: Theme) -> "Figure":
    figure = new_figure(720)
    defined = [index for index, curve in enumerate(curves) if curve.positives]
    shown = sorted(sorted(defined, key=lambda index: -curves[index].positives)[:_LEGEND_CLASSES])
    columns = 1 if len(shown) < _LEGEND_ROWS else 2
    axes = figure.add_axes((0.06, 0.09, 0.68 if columns == 1 else 0.46, 0.83))
    for index in sorted(set(defined) - set(shown)):
        axes.plot(*_outline(curves[index]), color=theme.muted, alpha=0.35, linewidth=0.8, zorder=1)
    handles, labels = _class_lines(axes, curves, classes, shown)
    mean = mean_ap(all_point_ap(curve) for curve in curves)
    if mean is not None and len(defined) > 1:
        values = np.mean([_at_levels(curves[index], _LEVELS) for index in defined], axis=0)
        handles = axes.plot(_LEVELS, values, color=theme.foreground, linewidth=3, zorder=3) + handles
        labels = [f"{mean:.3f}  mean (mAP)", *labels]
    if handles:
        _write_legend(axes, handles, labels, columns)
    title = "no true boxes, so no curves" if mean is None else f"mAP {mean:.3f}"
    hidden = len(defined) - len(shown)
    note = f"grey: {hidden} more classes, of fewest boxes" if hidden else ""
    write_title(axes, theme, f"Precision and recall at IoU 0.5: {title}", note)
    ticks = np.linspace(0, 1, 11)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=ticks, yticks=ticks, xlabel="recall", ylabel="precision")
    axes.grid()
    return figure


def _write_legend(axes: "Axes", handles: list, labels: list[str], columns: int) -> None:
    axes.legend(
        handles,
        labels,
        title="AP, class (boxes)",
        loc="upper left",
        bbox_to_anchor=(1.015, 1.0),
        borderaxespad=0.0,
        frameon=False,
        ncols=columns,
        fontsize=11 if columns == 1 else 9.5,
        title_fontsize=11,
        alignment="left",
    )


def _class_lines(
    axes: "Axes", curves: Sequence[Curve], classes: Sequence[str], shown: Sequence[int]
) -> tuple[list, list[str]]:
    handles, labels = [], []
    names = shown_names(classes)
    for index in shown:
        handles += axes.plot(
            *_outline(curves[index]),
            color=class_hex(index),
            linestyle=("-", "--", "-.", ":")[index // 10 % 4],
            linewidth=1.8,
            marker="o",
            markevery=[-1] if curves[index].hits.any() else [],  # where the line ends, as no more boxes are found
            clip_on=False,
            zorder=2,
        )
        # The marks keep names that are written from right to left between the numbers.
        labels.append(f"\u200e{all_point_ap(curves[index]):.3f}  {names[index]}\u200e ({curves[index].positives})")
    return handles, labels


def _outline(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and precision of the corners of the envelope, from recall 0 to the last right detection."""
    rises = np.flatnonzero(np.diff(curve.hits, prepend=0))
    if len(rises) > len(_LEVELS):
        last = curve.recall[-1]
        recall = np.append(_LEVELS[last > _LEVELS], last)
        return recall, _at_levels(curve, recall)
    recall = np.concatenate([[0.0], curve.recall[rises]])
    precision = curve.envelope()[rises]
    # A step: from each recall to the next, the precision is that of the next.
    return np.repeat(recall, 2)[1:-1], np.repeat(precision, 2)


def _at_levels(curve: Curve, levels: np.ndarray) -> np.ndarray:
    """Return the envelope at each recall in `levels`; 0 beyond the highest recall."""
    reached = np.searchsorted(curve.recall, levels, side="left")
    return np.append(curve.envelope(), 0.0)[reached]
