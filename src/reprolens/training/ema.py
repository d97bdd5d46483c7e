"""A moving average of the weights: the model that is evaluated and kept."""

import copy

import torch
from torch import Tensor, nn


class ExponentialMovingAverage:
    """`average = decay * average + (1 - decay) * weights` after every step; of running statistics too.

    The decay starts low, `(1 + step) / (10 + step)`, so that the random first weights are soon forgotten. With a decay
    of 0 the average is the model itself.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.model = copy.deepcopy(model).eval() if decay else model
        self._own, self._live = _tensors(self.model), _tensors(model)

    @torch.no_grad()
    def update(self) -> None:
        """Take one step of the model into the average."""
        if not self.decay:
            return
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self._own[0], self._live[0], 1 - decay)
        for own, live in zip(self._own[1], self._live[1], strict=True):
            own.copy_(live)


def _tensors(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the floating-point tensors of a model's state, then the others, which are counters."""
    state = list(model.state_dict().values())
    return [value for value in state if value.is_floating_point()], [v for v in state if not v.is_floating_point()]
