"""Which pictures a detector serves worst.

A picture's weight is the number of its missed objects plus the sum of the scores of its wrong detections, of those from
the score threshold up: a sure mistake counts as much as a miss, an unsure one less. Right, wrong and missed are VOC's
at IoU 0.5, as for precision and recall, so an object found with the wrong class counts twice; difficult objects and
crowds do not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reprolens.evaluation.measures.matches import Matches


@dataclass(frozen=True)
class Faults:
    """How many objects of a picture were missed, how many of its detections were wrong, and the weight of both."""

    missed: int
    wrong: int
    weight: float

    def __str__(self) -> str:
        """Say it in words: `2 missed, 1 false`."""
        parts = [f"{count} {what}" for count, what in ((self.missed, "missed"), (self.wrong, "false")) if count]
        return ", ".join(parts) or "no errors"


def count_faults(matches: Matches, images: int, score_threshold: float) -> tuple[Faults, ...]:
    """Return the faults of each picture, from what `voc_matches` returns for `images` pictures."""
    wrong = matches.wrong(score_threshold)
    weights = np.bincount(matches.image[wrong], matches.scores[wrong], minlength=images)
    return tuple(
        Faults(int(missed), int(false), float(missed + weight))
        for (_, false, missed), weight in zip(matches.counts(images, score_threshold), weights, strict=True)
    )


def choose_worst(faults: Sequence[Faults], count: int) -> list[int]:
    """Return the positions of up to `count` pictures, the heaviest first, of equal ones the earlier; of those at fault.

    A picture is at fault if something was missed or wrong.
    """
    at_fault = [place for place, fault in enumerate(faults) if fault.missed or fault.wrong]
    return sorted(at_fault, key=lambda place: -faults[place].weight)[:count]
