"""Models that look at their pictures although they are untrained."""

import torch
from torch import nn
from torchvision.models.detection import FasterRCNN, RetinaNet

from reprolens.config import Model
from reprolens.models.heads import class_rows
from reprolens.models.mask_rcnn import without_masks

PROPOSALS = 200


def wake(module: nn.Module, options: Model, images: list[torch.Tensor]) -> None:
    """Change the values of an untrained model, so that what it finds differs by picture, place and class."""
    if isinstance(module, RetinaNet):  # whose towers torchvision draws so near 0 that hardly anything gets through
        for name, weight in module.head.named_parameters():
            if ".conv." in name and weight.dim() == 4:
                weight.mul_(2)
    if isinstance(module, FasterRCNN):  # fewer boxes for the second stage, which takes most of the time
        module.rpn._post_nms_top_n = {"training": PROPOSALS, "testing": PROPOSALS}
    _fit_norms(module, images)
    parameters = dict(module.named_parameters())
    for key in class_rows(options):
        if key in parameters and "bbox" not in key:
            parameters[key].add_(torch.randn(parameters[key].shape) / max(1, parameters[key][0].numel()) ** 0.5)
    for key, parameter in parameters.items():
        if "obj_pred" in key and key.endswith("bias"):
            parameter.add_(6.0)


def _fit_norms(module: nn.Module, images: list[torch.Tensor]) -> None:
    """Give every BatchNorm the statistics of what it is shown of `images`, and move its output up.

    A hundred untrained layers with an activation behind each make much of little: they would blow up rounding, and
    whatever the statistics are not exactly of. Moved up, most of what passes an activation passes it unbent.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]

    def fit(norm: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        variance, mean = torch.var_mean(given[0], (0, 2, 3), correction=0)
        norm.get_buffer("running_mean").copy_(mean)
        norm.get_buffer("running_var").copy_(variance)
        norm.get_parameter("bias").add_(1.0)

    hooks = [norm.register_forward_pre_hook(fit) for norm in norms]
    if hooks:
        with without_masks(module):
            module(images)
    for hook in hooks:
        hook.remove()
