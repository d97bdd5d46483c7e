"""weights/initial.pt: what the pretrain stage hands to the train stage, and how it enters a model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reprolens.config import Model
from reprolens.errors import WeightsError
from reprolens.models.checkpoint import plain, read_tensors, recorded, save
from reprolens.models.heads import class_rows, head_by_name, keep_silent
from reprolens.models.preprocessing import Preprocessing
from reprolens.models.weights.naming import same_shapes

INITIAL = "reprolens-initial-1"
_BACKBONE = "backbone."


@dataclass(frozen=True)
class StartingWeights:
    """Tensors under the model's own names, the classes that their heads know, and where they came from.

    `classes[i]` is the class of label `i + 1`, an empty name where that label stands for nothing. Without any classes
    it is not known what the rows of the heads stand for. `preprocessing` is what the weights expect of a picture; None
    where nobody says it, and the model keeps its own. `given` is how many tensors the file holds that they are from.
    """

    state: dict[str, Tensor]
    classes: tuple[str, ...]
    origin: dict[str, Any]
    preprocessing: Preprocessing | None = None
    given: int | None = None


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


def finite(weights: StartingWeights, where: object) -> StartingWeights:
    """Return `weights` if all their numbers are. Raises WeightsError that names `where` and the tensor if not."""
    for name, tensor in weights.state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{where}: {name} holds NaN or infinity; take weights from before the training diverged")
    return weights


def random_weights() -> StartingWeights:
    """Return no tensors: the model keeps the values that it draws from the seed."""
    return StartingWeights({}, (), {"source": "random"})


def save_starting_weights(path: Path, weights: StartingWeights) -> None:
    """Write weights/initial.pt."""
    content = {
        "format": INITIAL,
        "classes": list(weights.classes),
        "origin": weights.origin,
        "preprocessing": plain(weights.preprocessing) if weights.preprocessing else None,
        "state_dict": weights.state,
    }
    save(path, content)


def report(weights: StartingWeights) -> dict[str, Any]:
    """Return what reports/pretrain.json says of starting weights; of preprocessing, where somebody says it."""
    said = plain(weights.preprocessing) if weights.preprocessing else {}
    parts = {f"preprocessing/{part}": value for part, value in said.items()}
    given = {} if weights.given is None else {"tensors_in_file": weights.given}
    return {**weights.origin, "tensors": len(weights.state), **given, **parts}


def load_starting_weights(path: Path, model: nn.Module, options: Model, classes: tuple[str, ...]) -> Match:
    """Put the tensors of weights/initial.pt that fit into `model` and return which did and which did not.

    `model` was built from `options` for `classes`, in index order. Where the weights know their classes, the model's
    heads get the rows of the classes of the same names; the rows of the others stay as they are. Where tensors enter
    the backbone, the model's pictures are from then on normalised as the weights expect it.
    Raises WeightsError if the file is missing or damaged.
    """
    content = read_tensors(path)
    if content.get("format") != INITIAL:
        raise WeightsError(f"{path}: not written by the pretrain stage; run dvc repro pretrain")
    own, given, known = model.state_dict(), content["state_dict"], tuple(content["classes"])
    rows = class_rows(options)
    entering = same_shapes(given, own)
    head = {name: tensor for name, tensor in entering.items() if name in rows}
    if known:  # rows of the same number may still be of other classes, or in another order
        head = head_by_name(given, own, rows, known, classes)
    whole = {name: tensor for name, tensor in entering.items() if name not in rows}
    model.load_state_dict(whole | {name: keep_silent(head[name], own[name]) for name in head}, strict=False)
    preprocessing = recorded(content, path)
    if preprocessing is not None and any(name.startswith(_BACKBONE) for name in whole):
        transform: Any = model.get_submodule("transform")
        transform.preprocessing = preprocessing

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
