"""Cascade R-CNN: delving into high quality object detection (Cai and Vasconcelos, 2018, arXiv:1712.00726).

Faster R-CNN (torchvision's, with a feature pyramid) whose second stage is three, one behind the other. Each refines the
boxes of the one before, and learns on those that are good enough for it: IoU 0.5, 0.6 and 0.7 (section 4.1).

- Each head has two layers of 1024 and moves a box the same way whatever its class, as in the paper's FPN models.
- Only the first stage samples its boxes; the others learn on what becomes of these, as in Detectron2.
- The losses of the stages count 1, 0.5 and 0.25, as in mmdetection.
- A detection's box is the third stage's. Its score is the mean of the three stages' probabilities, each stage's for the
  box that it was given: Detectron2's form. In the paper's all three heads look at the third stage's boxes once more.

80 classes make 69.4 M parameters: the 69.17 M that mmdetection names, and those of the stem and the first stage of
ResNet, which it does not count because it never trains them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import MultiScaleRoIAlign, batched_nms, box_iou, clip_boxes_to_image, remove_small_boxes

from reprolens.config import Model
from reprolens.models.backbones import Pyramid, pyramid
from reprolens.models.one_stage import Target
from reprolens.models.registry import Size, register

Sizes = list[Size]


@dataclass(frozen=True)
class Stage:
    """From which IoU on a box is positive, the weights of the box coder, and what the stage's losses count."""

    iou: float
    box_weights: tuple[float, float, float, float]
    loss_weight: float


STAGES = (
    Stage(0.5, (10.0, 10.0, 5.0, 5.0), 1.0),
    Stage(0.6, (20.0, 20.0, 10.0, 10.0), 0.5),
    Stage(0.7, (30.0, 30.0, 15.0, 15.0), 0.25),
)


@register(
    "cascade_rcnn_resnet50_fpn",
    paper="arXiv:1712.00726",
    licence="Apache-2.0",
    weights="ResNet50_Weights.IMAGENET1K_V1",
    weights_licence="BSD-3-Clause",
    backbones=True,
)
def build_cascade_rcnn_resnet50_fpn(classes: int, size: Size, options: Model) -> nn.Module:
    """Build Cascade R-CNN on ResNet-50, or on `options.backbone`."""
    return CascadeRCNN(pyramid(options.backbone or "resnet50", extra="pool"), classes, options)


class CascadeRCNN(FasterRCNN):
    """torchvision's FasterRCNN with `CascadeHeads` in place of its second stage; `classes` without the background."""

    def __init__(self, backbone: Pyramid, classes: int, options: Model) -> None:
        # What this constructor knows of proposals is wanted; the second stage that it insists on is empty.
        super().__init__(backbone, None, box_head=nn.Identity(), box_predictor=nn.Identity())
        self.roi_heads = CascadeHeads(backbone.out_channels, classes, options)


class CascadeHeads(RoIHeads):
    """The three stages, called as torchvision's RoIHeads: proposals `(P, 4)` a picture to losses or detections."""

    def __init__(self, channels: int, classes: int, options: Model) -> None:
        pool = MultiScaleRoIAlign(featmap_names=["0", "1", "2", "3"], output_size=7, sampling_ratio=2)
        heads = nn.ModuleList(TwoMLPHead(channels * 7 * 7, 1024) for _ in STAGES)
        predictors = nn.ModuleList(Predictor(1024, classes + 1) for _ in STAGES)
        first = STAGES[0]
        post = (options.score_threshold, options.nms_threshold, options.detections_per_image)
        super().__init__(pool, heads, predictors, first.iou, first.iou, 512, 0.25, first.box_weights, *post)
        self.coders = [BoxCoder(stage.box_weights) for stage in STAGES]

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: Sizes,
        targets: list[Target] | None = None,
    ) -> tuple[list[Target], dict[str, Tensor]]:
        """Return detections and no losses, or, in training, no detections and the losses of every stage."""
        if not self.training:
            return self._detections(features, proposals, image_shapes), {}
        self.check_targets(targets)
        return [], self._losses(features, proposals, image_shapes, targets or [])

    def _losses(
        self, features: dict[str, Tensor], proposals: list[Tensor], sizes: Sizes, targets: list[Target]
    ) -> dict[str, Tensor]:
        boxes = self._sampled(proposals, targets)
        losses = {}
        for place, (stage, coder) in enumerate(zip(STAGES, self.coders, strict=True)):
            pairs = [assign(here, target, stage.iou) for here, target in zip(boxes, targets, strict=True)]
            labels = torch.cat([pair[0] for pair in pairs])
            wanted = coder.encode_single(torch.cat([pair[1] for pair in pairs]), torch.cat(boxes))
            logits, codes = self._stage(place, features, boxes, sizes)
            classification, regression = stage_losses(logits, codes, labels, wanted)
            losses[f"loss_classifier_{place + 1}"] = stage.loss_weight * classification
            losses[f"loss_box_reg_{place + 1}"] = stage.loss_weight * regression
            boxes = refine(codes.detach(), boxes, coder, sizes)
        return losses

    def _detections(self, features: dict[str, Tensor], boxes: list[Tensor], sizes: Sizes) -> list[Target]:
        probabilities = []
        for place, coder in enumerate(self.coders):
            logits, codes = self._stage(place, features, boxes, sizes)
            probabilities.append(logits.float().softmax(-1))
            boxes = refine(codes, boxes, coder, sizes)
        scores = torch.stack(probabilities).mean(0).split([part.shape[0] for part in boxes])
        return [self._suppressed(*pair) for pair in zip(boxes, scores, strict=True)]

    def _sampled(self, proposals: list[Tensor], targets: list[Target]) -> list[Tensor]:
        """Return, of the proposals and the true boxes, a random 512 a picture, at most a quarter of them positive."""
        boxes = self.add_gt_proposals(proposals, [target["boxes"].to(proposals[0]) for target in targets])
        labels = [assign(here, target, STAGES[0].iou)[0] for here, target in zip(boxes, targets, strict=True)]
        return [here[chosen] for here, chosen in zip(boxes, self.subsample(labels), strict=True)]

    def _stage(
        self, place: int, features: dict[str, Tensor], boxes: list[Tensor], sizes: Sizes
    ) -> tuple[Tensor, Tensor]:
        """Return logits `(P, classes + 1)` and box codes `(P, 4)` for the boxes of all pictures together."""
        pooled = self.box_roi_pool(features, boxes, sizes)  # (P, channels, 7, 7)
        logits, codes = self.box_predictor[place](self.box_head[place](pooled))
        return logits, codes

    def _suppressed(self, boxes: Tensor, scores: Tensor) -> Target:
        """Return the detections of a picture: boxes `(P, 4)` with scores `(P, classes + 1)`, as torchvision does it.

        No step looks at a value, so that torch's exporter can follow.
        """
        rows, labels = torch.where(scores[:, 1:] > self.score_thresh)
        boxes, scores, labels = boxes[rows], scores[rows, labels + 1], labels + 1
        keep = remove_small_boxes(boxes, min_size=1e-2)
        boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
        keep = batched_nms(boxes, scores, labels, self.nms_thresh)[: self.detections_per_img]
        return {"boxes": boxes[keep], "labels": labels[keep], "scores": scores[keep]}


class Predictor(nn.Module):
    """`(P, channels)` to logits `(P, rows)`, the background's first, and codes of one box `(P, 4)` for all classes.

    First values: Girshick, 2015 (arXiv:1504.08083), section 2.3.
    """

    def __init__(self, channels: int, rows: int) -> None:
        super().__init__()
        self.cls_score, self.bbox_pred = nn.Linear(channels, rows), nn.Linear(channels, 4)
        for layer, deviation in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(pooled), self.bbox_pred(pooled)


def assign(boxes: Tensor, target: Target, iou: float) -> tuple[Tensor, Tensor]:
    """Return for boxes `(P, 4)` of a picture their labels `(P,)`, 0 for background, and the true box `(P, 4)` of each.

    A box belongs to the object that it overlaps most, if the IoU is at least `iou`. The true box of background is one
    that nobody should look at.
    """
    if len(target["boxes"]) == 0:
        return boxes.new_zeros(len(boxes), dtype=torch.int64), boxes
    truth = target["boxes"].to(boxes)
    matches = Matcher(iou, iou, allow_low_quality_matches=False)(box_iou(truth, boxes))
    nearest = matches.clamp(min=0)
    return torch.where(matches >= 0, target["labels"][nearest], 0), truth[nearest]


def stage_losses(logits: Tensor, codes: Tensor, labels: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two losses of a stage for P boxes: Fast R-CNN's multi-task loss (arXiv:1504.08083, equations 1 to 3).

    logits: `(P, classes + 1)`; labels: `(P,)`, 0 for background; codes and wanted: `(P, 4)`. Cross entropy, and smooth
    L1 of the positive boxes alone, each summed up and divided by P.
    """
    positive = torch.where(labels > 0)[0]
    regression = functional.smooth_l1_loss(codes[positive], wanted[positive], reduction="sum")
    return functional.cross_entropy(logits, labels), regression / labels.numel()


def refine(codes: Tensor, boxes: list[Tensor], coder: BoxCoder, sizes: Sizes) -> list[Tensor]:
    """Return the boxes `(P, 4)` of each picture moved by their `codes`, of all pictures together, and cut to it."""
    moved = coder.decode_single(codes.to(boxes[0]), torch.cat(boxes)).split([part.shape[0] for part in boxes])
    return [clip_boxes_to_image(part, size) for part, size in zip(moved, sizes, strict=True)]
