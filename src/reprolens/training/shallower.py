"""A deep network started with the trained layers of a shallower relative.

Simonyan and Zisserman, 2015, arXiv:1409.1556, section 3.1.1: network A, shallow enough to learn from random values, is
trained first and gives the deeper ones some of their layers; those between stay random. The paper takes A's first four
convolutions and the layers that name the classes; here it is all layers of the body that have a partner.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from reprolens.models.backbones.levels import call, level, on_meta, picture

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class _Layer:
    """A module with tensors of its own, under their names in the network's state, and the stride of what it gives."""

    name: str
    stride: int
    tensors: dict[str, Tensor]

    @property
    def shapes(self) -> Shapes:
        return tuple((name, tuple(tensor.shape)) for name, tensor in self.tensors.items())

    @property
    def mixes(self) -> bool:
        """Whether it is a layer to count: one that mixes channels or pixels, not one that scales or shifts them."""
        return any(sum(side > 1 for side in tensor.shape) > 1 for tensor in self.tensors.values())


def grow(shallower: nn.Module, deeper: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that `deeper` gets from `shallower`, under its own names; empty if they have no layer alike.

    Both take pictures `(N, 3, h, w)`. A stage is what gives maps of one stride. Within a stage the i-th layer whose
    tensors have certain names and shapes gets those of the shallower's i-th such layer, in the order in which a picture
    passes them. What scales and shifts after a layer, as BatchNorm with its running statistics, goes along if it fits.
    """
    theirs = _stages(shallower)
    grown: dict[str, Tensor] = {}
    for key, units in _stages(deeper).items():
        for unit, partner in zip(units, theirs.get(key, ()), strict=False):
            for layer, other in zip(unit, partner, strict=False):
                if layer.shapes != other.shapes:
                    break
                prefix = f"{layer.name}." if layer.name else ""
                grown |= {f"{prefix}{name}": value.clone() for name, value in other.tensors.items()}
    return grown


def _stages(network: nn.Module) -> dict[tuple[int, Shapes], list[list[_Layer]]]:
    """Return the layers by stride and shapes, each with what scales and shifts after it, in the order of their work."""
    units: list[list[_Layer]] = []
    for layer in _layers(network):
        if layer.mixes or not units:
            units.append([])
        units[-1].append(layer)
    found = defaultdict(list)
    for unit in units:
        found[unit[0].stride, unit[0].shapes].append(unit)
    return found


def _layers(network: nn.Module) -> list[_Layer]:
    """Return the modules that have tensors of their own, in the order in which they are done with a picture."""
    own: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for path, value in network.state_dict().items():
        name, _, key = path.rpartition(".")
        own[name][key] = value
    strides: dict[str, int] = {}
    latest = 1

    def done(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            nonlocal latest
            given = level(name, output)
            latest = given.stride if given else latest  # the mean of a map, as squeezing takes it, is of its stride
            strides.setdefault(name, latest)

        return hook

    hooks = [network.get_submodule(name).register_forward_hook(done(name)) for name in own]
    try:
        with on_meta(network):
            call(network, picture())
    finally:
        for handle in hooks:
            handle.remove()
    return [_Layer(name, stride, own[name]) for name, stride in strides.items()]
