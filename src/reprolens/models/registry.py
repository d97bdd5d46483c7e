"""The list of models. Adding one: a decorated function in a file of this folder, and a file in conf/model/."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import Tensor, nn

from reprolens.config import Model
from reprolens.errors import ConfigError, suggest
from reprolens.models.backbones import preprocessing_of
from reprolens.models.preprocessing import IMAGENET, Preprocessing
from reprolens.models.transform import FixedSizeTransform

Size = tuple[int, int]
Builder = Callable[[int, Size, Model], nn.Module]
"""`(number of classes, (height, width) that the network sees, options)` to a detector at random values.

The detector has a `backbone`, and takes pictures through its `transform`, which `build` sets.
"""


@dataclass(frozen=True)
class ForeignFormat:
    """Files of the program that a family comes from.

    `read(path, model)` gives the file's tensors under the names of `model`, which has its classes, or None if the file
    is of another format. It raises WeightsError if it is of this format but damaged, or does not fit.
    """

    name: str
    read: Callable[[Path, nn.Module], dict[str, Tensor] | None]
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Entry:
    """A model and what one should know of it.

    `licence` is the code's, `weights_licence` that of the published `weights`: the name that `pretrain: published`
    takes for `auto`, torchvision's, `timm/...`, or an address; None where nobody publishes any.
    `backbones` says whether `model.backbone` may name another one, `extra` the extra of the package that it needs.
    `class_major` names the layers whose rows are grouped by class first, as `(class, box coordinate)` in Faster R-CNN's
    `bbox_pred`; in all other layers that grow with the classes they are grouped as `(anchor, class)`: see `heads`.
    `fixed_size` says that the layers are laid out for one size of picture.
    """

    name: str
    build: Builder
    task: str
    paper: str
    licence: str
    weights: str | None
    weights_licence: str
    preprocessing: Preprocessing
    backbones: bool
    class_major: tuple[str, ...]
    fixed_size: bool
    formats: tuple[ForeignFormat, ...]
    extra: str | None


_entries: dict[str, Entry] = {}


def register(
    name: str,
    *,
    paper: str,
    licence: str,
    weights: str | None,
    weights_licence: str,
    task: str = "detection",
    preprocessing: Preprocessing = IMAGENET,
    backbones: bool = False,
    class_major: tuple[str, ...] = (),
    fixed_size: bool = False,
    formats: tuple[ForeignFormat, ...] = (),
    extra: str | None = None,
) -> Callable[[Builder], Builder]:
    """Enter the decorated builder in the registry under `name`; see `Entry` for the rest."""

    def enter(builder: Builder) -> Builder:
        if name in _entries:
            raise ValueError(f"there is a model {name!r} already")
        _entries[name] = Entry(
            name=name,
            build=builder,
            task=task,
            paper=paper,
            licence=licence,
            weights=weights,
            weights_licence=weights_licence,
            preprocessing=preprocessing,
            backbones=backbones,
            class_major=class_major,
            fixed_size=fixed_size,
            formats=formats,
            extra=extra,
        )
        return builder

    return enter


def names() -> list[str]:
    """Return the names of all models, sorted: of those that the files of this folder register."""
    _read_families()
    return sorted(_entries)


@cache
def _read_families() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if not module.ispkg:
            importlib.import_module(f"reprolens.models.{module.name}")


def get(name: str) -> Entry:
    """Return a model's entry. Raises ConfigError if there is no such model."""
    if name not in names():
        raise ConfigError(f"model.name: there is no model {name!r}; {suggest(name, _entries)}")
    return _entries[name]


def build(options: Model, classes: int) -> nn.Module:
    """Build the model for `classes` classes at random values.

    Raises ConfigError if its architecture does not allow the size or the backbone asked for, or an extra is missing.
    """
    entry = get(options.name)
    if options.backbone and not entry.backbones:
        raise ConfigError(f"model.backbone: {entry.name} has one of its own, which cannot be exchanged; set it to null")
    size = (options.image_size[0], options.image_size[1])
    model = entry.build(classes, size, options)
    preprocessing = preprocessing_of(options.backbone) if options.backbone else entry.preprocessing
    # torchvision's own transform keeps the aspect ratio and does not antialias; see FixedSizeTransform.
    divisible = getattr(getattr(model, "transform", None), "size_divisible", 32)
    model.transform = FixedSizeTransform(size, preprocessing, divisible)
    return model
