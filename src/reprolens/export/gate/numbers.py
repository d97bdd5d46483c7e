"""Two sets of detections of one picture, number by number: what the file finds and what torch finds."""

from dataclasses import dataclass, replace

import numpy as np

from reprolens.errors import ExportError
from reprolens.evaluation import Detections
from reprolens.inference.model import Found

LEAST_SIDE, LEAST_SCORE = 1.0, 0.01
"""A relative difference is a share of the box's longer side and of the score, but of no less than this."""


@dataclass(frozen=True)
class Difference:
    """How two sets of detections of one picture differ.

    `box` is in pixels of the picture, `box_relative` a share of the longer side of the second set's box (of a pixel
    where it is shorter), `score_relative` one of its score (of 0.01 where that is lower); `unmatched` counts the
    detections of either that have no partner in the other.
    """

    box: float = 0.0
    box_relative: float = 0.0
    score: float = 0.0
    score_relative: float = 0.0
    matched: int = 0
    unmatched: int = 0

    def __or__(self, other: "Difference") -> "Difference":
        """Return the difference of the pictures of both together."""
        return Difference(
            max(self.box, other.box),
            max(self.box_relative, other.box_relative),
            max(self.score, other.score),
            max(self.score_relative, other.score_relative),
            self.matched + other.matched,
            self.unmatched + other.unmatched,
        )


def difference(
    first: Detections | Found, second: Detections | Found, least_score: float, most: int, score_tolerance: float
) -> Difference:
    """Pair the detections of a class that overlap nearly wholly, and return how far apart pairs are.

    A detection without a partner counts only if its score is clearly above what decides whether the other side keeps
    it at all: `least_score`, or, where the other side holds as many as it may (`most`), the lowest score there.
    """
    found = Difference()
    lonely: list[float] = []
    free = np.ones(len(second), dtype=bool)
    for place in range(len(first)):
        gap = np.abs(second.boxes - first.boxes[place]).max(axis=1) + np.abs(second.scores - first.scores[place])
        gap[~free | (second.labels != first.labels[place])] = np.inf
        partner = int(gap.argmin()) if len(gap) else -1
        side = float((first.boxes[place, 2:] - first.boxes[place, :2]).max())
        if partner < 0 or not gap[partner] <= max(2.0, 0.05 * side):  # `not <=`: NaN is no partner either
            lonely.append(float(first.scores[place]))
            continue
        free[partner] = False
        found |= _of_pair(first, place, second, partner)
    unmatched = 0
    for scores, other in ((np.array(lonely), second), (second.scores[free], first)):
        cut = max(least_score, float(other.scores.min())) if len(other) >= most else least_score
        unmatched += int((scores > cut + score_tolerance).sum())
    return replace(found, unmatched=unmatched)


def _of_pair(first: Detections | Found, place: int, second: Detections | Found, partner: int) -> Difference:
    box = float(np.abs(second.boxes[partner] - first.boxes[place]).max())
    score = float(abs(second.scores[partner] - first.scores[place]))
    side = float((second.boxes[partner, 2:] - second.boxes[partner, :2]).max())
    share = score / max(float(second.scores[partner]), LEAST_SCORE)
    return Difference(box, box / max(side, LEAST_SIDE), score, share, matched=1)


def check_found(found: Found, classes: int) -> None:
    """Raise ExportError if what a file gives for a picture is no detections: not finite, or of no class."""
    for name, values in (("box", found.boxes), ("score", found.scores)):
        if not np.isfinite(values).all():
            raise ExportError(f"gives a {name} that is no finite number")
    if len(found) and (found.labels.min() < 0 or found.labels.max() >= classes):
        wrong = found.labels[(found.labels < 0) | (found.labels >= classes)][0]
        raise ExportError(f"gives label {wrong}, but the model's classes go from 0 to {classes - 1}")
