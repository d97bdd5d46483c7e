"""What is found in a picture as plain Python numbers, the same in every format."""

from dataclasses import dataclass

import numpy as np

from reprolens.errors import ExportError
from reprolens.inference.seen import Seen


@dataclass(frozen=True)
class Detection:
    """A box x0 y0 x1 y1 in pixels of its picture, continuous, origin at the top-left corner, with score and class."""

    box: tuple[float, float, float, float]
    score: float
    label: int


def detections_of(seen: Seen) -> list[Detection]:
    """Return what was found, in its order.

    A float32 becomes the float64 with the fewest digits that reads back as that float32: 12.1, not 12.100000381469727.
    Raises ExportError for what is no finite number, which none of the formats can say.
    """
    numbers = np.column_stack([seen.found.boxes, seen.found.scores]).astype(np.float32)
    if not np.isfinite(numbers).all():
        raise ExportError(f"{seen.name}: the model gives boxes or scores that are no finite numbers; export it again")
    shortest = numbers.astype(str).astype(np.float64).tolist()
    return [
        Detection((x0, y0, x1, y1), score, int(label))
        for (x0, y0, x1, y1, score), label in zip(shortest, seen.found.labels, strict=True)
    ]
