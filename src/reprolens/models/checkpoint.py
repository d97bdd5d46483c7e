"""weights/model.pt: a trained model that needs nothing else to be built again."""

import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reprolens.config import Model
from reprolens.errors import WeightsError
from reprolens.files import atomic
from reprolens.models.registry import build

FORMAT = "reprolens-model-1"


@dataclass(frozen=True)
class TrainedModel:
    """A model in evaluation mode with its options and its class names in index order."""

    module: nn.Module
    options: Model
    classes: tuple[str, ...]


def save_trained(path: Path, state: dict[str, Tensor], options: Model, classes: tuple[str, ...]) -> None:
    """Write the weights with all that is needed to build the model again."""
    with atomic(path) as temporary:
        torch.save(
            {"format": FORMAT, "model": asdict(options), "classes": list(classes), "state_dict": state}, temporary
        )


def load_trained(path: Path) -> TrainedModel:
    """Build the model of a weights/model.pt, on the CPU. Raises WeightsError if the file is not one."""
    content = read_tensors(path)
    if content.get("format") != FORMAT:
        raise WeightsError(f"{path}: not a model that the train stage wrote; run dvc repro train")
    options, classes = Model(**content["model"]), tuple(content["classes"])
    module = build(options, len(classes))
    module.load_state_dict(content["state_dict"])
    return TrainedModel(module.eval(), options, classes)


def read_tensors(path: Path) -> dict[str, Any]:
    """Read a .pt, .pth or .safetensors file as a dict without running code from it.

    Raises WeightsError if it is missing, damaged, or holds more than tensors and plain values.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                return load_file(path)
            except SafetensorError as error:
                raise WeightsError(f"{path}: not a whole safetensors file ({error}); get it again") from None
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{path}: there is no such file; check the path") from None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0] or type(error).__name__
        raise WeightsError(
            f"{path}: cannot be read as weights ({reason}); it is damaged, or holds more than tensors, which is refused"
        ) from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not a dict of tensors")
    return content
