"""weights/model.pt: a trained model that needs nothing else to be built again."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reprolens.config import Model
from reprolens.errors import ConfigError, WeightsError
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
    save(path, {"format": FORMAT, "model": asdict(options), "classes": list(classes), "state_dict": state})


def save(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values with torch.save; the same content gives the same bytes."""
    with atomic(path) as temporary, temporary.open("wb") as file:  # given a name, torch.save writes it into the file
        torch.save(content, file)


def load_trained(path: Path) -> TrainedModel:
    """Build the model of a weights/model.pt, on the CPU. Raises WeightsError if the file is not one."""
    content = read_tensors(path)
    if content.get("format") != FORMAT:
        raise WeightsError(f"{path}: not a model that the train stage wrote; run dvc repro train")
    try:
        options, classes = Model(**content["model"]), tuple(content["classes"])
        module = build(options, len(classes))
        module.load_state_dict(content["state_dict"])
    except (ConfigError, KeyError, RuntimeError, TypeError) as error:  # written by another version, or by hand
        raise WeightsError(f"{path}: does not fit this version ({_first_line(error)}); run dvc repro train") from None
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
    except WeightsError:
        raise
    except Exception as error:  # damaged bytes make torch's reader raise almost any kind: IndexError, struct.error, ...
        reason = _first_line(error).partition(". ")[0]
        raise WeightsError(
            f"{path}: cannot be read as weights ({reason}); it is damaged, or holds more than tensors, which is refused"
        ) from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not a dict of tensors")
    return content


def _first_line(error: Exception) -> str:
    """Return the first line of what an error says, or its kind if it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
