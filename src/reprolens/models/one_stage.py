"""What detectors of one stage that are written here have in common: a picture through the network, boxes out of it."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image

from reprolens.config import Model
from reprolens.models.registry import Size
from reprolens.models.transform import FixedSizeTransform

Target = dict[str, Tensor]

CANDIDATES = 1000
"""Of all boxes and classes of a picture so many of the highest scores go on to suppression, as in torchvision."""


class OneStage(nn.Module):
    """A detector of `backbone` and `head` in torchvision's convention.

    `backbone(images (N, 3, h, w))` gives a dict of maps `(N, C, h / stride, w / stride)`, largest first; `head` takes
    them as a list and gives the raw outputs, whatever the family makes of them in `losses` and `decode`.
    """

    transform: FixedSizeTransform

    def __init__(self, backbone: nn.Module, head: nn.Module, options: Model) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.score_threshold, self.nms_threshold = options.score_threshold, options.nms_threshold
        self.detections_per_image = options.detections_per_image

    def losses(self, outputs: Any, targets: list[Target], size: Size) -> dict[str, Tensor]:
        """Return named losses of raw outputs; `targets` hold `boxes (M, 4)` in pixels of `size` and `labels` from 1."""
        raise AssertionError("every family has losses of its own")

    def decode(self, outputs: Any, size: Size) -> tuple[Tensor, Tensor]:
        """Return boxes `(N, A, 4)`, x0 y0 x1 y1 in pixels of `size`, and scores `(N, A, K)` of raw outputs."""
        raise AssertionError("every family decodes in its own way")

    def forward(
        self, images: list[Tensor] | Tensor, targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Return losses in training, else what is found in each picture, in its own pixels."""
        originals = [(int(image.shape[-2]), int(image.shape[-1])) for image in images]
        batch, targets = self.transform(images, targets)
        size = (int(batch.tensors.shape[-2]), int(batch.tensors.shape[-1]))
        if self.training:
            if targets is None:
                raise ValueError("training needs targets")
            return self.losses(self.raw(batch.tensors), targets, size)
        boxes, scores = self.candidates(batch.tensors, batch.image_sizes[0])  # all pictures have one size by now
        found = [self._best(*pair) for pair in zip(boxes, scores, strict=True)]
        return self.transform.postprocess(found, batch.image_sizes, originals)

    def raw(self, images: Tensor) -> Any:
        """Return what the head gives for pictures `(N, 3, h, w)` that are resized and normalised."""
        return self.head(list(self.backbone(images).values()))

    def candidates(self, images: Tensor, picture: Size) -> tuple[Tensor, Tensor]:
        """Return boxes `(N, A, 4)` within the picture and scores `(N, A, K)`, all but the best `CANDIDATES` set to 0.

        `images (N, 3, h, w)` are resized and normalised; `picture` is their size before they were padded. Shapes depend
        on that of `images` alone, so this part can be exported as it is; what follows is thresholds and suppression.
        """
        boxes, scores = self.decode(self.raw(images), (int(images.shape[-2]), int(images.shape[-1])))
        return clip_boxes_to_image(boxes, picture), _keep_best(scores)

    def _best(self, boxes: Tensor, scores: Tensor) -> dict[str, Tensor]:
        """Return of one picture's boxes `(A, 4)` and scores `(A, K)` what is above the threshold and not suppressed."""
        places, classes = torch.nonzero(scores > self.score_threshold, as_tuple=True)
        boxes, scores = boxes[places], scores[places, classes]
        kept = batched_nms(boxes, scores, classes, self.nms_threshold)[: self.detections_per_image]
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": classes[kept] + 1}


def _keep_best(scores: Tensor) -> Tensor:
    """Set all but the `CANDIDATES` highest of each picture's scores `(N, A, K)` to 0."""
    flat = scores.flatten(1)
    if flat.shape[1] <= CANDIDATES:
        return scores
    least = flat.topk(CANDIDATES, dim=1).values[:, -1:, None]
    return torch.where(scores >= least, scores, torch.zeros_like(scores))
