"""How every figure of an evaluation looks: its colours on light and on dark pages, its letters, its files.

The same data give the same bytes: the fonts are those that Matplotlib carries, a user's matplotlibrc is not read, and
nothing is taken from the clock or from chance. Text in an SVG is drawn as outlines, so it looks the same everywhere.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import ImageFont

from reprolens import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 1280
"""Pixels of every figure and sheet."""

_MISSING = "□"
_NAME_POINTS, _NAME_WIDTH, _NAME_END = 11, 165, 6


@dataclass(frozen=True)
class Theme:
    """The colours of a page: `#rrggbb`. `cells` go from the background to a full cell of a matrix.

    accent: a bar that is no class's; warning, caution: what is wrong about it; muted: what is said in passing.
    """

    background: str
    foreground: str
    muted: str
    grid: str
    accent: str
    warning: str
    caution: str
    cells: tuple[str, ...]


LIGHT = Theme(
    background="#fdfdfc",
    foreground="#1d1f21",
    muted="#6c7075",
    grid="#e4e4df",
    accent="#1f77ff",
    warning="#f2879c",
    caution="#e8b830",
    cells=("#fdfdfc", "#cfe1f2", "#6aaed6", "#2070b4", "#08306b"),
)
DARK = Theme(
    background="#16181a",
    foreground="#e4e5e3",
    muted="#9aa0a6",
    grid="#32363a",
    accent="#4a90ff",
    warning="#b8405c",
    caution="#b08a20",
    cells=("#16181a", "#173a5c", "#1f6cae", "#63ace4", "#d3e9fb"),
)


def save(draw: Callable[[Theme], "Figure"], folder: Path, name: str) -> None:
    """Draw once in each theme and write `<name>.png`, `<name>-dark.png`, `<name>.svg` and `<name>-dark.svg`."""
    import matplotlib

    for theme, stem in ((LIGHT, name), (DARK, f"{name}-dark")):
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_settings(theme))
            figure = draw(theme)
            for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Creator": None, "Date": None})):
                with files.atomic(folder / f"{stem}{suffix}") as temporary:
                    figure.savefig(temporary, metadata=metadata)


def new_figure(height: float) -> "Figure":
    """Return an empty figure, 1280 pixels wide, `height` pixels high."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100)
    FigureCanvasAgg(figure)
    return figure


def write_title(axes: "Axes", theme: Theme, title: str, note: str = "") -> None:
    """Write the title above the axes on the left, and behind it, smaller and muted, a note."""
    text = axes.set_title(title, loc="left", fontsize=14, pad=12, y=1.0)
    axes.annotate(
        note,
        (1, 0),
        xycoords=text,
        xytext=(14, 0),
        textcoords="offset points",
        va="bottom",
        fontsize=11,
        color=theme.muted,
        annotation_clip=False,
    )


def shown_names(names: Sequence[str]) -> list[str]:
    """Return the names as all figures have them: of the width of about 20 letters, longer ones cut in their middle.

    A letter that the font lacks is an empty square, and such a name ends with its position in labels.txt.
    """
    shown = []
    for index, name in enumerate(names):
        text = drawable(name)
        number = f" {index}" if text != name else ""
        if text_width(text + number, _NAME_POINTS) > _NAME_WIDTH:
            room = _NAME_WIDTH - text_width(text[-_NAME_END:] + number, _NAME_POINTS)
            text = fitted(text[:-_NAME_END], room, font(round(_NAME_POINTS * 100 / 72))) + text[-_NAME_END:]
        shown.append(text + number)
    return shown


def text_width(text: str, points: float) -> float:
    """Return how many pixels wide Matplotlib draws the text, in a figure of this module, at a size in points."""
    return font(100).getlength(text) / 100 * points * 100 / 72


def drawable(text: str) -> str:
    """Return the text with an empty square for each letter that the font lacks."""
    return "".join(letter if ord(letter) in _letters() else _MISSING for letter in text)


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the figures' font for Pillow, `size` pixels high."""
    path = _font_file("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def fitted(text: str, width: float, of: ImageFont.FreeTypeFont) -> str:
    """Return the text, drawable, cut with an ellipsis to at most `width` pixels."""
    text = drawable(text)
    if of.getlength(text) <= width:
        return text
    kept = bisect_right(range(1, len(text)), width, key=lambda letters: of.getlength(f"{text[:letters]}…"))
    return f"{text[: max(1, kept)]}…"


def _settings(theme: Theme) -> dict[Any, Any]:
    return {
        "font.family": "DejaVu Sans",
        "text.parse_math": False,  # a class may be called $x
        "svg.fonttype": "path",
        "svg.hashsalt": "reprolens",
        "figure.facecolor": theme.background,
        "savefig.facecolor": theme.background,
        "axes.facecolor": theme.background,
        "axes.edgecolor": theme.muted,
        "axes.labelcolor": theme.foreground,
        "axes.labelsize": 12,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.color": theme.foreground,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "xtick.labelcolor": theme.foreground,
        "ytick.labelcolor": theme.foreground,
        "grid.color": theme.grid,
    }


def _font_file(name: str) -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


@cache
def _letters() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(_font_file("DejaVuSans.ttf"))).get_charmap())
