"""Where average precision is lost: the six kinds of error of TIDE, how many there are and what each costs.

Source: Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020,
arXiv:2008.08115, through hotcoco. A detection, however low its score, that is not right at IoU 0.5 is, by its largest
IoU with the true boxes of its picture:

- cls: at least 0.5 with one of another class;
- loc: from 0.1 to below 0.5 with one of its class;
- both: from 0.1 to below 0.5 with one of another class;
- dupe: at least 0.5 with one of its class that a surer detection has;
- bkg: below 0.1 with all.

Miss: a true box that is not found, and that mending a cls or loc error would not find. The cost of a kind is how much
COCO's AP50 would rise without errors of that kind alone. Costs do not add up, for mending one kind changes what the
next is worth. As in TIDE a missed box is mended by leaving it out, so a class of which nothing at all is found costs
nothing as missed. Difficult objects count as ordinary ones, as they do for COCO's other numbers here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reprolens import files

if TYPE_CHECKING:
    from hotcoco import COCOeval

KINDS = {
    "cls": "right place, wrong class",
    "loc": "right class, wrong place",
    "both": "wrong class, wrong place",
    "dupe": "found twice",
    "bkg": "nothing is there",
    "miss": "not found",
}
"""The kinds of error in TIDE's order, in words."""

_COLORS = ("#e6194b", "#1f77ff", "#9b5de5", "#ff7f0e", "#7896b4", "#2ca02c")


@dataclass(frozen=True)
class ErrorKind:
    """One of `KINDS`: how many errors of it there are, and the AP50 that they cost, from 0 to 1."""

    name: str
    count: int
    cost: float


def error_breakdown(evaluation: "COCOeval") -> tuple[ErrorKind, ...]:
    """Return the errors of each of `KINDS`, from what `coco.coco_evaluation` returns."""
    found = evaluation.tide_errors(pos_thr=0.5, bg_thr=0.1)
    counts, costs = found["counts"], found["delta_ap"]
    return tuple(ErrorKind(name, counts[name.title()], max(0.0, costs[name.title()])) for name in KINDS)


def draw_errors(errors: Sequence[ErrorKind], path: Path) -> None:
    """Write a PNG, 1280 pixels wide: a bar a kind, as long as its cost, with cost and count behind it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.8, 4.6), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.2, 0.13, 0.76, 0.76))
    most = max([error.cost for error in errors], default=0.0) or 0.01
    for place, (error, color) in enumerate(zip(errors, _COLORS, strict=True)):
        axes.barh(place, error.cost, color=color, height=0.62)
        axes.text(error.cost + most * 0.01, place, f"{error.cost:.4f}  ({error.count:,})", va="center", fontsize=11)
    axes.set_yticks(range(len(errors)), [f"{KINDS[error.name]}  {error.name}" for error in errors], fontsize=11)
    axes.set(xlim=(0, most * 1.15))
    axes.invert_yaxis()
    axes.set_xlabel("AP50 lost  (errors, at any score)", fontsize=12)
    axes.set_title("What each kind of error costs (TIDE)", loc="left", fontsize=14)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    with files.atomic(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
