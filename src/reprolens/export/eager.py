"""The trained model as torch runs it: what every file has to be as good as."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from reprolens.errors import ExportError, first_line
from reprolens.export.source import contract_of
from reprolens.inference.model import Found, Model, Pixels
from reprolens.models import TrainedModel
from reprolens.models.mask_rcnn import without_masks


class TorchModel(Model):
    """The trained module itself, neither folded nor fused, run eagerly as whoever has the weights runs it.

    Raises ExportError if torch cannot run it, as where it does not fit the device's memory.
    """

    def __init__(self, trained: TrainedModel, device: str = "cpu") -> None:
        self.contract = contract_of(trained, "torch", batch=None, postprocess=True)
        with _explained(self.contract.model, "set CUDA_VISIBLE_DEVICES= to run on the CPU"):
            self._device, self._module = device, trained.module.to(device).eval()

    def __call__(self, images: Pixels) -> list[Found]:
        with _explained(self.contract.model, "take a smaller --batch"):
            pictures = [torch.tensor(image, device=self._device).permute(2, 0, 1).float() / 255 for image in images]
            with torch.inference_mode(), without_masks(self._module):
                predictions = self._module(pictures)
            return [
                Found(
                    found["boxes"].cpu().numpy().astype(np.float32, copy=False),
                    found["scores"].cpu().numpy().astype(np.float32, copy=False),
                    found["labels"].cpu().numpy() - 1,  # torchvision's 0 is the background
                )
                for found in predictions
            ]


@contextmanager
def _explained(name: str, advice: str) -> Iterator[None]:
    """Raise ExportError for what torch raises; `advice` is for where the memory is too small."""
    try:
        yield
    except RuntimeError as error:
        # torch says it of a GPU, its allocator of the CPU; an OutOfMemoryError is a RuntimeError too.
        short = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        ending = f"; {advice}" if short else ""
        raise ExportError(f"{name}: torch cannot run it ({first_line(error)}){ending}") from None
