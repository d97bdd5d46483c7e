"""Weights that somebody published: torchvision's, timm's and the Hugging Face hub's by name, any others by address."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torchvision.models import get_weight
from torchvision.models.detection import (
    FasterRCNN_ResNet50_FPN_Weights,
    KeypointRCNN_ResNet50_FPN_Weights,
    MaskRCNN_ResNet50_FPN_Weights,
    RetinaNet_ResNet50_FPN_Weights,
)

from reprolens.config import Expected, Model, Published
from reprolens.errors import WeightsError, first_line, suggest
from reprolens.files import sha256
from reprolens.models.backbones import preprocessing_of
from reprolens.models.backbones import published as published_name
from reprolens.models.checkpoint import read_tensors
from reprolens.models.heads import class_rows, without_memory
from reprolens.models.preprocessing import Preprocessing
from reprolens.models.registry import get
from reprolens.models.weights.expected import agreed
from reprolens.models.weights.fetch import fetch, without_password
from reprolens.models.weights.files import read_weights
from reprolens.models.weights.hub import asking, hub_weights
from reprolens.models.weights.loading import StartingWeights, finite
from reprolens.models.weights.naming import fitting_backbone, is_cut_from, renamed, same_shapes

_WITHOUT_EPSILON = (
    FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
    KeypointRCNN_ResNet50_FPN_Weights.COCO_V1,
    MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
    RetinaNet_ResNet50_FPN_Weights.COCO_V1,
)
"""Those whose BatchNorms added nothing to the variance: torchvision's builders set their `eps` to 0 (overwrite_eps)."""
_EPSILON = 1e-5
"""What the BatchNorms of ResNets add to it."""

_LICENCES = {"VGG16_Weights.IMAGENET1K_FEATURES": "CC-BY-4.0"}
"""Of the weights that torchvision passes on; all others it trained itself. This one's are the Oxford group's own."""


def published_weights(config: Published, options: Model) -> StartingWeights:
    """Return weights by their torchvision, timm or hub name, or by address: nothing random is beside them.

    `auto` is the ImageNet weights of `model.backbone`, or else what the registry names for the model.
    Raises WeightsError if they cannot be had or do not fit, or if `expects` is not what is known of them.
    """
    name = _automatic(options) if config.weights == "auto" else config.weights
    if "://" in name:
        return _at_address(name, options, config.expects)
    publisher = _of_timm if name.startswith("timm/") else _of_hub if name.startswith("hf/") else _of_torchvision
    weights = finite(publisher(name, options), name)
    if weights.preprocessing is not None:
        agreed(config.expects, weights.preprocessing, name)
    return weights


def _automatic(options: Model) -> str:
    if options.backbone:
        return published_name(options.backbone)
    name = get(options.name).weights
    if name is None:
        raise WeightsError(
            f"pretrain.weights: nobody publishes weights of {options.name}; choose pretrain=random, file or classify"
        )
    return name


def _of_torchvision(name: str, options: Model) -> StartingWeights:
    try:
        weights = get_weight(name)
    except (ValueError, KeyError):
        known = [_automatic(options)]
        raise WeightsError(f"pretrain.weights: torchvision has no {name!r}; {suggest(name, known)}") from None
    file = fetch(weights.url)
    origin = {
        "source": "published",
        "name": name,
        "publisher": "torchvision",
        "file": file.name,
        "sha256": sha256(file),
        "licence": _LICENCES.get(name, "BSD-3-Clause"),
        "url": weights.url,
    }
    tensors = {key: value for key, value in read_tensors(file).items() if isinstance(value, Tensor)}
    model = without_memory(options, 1)
    own = model.state_dict()
    if "detection" in type(weights).__module__:
        tensors = _with_epsilon(tensors) if weights in _WITHOUT_EPSILON else tensors
        state = _of_detector(renamed(tensors, model), own, options)
        classes, preprocessing = _label_names(weights.meta["categories"]), _of_its_entry(name)
    else:
        state, classes, preprocessing = fitting_backbone(tensors, own), (), _of_classifier(weights, name, options)
    if not state:
        raise WeightsError(f"pretrain.weights: {name} does not fit the backbone of {options.name}")
    return StartingWeights(state, classes, origin, preprocessing, len(tensors))


def _of_detector(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], options: Model) -> dict[str, Tensor]:
    """Return a detector's tensors that the model knows; nothing if their backbones differ.

    Of another kind of detector on the same backbone, whatever both have: Faster R-CNN's box head for Mask R-CNN.
    """
    if not is_cut_from(own, tensors):
        return {}
    rows, fits = class_rows(options), same_shapes(tensors, own)
    return {key: value for key, value in tensors.items() if key in fits or key in rows}


def _with_epsilon(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with which BatchNorms that add `_EPSILON` to the variance give what those without it gave.

    Their weights are multiplied by `sqrt((variance + epsilon) / variance)`. To take it from the variance would be the
    same but for dead channels, whose variance is smaller still: float32 has nothing left of it then.
    """
    changed = dict[str, Tensor]()
    for name in [name for name in tensors if name.endswith(".running_var")]:
        weight, variance = name.replace("running_var", "weight"), tensors[name].double()
        factor = torch.where(variance > 0, (1 + _EPSILON / variance).sqrt(), 1.0)
        changed[weight] = (tensors[weight] * factor).to(tensors[weight].dtype)
    return {**tensors, **changed}


def _of_its_entry(name: str) -> Preprocessing | None:
    """Return what torchvision's detection weights expect: its detectors normalise pictures themselves."""
    if name.startswith("SSD300"):
        return get("ssd300_vgg16").preprocessing
    if name.startswith("SSDLite"):
        return get("ssdlite320_mobilenet_v3_large").preprocessing
    return Preprocessing()


def _of_classifier(weights: Any, name: str, options: Model) -> Preprocessing:
    """Return what torchvision's classifier was shown; for the backbone's own weights as the backbone knows it."""
    if options.backbone and published_name(options.backbone) == name:
        return preprocessing_of(options.backbone)
    presets = weights.transforms()
    return _of_means(presets.mean, presets.std)


def _of_means(mean: Sequence[float], std: Sequence[float]) -> Preprocessing:
    return Preprocessing((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))


def _label_names(categories: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the labels from 1 on of torchvision's categories, whose COCO has numbers without a class."""
    labels = categories[1:] if categories[0] == "__background__" else categories
    return tuple("" if name == "N/A" else name for name in labels)


def _at_address(url: str, options: Model, expects: Expected) -> StartingWeights:
    """Return the weights of a file somewhere on the net."""
    entry, shown = get(options.name), without_password(url)
    if not url.startswith(("https://", "http://")):
        raise WeightsError(f"pretrain.weights: {shown}: only https:// and http:// addresses; use pretrain: file or dvc")
    weights = read_weights(fetch(url), options, expects)
    licence = entry.weights_licence if url == entry.weights else "as its publisher says"
    origin = weights.origin | {"source": "published", "name": shown, "licence": licence, "url": shown}
    own = entry.preprocessing if url == entry.weights else None
    return replace(weights, origin=origin, preprocessing=weights.preprocessing or own)


def _of_timm(name: str, options: Model) -> StartingWeights:
    """Return timm weights through timm's own loader; they fit where timm's names are those of the model's backbone."""
    import timm

    with asking() as silent:
        try:
            classifier = timm.create_model(name.removeprefix("timm/"), pretrained=True)
        except Exception as error:  # timm raises RuntimeError for names, the hub many kinds for the network
            from huggingface_hub import constants

            reason = silent if silent and not isinstance(error, RuntimeError) else first_line(error)
            raise WeightsError(
                f"{name}: cannot be had through timm ({reason}); put model.safetensors of that repository "
                f"into {constants.HF_HUB_CACHE}, or use pretrain: file"
            ) from None
    tensors = classifier.state_dict()
    state = fitting_backbone(tensors, without_memory(options, 1).state_dict())
    if not state:
        raise WeightsError(f"pretrain.weights: {name} does not fit the backbone of {options.name}")
    facts = classifier.pretrained_cfg or {}
    origin = {
        "source": "published",
        "name": name,
        "publisher": "timm",
        "licence": facts.get("license") or "see the model's page",
    }
    preprocessing = _of_means(facts["mean"], facts["std"]) if facts else None
    return StartingWeights(state, (), origin, preprocessing, len(tensors))


def _of_hub(name: str, options: Model) -> StartingWeights:
    """Return the weights of a detector on the Hugging Face hub, under our names."""
    entry = get(options.name)
    if entry.extra != "transformers":
        raise WeightsError(f"pretrain.weights: {name}: {options.name} is no model of the transformers library")
    state, classes, file = hub_weights(name, options)
    origin = {
        "source": "published",
        "name": name,
        "publisher": "Hugging Face hub",
        "file": file.name,
        "sha256": sha256(file),
        "licence": entry.weights_licence if name == entry.weights else "see the model's page",
    }
    return StartingWeights(state, classes, origin, entry.preprocessing, len(state))
