"""Charts of what scores are worth: precision, recall and F1 over the threshold, and the reliability diagram.

Colours are the page's variables, so that light and dark both fit.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reprolens.tracking.page import axes
from reprolens.tracking.page.axes import Axis, write_place
from reprolens.tracking.page.charts import Chart, thinned
from reprolens.tracking.wording import write_number

MEASURES = {"precision": "precision", "recall": "recall", "f1": "F1"}
"""The columns of reports/plots/thresholds.csv, and what they are called."""

_MARKS = 30.0  # height of the strip above the curves in which marked thresholds are named
_STRIP = 34.0  # height of the histogram below the reliability diagram
_GAP = 26.0  # between the two, for the ticks


@dataclass(frozen=True)
class Bin:
    """Detections with a score from `lower` to `upper`: how many, their mean score, the share of them that is right."""

    lower: float
    upper: float
    count: float
    confidence: float
    accuracy: float


def threshold_chart(
    rows: Sequence[Mapping[str, float]], marks: Mapping[str, float], values: Mapping[str, float]
) -> Chart | None:
    """Return precision, recall and F1 over `threshold`, with a line at each of the named `marks`; None without rows.

    The legend gives `values`, those at the chosen threshold.
    """
    rows = thinned(sorted((row for row in rows if "threshold" in row), key=lambda row: row["threshold"]))
    names = [name for name in MEASURES if any(name in row for row in rows)]
    if not rows or not names:
        return None
    height = axes.HEIGHT + _MARKS
    ends = [*(row["threshold"] for row in rows), *marks.values(), 0.0, 1.0]
    across = Axis(min(ends), max(ends), axes.LEFT, axes.WIDTH - axes.RIGHT)
    up = Axis(0.0, 1.0, height - axes.BOTTOM, axes.TOP + _MARKS)
    parts = [axes.draw_grid(across, up, height)]
    legend = []
    for index, name in enumerate(names):
        color = f"var(--series-{index + 1})"
        points = [(across.at(row["threshold"]), up.at(row[name])) for row in rows if name in row]
        parts.append(axes.draw_curve(points, color, False))
        legend.append((MEASURES[name], color, write_number(values[name]) if name in values else ""))
    for index, (name, threshold) in enumerate(marks.items()):
        parts.append(_mark(f"{name} {threshold:.2f}", across.at(threshold), 10.0 + 13 * index, height))
    parts.append(Markup('<line class="cursor" y1="{}" y2="{}"/>').format(*map(write_place, (up.end, up.start))))
    hover = {
        "x": [round(across.at(row["threshold"]), 1) for row in rows],
        "title": [f"threshold {row['threshold']:.3g}" for row in rows],
        "values": [[write_number(row[name]) if name in row else "" for name in names] for row in rows],
    }
    svg = axes.draw_svg(axes.WIDTH, height, "precision, recall and F1 over the score threshold", parts)
    return Chart("By score threshold", svg, tuple(legend), json.dumps(hover, separators=(",", ":")))


def reliability_chart(bins: Sequence[Bin]) -> Chart | None:
    """Return the share of right detections over their score, below it their logarithmic count; None without any.

    A dot lies at a bin's mean score: below the diagonal its scores promise too much, above it too little.
    """
    bins = [part for part in bins if part.count > 0]
    if not bins:
        return None
    height = axes.HEIGHT + _MARKS
    floor = height - _STRIP - _GAP
    across, up = Axis(0.0, 1.0, axes.LEFT, axes.WIDTH - axes.RIGHT), Axis(0.0, 1.0, floor, axes.TOP)
    parts = [axes.draw_grid(across, up, floor + axes.BOTTOM)]
    parts += [_bar(part, across, up) for part in bins]
    ends = (across.at(0), up.at(0), across.at(1), up.at(1))
    parts.append(Markup('<line class="ideal" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(*map(write_place, ends)))
    parts += [
        Markup('<circle class="dot" cx="{}" cy="{}" r="3"/>').format(
            write_place(across.at(part.confidence)), write_place(up.at(part.accuracy))
        )
        for part in bins
    ]
    most = max(part.count for part in bins)
    parts += [_column(part, across, height, math.log1p(part.count) / math.log1p(most)) for part in bins]
    parts.append(axes.draw_text(axes.LEFT - 6, height - _STRIP / 2 + 3, "count", "end"))
    return Chart("Reliability", axes.draw_svg(axes.WIDTH, height, "share of right detections over their score", parts))


def _mark(text: str, x: float, y: float, height: float) -> Markup:
    line = Markup('<line class="mark" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
        write_place(x), write_place(y + 3), write_place(height - axes.BOTTOM)
    )
    right = x > (axes.LEFT + axes.WIDTH) / 2
    return line + axes.draw_text(x - 4 if right else x + 4, y, text, "end" if right else "start")


def _bar(part: Bin, across: Axis, up: Axis) -> Markup:
    x, y = across.at(part.lower), up.at(part.accuracy)
    title = (
        f"score {part.lower:.2f} to {part.upper:.2f}: {part.count:.0f} detections, mean score {part.confidence:.3f}, "
        f"{100 * part.accuracy:.0f} % right"
    )
    return Markup('<rect class="share" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
        write_place(x + 0.5),
        write_place(y),
        write_place(max(0.5, across.at(part.upper) - x - 1)),
        write_place(up.start - y),
        title,
    )


def _column(part: Bin, across: Axis, bottom: float, share: float) -> Markup:
    """Return the column of a bin's count; `share` is its length, of the longest one's."""
    x, height = across.at(part.lower), max(1.0, (_STRIP - 2) * share)
    return Markup('<rect class="count" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
        write_place(x + 0.5),
        write_place(bottom - height - 1),
        write_place(max(0.5, across.at(part.upper) - x - 1)),
        write_place(height),
        f"{part.count:.0f} detections",
    )
