"""Candidates to detections without torch: thresholds and class-wise suppression, box by box as torchvision does it."""

import numpy as np
from numpy.typing import NDArray

from reprolens.inference.model import Contract, Found

_BLOCK = 32
"""So many candidates are compared at once with all others: more of them share numpy's calls, fewer waste less."""


def suppress(boxes: NDArray[np.float32], scores: NDArray[np.float32], contract: Contract) -> Found:
    """Return the detections among boxes `(A, 4)`, x0 y0 x1 y1, with `scores (A, K)`, each class for itself.

    Kept are the `detections_per_image` highest of all classes whose score is above the threshold and whose overlap
    with no higher one of their class is above `nms_threshold`; of equal scores the lower box and class come first.
    The arithmetic is that of torchvision's `nms`, so that rounding decides alike.
    """
    places, labels = np.nonzero(scores > np.float32(contract.score_threshold))
    order = np.argsort(-scores[places, labels], kind="stable")
    places, labels = places[order], labels[order]
    kept = _keep(boxes[places], labels, contract.nms_threshold, contract.detections_per_image)
    places, labels = places[kept], labels[kept]
    return Found(
        boxes[places].astype(np.float32, copy=False),
        scores[places, labels].astype(np.float32, copy=False),
        labels.astype(np.int64, copy=False),
    )


def _keep(boxes: NDArray[np.float32], labels: NDArray[np.intp], threshold: float, most: int) -> list[int]:
    """Return the rows that stay of boxes `(N, 4)`, highest first.

    A block of the highest is compared with all that are left at once. It ends with the last one wanted: most of the
    low ones are never compared.
    """
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left):
        block = left[:_BLOCK]
        suppressed = _overlap(boxes[block], boxes[left]) > np.float64(threshold)
        suppressed &= labels[block, None] == labels[left]
        free = np.ones(len(left), dtype=bool)
        for place, row in enumerate(block.tolist()):
            if free[place]:
                kept.append(row)
                free &= ~suppressed[place]
            if len(kept) == most:
                return kept
        left = left[_BLOCK:][free[_BLOCK:]]
    return kept


def _overlap(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intersections over unions `(M, N)` of boxes `(M, 4)` and `(N, 4)`; NaN where neither has an area."""
    x0, y0, x1, y1 = np.ascontiguousarray(first.T)[:, :, None]
    left, top, right, bottom = np.ascontiguousarray(second.T)
    width = np.maximum(np.minimum(x1, right) - np.maximum(x0, left), 0)
    common = width * np.maximum(np.minimum(y1, bottom) - np.maximum(y0, top), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return common / ((x1 - x0) * (y1 - y0) + (right - left) * (bottom - top) - common)
