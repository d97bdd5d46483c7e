"""Under which names of a model a file's tensors enter it: by the names that they have, or by their order."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

BACKBONE = "backbone."
BODY = "backbone.body."
_SSD = "backbone.features."
_BODIES = (BODY, "backbone.model.", _SSD)
"""How the layers of the network are called that a detector is built on: here, in the transformers library, in SSD."""
COUNTER = "num_batches_tracked"
"""BatchNorm's count, which files of old versions lack, and so do layers with frozen statistics."""

_AUXILIARY = re.compile(r"\b(AuxLogits|aux[12])\.")
"""Inception's second heads, which only training uses and no body has."""
_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""How torchvision's published DenseNets call layers that its modules call without the dot between."""

_CLASSIFIERS = ("classifier.", "fc.", "head.", "pre_logits.")
"""How the last layers of a classifier are called, which come first or in the middle where names are sorted."""

_RENAMING = ("torchvision.models.detection.", "torchvision.ops.")
"""Where the modules are defined that know how their tensors were called before."""

Layer = tuple[str, dict[str, Tensor]]
"""What a layer's names begin with, and its own tensors by the last part of their names."""


def same_shapes(state: Mapping[str, Any], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of `state` that `own` has under the same name in the same shape."""
    return {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}


def renamed(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return `tensors` by the present names of torchvision's pyramids and heads; its published files have older ones.

    The modules of `model` rename them, as they do in `load_state_dict`.
    """
    state = dict(tensors)
    for name, module in model.named_modules():
        if type(module).__module__.startswith(_RENAMING):
            module._load_from_state_dict(state, f"{name}." if name else "", {}, False, [], [], [])
    return state


def fitting(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `tensors` under the names of `own`, a detector's, under which most of them fit; those that it knows.

    They may be a detector's, its backbone's, or a classifier's: see `fitting_backbone`. A tensor whose name it knows is
    returned in any shape, because heads may be for another number of classes. Nothing, if none has a shape that fits,
    or if they are of another network than the one that the detector is built on: see `places`. Heads alone may fit.
    """
    *by_name, by_place = _renamings(tensors, own)
    fits = [renamed for renamed in by_name if is_cut_from(own, renamed) or not _has_body(renamed)]
    best = max([*fits, by_place], key=lambda renamed: len(same_shapes(renamed, own)))
    return {key: value for key, value in best.items() if key in own} if same_shapes(best, own) else {}


def places(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[int, int, int]:
    """Return how many of `tensors` would fit somewhere in a detector, `own`, counters aside.

    Then how many of these in the network that it is built on, and how many tensors that network has.
    """
    best = max((same_shapes(renamed, own) for renamed in _renamings(tensors, own)), key=len)
    found = [key for key in best if not key.endswith(COUNTER)]
    return len(found), sum(key.startswith(_BODIES) for key in found), len(_body(own))


def fitting_backbone(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the `tensors` of a classifier under the names that its layers have in the backbone of a detector.

    `own` are the detector's. Nothing, if the backbone is another network.
    """
    *by_name, by_place = _of_classifier(tensors, own)
    return next((same_shapes(renamed, own) for renamed in by_name if is_cut_from(own, renamed)), by_place)


def is_cut_from(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> bool:
    """Return whether the body in `own` is the beginning of that in `given`: has nothing else, and lacks only its end.

    Names and shapes alone do not tell: half of the tensors of a ResNet-18 have a place in a ResNet-50, and all of them
    have one in a ResNet-34, whose stages have more blocks. So what the body lacks must lie in no stage but its last.
    """
    body = _body(own)
    if not body or any(key not in given or given[key].shape != own[key].shape for key in body):
        return False
    inside = {container for key in body for container in _containers(key)}
    last = {"backbone.", *_BODIES, *_containers(body[-1])}
    lacking = [key for key in _body(given) if key not in own and not _AUXILIARY.search(key)]
    return all(next(place for place in _containers(key) if place in inside) in last for key in lacking)


def _renamings(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return a file's tensors by the names that they may have in a detector: a detector's, a backbone's, a body's."""
    whole = [dict(tensors), {f"{BACKBONE}{key}": value for key, value in tensors.items()}]
    return [*whole, *_of_classifier(tensors, own)]


def _of_classifier(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return a classifier's tensors by the names that they may have in a detector that was built on it.

    torchvision's bodies keep the classifier's names, but for the `features.` before them; timm's lie in `net`. Some
    detectors cut the classifier otherwise; then the order of the layers tells what is what. SSD goes on with layers of
    its own before the classifier ends; any other body is filled whole: a DenseNet-169 begins as a DenseNet-121 does.
    """
    tensors = {_DENSENET.sub(r"\1\2", key): value for key, value in tensors.items()}
    by_place = by_order(_in_order(tensors), {key: value for key, value in own.items() if key.startswith(BACKBONE)})
    whole = {key for key in _body(own) if not key.startswith(_SSD)}
    return [
        {f"{BODY}{key.removeprefix('features.')}": value for key, value in tensors.items()},
        {f"{BODY}net.{key}": value for key, value in tensors.items()},
        by_place if by_place.keys() >= whole else {},
    ]


def _has_body(state: Mapping[str, Tensor]) -> bool:
    return any(key.startswith(_BODIES) for key in state)


def _body(state: Mapping[str, Tensor]) -> list[str]:
    return [key for key in state if key.startswith(_BODIES) and not key.endswith(COUNTER)]


def _containers(key: str) -> list[str]:
    """Return what a tensor's modules are called, the innermost first: `a.b.`, `a.` of `a.b.weight`."""
    parts = key.split(".")[:-1]
    return ["".join(f"{part}." for part in parts[:count]) for count in range(len(parts), 0, -1)]


def _in_order(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `tensors` in the order of their layers where they come sorted by name, as safetensors files have them."""
    if list(tensors) != sorted(tensors):
        return dict(tensors)

    def place(key: str) -> tuple[bool, list[tuple[bool, int, str]]]:
        parts = [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in key.split(".")]
        return key.startswith(_CLASSIFIERS), parts

    return {key: tensors[key] for key in sorted(tensors, key=place)}


def by_order(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `tensors` under the names of `own`, a backbone's, layer by layer in the order in which both have them.

    A layer takes the next one's place whose tensors have the same last names and shapes. What is between is the
    detector's own, such as the scale of SSD's first map: if it were like any of the layers, this would be a relative of
    another depth. Where a layer has no place any more, the detector has cut the network.
    Nothing is returned if that comes before half of the tensors are placed, or if it is such a relative.
    """
    layers, places = _layers(tensors), _layers(own)
    shapes, ahead = ([_shapes(layer) for _, layer in those] for those in (layers, places))
    placed, place = dict[str, Tensor](), 0
    for index, (_, layer) in enumerate(layers):
        found = next((there for there in range(place, len(ahead)) if ahead[there] == shapes[index]), None)
        if found is None:
            break
        if any(passed in shapes for passed in ahead[place:found]):
            return {}
        prefix, there = places[found]
        placed |= {f"{prefix}{leaf}": value for leaf, value in layer.items() if leaf in there}
        place = found + 1
    return placed if 2 * len(placed) >= len(tensors) else {}


def _layers(state: Mapping[str, Tensor]) -> list[Layer]:
    layers = dict[str, dict[str, Tensor]]()
    for key, value in state.items():
        prefix, dot, leaf = key.rpartition(".")
        layers.setdefault(f"{prefix}{dot}", {})[leaf] = value
    return list(layers.items())


def _shapes(layer: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {leaf: tuple(value.shape) for leaf, value in layer.items() if leaf != COUNTER}
