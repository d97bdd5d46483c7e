"""The part of a detector whose shapes are fixed: pictures of the network's size to boxes and scores.

What follows it, thresholds and non-maximum suppression, depends on the data; torch's exporter refuses that, so
`reprolens.export.graph` puts it behind as ONNX operators. The candidates that torchvision keeps before suppression are
fixed in number, so they are chosen here: the scores of all others are set to 0.
"""

from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import clip_boxes_to_image

from reprolens.errors import ExportError
from reprolens.models.one_stage import OneStage


class Normalise(nn.Module):
    """What torchvision's transform does to pictures of the network's size: `(B, 3, h, w)` to `(B, 3, h', w')`.

    It normalises, then pads at the right and the bottom to multiples of `size_divisible`, which the pyramids need.
    """

    def __init__(self, transform: Any, size: tuple[int, int]) -> None:
        super().__init__()
        self.preprocessing = transform.preprocessing
        self.padding = (0, -size[1] % transform.size_divisible, 0, -size[0] % transform.size_divisible)

    def forward(self, pixels: Tensor) -> Tensor:
        return functional.pad(self.preprocessing(pixels), self.padding)


class Dense(nn.Module):
    """`pixels (B, 3, h, w)` float, 0 to 1, to `boxes (B, A, 4)` in their pixels and `scores (B, A, K)`."""

    anchors: Tensor

    def __init__(self, detector: Any, size: tuple[int, int]) -> None:
        super().__init__()
        self.detector, self.size = detector, size
        self.normalise = Normalise(detector.transform, size)
        blank = self.normalise(torch.zeros(1, 3, *size))
        with torch.no_grad():
            anchors = detector.anchor_generator(ImageList(blank, [size]), self.features(blank))
        self.register_buffer("anchors", anchors[0])

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the maps of the backbone's levels, largest first."""
        return list(self.detector.backbone(images).values())

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(self.normalise(pixels))
        boxes, scores = self.decode(features, self.detector.head(features))
        return clip_boxes_to_image(boxes, self.size), scores

    def decode(self, features: list[Tensor], outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return all boxes `(B, A, 4)` and their scores `(B, A, K)`."""
        raise AssertionError("every family decodes in its own way")

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Return the boxes of Faster R-CNN's codes `(B, A, 4)`, which torchvision decodes for one picture only."""
        anchors = self.anchors.expand_as(codes).reshape(-1, 4)
        return self.detector.box_coder.decode_single(codes.reshape(-1, 4), anchors).reshape(codes.shape)


class DenseSSD(Dense):
    """SSD: softmax over the classes; the best `topk_candidates` of each class stay."""

    def decode(self, features: list[Tensor], outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        scores = outputs["cls_logits"].softmax(-1)[..., 1:]
        return self.decode_codes(outputs["bbox_regression"]), _keep_best(scores, self.detector.topk_candidates)


class DenseRetinaNet(Dense):
    """RetinaNet: a sigmoid for each class; the best `topk_candidates` of each level stay, over all classes together."""

    def decode(self, features: list[Tensor], outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return self.decode_codes(outputs["bbox_regression"]), self.best(features, outputs["cls_logits"].sigmoid())

    def best(self, features: list[Tensor], scores: Tensor) -> Tensor:
        """Return `scores (B, A, 1 + K)` without the background, which takes part in the choice of the best."""
        cells = [feature.shape[-2] * feature.shape[-1] for feature in features]
        anchors = scores.shape[1] // sum(cells)
        levels = scores.split([count * anchors for count in cells], dim=1)
        kept = [
            _keep_best(level.flatten(1)[..., None], self.detector.topk_candidates).reshape(level.shape)
            for level in levels
        ]
        return torch.cat(kept, dim=1)[..., 1:]


class DenseFCOS(DenseRetinaNet):
    """FCOS: the score is the geometric mean of class and centerness (torchvision's form of the paper's product)."""

    def decode(self, features: list[Tensor], outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        boxes = self.detector.box_coder.decode(outputs["bbox_regression"], self.anchors)
        scores = torch.sqrt(outputs["cls_logits"].sigmoid() * outputs["bbox_ctrness"].sigmoid())
        return boxes, self.best(features, scores)


class DenseOneStage(nn.Module):
    """A detector written here, which says itself what its candidates are; as `Dense`."""

    def __init__(self, detector: OneStage, size: tuple[int, int]) -> None:
        super().__init__()
        self.detector, self.size = detector, size
        self.normalise = Normalise(detector.transform, size)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.detector.candidates(self.normalise(pixels), self.size)


class TwoStage(nn.Module):
    """A two-stage detector whole: `pixels (1, 3, h, w)` to `boxes (N, 4)`, `scores (N,)`, `labels (N,)` from 0 on."""

    def __init__(self, detector: Any, size: tuple[int, int]) -> None:
        super().__init__()
        self.detector, self.size = detector, size
        self.normalise = Normalise(detector.transform, size)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        images = ImageList(self.normalise(pixels), [self.size])
        features = self.detector.backbone(images.tensors)
        proposals, _ = self.detector.rpn(images, features)
        found = self.detector.roi_heads(features, proposals, images.image_sizes)[0][0]
        return found["boxes"], found["scores"], found["labels"] - 1


@singledispatch
def fixed_part(detector: nn.Module, size: tuple[int, int]) -> Dense | DenseOneStage | TwoStage:
    """Return the part of `detector` that torch's exporters take. Raises ExportError for a family unknown here."""
    raise ExportError(f"{type(detector).__name__}: this family has no export yet")


fixed_part.register(SSD, DenseSSD)
fixed_part.register(RetinaNet, DenseRetinaNet)
fixed_part.register(FCOS, DenseFCOS)
fixed_part.register(OneStage, DenseOneStage)
fixed_part.register(FasterRCNN, TwoStage)


def _keep_best(scores: Tensor, count: int) -> Tensor:
    """Set all but the `count` highest scores of each picture's columns to 0; `scores (B, A, K)`."""
    if scores.shape[1] <= count:
        return scores
    least = scores.topk(count, dim=1).values[:, -1:]
    return torch.where(scores >= least, scores, torch.zeros_like(scores))
