"""What every writer of a file starts from."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import nn

from reprolens.config import Export
from reprolens.export.norms import fuse_norms
from reprolens.inference.model import Contract
from reprolens.models import TrainedModel
from reprolens.models.reparameterize import reparameterize
from reprolens.voc import Folder

if TYPE_CHECKING:
    from reprolens.export.onnx import Parts


@dataclass(frozen=True)
class Source:
    """A trained model, the data set it was trained on, and how it is to be exported."""

    trained: TrainedModel
    folder: Folder
    config: Export

    @cached_property
    def network(self) -> nn.Module:
        """The model on the CPU, ready to run and never to be trained: its blocks folded, its BatchNorms fused."""
        return fuse_norms(reparameterize(self.trained.module.cpu().eval()), self.trained.options.image_size)

    @cached_property
    def parts(self) -> "Parts":
        """The three graphs of the ONNX file, from which other formats are made."""
        from reprolens.export.onnx import export_parts

        return export_parts(self)

    def contract(self, format: str, batch: int | None, postprocess: bool | None = None) -> Contract:
        """Return what a file of this model says of itself."""
        return contract_of(self.trained, format, batch, self.config.postprocess if postprocess is None else postprocess)


def contract_of(trained: TrainedModel, format: str, batch: int | None, postprocess: bool) -> Contract:
    """Return what anything that runs a trained model says of itself; see `Contract`."""
    options = trained.options
    return Contract(
        format=format,
        model=options.name,
        classes=trained.classes,
        size=(options.image_size[0], options.image_size[1]),
        batch=batch,
        postprocess=postprocess,
        score_threshold=options.score_threshold,
        nms_threshold=options.nms_threshold,
        detections_per_image=options.detections_per_image,
    )
