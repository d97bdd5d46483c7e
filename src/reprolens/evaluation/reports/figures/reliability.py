"""The reliability diagram: what share of the detections of each score is right."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reprolens.evaluation.measures.calibration import Calibration
from reprolens.evaluation.reports.figures.theme import Theme, new_figure, save, write_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_reliability(calibration: Calibration, folder: Path, name: str = "reliability") -> None:
    """Draw the share of right detections in each bin of scores, how far it is from the mean score, and the counts.

    A bin without detections stays empty. Written by `theme.save`.

    Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, figure 1.
    """
    save(partial(_draw, calibration), folder, name)


def _draw(calibration: Calibration, theme: Theme) -> "Figure":
    figure = new_figure(760)
    axes = figure.add_axes((0.07, 0.35, 0.72, 0.575))
    counts = figure.add_axes((0.07, 0.08, 0.72, 0.2), sharex=axes)
    _draw_bins(axes, calibration, theme)
    _draw_counts(counts, calibration, theme)
    total = int(calibration.count.sum())
    if calibration.ece is None or calibration.mce is None:
        write_title(axes, theme, "Calibration at IoU 0.5: no detections")
    else:
        note = f"of {total:,} detections"
        write_title(axes, theme, f"Calibration at IoU 0.5: ECE {calibration.ece:.3f}, MCE {calibration.mce:.3f}", note)
    return figure


def _draw_bins(axes: "Axes", calibration: Calibration, theme: Theme) -> None:
    left, widths = calibration.edges[:-1], np.diff(calibration.edges)
    confidence, accuracy = (np.nan_to_num(values) for values in (calibration.confidence, calibration.accuracy))
    both = np.minimum(confidence, accuracy)
    for bottom, heights, color, label in (
        (0, both, theme.accent, "right"),
        (both, accuracy - both, theme.caution, "right beyond the scores"),
        (both, confidence - both, theme.warning, "promised, but wrong"),
    ):
        axes.bar(
            left,
            heights,
            widths,
            bottom,
            align="edge",
            color=color,
            edgecolor=theme.background,
            linewidth=np.where(heights > 0, 1.0, 0.0),
            label=label,
            zorder=2,
        )
    axes.plot([0, 1], [0, 1], "--", color=theme.foreground, linewidth=1.2, label="precision = score", zorder=3)
    axes.plot(
        calibration.confidence,
        calibration.accuracy,
        linestyle="",
        marker="o",
        color=theme.background,
        markeredgecolor=theme.foreground,
        label="mean score and precision",
        zorder=4,
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1.015, 1.0), borderaxespad=0.0, frameon=False, fontsize=11)
    tenths = np.linspace(0, 1, 11)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=tenths, yticks=tenths, ylabel="precision")
    axes.grid()


def _draw_counts(axes: "Axes", calibration: Calibration, theme: Theme) -> None:
    left, widths = calibration.edges[:-1], np.diff(calibration.edges)
    most = max(10, int(calibration.count.max(initial=0)))
    axes.set_yscale("symlog", linthresh=1)
    axes.bar(left, calibration.count, widths, align="edge", color=theme.muted, edgecolor=theme.background)
    ticks = [0, *(10**power for power in range(len(str(most))))]
    axes.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set(ylim=(0, most * 1.5), xlabel="score", ylabel="detections")
    axes.grid(axis="y")
