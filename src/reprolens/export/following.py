"""Which layer's output goes into which other layer, and nowhere else: seen by running the network once.

Layers are joined in code, not in the order in which they are registered, so the code itself is watched.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves


def sole_followers(
    network: nn.Module, run: Callable[[], object], first: type[nn.Module], second: type[nn.Module]
) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Yield the pairs of layers, of types `first` and `second`, that were joined to each other alone during `run()`.

    All that the one gave went into the other, which took nothing else. A layer that did not run is in no pair.
    """
    users: dict[nn.Module, set[nn.Module | None]] = defaultdict(set)
    givers: dict[nn.Module, set[nn.Module | None]] = defaultdict(set)
    made: dict[int, tuple[Tensor, nn.Module]] = {}  # by identity; the tensors are kept, so that none is made anew
    inside: list[nn.Module] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if not inside or not isinstance(inside[-1], first):
                for value in tree_leaves((args, kwargs or {})):
                    if isinstance(value, Tensor) and id(value) in made:
                        users[made[id(value)][1]].add(inside[-1] if inside else None)
            return function(*args, **(kwargs or {}))

    def enter(layer: nn.Module, given: tuple[Any, ...]) -> None:
        if isinstance(layer, second):
            givers[layer].add(made[id(given[0])][1] if id(given[0]) in made else None)
        inside.append(layer)

    def leave(layer: nn.Module, given: Any, output: Any) -> None:
        inside.pop()
        if isinstance(layer, first):
            users.setdefault(layer, set())
            made[id(output)] = (output, layer)

    layers = [layer for layer in network.modules() if isinstance(layer, (first, second))]
    with _hooked(layers, enter, leave), Watch(), torch.no_grad():
        run()
    for layer, found in users.items():
        [only] = found if len(found) == 1 else [None]
        if only is not None and isinstance(only, second) and givers[only] == {layer}:
            yield layer, only


@contextmanager
def _hooked(layers: list[nn.Module], enter: Any, leave: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_pre_hook(enter).remove)
            stack.callback(layer.register_forward_hook(leave).remove)
        yield
