"""Charts as SVG, to stand in a page that needs no network: curves, precision over recall, a confusion matrix.

Every text is escaped. Colours are the page's variables, so that light and dark both fit; a class has the colour that
it has in every figure.
"""

import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reprolens.tracking.page import axes
from reprolens.tracking.page.axes import Axis, write_place
from reprolens.tracking.wording import write_number

_SERIES = 6  # the stylesheet has so many colours for curves; further curves are dashed

_SQUARE = 372.0  # height of the precision-recall chart

_MOST_POINTS = 400  # of a curve; a chart has not many more pixels
LARGEST = 1e100
"""Beyond, an axis itself would overflow."""

_CELL = 30.0
_NAME = 14  # letters of a class beside the matrix
MOST_CLASSES = 60
"""A confusion matrix of more is not drawn: its cells would be dots."""


@dataclass(frozen=True)
class Chart:
    """A drawn chart; `legend` holds a name, a CSS colour and a value for each line, `hover` what the cursor tells."""

    title: str
    svg: Markup
    legend: tuple[tuple[str, str, str], ...] = ()
    hover: str = ""


def line_chart(title: str, rows: Sequence[Mapping[str, float]], names: Sequence[str], x: str = "epoch") -> Chart | None:
    """Return the columns `names` of `rows` over the column `x`; None where no row has any."""
    rows = [row for row in rows if x in row and any(name in row for name in names)]
    rows = thinned([{key: value for key, value in row.items() if abs(value) < LARGEST} for row in rows])
    values = [row[name] for row in rows for name in names if name in row]
    if not values:
        return None
    across = Axis.of([row[x] for row in rows], axes.LEFT, axes.WIDTH - axes.RIGHT, tight=True)
    up = Axis.of(values, axes.HEIGHT - axes.BOTTOM, axes.TOP)
    parts = [axes.draw_grid(across, up, axes.HEIGHT)]
    legend = []
    for index, name in enumerate(names):
        points = [(across.at(row[x]), up.at(row[name])) for row in rows if name in row]
        color = f"var(--series-{index % _SERIES + 1})"
        parts.append(axes.draw_curve(points, color, index >= _SERIES))
        last = next((row[name] for row in reversed(rows) if name in row), None)
        legend.append((_short(name), color, "" if last is None else write_number(last)))
    parts.append(
        Markup('<line class="cursor" y1="{}" y2="{}"/>').format(
            write_place(axes.TOP), write_place(axes.HEIGHT - axes.BOTTOM)
        )
    )
    hover = {
        "x": [round(across.at(row[x]), 1) for row in rows],
        "title": [f"{x} {row[x]:g}" for row in rows],
        "values": [[write_number(row[name]) if name in row else "" for name in names] for row in rows],
    }
    svg = axes.draw_svg(axes.WIDTH, axes.HEIGHT, f"{title} over {x}", parts)
    return Chart(title, svg, tuple(legend), json.dumps(hover, separators=(",", ":")))


def precision_recall(
    curves: Mapping[str, Sequence[tuple[float, float]]], colors: Mapping[str, str], areas: Mapping[str, float]
) -> Chart | None:
    """Return the precision-recall curves of classes, points `(recall, precision)`, and of several their mean.

    What is drawn is the envelope: the area under a line is the class's AP (VOC2010-2012), which `areas` holds.
    """
    steps = {name: envelope for name, points in curves.items() if (envelope := _envelope(points))}
    if not steps:
        return None
    across, up = Axis(0, 1, axes.LEFT, axes.WIDTH - axes.RIGHT), Axis(0, 1, _SQUARE - axes.BOTTOM - 14, axes.TOP)
    parts = [axes.draw_grid(across, up, _SQUARE - 14)]
    parts.append(axes.draw_text(axes.WIDTH - axes.RIGHT, _SQUARE - 4, "recall", "end"))
    parts.append(axes.draw_text(axes.LEFT + 6, _SQUARE - axes.BOTTOM - 22, "precision", "start"))
    legend = []
    for index, (name, envelope) in enumerate(steps.items()):
        color, area = colors.get(name, "var(--soft)"), write_number(areas[name]) if name in areas else ""
        parts.append(
            Markup('<path class="line class" data-line="{}" style="--c:{}" d="{}"><title>{}</title></path>').format(
                index, color, _steps(envelope, across, up), f"{name} {area}".strip()
            )
        )
        legend.append((name, color, area))
    if len(steps) > 1:
        levels = [step / 100 for step in range(101)]
        mean = [(level, sum(_at(envelope, level) for envelope in steps.values()) / len(steps)) for level in levels]
        points = " ".join(f"{write_place(across.at(x))},{write_place(up.at(y))}" for x, y in mean)
        parts.append(Markup('<polyline class="line mean" points="{}"><title>mean</title></polyline>').format(points))
    svg = axes.draw_svg(axes.WIDTH, _SQUARE, "precision over recall of each class", parts)
    return Chart("Precision and recall", svg, tuple(legend))


def confusion_matrix(counts: Mapping[tuple[str, str], float], names: Sequence[str]) -> Chart | None:
    """Return the matrix of `(truth, prediction)` counts, a row each true class; None for too many or no counts.

    Right answers are blue by their share of the row. Wrong ones are red by the root of theirs, so that few are seen.
    """
    size = len(names)
    if not counts or not 1 <= size <= MOST_CLASSES:
        return None
    left = 12 + 6.4 * min(_NAME, max(len(name) for name in names))
    cell = max(11.0, min(_CELL, (axes.WIDTH - left - 4) / size))
    turned = [len(_cut(name)) * 6.6 > cell for name in names]
    top = left + 8 if any(turned) else 22.0
    totals = {truth: sum(counts.get((truth, seen), 0) for seen in names) for truth in names}
    parts = []
    for row, truth in enumerate(names):
        y = top + row * cell
        parts.append(axes.draw_text(left - 6, y + cell / 2 + 4, _cut(truth), "end"))
        x = left + (row + 0.5) * cell
        if turned[row]:
            rotation = f"rotate(-90 {write_place(x + 4)} {write_place(top - 6)})"
            parts.append(axes.draw_text(x + 4, top - 6, _cut(truth), "start", rotation))
        else:
            parts.append(axes.draw_text(x, top - 6, _cut(truth), "middle"))
        for column, seen in enumerate(names):
            if count := counts.get((truth, seen), 0):
                share = count / totals[truth]
                parts.append(_cell(left + column * cell, y, cell, count, share, truth, seen))
    frame = Markup('<rect class="frame" x="{}" y="{}" width="{}" height="{}"/>').format(
        write_place(left), write_place(top), write_place(size * cell), write_place(size * cell)
    )
    return Chart(
        "Confusion",
        axes.draw_svg(left + size * cell + 2, top + size * cell + 2, "true classes by predicted", [frame, *parts]),
    )


def _cell(x: float, y: float, size: float, count: float, share: float, truth: str, seen: str) -> Markup:
    right = truth == seen
    weight = share if right else math.sqrt(share)
    number = ""
    if size >= 18 and len(f"{count:g}") * 7 <= size + 2:
        tone = "on" if weight > 0.5 else "off"
        number = Markup('<text class="{}" x="{}" y="{}">{}</text>').format(
            tone, write_place(x + size / 2), write_place(y + size / 2 + 4), f"{count:g}"
        )
    title = f"true {truth}, predicted {seen}: {count:g} ({100 * share:.0f} % of {truth})"
    return Markup(
        '<g class="{}"><rect x="{}" y="{}" width="{}" height="{}" fill-opacity="{}"/>{}<title>{}</title></g>'
    ).format(
        "right" if right else "wrong",
        *(write_place(value) for value in (x + 0.5, y + 0.5, size - 1, size - 1)),
        f"{0.06 + 0.9 * weight:.2f}",
        number,
        title,
    )


def _envelope(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return, by rising recall, the highest precision at that recall or beyond; equal precisions are one step."""
    steps: list[tuple[float, float]] = []
    best = 0.0
    for recall, precision in sorted(points, reverse=True):
        if precision > best:
            best = precision
            steps.append((recall, precision))
    return steps[::-1]


def _at(steps: Sequence[tuple[float, float]], recall: float) -> float:
    place = bisect_left(steps, (recall, -1.0))
    return steps[place][1] if place < len(steps) else 0.0


def _steps(steps: Sequence[tuple[float, float]], across: Axis, up: Axis) -> str:
    """Return the path along the steps and down at the last recall."""
    path = [f"M{write_place(across.at(0))},{write_place(up.at(steps[0][1]))}"] if steps else []
    for recall, precision in steps:
        path.append(f"V{write_place(up.at(precision))}H{write_place(across.at(recall))}")
    return "".join([*path, f"V{write_place(up.at(0))}"]) if steps else ""


def thinned(rows: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """Return the rows, of very many evenly spaced ones, the first and the last among them."""
    if len(rows) <= _MOST_POINTS:
        return list(rows)
    return [rows[round(index * (len(rows) - 1) / (_MOST_POINTS - 1))] for index in range(_MOST_POINTS)]


def _short(name: str) -> str:
    return name.removeprefix("train/")


def _cut(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
