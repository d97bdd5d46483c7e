"""Darknet's weight files: what `.weights`, `.backup` and `.conv.N` files of YOLOv3 hold, under our names.

A header (int32 major, minor, revision; pictures seen as int64 from version 0.2 on, int32 before), then float32 values
by layer of the configuration file: beta, gamma, mean and variance of BatchNorm, or the bias where there is none, then
the kernels `(outputs, inputs, height, width)` (darknet's parser.c). No value says what it is, only the length tells.
`.conv.N` files are the first N layers of such a file (`darknet partial`), to start another training with.
"""

import re
from collections.abc import Iterator
from itertools import accumulate, takewhile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from reprolens.errors import WeightsError
from reprolens.models.backbones.darknet import Convolution, Darknet53, DarknetTiny

_NAMES = re.compile(r"\.(weights|backup|conv\.[0-9]+)$")
_LEADING = 5
"""Rows of an anchor before those of its classes: x, y, width, height, objectness."""
_VERSIONS = range(1000)
"""A greater one is no version: another program's file, or one of darknet's first, whose kernels are transposed."""

Layer = tuple[str, Convolution | nn.Conv2d]


def read_darknet(path: Path, model: nn.Module) -> dict[str, Tensor] | None:
    """Return the tensors of a darknet file of YOLOv3 or YOLOv3-tiny under the names of `model`, which is one.

    Outputs have as many rows as the file has for them, which may be those of another number of classes than the
    model's; of a `.conv.N` file come the layers that it has. None if neither name nor header are a darknet file's.
    Raises WeightsError if there is no such file, it is cut off, damaged or of another network, or if the model has
    another backbone.
    """
    values = _values(path) if _NAMES.search(path.name) else None
    if values is None:
        return None
    if not isinstance(model.get_submodule("backbone.body"), Darknet53 | DarknetTiny):
        raise WeightsError(f"{path}: darknet's files fit the model's own backbone only; set model.backbone to null")
    layers, anchors = list(_layers(model)), model.get_buffer("anchors").shape[1]
    if ".conv." in path.name:
        layers, rows = _first_layers(path, len(values), layers), 0
    else:
        rows = anchors * _rows_of_an_anchor(path, len(values), layers, anchors)
    return _named(values, layers, rows)


def is_darknet(path: Path) -> bool:
    """Return whether name and header are a darknet file's. Raises WeightsError if what follows is damaged."""
    return bool(_NAMES.search(path.name)) and _values(path) is not None


def _values(path: Path) -> Tensor | None:
    """Return what follows the header, `(count,)` float32; None if that is no header of darknet's."""
    try:
        with path.open("rb") as file:
            version = np.frombuffer(file.read(12), "<i4").tolist()
        if len(version) < 3 or version[0] not in _VERSIONS or version[1] not in _VERSIONS:
            return None
        start = 20 if version[0] * 10 + version[1] >= 2 else 16
        values = torch.from_numpy(np.fromfile(path, "<f4", offset=start))
        whole = (path.stat().st_size - start) % 4 == 0
    except FileNotFoundError:
        raise WeightsError(f"{path}: there is no such file; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: not even a whole header
        raise WeightsError(f"{path}: cannot be read as darknet's weights ({error}); get it again") from None
    if not whole or not bool(torch.isfinite(values).all()):
        raise WeightsError(f"{path}: what follows its header are not float32 numbers; it is damaged, get it again")
    return values


def _layers(model: nn.Module) -> Iterator[Layer]:
    """Yield the layers that have values, by name, in the order of the configuration file: the smallest map first."""
    levels = reversed(range(len(list(model.get_submodule("head.levels").children()))))
    parts = [f"{part}.levels.{level}" for level in levels for part in ("backbone.neck", "head")]
    for part in ("backbone.body", *parts):
        for name, module in model.get_submodule(part).named_modules():
            if isinstance(module, Convolution) or (isinstance(module, nn.Conv2d) and module.bias is not None):
                yield f"{part}.{name}", module


def _length(layer: Convolution | nn.Conv2d) -> int:
    """Return how many values a layer has in a file: with BatchNorm's four, or of each of its outputs with its bias."""
    if isinstance(layer, Convolution):
        return layer.conv.weight.numel() + 4 * layer.conv.out_channels
    return layer.in_channels + 1


def _rows_of_an_anchor(path: Path, count: int, layers: list[Layer], anchors: int) -> int:
    """Return from the number of values in a whole file how many outputs an anchor has: 5 and the number of classes."""
    fixed = sum(_length(layer) for _, layer in layers if isinstance(layer, Convolution))
    each = anchors * sum(_length(layer) for _, layer in layers if not isinstance(layer, Convolution))
    rows, rest = divmod(count - fixed, each)
    if rest or rows <= _LEADING:
        raise WeightsError(
            f"{path}: {count} numbers are not {fixed} + {each} x (5 + classes), as this model has; "
            "it is cut off, or of another network"
        )
    return rows


def _first_layers(path: Path, count: int, layers: list[Layer]) -> list[Layer]:
    """Return the layers before the first output that `count` values are."""
    first = list(takewhile(lambda layer: isinstance(layer[1], Convolution), layers))
    ends = list(accumulate(_length(layer) for _, layer in first))
    if count not in ends:
        raise WeightsError(
            f"{path}: its {count} numbers do not end where one of this model's first {len(first)} convolutions does; "
            "it is cut off, or of another network"
        )
    return first[: ends.index(count) + 1]


def _named(values: Tensor, layers: list[Layer], rows: int) -> dict[str, Tensor]:
    """Return all values by name; outputs have `rows` rows each."""
    found, start = dict[str, Tensor](), 0
    for name, layer in layers:
        if isinstance(layer, Convolution):
            names = [f"{name}.norm.{part}" for part in ("bias", "weight", "running_mean", "running_var")]
            outputs, kernel, kernels = layer.conv.out_channels, layer.conv.weight.shape, f"{name}.conv.weight"
        else:
            names, outputs, kernel, kernels = [f"{name}.bias"], rows, layer.weight.shape, f"{name}.weight"
        shapes = dict.fromkeys(names, torch.Size([outputs])) | {kernels: torch.Size([outputs, *kernel[1:]])}
        for key, shape in shapes.items():
            found[key] = values[start : start + shape.numel()].reshape(shape).clone()
            start += shape.numel()
    return found
