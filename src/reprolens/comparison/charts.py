"""Differences as SVG: each with its interval, right of zero where the other subject is better than the baseline.

Colours are the page's variables, so that light and dark both fit: green for better, red for worse, grey where the
interval holds 0. Every text is escaped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reprolens.comparison.writing import shorten, signed

_ROW, _TOP, _BOTTOM = 26.0, 30.0, 26.0
_WIDTH, _LEFT, _RIGHT = 860.0, 190.0, 330.0  # names stand left of the plot, numbers right
_LETTERS = 26
_TICKS = 8


@dataclass(frozen=True)
class Line:
    """A difference to draw: its name, what it is between (in words), and the ends of its interval, where it has one."""

    name: str
    numbers: str
    difference: float
    low: float | None = None
    high: float | None = None

    @property
    def tone(self) -> str:
        """`good` or `bad` where the interval does not hold 0, `open` where it does or is unknown."""
        if self.low is not None and self.low > 0:
            return "good"
        return "bad" if self.high is not None and self.high < 0 else "open"


def forest(lines: Sequence[Line], names: tuple[str, str], label: str, bars: bool = False) -> Markup:
    """Return a forest plot of `lines`, or with `bars` a bar for each; `names` are the baseline's and the other's.

    Empty where there is nothing to draw.
    """
    if not lines:
        return Markup("")
    ends = [value for line in lines for value in (line.difference, line.low, line.high) if value is not None]
    scale = _Scale(max(max(map(abs, ends)), 1e-3))
    height = _TOP + len(lines) * _ROW + _BOTTOM
    bottom = height - _BOTTOM
    parts = [_grid(scale, bottom), _heading(scale, names)]
    for number, line in enumerate(lines):
        parts.append(_row(line, scale, _TOP + (number + 0.5) * _ROW, bars))
    return Markup('<svg class="plot forest" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _write(_WIDTH), _write(height), label, Markup("\n").join(parts)
    )


class _Scale:
    """Differences from `-most` to `most`, rounded up to whole ticks, as places across the plot."""

    def __init__(self, most: float) -> None:
        raw = 2 * most / _TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        self.step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
        self.count = math.ceil(most / self.step - 1e-9)

    def at(self, value: float) -> float:
        share = (value / (self.count * self.step) + 1) / 2
        return _LEFT + share * (_WIDTH - _RIGHT - _LEFT)

    def ticks(self) -> list[float]:
        return [number * self.step for number in range(-self.count, self.count + 1)]


def _grid(scale: _Scale, bottom: float) -> Markup:
    parts = []
    for tick in scale.ticks():
        kind, x = "zero" if tick == 0 else "rule", _write(scale.at(tick))
        parts.append(
            Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                kind, x, x, _write(_TOP), _write(bottom)
            )
        )
        parts.append(_text(scale.at(tick), bottom + 16, signed(tick, 6).rstrip("0").rstrip(".") or "0", "middle"))
    return Markup("").join(parts)


def _heading(scale: _Scale, names: tuple[str, str]) -> Markup:
    first, second = (shorten(name, 18) for name in names)
    return Markup("").join(
        [
            _text(scale.at(0) - 10, _TOP - 12, f"← {first} better", "end"),
            _text(scale.at(0) + 10, _TOP - 12, f"{second} better →", "start"),
        ]
    )


def _row(line: Line, scale: _Scale, y: float, bars: bool) -> Markup:
    parts = [_text(_LEFT - 14, y + 4, shorten(line.name, _LETTERS), "end", "ink")]
    at = scale.at(line.difference)
    if bars:
        left, right = sorted((scale.at(0), at))
        parts.append(
            Markup('<rect class="block" x="{}" y="{}" width="{}" height="12"/>').format(
                _write(left), _write(y - 6), _write(max(right - left, 1))
            )
        )
    if line.low is not None and line.high is not None:
        low, high = scale.at(line.low), scale.at(line.high)
        parts.append(
            Markup('<path class="span" d="M{0},{2}V{3}M{0},{4}H{1}M{1},{2}V{3}"/>').format(
                _write(low), _write(high), _write(y - 4), _write(y + 4), _write(y)
            )
        )
    if not bars:
        parts.append(Markup('<circle class="dot" cx="{}" cy="{}" r="4.5"/>').format(_write(at), _write(y)))
    place = _WIDTH - _RIGHT + 18
    parts.append(_text(place, y + 4, line.numbers, "start"))
    parts.append(_text(_WIDTH - 2, y + 4, interval(line.difference, line.low, line.high), "end", "ink"))
    title = f"{line.name}: {line.numbers}, {interval(line.difference, line.low, line.high)}"
    return Markup('<g class="{}">{}<title>{}</title></g>').format(line.tone, Markup("").join(parts), title)


def interval(difference: float, low: float | None, high: float | None) -> str:
    """Return a difference with its interval: `+0.021 [+0.004, +0.038]`."""
    ends = "" if low is None or high is None else f" [{signed(low)}, {signed(high)}]"
    return f"{signed(difference)}{ends}"


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> Markup:
    own = Markup(' class="{}"').format(kind) if kind else ""
    return Markup('<text{} x="{}" y="{}" text-anchor="{}">{}</text>').format(own, _write(x), _write(y), anchor, text)


def _write(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
