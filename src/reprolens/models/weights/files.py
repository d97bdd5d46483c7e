"""Weights from a file: a Reprolens model, any state dict that fits, or a file of the program a family comes from."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from reprolens.config import Expected, FileWeights, Model
from reprolens.errors import ConfigError, WeightsError
from reprolens.files import sha256
from reprolens.models.backbones import preprocessing_of
from reprolens.models.checkpoint import FORMAT, missing, read_tensors, recorded, unwrapped
from reprolens.models.darknet_weights import is_darknet, read_darknet
from reprolens.models.heads import class_rows, count_classes, without_memory
from reprolens.models.preprocessing import Preprocessing
from reprolens.models.registry import get, names
from reprolens.models.weights.expected import agreed, completed, is_said
from reprolens.models.weights.loading import INITIAL, StartingWeights, finite
from reprolens.models.weights.naming import COUNTER, fitting, places, renamed, same_shapes

COCO = tuple(
    name for name in FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"] if name not in ("__background__", "N/A")
)
"""COCO's 80 classes in its order: those of every published detector with 80 outputs that names none."""


def file_weights(config: FileWeights, options: Model) -> StartingWeights:
    """Return the weights of a file: a Reprolens model, any state dict whose names fit the model or its backbone, or
    what the model's `formats` read.

    Raises WeightsError if the file is missing or damaged, if nothing in it fits, or if it is of another network.
    """
    return read_weights(Path(config.path), options, config.expects)


def read_weights(path: Path, options: Model, expects: Expected) -> StartingWeights:
    """Return the weights of a file that lies at `path`, wherever it came from; see `file_weights`."""
    if not path.is_file():
        raise missing(path)
    origin = {"source": "file", "file": path.name, "sha256": sha256(path), "licence": "as the file's owner says"}
    found = _foreign(path, options, expects) or _own_or_plain(path, options, expects)
    return finite(replace(found, origin=origin | found.origin), path)


def _foreign(path: Path, options: Model, expects: Expected) -> StartingWeights | None:
    """Return the weights of a file of the program that the model's family comes from, None if it is none.

    It is the format that is known to expect something of pictures, not the file, so the user may know it better.
    """
    for form in get(options.name).formats:
        model = without_memory(options, len(COCO))
        tensors = form.read(path, model)
        if tensors is not None:
            own = model.state_dict()
            state = {key: value for key, value in tensors.items() if key in own}
            if not same_shapes(state, own):
                raise WeightsError(f"{path}: {form.name}, but of another model than {options.name}")
            origin, classes = {"format": form.name}, tuple[str, ...]()
            if count_classes(state, class_rows(options)) == len(COCO):
                origin, classes = origin | {"classes": "COCO's 80, assumed: the file names none"}, COCO
            return StartingWeights(state, classes, origin, completed(expects, form.preprocessing), len(tensors))
    return None


def _own_or_plain(path: Path, options: Model, expects: Expected) -> StartingWeights:
    """Return the weights of a model.pt, or of a state dict, which may lie within a training checkpoint."""
    content = _content(path)
    ours = content.get("format") == FORMAT
    state = content.get("state_dict", content.get("model", content))
    items = unwrapped(state).items() if isinstance(state, dict) else ()
    tensors = {key: value for key, value in items if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors with names; it is no file of weights")
    model = without_memory(options, 1)
    named, own = renamed(tensors, model), model.state_dict()
    found = fitting(named, own)
    if not found:
        raise _misfit(path, named, own, options)
    said = _said(content, path) if ours else None
    if said is not None:
        preprocessing: Preprocessing | None = agreed(expects, said, path.name)
    else:
        transform: Any = model.get_submodule("transform")
        preprocessing = completed(expects, transform.preprocessing) if is_said(expects) else None
    # Heads for another number of classes stay in: only the data set says how many there are.
    classes = tuple(content.get("classes", ())) if ours else ()
    return StartingWeights(found, classes, {}, preprocessing, len(tensors))


def _content(path: Path) -> dict[str, Any]:
    """Return what a file holds. Raises WeightsError if it is none of ours or torch's, or the pretrain stage's own."""
    try:
        content = read_tensors(path)
    except WeightsError:
        if is_darknet(path):
            readers = [name for name in names() if any(form.read is read_darknet for form in get(name).formats)]
            raise WeightsError(f"{path}: a darknet file, which is for {' and '.join(readers)}") from None
        raise
    if content.get("format") == INITIAL:
        raise WeightsError(f"{path}: a pretrain stage's own output; take the weights/model.pt that was trained from it")
    return content


def _misfit(path: Path, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], options: Model) -> WeightsError:
    """Return the error of a file that does not fit, or not the network that the detector is built on."""
    fit, filled, body = places(tensors, own)
    if not fit:
        return WeightsError(
            f"{path}: none of its {len(tensors)} tensors has a name and shape that {options.name} knows"
        )
    model = f"{options.name} on {options.backbone}" if options.backbone else options.name
    count = sum(not key.endswith(COUNTER) for key in tensors)
    return WeightsError(
        f"{path}: holds another network than the backbone of {model}: {fit} of its {count} tensors have a place there, "
        f"{filled} of the backbone's {body} are filled"
    )


def _said(content: Mapping[str, Any], path: Path) -> Preprocessing | None:
    """Return what a model.pt expects of a picture; one that does not say it expects what its kind of model does."""
    said, model = recorded(content, path), content.get("model")
    if said is not None or not isinstance(model, dict):
        return said
    try:
        backbone = model.get("backbone")
        return preprocessing_of(backbone) if backbone else get(model.get("name", "")).preprocessing
    except ConfigError:  # a model or a backbone that this version does not know
        return None
