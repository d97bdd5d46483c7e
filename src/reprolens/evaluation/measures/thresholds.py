"""How precision, recall and F1 of all classes together follow from the score threshold, and where F1 is best.

Right, wrong and missed are VOC's at IoU 0.5 (van Rijsbergen, "Information Retrieval", 1979, chapter 7, for F1: the
harmonic mean of precision and recall). Detections that VOC ignores count nowhere.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprolens.evaluation.measures.matches import Matches

MOST_ROWS = 200

Row = tuple[float, float, float | None, float]
"""Score threshold, and precision, recall (None where there is nothing to find) and F1 of detections from there up."""


@dataclass(frozen=True)
class Sweep:
    """Every score that a detection has as the threshold, from the highest: P thresholds.

    thresholds: `(P,)` float64, falling.
    right, kept: `(P,)` int64, how many detections from the threshold up are right, and how many there are.
    positives: how many true boxes there are to be found.
    """

    thresholds: NDArray[np.float64]
    right: NDArray[np.int64]
    kept: NDArray[np.int64]
    positives: int

    @property
    def f1(self) -> NDArray[np.float64]:
        """F1 at each threshold, `(P,)`: 2 right / (2 right + wrong + missed)."""
        return 2 * self.right / (self.kept + self.positives)

    def best(self) -> int | None:
        """Return the position of the threshold with the highest F1, of equal ones the highest; None without any."""
        return int(np.argmax(self.f1)) if len(self.thresholds) else None

    def row(self, place: int) -> Row:
        """Return the numbers at the threshold of a position."""
        right, kept = int(self.right[place]), int(self.kept[place])
        recall = right / self.positives if self.positives else None
        return float(self.thresholds[place]), right / kept, recall, 2 * right / (kept + self.positives)


def sweep(matches: Matches) -> Sweep:
    """Return what every score threshold gives, from what `voc_matches` returns."""
    counted = ~matches.ignored[0]
    scores = matches.scores[counted]
    order = np.argsort(-scores)
    scores = scores[order]
    # A threshold keeps all detections that share its score, so that their order among themselves says nothing.
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1) if len(scores) else np.zeros(0, np.int64)
    right = np.cumsum(matches.right[0, counted][order])
    return Sweep(scores[last], right[last], last + 1, len(matches.truth_image))


def best_f1(points: Sweep) -> dict[str, float | None]:
    """Return `best_f1` and, behind it, the `threshold`, `precision` and `recall` it is at.

    Without detections F1 and recall are 0 if there is something to find, else undefined; threshold and precision are
    undefined. Without objects F1 is 0 wherever the threshold is, and the threshold is the highest score.
    """
    place = points.best()
    zero = 0.0 if points.positives else None
    threshold, precision, recall, f1 = (None, None, zero, zero) if place is None else points.row(place)
    return {"best_f1": f1, "best_f1/threshold": threshold, "best_f1/precision": precision, "best_f1/recall": recall}


def table(points: Sweep) -> tuple[Row, ...]:
    """Return up to 200 rows by rising threshold, the best one and both ends among them.

    Half are spread evenly over the scores, half over the detections: scores may lie close together.
    """
    count = len(points.thresholds)
    if not count:
        return ()
    half = MOST_ROWS // 2
    levels = np.linspace(points.thresholds[0], points.thresholds[-1], half)
    by_score = np.minimum(np.searchsorted(-points.thresholds, -levels), count - 1)
    by_rank = np.linspace(0, count - 1, half - 1).round().astype(int)
    places = np.unique(np.concatenate([by_score, by_rank, [points.best()]]))
    return tuple(points.row(place) for place in places[::-1].tolist())
