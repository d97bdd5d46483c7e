"""Which of a network's maps stand for which stride, worked out by showing it a picture on torch's meta device."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

_HEIGHT, _WIDTH = 512, 768
"""As their ratio is no power of two, a map can be read in one way only: channels first or channels last."""
_MARGIN = 2
"""A map may lack so many cells of height / stride: networks without padding at their convolutions lose the border."""
_FAILURES = (RuntimeError, AssertionError, AttributeError, IndexError, TypeError, ValueError)
"""What networks raise for a picture that they are not made for: torch's errors, timm's and torchvision's."""


class UnfitError(Exception):
    """A network cannot be a body; the text says why. `body` makes a ConfigError of it, which names the network."""


@dataclass(frozen=True)
class Level:
    """A map of `channels` at `stride`; `place` says where it comes out. `channels_last`: it is `(N, h, w, C)`."""

    place: str | int
    stride: int
    channels: int
    channels_last: bool


def picture() -> Tensor:
    """Return the picture `(1, 3, h, w)` that networks are tried with: it has a shape, and no pixels."""
    return torch.empty(1, 3, _HEIGHT, _WIDTH, device="meta")


def level(place: str | int, output: Any) -> Level | None:
    """Return what `output`, given for `picture()`, is a map of; None if it is none.

    Width minus height of a map tells its stride exactly, whatever the network loses at the border.
    """
    if not isinstance(output, Tensor) or output.ndim != 4:
        return None
    for last, (height, width) in ((False, output.shape[2:]), (True, output.shape[1:3])):
        more = width - height
        stride = (_WIDTH - _HEIGHT) // more if more > 0 and (_WIDTH - _HEIGHT) % more == 0 else 0
        if stride and abs(height - _HEIGHT // stride) <= _MARGIN:
            return Level(place, stride, int(output.shape[3 if last else 1]), last)
    return None


def choose(levels: Sequence[Level], strides: tuple[int, ...]) -> list[Level]:
    """Return the last level of each of `strides`. Raises UnfitError if one has none."""
    best = {level.stride: level for level in levels}
    if lacking := [str(stride) for stride in strides if stride not in best]:
        there = ", ".join(str(stride) for stride in sorted(best)) or "no stride"
        raise UnfitError(f"it has maps of {there}, not of {', '.join(lacking)} as this detector needs")
    return [best[stride] for stride in sorted(strides)]


@contextmanager
def on_meta(network: nn.Module) -> Iterator[None]:
    """Leave `network` in evaluation mode for a while. Raises UnfitError for what it raises: it needs another size."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad(), torch.device("meta"):
            yield
    except _FAILURES:
        raise UnfitError("it is no plain sequence of layers that takes pictures of any size") from None
    finally:
        for module, mode in modes:
            module.training = mode


def call(function: nn.Module, *arguments: Any, **options: Any) -> Any:
    """Return what `function` gives with tensors of its own that have shapes, and no values."""
    own = {**dict(function.named_parameters()), **dict(function.named_buffers())}
    return functional_call(function, {name: value.to("meta") for name, value in own.items()}, arguments, options)
