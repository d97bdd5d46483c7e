"""What every exported file gives, whatever runs it, made into detections."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from reprolens.inference.model import Contract, Found, Pixels
from reprolens.inference.suppression import suppress

Arrays = Mapping[str, NDArray]

DETECTIONS = ("boxes", "scores", "labels", "counts")
CANDIDATES = ("candidate_boxes", "candidate_scores")


def output_names(contract: Contract) -> tuple[str, ...]:
    """Return the names of the outputs that a file of this contract has."""
    return DETECTIONS if contract.postprocess else CANDIDATES


def find(images: Pixels, contract: Contract, run: Callable[[Pixels], Arrays]) -> list[Found]:
    """Return what is in each of `images (B, H, W, 3)`; `run` gives the file's outputs by name for a batch.

    More pictures than the file takes at a time go through it in turns; the last turn is filled up with its last
    picture, because such a file takes neither more nor fewer.
    """
    found: list[Found] = []
    step = contract.batch or max(len(images), 1)
    for start in range(0, len(images), step):
        part = images[start : start + step]
        missing = (contract.batch or len(part)) - len(part)
        full = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
        found += detections(run(np.ascontiguousarray(full)), contract)[: len(part)]
    return found


def detections(arrays: Arrays, contract: Contract) -> list[Found]:
    """Return the detections of each picture of a batch, of either kind of outputs."""
    if not contract.postprocess:
        boxes, scores = (np.asarray(arrays[name], dtype=np.float32) for name in CANDIDATES)
        return [suppress(*pair, contract) for pair in zip(boxes, scores, strict=True)]
    boxes, scores, labels, counts = (np.asarray(arrays[name]) for name in DETECTIONS)
    return [
        Found(
            boxes[place, :count].astype(np.float32, copy=False),
            scores[place, :count].astype(np.float32, copy=False),
            labels[place, :count].astype(np.int64, copy=False),
        )
        for place, count in enumerate(counts.tolist())
    ]
