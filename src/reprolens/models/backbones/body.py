"""Bodies: torchvision's and timm's classifiers without their heads, giving maps at the strides asked for."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from reprolens.errors import ConfigError
from reprolens.models.backbones.layers import layers
from reprolens.models.backbones.levels import Level, UnfitError, call, choose, level, on_meta, picture
from reprolens.models.backbones.pointwise import sample_pointwise
from reprolens.models.backbones.publisher import timm_name


class Body(nn.Module):
    """A network that gives maps at `strides` of `channels` each, largest map first."""

    def __init__(self, levels: list[Level]) -> None:
        super().__init__()
        self.strides = tuple(own.stride for own in levels)
        self.channels = tuple(own.channels for own in levels)
        self._levels = tuple(levels)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the maps of `images`, one a stride, as the network gives them."""
        raise AssertionError("each library's networks give them in another way")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return for images `(N, 3, h, w)` the maps `(N, channels, h / stride, w / stride)`, called "0", "1", ..."""
        found: dict[str, Tensor] = {}
        for own, given in zip(self._levels, self.maps(images), strict=True):
            channels_first = given.permute(0, 3, 1, 2) if own.channels_last else given
            height, width = (int(side) // own.stride for side in images.shape[-2:])
            found[str(len(found))] = _filled(channels_first, height, width)
        return found


def body(name: str, strides: tuple[int, ...]) -> Body:
    """Build the torchvision or timm network `name`, at random values, up to its map of the last of `strides`.

    torchvision's names win; `timm/NAME` is timm's in any case. The map of a stride is the last one of that stride.
    Raises ConfigError if there is no such network, or if it does not give maps of these strides.
    """
    timms = timm_name(name)
    try:
        built = _TorchvisionBody(name, strides) if timms is None else _TimmBody(timms, strides)
    except UnfitError as reason:
        raise ConfigError(
            f"model.backbone: {name} cannot be one here: {reason}; take another, as resnet50 or repvgg_a0"
        ) from None
    sample_pointwise(built)
    return built


class _TorchvisionBody(Body):
    """Layers that run one after the other, under the names of the classifier's, without `features.`."""

    def __init__(self, name: str, strides: tuple[int, ...]) -> None:
        steps, levels = layers(name, strides)
        super().__init__(levels)
        for path, layer in steps:
            _put(self, path, layer)
        self._paths = tuple(path for path, _ in steps)

    def maps(self, images: Tensor) -> list[Tensor]:
        found, places = [], {own.place for own in self._levels}
        for path in self._paths:
            images = self.get_submodule(path)(images)
            if path in places:
                found.append(images)
        return found


class _TimmBody(Body):
    """timm's network as `net`, its layers under timm's names; unneeded ones at its end are pruned."""

    def __init__(self, name: str, strides: tuple[int, ...]) -> None:
        import timm

        net: Any = timm.create_model(name, pretrained=False)
        if not hasattr(net, "forward_intermediates") or not hasattr(net, "prune_intermediate_layers"):
            raise UnfitError("it gives no maps on its way to a class")
        with on_meta(net):
            outputs = call(_Intermediates(net), picture())
        levels = choose([found for place, output in enumerate(outputs) if (found := level(place, output))], strides)
        super().__init__(levels)
        self._indices = [int(own.place) for own in levels]
        net.prune_intermediate_layers(self._indices, prune_norm=True)
        self.net = net

    def maps(self, images: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.net.forward_intermediates(images, indices=self._indices, intermediates_only=True)
        return found


class _Intermediates(nn.Module):
    """All maps of a timm network, as a module: functional calls take no method."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net: Any = net

    def forward(self, images: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.net.forward_intermediates(images, intermediates_only=True)
        return found


def _put(parent: nn.Module, path: str, layer: nn.Module) -> None:
    """Make `layer` a submodule of `parent` under a dotted `path`."""
    name, _, rest = path.partition(".")
    if not rest:
        parent.add_module(name, layer)
        return
    if not hasattr(parent, name):
        parent.add_module(name, nn.Sequential())
    _put(parent.get_submodule(name), rest, layer)


def _filled(level: Tensor, height: int, width: int) -> Tensor:
    """Return the map with zeros around it where the network lost the border, so that cells lie where strides say."""
    down, right = max(height - int(level.shape[-2]), 0), max(width - int(level.shape[-1]), 0)
    if not down and not right:
        return level
    return functional.pad(level, (right // 2, right - right // 2, down // 2, down - down // 2))
