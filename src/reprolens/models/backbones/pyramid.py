"""A body with a feature pyramid (Lin et al., 2017, arXiv:1612.03144) on it, as torchvision's BackboneWithFPN."""

from collections.abc import Callable

from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool, LastLevelP6P7

from reprolens.models.backbones.body import Body, body


class Pyramid(nn.Module):
    """`body`, and `fpn` that gives its maps `out_channels` each; the state's names are BackboneWithFPN's."""

    def __init__(self, body: Body, fpn: FeaturePyramidNetwork, out_channels: int) -> None:
        super().__init__()
        self.body, self.fpn, self.out_channels = body, fpn, out_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return for images `(N, 3, h, w)` the maps `(N, out_channels, h / stride, w / stride)`, largest first."""
        maps: dict[str, Tensor] = self.fpn(self.body(images))
        return maps


def pyramid(
    name: str,
    strides: tuple[int, ...] = (4, 8, 16, 32),
    channels: int = 256,
    extra: str | None = None,
    norm: Callable[..., nn.Module] | None = None,
) -> Pyramid:
    """Build the torchvision or timm network `name`, at random values, with a pyramid of `channels` at `strides`.

    `extra` "pool" adds a level by max pooling, as Faster R-CNN's; "p6p7" two by convolutions of the last level, as
    RetinaNet's and FCOS's. `norm` is what normalises the pyramid's maps, if anything.
    Maps are called "0", "1", ... and "pool" or "p6", "p7". Raises ConfigError as `body` does.
    """
    levels = body(name, strides)
    fpn = FeaturePyramidNetwork(list(levels.channels), channels, _extra(extra, channels), norm)
    return Pyramid(levels, fpn, channels)


def _extra(extra: str | None, channels: int) -> LastLevelMaxPool | LastLevelP6P7 | None:
    match extra:
        case None:
            return None
        case "pool":
            return LastLevelMaxPool()
        case "p6p7":
            return LastLevelP6P7(channels, channels)
        case _:
            raise ValueError(f"extra levels are None, 'pool' or 'p6p7', not {extra!r}")
