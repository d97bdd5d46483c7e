"""weights/model.pt: a trained model that needs nothing else to be built again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reprolens.config import Model
from reprolens.errors import ConfigError, WeightsError, first_line
from reprolens.files import atomic
from reprolens.models.preprocessing import Preprocessing, read_preprocessing
from reprolens.models.registry import build

FORMAT = "reprolens-model-1"


@dataclass(frozen=True)
class TrainedModel:
    """A model in evaluation mode with its options and its class names in index order.

    Its `transform` normalises pictures as its weights expect them.
    """

    module: nn.Module
    options: Model
    classes: tuple[str, ...]


def save_trained(
    path: Path,
    state: dict[str, Tensor],
    options: Model,
    classes: tuple[str, ...],
    preprocessing: Preprocessing | None = None,
) -> None:
    """Write the weights with all that is needed to build the model again.

    `preprocessing` is what the weights were trained with; without it, it is the one that such a model is built with.
    """
    content = {
        "format": FORMAT,
        "model": asdict(options),
        "classes": list(classes),
        "preprocessing": plain(preprocessing) if preprocessing else None,
        "state_dict": state,
    }
    save(path, content)


def save(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values with torch.save; the same content gives the same bytes."""
    with atomic(path) as temporary, temporary.open("wb") as file:  # given a name, torch.save writes it into the file
        torch.save(content, file)


def load_trained(path: Path) -> TrainedModel:
    """Build the model of a weights/model.pt, on the CPU. Raises WeightsError if the file is not one."""
    content = read_tensors(path)
    if content.get("format") != FORMAT:
        raise WeightsError(f"{path}: not a model that the train stage wrote; run dvc repro train")
    preprocessing = recorded(content, path)
    try:
        # Before models could be built on other backbones, files said nothing of them, nor of their preprocessing.
        options, classes = Model(**{"backbone": None, **content["model"]}), tuple(content["classes"])
        module = build(options, len(classes))
        module.load_state_dict(content["state_dict"])
    except (ConfigError, KeyError, RuntimeError, TypeError) as error:  # written by another version, or by hand
        raise WeightsError(f"{path}: does not fit this version ({first_line(error)}); run dvc repro train") from None
    if preprocessing is not None:
        transform: Any = module.get_submodule("transform")
        transform.preprocessing = preprocessing
    return TrainedModel(module.eval(), options, classes)


def plain(preprocessing: Preprocessing) -> dict[str, Any]:
    """Return a preprocessing as values that a file of weights or a JSON report may hold; see `recorded`."""
    mean, std = ([float(value) for value in values] for values in (preprocessing.mean, preprocessing.std))
    return {"mean": mean, "std": std, "range": float(preprocessing.range), "order": str(preprocessing.order)}


def recorded(content: Mapping[str, Any], path: Path) -> Preprocessing | None:
    """Return the preprocessing that a file of ours records, None if it is silent.

    Raises WeightsError if what it says is none; `path` is named.
    """
    said = content.get("preprocessing")
    try:
        return None if said is None else read_preprocessing(said)
    except (TypeError, ValueError, KeyError):
        raise WeightsError(f"{path}: damaged, what it says of preprocessing makes no sense; write it again") from None


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
                raise _unreadable(path, str(error)) from None
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise missing(path) from None
    except WeightsError:
        raise
    except Exception as error:  # damaged bytes make torch's reader raise almost any kind: IndexError, struct.error, ...
        reason = first_line(error).partition(". ")[0]
        raise _unreadable(path, reason) from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not a dict of tensors")
    return content


def unwrapped(state: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a state dict without the `module.` that torch's DistributedDataParallel puts before all of its names."""
    if not all(isinstance(key, str) and key.startswith("module.") for key in state):
        return dict(state)
    return {key.removeprefix("module."): value for key, value in state.items()}


def _unreadable(path: Path, reason: str) -> WeightsError:
    """Return the error of a file that `read_tensors` cannot read, for what its reader says or what it plainly is."""
    if path.is_dir():
        return missing(path)
    with path.open("rb") as file:
        start = file.read(256)
    if not start:
        return WeightsError(f"{path}: is empty; get it again")
    if start[:8].isascii() and not any(byte < 32 and byte not in b"\t\n\r\f" for byte in start):
        return WeightsError(f"{path}: is no weights file, it is a text; get it again")
    if path.suffix == ".safetensors":
        return WeightsError(f"{path}: not a whole safetensors file ({reason}); get it again")
    return WeightsError(
        f"{path}: cannot be read as weights ({reason}); it is damaged, or holds more than tensors, which is refused"
    )


def missing(path: Path) -> WeightsError:
    """Return the error of a file that is not there, or is none."""
    if path.is_dir():
        return WeightsError(f"{path}: is a folder; name a file in it")
    return WeightsError(f"{path}: there is no such file; check the path")
