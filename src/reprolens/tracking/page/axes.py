"""What every SVG chart of a page is made of: axes with round ticks, their grid, curves and texts.

Every text is escaped. A chart is 440 units wide, about the pixels that it gets in a narrow window.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 440.0, 236.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 10.0, 24.0
"""The margins around what is drawn, where ticks are written."""

_LOG_RANGE = 1000.0  # positive values that span more are drawn on a logarithmic axis


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high`, drawn from `start` to `end`, `log` if they span decades; with about `most` ticks."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    most: int = 5

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float, tight: bool = False) -> "Axis":
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


def draw_grid(across: Axis, up: Axis, height: float) -> Markup:
    """Return the horizontal rules at the ticks of `up`, and the ticks of both axes; `height` is the drawing's."""
    parts = []
    for tick in up.ticks():
        y = up.at(tick)
        parts.append(Markup('<line class="rule" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
            write_place(LEFT), write_place(WIDTH - RIGHT), write_place(y), write_place(y)
        ))  # fmt: skip
        parts.append(draw_text(LEFT - 6, y + 4, _tick(tick), "end"))
    for tick in across.ticks():
        if across.high > 1 and not tick.is_integer():
            continue  # there is no half epoch
        parts.append(draw_text(across.at(tick), height - BOTTOM + 16, _tick(tick), "middle"))
    return Markup("").join(parts)


def draw_curve(points: Sequence[tuple[float, float]], color: str, dashed: bool) -> Markup:
    """Return a line through the points, which are places in the drawing; of a single point a dot."""
    kind = "line dashed" if dashed else "line"
    if len(points) == 1:
        x, y = (write_place(value) for value in points[0])
        return Markup('<circle cx="{}" cy="{}" r="3.5" style="fill:{}"/>').format(x, y, color)
    text = " ".join(f"{write_place(x)},{write_place(y)}" for x, y in points)
    return Markup('<polyline class="{}" style="stroke:{}" points="{}"/>').format(kind, color, text)


def draw_svg(width: float, height: float, label: str, parts: Sequence[Markup]) -> Markup:
    """Return the drawing of the parts; `label` is what one who cannot see it is told."""
    return Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        write_place(width), write_place(height), label, Markup("\n").join(parts)
    )


def draw_text(x: float, y: float, text: str, anchor: str, transform: str = "") -> Markup:
    """Return the text, escaped, at its `anchor` (start, middle, end)."""
    turn = Markup(' transform="{}"').format(transform) if transform else ""
    return Markup('<text x="{}" y="{}" text-anchor="{}"{}>{}</text>').format(
        write_place(x), write_place(y), anchor, turn, text
    )


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}") if abs(value) < 1e4 else f"{value:.3g}"


def write_place(value: float) -> str:
    """Return a coordinate with a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0")
