"""Starting weights that are trained here: the detector's backbone first learns to name what pictures show."""

import math
from dataclasses import replace
from typing import Any

import accelerate
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from reprolens.config import AdamW, Classify, Config, Full, OneCycle, Trainer
from reprolens.config.training import Cache, Device, Keep, Precision
from reprolens.errors import ConfigError, WeightsError
from reprolens.loading import EpochBatches, stack
from reprolens.models import backbones
from reprolens.models.preprocessing import Preprocessing
from reprolens.models.registry import build
from reprolens.models.weights import StartingWeights
from reprolens.training.hardware import plain_hardware
from reprolens.training.lessons import LessonPictures, Lessons, Pictures, crop_lessons, picture_lessons
from reprolens.training.loop import Batch, Task, train
from reprolens.training.shallower import grow
from reprolens.voc import Folder

COARSEST = 32
"""The greatest stride that a shallower network's body is asked for; what is coarser, pyramids add."""


def classified_weights(pretrain: Classify, config: Config, folder: Folder) -> StartingWeights:
    """Train the detector's backbone, its pyramid included, to name the train split's objects or a data set's pictures.

    What the backbone gives at every level is averaged over the picture and joined; one linear layer names the class.
    The epoch that names what the val split holds best is kept. With `pretrain.shallower` that network learns the same
    before, and the backbone starts with its layers: see `grow`. Raises ConfigError if the backbone cannot take pictures
    as small as `pretrain.crop_size` or there is no such network, WeightsError if the two have no layer alike, DataError
    if there are fewer than two things to learn from.
    """
    lessons = _lessons(pretrain, config, folder)
    grown, first = _first_layers(pretrain, config, lessons) if pretrain.shallower else ({}, {})
    accelerate.utils.set_seed(config.seed)
    backbone, preprocessing = _backbone(config, lessons.classes)
    if grown:
        _body(backbone).load_state_dict(grown, strict=False)
    classifier = _classifier(backbone, preprocessing, lessons.classes, pretrain.crop_size, config.model.name)
    state, report = _learn(classifier, lessons, pretrain, config)
    what = "the crops of the train split" if pretrain.data is None else f"the pictures of {pretrain.data}"
    origin = {
        "source": "classify",
        "name": f"{config.model.name} backbone, trained on {what}",
        **lessons.origin,
        "epochs": report["epochs"],
        "accuracy": report["val/accuracy"],
        **first,
        "licence": "as the data set's owner says",
    }
    learnt = {name: value for name, value in state.items() if name.startswith("backbone.")}
    return StartingWeights(learnt, (), origin, preprocessing)


def _lessons(pretrain: Classify, config: Config, folder: Folder) -> Lessons:
    if pretrain.data is None:
        return crop_lessons(folder, pretrain.crop_size)
    return picture_lessons(pretrain.data, pretrain.crop_size, config.seed, folder)


def _first_layers(pretrain: Classify, config: Config, lessons: Lessons) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train the shallower network; return what the backbone's body gets of it, and what the report says of it."""
    name, side = str(pretrain.shallower), pretrain.crop_size
    accelerate.utils.set_seed(config.seed)
    backbone, preprocessing = _backbone(config, lessons.classes)
    strides = _strides(backbone, side, config.model.name)
    try:
        shallower: nn.Module = backbones.body(name, strides)
    except ConfigError as error:
        raise ConfigError(str(error).replace("model.backbone", "pretrain.shallower", 1)) from None
    if not grow(shallower, _body(backbone)):  # before the training, which takes long
        raise WeightsError(
            f"pretrain.shallower: {name} has no layer like those of the backbone of {config.model.name}; name a "
            "smaller relative of it (vgg11_bn for vgg16_bn), or null"
        )
    classifier = _classifier(shallower, preprocessing, lessons.classes, side, name)
    state, report = _learn(classifier, lessons, pretrain, config)
    classifier.cpu().load_state_dict(state)
    grown = grow(shallower, _body(backbone))
    first = {"shallower": name, "shallower/accuracy": report["val/accuracy"], "shallower/tensors": len(grown)}
    return grown, first


def _backbone(config: Config, classes: int) -> tuple[nn.Module, Preprocessing]:
    """Return the detector's backbone at random values, and what it expects of pictures."""
    detector = build(config.model, classes)
    transform: Any = detector.get_submodule("transform")
    return detector.get_submodule("backbone"), transform.preprocessing


def _body(backbone: nn.Module) -> nn.Module:
    """Return a backbone without its pyramid."""
    body = getattr(backbone, "body", None)
    return body if isinstance(body, nn.Module) else backbone


def _strides(backbone: nn.Module, side: int, name: str) -> tuple[int, ...]:
    """Return the strides of the backbone's levels that a body of its own can have."""
    heights = [level.shape[-2] for level in _levels(backbone, side, name)]
    found = {2 ** round(math.log2(side / height)) for height in heights}
    return tuple(sorted(stride for stride in found if stride <= COARSEST))


def _levels(backbone: nn.Module, side: int, name: str) -> list[Tensor]:
    """Return the levels `(1, C, h, w)` for an empty picture; the backbone stays in evaluation mode."""
    try:
        with torch.no_grad():  # in evaluation mode, which leaves running statistics alone
            return list(backbone.eval()(torch.zeros(1, 3, side, side)).values())
    except RuntimeError:
        raise ConfigError(f"pretrain.crop_size: {side} is too small for {name}") from None
    except (AttributeError, TypeError):  # transformers' backbones want masks beside pictures, and give both
        raise ConfigError(
            f"pretrain.source: classify cannot train the backbone of {name}, which takes more than pictures; choose "
            "another pretrain (published, file, random)"
        ) from None


# ---- the classifier


class _Classifier(nn.Module):
    """A backbone with one linear layer over the means of all its levels."""

    def __init__(self, backbone: nn.Module, width: int, classes: int, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(width, classes)
        self.preprocessing = preprocessing

    def forward(self, images: Tensor) -> Tensor:
        """Name pictures `(N, 3, H, W)`, 0 to 1: logits `(N, classes)`."""
        levels = self.backbone(self.preprocessing(images))
        return self.head(torch.cat([level.mean((2, 3)) for level in levels.values()], dim=1))


def _classifier(backbone: nn.Module, preprocessing: Preprocessing, classes: int, side: int, name: str) -> _Classifier:
    width = sum(level.shape[1] for level in _levels(backbone, side, name))
    return _Classifier(backbone, width, classes, preprocessing)


def _learn(
    classifier: _Classifier, lessons: Lessons, pretrain: Classify, config: Config
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train a classifier; return the weights of its best epoch and the loop's report."""

    def losses(model: nn.Module, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {"cross_entropy": functional.cross_entropy(model(images), torch.stack([t["label"] for t in targets]))}

    def validate(model: nn.Module) -> dict[str, float]:
        return {"accuracy": _accuracy(model, lessons.val if len(lessons.val) else lessons.train, pretrain.batch_size)}

    side = (pretrain.crop_size, pretrain.crop_size)
    loader: DataLoader[Any] = DataLoader(
        LessonPictures(lessons.train, lessons.shift, config.seed),
        batch_sampler=EpochBatches(len(lessons.train), pretrain.batch_size, config.seed, side),
        collate_fn=lambda samples: Batch(*stack(samples)),
        generator=torch.Generator(),
    )
    plan = replace(
        config,
        optimizer=AdamW("adamw", pretrain.lr, 0.01, [0.9, 0.999]),
        schedule=OneCycle("one_cycle", rise=0.3, initial_factor=0.04, final_factor=0.0),
        trainer=_trainer(pretrain),
        transfer=Full("full", 1.0),
    )
    hardware = plain_hardware(plan.trainer, side, len(lessons.train))
    return train(classifier, Task(losses, validate, "accuracy"), loader, plan, hardware)


def _trainer(pretrain: Classify) -> Trainer:
    """Return the trainer of a classifier: nothing of the detector's, so that its knobs do not rerun this."""
    return Trainer(
        max_epochs=pretrain.max_epochs,
        max_steps=None,
        max_minutes=None,
        batch_size=pretrain.batch_size,
        accumulate=1,
        gradient_clip=0.0,
        ema_decay=0.0,
        evaluate_every=1,
        patience=None,
        keep=Keep.best,
        checkpoint_steps=None,
        checkpoint_minutes=None,
        deterministic=True,
        device=Device.auto,
        processes=1,
        precision=Precision.fp32,
        channels_last=True,
        compile=False,
        threads=None,
        workers=0,
        cache=Cache.none,
        cache_mb=0,
    )


@torch.inference_mode()
def _accuracy(model: nn.Module, pictures: Pictures, batch_size: int) -> float:
    """Return the share of pictures that the model names right."""
    device = next(model.parameters()).device
    right = 0
    model.eval()
    for images, expected in zip(pictures.images.split(batch_size), pictures.labels.split(batch_size), strict=True):
        right += int((model(images.to(device).float() / 255).argmax(1).cpu() == expected).sum())
    return right / len(pictures)
