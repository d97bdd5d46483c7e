"""The optimizer and its rate over the steps."""

import math

from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim import AdamW as TorchAdamW
from torch.optim.lr_scheduler import LambdaLR

from reprolens.config import AdamW, Cosine, NewHead, OneCycle, Schedule, Step, Transfer
from reprolens.config import Optimizer as OptimizerConfig
from reprolens.models.freezing import body_parameters


def build_optimizer(model: nn.Module, config: OptimizerConfig, transfer: Transfer) -> Optimizer:
    """Group the trainable parameters by backbone or not (its rate has a factor) and by weight decay or not.

    The backbone is its body alone, what `freezing` holds still: pyramids, necks and heads have the whole rate.
    Normalisation layers and biases, the parameters of at most one dimension, are not decayed.
    """
    factor = 1.0 if isinstance(transfer, NewHead) else transfer.backbone_lr_factor
    body = body_parameters(model)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name in body, parameter.ndim > 1), []).append(parameter)
    options = [
        {
            "params": parameters,
            "lr": config.lr * (factor if slower else 1.0),
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (slower, decayed), parameters in groups.items()
    ]
    if isinstance(config, AdamW):
        return TorchAdamW(options, betas=(config.betas[0], config.betas[1]))
    return SGD(options, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov and config.momentum > 0)


def build_schedule(optimizer: Optimizer, config: Schedule, steps_per_epoch: int, total: int) -> LambdaLR:
    """Return the schedule of a training of `total` steps; it is advanced after every step."""
    return LambdaLR(optimizer, lambda step: rate_factor(config, step, steps_per_epoch, total))


def rate_factor(config: Schedule, step: int, steps_per_epoch: int, total: int) -> float:
    """Return the share of the highest rate at a step: a rise, then what the schedule says.

    The cosine is SGDR's without restarts (Loshchilov and Hutter, 2016, arXiv:1608.03983, equation 5); one cycle is
    super-convergence's (Smith and Topin, 2017, arXiv:1708.07120), with cosines for its lines.
    """
    if isinstance(config, OneCycle):
        top = config.rise * (total - 1)
        if step <= top:
            return _cosine(config.initial_factor, 1.0, step / max(1.0, top))
        return _cosine(1.0, config.final_factor, (step - top) / max(1.0, total - 1 - top))
    warmup = min(round(config.warmup_epochs * steps_per_epoch), total)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if isinstance(config, Cosine):
        return _cosine(1.0, config.final_factor, (step - warmup) / max(1, total - warmup))
    if isinstance(config, Step):
        return config.factor ** sum(step >= milestone * total for milestone in config.milestones)
    return 1.0


def _cosine(first: float, last: float, done: float) -> float:
    """Return the value between `first` and `last` on half a cosine of which the share `done` has passed."""
    return last + (first - last) * (1 + math.cos(math.pi * min(1.0, done))) / 2
