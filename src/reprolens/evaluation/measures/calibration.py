"""Whether a score means what it says: of detections with scores near 0.8, are eight in ten right?

Sources: Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015, and
Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599, equations 3
and 5; carried over to detections by Kueppers, Kronenberger, Shantia and Haselhoff, "Multivariate Confidence Calibration
for Object Detection", CVPR workshops 2020, arXiv:2004.13546: there is no true negative, so what a score of a detection
promises is its precision. Here a detection is right by VOC's rule at IoU 0.5; those that VOC ignores (on difficult
objects and crowds) are left out. Objects that are missed altogether have no score and take no part.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprolens.evaluation.measures.matches import Matches
from reprolens.evaluation.measures.ratios import ratio

BINS = 15
"""Equal bins of the scores from 0 to 1, as many as Guo et al. take."""


@dataclass(frozen=True)
class Calibration:
    """Detections binned by their scores, B equal bins from 0 to 1: the numbers behind a reliability diagram.

    ece: the expected calibration error, the mean of |accuracy - confidence| over all detections, 0 to 1; None without
        detections.
    mce: the largest |accuracy - confidence| of a bin; None without detections.
    edges: `(B + 1,)` float64, 0 to 1. A bin holds the scores from its lower edge up to, but without, its upper one; the
        last one holds 1 too.
    count: `(B,)` int64, the detections of each bin.
    confidence, accuracy: `(B,)` float64, the mean score of a bin's detections, and the share of them that is right;
        NaN in an empty bin.
    """

    ece: float | None
    mce: float | None
    edges: NDArray[np.float64]
    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def calibrate(matches: Matches) -> Calibration | None:
    """Return the calibration of what `voc_matches` judged; None if a score is no probability: outside 0 to 1."""
    kept = ~matches.ignored[0]
    return calibration_of(matches.scores[kept], matches.right[0, kept])


def calibration_of(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> Calibration | None:
    """Return the calibration of predictions `(N,)` with these scores; None if a score is outside 0 to 1."""
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        return None
    edges = np.arange(BINS + 1) / BINS
    place = np.minimum(np.searchsorted(edges, scores, side="right") - 1, BINS - 1)
    count = np.bincount(place, minlength=BINS)
    confidence, accuracy = (ratio(np.bincount(place, values, BINS), count) for values in (scores, right))
    gaps = np.abs(accuracy - confidence)[count > 0]
    return Calibration(
        float(gaps @ count[count > 0] / len(scores)) if len(scores) else None,
        float(gaps.max()) if len(scores) else None,
        edges,
        count,
        confidence,
        accuracy,
    )
