"""A comparison as one page to mail: verdict, differences with intervals, settings, classes, sizes, changed pictures.

In the look of the run's own page, with its templates. The same comparison gives the same bytes; pictures are embedded,
charts are SVG, and all that comes from outside is escaped.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Environment
from markupsafe import Markup

from reprolens.colors import class_hex
from reprolens.comparison.charts import Line, forest
from reprolens.comparison.classes import class_differences
from reprolens.comparison.compare import SIZES, Changed, Comparison, Pair
from reprolens.comparison.paired import Difference
from reprolens.comparison.settings import write_setting
from reprolens.comparison.writing import class_title, metric_title, signed
from reprolens.evaluation.measures.bootstrap import HEADLINE
from reprolens.evaluation.measures.detections import Detections, Truth
from reprolens.files import write_text
from reprolens.tracking.page import environment
from reprolens.tracking.page.pictures import Box
from reprolens.tracking.wording import MISSING, write_number

_MOST_CLASSES = 40


@dataclass(frozen=True)
class _Side:
    """A picture as one subject saw it."""

    name: str
    said: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class _Shown:
    """A changed picture: its address (None: not to be had), its true boxes, and how both subjects saw it."""

    id: str
    href: str | None
    width: int
    height: int
    gain: str
    truth: tuple[Box, ...]
    sides: tuple[_Side, _Side]


def write_page(comparison: Comparison, path: Path) -> None:
    """Write the page of a comparison."""
    write_text(path, render_page(comparison))


def render_page(comparison: Comparison) -> str:
    """Return the page of a comparison as HTML."""
    first = comparison.subjects[0].name
    return (
        _environment()
        .get_template("comparison.html")
        .render(
            comparison=comparison,
            first=first,
            overview=_overview(comparison),
            class_title=class_title(comparison.metric),
            headline=[_headline(pair, first) for pair in comparison.pairs],
            classes=[_classes(pair, comparison) for pair in comparison.pairs],
            sizes=[_sizes(pair) for pair in comparison.pairs],
            changed=[
                [_shown(item, (first, pair.name), comparison.classes) for item in pair.changed]
                for pair in comparison.pairs
            ],
        )
    )


def _overview(comparison: Comparison) -> Markup:
    """Return, where several are compared with the baseline, all their differences in the metric in one plot."""
    if len(comparison.pairs) < 2:
        return Markup("")
    lines = [_line(pair.name, pair.differences[comparison.metric]) for pair in comparison.pairs]
    names = (comparison.subjects[0].name, "other")
    return forest([line for line in lines if line], names, f"{comparison.metric} against the baseline")


def _headline(pair: Pair, first: str) -> Markup:
    lines = [_line(metric_title(key), pair.differences[key]) for key in HEADLINE if key in pair.differences]
    return forest([line for line in lines if line], (first, pair.name), f"differences between {first} and {pair.name}")


def _classes(pair: Pair, comparison: Comparison) -> tuple[Markup, int]:
    """Return the plot of the classes' changes, and how many in its middle are left out."""
    found = class_differences(pair, comparison)
    left_out = max(0, len(found) - _MOST_CLASSES)
    if left_out:
        found = found[: _MOST_CLASSES // 2] + found[-_MOST_CLASSES // 2 :]
    lines = [line for name, own in found if (line := _line(name, own))]
    return forest(lines, (comparison.subjects[0].name, pair.name), "change of each class's AP", bars=True), left_out


def _sizes(pair: Pair) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return of each size AP and AR as `(baseline, other, change)`, written."""
    rows = []
    for size in SIZES:
        cells = []
        for measure in ("ap", "ar"):
            before, after = pair.sizes.get(f"coco/{measure}_{size}", (None, None))
            change = MISSING if before is None or after is None else signed(after - before)
            cells.append((write_number(before), write_number(after), change))
        rows.append((size, cells))
    return rows


def _line(name: str, own: Difference) -> Line | None:
    if own.difference is None:
        return None
    return Line(name, f"{write_number(own.first)} → {write_number(own.second)}", own.difference, own.low, own.high)


def _shown(item: Changed, names: tuple[str, str], classes: Sequence[str]) -> _Shown:
    href = None if item.picture is None else f"data:image/jpeg;base64,{base64.b64encode(item.picture).decode()}"
    sides = tuple(
        _Side(name, said, _boxes(found, classes))
        for name, said, found in zip(names, (item.before, item.after), (item.first, item.second), strict=True)
    )
    width, height = item.size
    return _Shown(item.id, href, width, height, signed(item.gain, 2), _boxes(item.truth, classes), (sides[0], sides[1]))


def _boxes(found: Detections | Truth, classes: Sequence[str]) -> tuple[Box, ...]:
    """Return boxes as the page draws them, the surest last, so that it is on top."""
    scores = found.scores if isinstance(found, Detections) else None
    order = range(len(found)) if scores is None else np.argsort(scores, kind="stable")
    boxes = []
    for place in order:
        x0, y0, x1, y1 = found.boxes[place].tolist()
        label, score = classes[found.labels[place]], None if scores is None else float(scores[place])
        text = label if score is None else f"{label} {score:.2f}"
        title = f"{text} (difficult)" if isinstance(found, Truth) and found.difficult[place] else text
        color = class_hex(int(found.labels[place]))
        boxes.append(Box(x0, y0, max(x1 - x0, 0.0), max(y1 - y0, 0.0), text, title, score, color))
    return tuple(boxes)


@cache
def _environment() -> Environment:
    made = environment("reprolens.comparison")
    made.filters["setting"] = write_setting
    return made
