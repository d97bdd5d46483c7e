"""What every exported detector is, whatever runs it: a batch of pictures in, what it finds in each out."""

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprolens.errors import ExportError

Pixels = NDArray[np.uint8]
"""A picture `(H, W, 3)` or a batch `(B, H, W, 3)`, RGB."""

KEY = "reprolens"
"""Under this name a file's metadata have its contract, as JSON."""


@dataclass(frozen=True)
class Found:
    """What is in one picture: boxes `(N, 4)` float32, x0 y0 x1 y1 in its pixels, `scores (N,)` float32, the highest
    first, and `labels (N,)` int64, indices into the class names.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> "Found":
        """Return what has a score of at least `threshold`."""
        keep = self.scores >= threshold
        return Found(self.boxes[keep], self.scores[keep], self.labels[keep])


@dataclass(frozen=True)
class Contract:
    """What a file says of itself.

    format: its name in `config.ExportFormat`.
    model: the model's name in the registry.
    classes: their names in index order.
    size: (height, width) that the network sees; pictures of any size go in.
    batch: how many pictures it takes at a time, None for any number.
    postprocess: whether it gives detections; else it gives candidates, which `suppression` makes detections of.
    score_threshold, nms_threshold, detections_per_image: which of the candidates are detections.
    """

    format: str
    model: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    batch: int | None
    postprocess: bool
    score_threshold: float
    nms_threshold: float
    detections_per_image: int

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


class Model(ABC):
    """A loaded file. `images (B, H, W, 3)` uint8 RGB, `B` as its contract allows, all of one size."""

    contract: Contract

    @abstractmethod
    def __call__(self, images: Pixels) -> list[Found]:
        """Return what is in each picture."""


def read_contract(text: str | None, path: Path) -> Contract:
    """Return the contract that a file's metadata hold. Raises ExportError if they hold none."""
    try:
        said: dict[str, Any] = json.loads(text or "")
        return Contract(**{**said, "classes": tuple(said["classes"]), "size": (said["size"][0], said["size"][1])})
    except (ValueError, TypeError, KeyError, IndexError):
        raise ExportError(f"{path}: was not exported by reprolens; it does not say what it takes and gives") from None
