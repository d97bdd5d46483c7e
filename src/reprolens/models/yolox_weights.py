"""Checkpoints of YOLOX's own code under our names.

What they call `backbone.backbone.` is `backbone.body.` here, the rest of their `backbone.` is `backbone.neck.`, and
`head.` is the same.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.dtypes import Float64DType
from torch import Tensor, nn

from reprolens.errors import WeightsError
from reprolens.models.backbones.csp_darknet import Darknet
from reprolens.models.checkpoint import read_tensors, unwrapped

_WIDTHS = {16: "yolox_nano", 24: "yolox_tiny", 32: "yolox_s", 48: "yolox_m", 64: "yolox_l", 80: "yolox_x"}
"""Which model has so many channels after its stem."""


def read_checkpoint(path: Path, model: nn.Module) -> dict[str, Tensor] | None:
    """Return the tensors of a checkpoint of YOLOX's own code, under the names of `model`; None if it is something else.

    Heads may know another number of classes than `model`. Raises WeightsError if the file is of another YOLOX, or
    if the model has another backbone.
    """
    # Checkpoints of its trainer hold their best AP as a numpy number. To read one runs no code.
    scalar: Any = np.float64(0).__reduce__()[0]
    numbers = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]  # before and since numpy 2
    try:
        with torch.serialization.safe_globals([*numbers, np.dtype, Float64DType]):
            content = read_tensors(path)
    except WeightsError:
        return None
    state = content.get("model", content)
    state = unwrapped(state) if isinstance(state, dict) else {}
    names = [name for name in state if isinstance(name, str)]
    if "head.obj_preds.0.weight" not in names and not any(name.startswith("backbone.backbone.") for name in names):
        return None
    if any(name.startswith("backbone.body.") for name in names):
        return None  # a plain file: the names are ours already
    if not isinstance(model.get_submodule("backbone.body"), Darknet):
        raise WeightsError(f"{path}: YOLOX's checkpoints fit the model's own backbone only; set model.backbone to null")
    found = {_own_name(name): tensor for name in names if isinstance(tensor := state[name], Tensor)}
    own = model.state_dict()
    heads = "head.cls_preds."
    alike = all(found[name].shape == own[name].shape for name in found.keys() & own if not name.startswith(heads))
    if alike and found.keys() < own.keys():
        raise WeightsError(f"{path}: cut off, it holds {len(found)} of the model's {len(own)} tensors; get it again")
    if not alike or found.keys() != own.keys():
        raise WeightsError(f"{path}: weights of {_name(state)}, which is another model than this; set model to it")
    return found


def _own_name(name: str) -> str:
    """Return the name here of what YOLOX's own code calls `name`."""
    if name.startswith("backbone.backbone."):
        return name.replace("backbone.backbone.", "backbone.body.", 1)
    return name.replace("backbone.", "backbone.neck.", 1) if name.startswith("backbone.") else name


def _name(state: dict[str, Any]) -> str:
    """Return which of the models a checkpoint is of."""
    stem = state.get("backbone.backbone.stem.conv.conv.weight")
    if stem is not None:
        return _WIDTHS.get(len(stem), f"a YOLOX with {len(stem)} channels after its stem")
    return "yolox_darknet53" if "backbone.backbone.stem.0.conv.weight" in state else "a YOLOX with another body"
