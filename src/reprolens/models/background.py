"""The background's place in heads of sigmoids, which have no need of one."""

from torch import nn

NEVER = -1e4
"""A logit whose sigmoid is 0 and whose gradient is 0, in float16 too: no trained bias comes near it."""


def silence_background(model: nn.Module, classes: int) -> nn.Module:
    """Keep a detector whose head has a sigmoid for each of `classes`, the background being the first, from naming it.

    torchvision counts the background among the classes, teaches no box to be it, and yet returns boxes of it where its
    score, still near its first value, is above the threshold: they would take the places of detections.
    """
    bias = model.get_parameter("head.classification_head.cls_logits.bias")  # (anchors * classes,)
    nn.init.constant_(bias.view(-1, classes)[:, 0], NEVER)
    return model
