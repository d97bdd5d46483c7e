"""Charts as SVG, to stand in a page that needs no network: curves, precision over recall, a confusion matrix.

Every text is escaped. Colours are the page's variables, so that light and dark both fit; a class has the colour that
it has in every figure. A chart is 440 units wide, about the pixels that it gets in a narrow window.
"""

import colorsys
import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reprolens.tracking.wording import write_number

# The colours of evaluation's figures, which cannot be imported from here: told apart on white and on photographs.
# fmt: off
_CLASS_COLORS = (
    "#1f77ff", "#ff7f0e", "#2ca02c", "#e6194b", "#9b5de5",
    "#a0522d", "#f032e6", "#00b8d9", "#b0a800", "#00c08b",
    "#00008b", "#800000", "#808000", "#d2a000", "#6a5acd",
    "#ff8fa3", "#556b2f", "#7896b4", "#c71585", "#005f5f",
)
# fmt: on
_SERIES = 6  # the stylesheet has so many colours for curves; further curves are dashed

_WIDTH, _HEIGHT = 440.0, 236.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 10.0, 24.0
_SQUARE = 372.0  # height of the precision-recall chart

_MOST_POINTS = 400  # of a curve; a chart has not many more pixels
_LOG_RANGE = 1000.0  # positive values that span more are drawn on a logarithmic axis
_LARGEST = 1e100  # beyond, the axis itself would overflow

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


def class_color(index: int) -> str:
    """Return the colour of the class at `index` as evaluation's figures have it, `#rrggbb`."""
    if index < len(_CLASS_COLORS):
        return _CLASS_COLORS[index]
    hue, light = (index * 0.618034) % 1, (0.35, 0.5, 0.6)[index % 3]
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, light, 0.8))


def line_chart(title: str, rows: Sequence[Mapping[str, float]], names: Sequence[str], x: str = "epoch") -> Chart | None:
    """Return the columns `names` of `rows` over the column `x`; None where no row has any."""
    rows = [row for row in rows if x in row and any(name in row for name in names)]
    rows = _thinned([{key: value for key, value in row.items() if abs(value) < _LARGEST} for row in rows])
    values = [row[name] for row in rows for name in names if name in row]
    if not values:
        return None
    across = _Axis.of([row[x] for row in rows], _LEFT, _WIDTH - _RIGHT, tight=True)
    up = _Axis.of(values, _HEIGHT - _BOTTOM, _TOP)
    parts = [_grid(across, up, _HEIGHT)]
    legend = []
    for index, name in enumerate(names):
        points = [(across.at(row[x]), up.at(row[name])) for row in rows if name in row]
        color = f"var(--series-{index % _SERIES + 1})"
        parts.append(_curve(points, color, index >= _SERIES))
        last = next((row[name] for row in reversed(rows) if name in row), None)
        legend.append((_short(name), color, "" if last is None else write_number(last)))
    parts.append(Markup('<line class="cursor" y1="{}" y2="{}"/>').format(_write(_TOP), _write(_HEIGHT - _BOTTOM)))
    hover = {
        "x": [round(across.at(row[x]), 1) for row in rows],
        "title": [f"{x} {row[x]:g}" for row in rows],
        "values": [[write_number(row[name]) if name in row else "" for name in names] for row in rows],
    }
    svg = _svg(_WIDTH, _HEIGHT, f"{title} over {x}", parts)
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
    across, up = _Axis(0, 1, _LEFT, _WIDTH - _RIGHT), _Axis(0, 1, _SQUARE - _BOTTOM - 14, _TOP)
    parts = [_grid(across, up, _SQUARE - 14)]
    parts.append(_text(_WIDTH - _RIGHT, _SQUARE - 4, "recall", "end"))
    parts.append(_text(_LEFT + 6, _SQUARE - _BOTTOM - 22, "precision", "start"))
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
        points = " ".join(f"{_write(across.at(x))},{_write(up.at(y))}" for x, y in mean)
        parts.append(Markup('<polyline class="line mean" points="{}"><title>mean</title></polyline>').format(points))
    svg = _svg(_WIDTH, _SQUARE, "precision over recall of each class", parts)
    return Chart("Precision and recall", svg, tuple(legend))


def confusion_matrix(counts: Mapping[tuple[str, str], float], names: Sequence[str]) -> Chart | None:
    """Return the matrix of `(truth, prediction)` counts, a row each true class; None for too many or no counts.

    Right answers are blue by their share of the row. Wrong ones are red by the root of theirs, so that few are seen.
    """
    size = len(names)
    if not counts or not 1 <= size <= MOST_CLASSES:
        return None
    left = 12 + 6.4 * min(_NAME, max(len(name) for name in names))
    cell = max(11.0, min(_CELL, (_WIDTH - left - 4) / size))
    turned = [len(_cut(name)) * 6.6 > cell for name in names]
    top = left + 8 if any(turned) else 22.0
    totals = {truth: sum(counts.get((truth, seen), 0) for seen in names) for truth in names}
    parts = []
    for row, truth in enumerate(names):
        y = top + row * cell
        parts.append(_text(left - 6, y + cell / 2 + 4, _cut(truth), "end"))
        x = left + (row + 0.5) * cell
        if turned[row]:
            rotation = f"rotate(-90 {_write(x + 4)} {_write(top - 6)})"
            parts.append(_text(x + 4, top - 6, _cut(truth), "start", rotation))
        else:
            parts.append(_text(x, top - 6, _cut(truth), "middle"))
        for column, seen in enumerate(names):
            if count := counts.get((truth, seen), 0):
                share = count / totals[truth]
                parts.append(_cell(left + column * cell, y, cell, count, share, truth, seen))
    frame = Markup('<rect class="frame" x="{}" y="{}" width="{}" height="{}"/>').format(
        _write(left), _write(top), _write(size * cell), _write(size * cell)
    )
    return Chart(
        "Confusion",
        _svg(left + size * cell + 2, top + size * cell + 2, "true classes by predicted", [frame, *parts]),
    )


def _cell(x: float, y: float, size: float, count: float, share: float, truth: str, seen: str) -> Markup:
    right = truth == seen
    weight = share if right else math.sqrt(share)
    number = ""
    if size >= 18 and len(f"{count:g}") * 7 <= size + 2:
        tone = "on" if weight > 0.5 else "off"
        number = Markup('<text class="{}" x="{}" y="{}">{}</text>').format(
            tone, _write(x + size / 2), _write(y + size / 2 + 4), f"{count:g}"
        )
    title = f"true {truth}, predicted {seen}: {count:g} ({100 * share:.0f} % of {truth})"
    return Markup(
        '<g class="{}"><rect x="{}" y="{}" width="{}" height="{}" fill-opacity="{}"/>{}<title>{}</title></g>'
    ).format(
        "right" if right else "wrong",
        *(_write(value) for value in (x + 0.5, y + 0.5, size - 1, size - 1)),
        f"{0.06 + 0.9 * weight:.2f}",
        number,
        title,
    )


@dataclass(frozen=True)
class _Axis:
    """Values from `low` to `high`, drawn from `start` to `end`, `log` if they span decades; with about `most` ticks."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    most: int = 5

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float, tight: bool = False) -> "_Axis":
        """Return an axis for `values`: from one to the other if `tight`, else from tick to tick, from 0 if near."""
        low, high = min(values), max(values)
        if low == high:
            gap = abs(low) / 10 or 0.5
            return cls(low - gap, high + gap, start, end)
        if tight:
            return cls(low, high, start, end, most=8)
        if low > 0 and high / low >= _LOG_RANGE:
            return cls(low, high, start, end, log=True)
        if 0 < low < 0.5 * high:
            low = 0.0
        step = _step(low, high)
        return cls(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, start, end)

    def at(self, value: float) -> float:
        """Return where `value` is drawn."""
        low, high = (math.log(end) if self.log else end for end in (self.low, self.high))
        share = ((math.log(value) if self.log else value) - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values along the axis."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**power for power in range(first, last + 1, max(1, (last - first) // 5))]
        step = _step(self.low, self.high, self.most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(index * step, 12) + 0.0 for index in range(first, last + 1)]


def _step(low: float, high: float, most: int = 5) -> float:
    """Return the 1, 2 or 5 times a power of ten that gives about `most` ticks."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def _grid(across: _Axis, up: _Axis, height: float) -> Markup:
    parts = []
    for tick in up.ticks():
        y = up.at(tick)
        parts.append(Markup('<line class="rule" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
            _write(_LEFT), _write(_WIDTH - _RIGHT), _write(y), _write(y)
        ))  # fmt: skip
        parts.append(_text(_LEFT - 6, y + 4, _tick(tick), "end"))
    for tick in across.ticks():
        if across.high > 1 and not tick.is_integer():
            continue  # there is no half epoch
        parts.append(_text(across.at(tick), height - _BOTTOM + 16, _tick(tick), "middle"))
    return Markup("").join(parts)


def _curve(points: Sequence[tuple[float, float]], color: str, dashed: bool) -> Markup:
    kind = "line dashed" if dashed else "line"
    if len(points) == 1:
        x, y = (_write(value) for value in points[0])
        return Markup('<circle cx="{}" cy="{}" r="3.5" style="fill:{}"/>').format(x, y, color)
    text = " ".join(f"{_write(x)},{_write(y)}" for x, y in points)
    return Markup('<polyline class="{}" style="stroke:{}" points="{}"/>').format(kind, color, text)


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


def _steps(steps: Sequence[tuple[float, float]], across: _Axis, up: _Axis) -> str:
    """Return the path along the steps and down at the last recall."""
    path = [f"M{_write(across.at(0))},{_write(up.at(steps[0][1]))}"] if steps else []
    for recall, precision in steps:
        path.append(f"V{_write(up.at(precision))}H{_write(across.at(recall))}")
    return "".join([*path, f"V{_write(up.at(0))}"]) if steps else ""


def _thinned(rows: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    if len(rows) <= _MOST_POINTS:
        return list(rows)
    return [rows[round(index * (len(rows) - 1) / (_MOST_POINTS - 1))] for index in range(_MOST_POINTS)]


def _svg(width: float, height: float, label: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _write(width), _write(height), label, Markup("\n").join(parts)
    )


def _text(x: float, y: float, text: str, anchor: str, transform: str = "") -> Markup:
    turn = Markup(' transform="{}"').format(transform) if transform else ""
    return Markup('<text x="{}" y="{}" text-anchor="{}"{}>{}</text>').format(_write(x), _write(y), anchor, turn, text)


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}") if abs(value) < 1e4 else f"{value:.3g}"


def _write(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _short(name: str) -> str:
    return name.removeprefix("train/")


def _cut(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
