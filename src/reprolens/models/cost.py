"""What a model costs: its parameters, and the arithmetic of one picture. Nothing is computed and no memory is taken:

the model is built on torch's meta device, where a tensor has a shape and no values.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from reprolens.config import Model
from reprolens.models.heads import without_memory
from reprolens.models.one_stage import OneStage

MASKS = 100
"""For how many objects a picture's masks are counted: the most that COCO's measure looks at."""


@dataclass(frozen=True)
class Cost:
    """`parameters` are all that can be learnt.

    `flops` count an addition and a multiplication as two, of convolutions and matrix products, as torch's own counter
    does, for one picture of the model's size. (Tables that say GFLOPs and count them as one show half of it.)
    """

    parameters: int
    flops: int


def cost(options: Model, classes: int) -> Cost:
    """Return what a model costs. Of two stages the second sees as many proposals as the first may give."""
    model: Any = without_memory(options, classes).to("meta").eval()
    step = model.transform.size_divisible
    height, width = (-(-side // step) * step for side in options.image_size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        _run(model, torch.zeros(1, 3, height, width, device="meta"))
    return Cost(sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops())


def _run(model: Any, images: Tensor) -> None:
    """Run what has a fixed shape of a detector's network."""
    if isinstance(model, OneStage):
        model.candidates(images, (images.shape[-2], images.shape[-1]))
        return
    features = list(model.backbone(images).values())
    if not isinstance(model, GeneralizedRCNN):
        model.head(features)
        return
    model.rpn.head(features)
    heads: Any = model.roi_heads
    channels, proposals = features[0].shape[1], model.rpn.post_nms_top_n()
    for head, predictor in _stages(heads):
        side = heads.box_roi_pool.output_size
        predictor(head(images.new_zeros(proposals, channels, *side)))
    if heads.has_mask():
        side = heads.mask_roi_pool.output_size
        heads.mask_predictor(heads.mask_head(images.new_zeros(MASKS, channels, *side)))


def _stages(heads: Any) -> list[tuple[nn.Module, nn.Module]]:
    """Return the heads for boxes of a second stage with their predictors; a cascade has several."""
    if isinstance(heads.box_head, nn.ModuleList):
        return list(zip(heads.box_head, heads.box_predictor, strict=True))
    return [(heads.box_head, heads.box_predictor)]
