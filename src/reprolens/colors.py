"""The colours of classes, the same wherever a class is shown: in figures, on pages, on pictures."""

import colorsys
from collections.abc import Sequence

Color = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

# Neighbours first; each has a contrast of at least 2.3 with white and of 3 with the dark background, and shows on
# photographs. None is black, white or grey, which mean "mean" and "truth".
# fmt: off
_COLORS = (
    "#1f77ff", "#ff7f0e", "#2ca02c", "#e6194b", "#9b5de5",
    "#a0522d", "#f032e6", "#00b8d9", "#b0a800", "#00c08b",
    "#eb82b4", "#006e91", "#808000", "#d2a000", "#6a5acd",
    "#9b6491", "#556b2f", "#7896b4", "#c71585", "#b491fa",
)
# fmt: on
_LUMINANCES = (0.15, 0.22, 0.31)


def class_color(index: int) -> Color:
    """Return the colour of the class at `index`, the same in every figure and theme: RGB, 0 to 255."""
    if index < len(_COLORS):
        return _rgb(_COLORS[index])
    # Steps of the golden section keep any number of further hues apart; three luminances are seen on light and on dark.
    pure = [_linear(part) for part in colorsys.hls_to_rgb((index * 0.618034) % 1, 0.5, 0.8)]
    luminance = _luminance(pure)
    wanted = _LUMINANCES[index % 3]
    white = max(0.0, (wanted - luminance) / (1 - luminance))
    parts = [part + white * (1 - part) if white else part * wanted / luminance for part in pure]
    red, green, blue = (round(255 * (1.055 * part ** (1 / 2.4) - 0.055)) for part in parts)
    return red, green, blue


def class_hex(index: int) -> str:
    """Return the colour of the class at `index` as `#rrggbb`."""
    red, green, blue = class_color(index)
    return f"#{red:02x}{green:02x}{blue:02x}"


def on(color: Color) -> str:
    """Return the colour, `#rrggbb`, of letters that are read on `color`: white wherever its contrast reaches 3."""
    return "#000000" if _luminance([_linear(part / 255) for part in color]) > 0.3 else "#ffffff"


def _rgb(code: str) -> Color:
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def _luminance(linear: Sequence[float]) -> float:
    """Return the relative luminance of linear sRGB (IEC 61966-2-1), 0 to 1."""
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
