"""The list of models. Adding one: a decorated function in a file of its family, and a file in conf/model/."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from reprolens.config import Model
from reprolens.errors import ConfigError, suggest
from reprolens.models.transform import FixedSizeTransform

FAMILIES = ("faster_rcnn", "fcos", "retinanet", "ssd")
"""The files of this package that register models."""

Builder = Callable[[int, Model, str | None], nn.Module]
"""`(number of classes with the background, options, name of torchvision backbone weights or None)` to a detector."""


@dataclass(frozen=True)
class Entry:
    """A model and what one should know of it. `backbone_weights` is the torchvision name of its published weights.

    `class_major` names the layers whose rows are grouped by class first, as `(class, box coordinate)` in Faster R-CNN's
    `bbox_pred`; in all other layers that grow with the classes they are grouped as `(anchor, class)`: see `heads`.
    `fixed_size` says that the layers are laid out for one size of picture.
    """

    name: str
    build: Builder
    paper: str
    licence: str
    backbone_weights: str
    class_major: tuple[str, ...]
    fixed_size: bool


_entries: dict[str, Entry] = {}


def register(
    name: str,
    *,
    paper: str,
    licence: str,
    backbone_weights: str,
    class_major: tuple[str, ...] = (),
    fixed_size: bool = False,
) -> Callable[[Builder], Builder]:
    """Enter the decorated builder in the registry under `name`."""

    def enter(builder: Builder) -> Builder:
        _entries[name] = Entry(name, builder, paper, licence, backbone_weights, class_major, fixed_size)
        return builder

    return enter


def names() -> list[str]:
    """Return the names of all models, sorted."""
    for family in FAMILIES:
        importlib.import_module(f"reprolens.models.{family}")
    return sorted(_entries)


def get(name: str) -> Entry:
    """Return a model's entry. Raises ConfigError if there is no such model."""
    if name not in names():
        raise ConfigError(f"model.name: there is no model {name!r}; {suggest(name, _entries)}")
    return _entries[name]


def build(options: Model, classes: int, backbone_weights: str | None = None) -> nn.Module:
    """Build the model for `classes` classes, at random values but for the backbone weights named.

    Named weights are read through torchvision's hub cache; `weights.fetch` sees to it that they are there.
    """
    model = get(options.name).build(classes + 1, options, backbone_weights)
    # torchvision's own transform keeps the aspect ratio and does not antialias; see FixedSizeTransform.
    height, width = options.image_size
    model.transform = FixedSizeTransform((height, width), model.transform)
    return model
