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

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reprolens.evaluation.measures.overlaps import FOUND_IOU, NEAR_IOU

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


@dataclass(frozen=True)
class ErrorKind:
    """One of `KINDS`: how many errors of it there are, and the AP50 that they cost, from 0 to 1."""

    name: str
    count: int
    cost: float


def error_breakdown(evaluation: "COCOeval") -> tuple[ErrorKind, ...]:
    """Return the errors of each of `KINDS`, from what `coco.coco_evaluation` returns."""
    found = evaluation.tide_errors(pos_thr=FOUND_IOU, bg_thr=NEAR_IOU)
    counts, costs = found["counts"], found["delta_ap"]
    return tuple(ErrorKind(name, counts[name.title()], float(costs[name.title()])) for name in KINDS)
