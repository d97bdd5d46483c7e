"""What weights expect of a picture. It belongs to the weights, and travels with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Three = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """Of a picture whose pixels go from 0 to `range`, its channels in `order`: `(pixels - mean) / std`.

    `mean` and `std` are in the units of `range` and in that order. The default is torchvision's for ImageNet.
    """

    mean: Three = (0.485, 0.456, 0.406)
    std: Three = (0.229, 0.224, 0.225)
    range: float = 1.0
    order: str = "RGB"

    def __call__(self, images: Tensor) -> Tensor:
        """Return pictures `(..., 3, H, W)`, RGB from 0 to 1, as the weights expect them."""
        mean = torch.tensor(self.mean, dtype=images.dtype, device=images.device)[:, None, None] / self.range
        std = torch.tensor(self.std, dtype=images.dtype, device=images.device)[:, None, None] / self.range
        return ((images.flip(-3) if self.order == "BGR" else images) - mean) / std


IMAGENET = Preprocessing()
UNCHANGED = Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def read_preprocessing(values: Mapping[str, Any]) -> Preprocessing:
    """Return what `asdict` made of one. Raises TypeError or ValueError if `values` is something else."""
    found = Preprocessing(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
    if len(found.mean) != 3 or len(found.std) != 3 or found.order not in ("RGB", "BGR") or not min(found.std) > 0:
        raise ValueError(f"no preprocessing of pictures: {dict(values)}")
    return found
