"""The pretrain stage: starting weights from wherever the configuration says, training them here if need be."""

from dataclasses import replace
from typing import Any

import accelerate
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2.functional import normalize

from reprolens.config import AdamW, Classify, Config, FileWeights, Full, OneCycle, Published, Trainer
from reprolens.config.training import Cache, Device, Keep, Precision
from reprolens.errors import ConfigError, DataError
from reprolens.loading import EpochBatches, Key, open_rgb, stack
from reprolens.models.registry import build
from reprolens.models.weights import StartingWeights, file_weights, published_weights, random_weights
from reprolens.training.hardware import plain_hardware
from reprolens.training.loop import Batch, Task, train
from reprolens.voc import Folder


def starting_weights(config: Config, folder: Folder) -> StartingWeights:
    """Return the starting weights that `config.pretrain` asks for. Raises WeightsError if they cannot be had."""
    match config.pretrain:
        case Published():
            return published_weights(config.pretrain, config.model)
        case FileWeights():
            return file_weights(config.pretrain, config.model)
        case Classify():
            return classify_crops(config.pretrain, config, folder)
        case _:
            return random_weights()


def classify_crops(pretrain: Classify, config: Config, folder: Folder) -> StartingWeights:
    """Train the detector's backbone, its pyramid included, to name the objects of the train split.

    What the backbone gives at every level is averaged over the picture and joined; one linear layer names the class.
    The epoch that names the objects of the val split best is kept. Raises ConfigError if the backbone cannot take
    pictures as small as `pretrain.crop_size`, DataError if there are fewer than two objects.
    """
    accelerate.utils.set_seed(config.seed)
    crops, labels = _crops(folder, "train", pretrain.crop_size)
    if len(crops) < 2:  # BatchNorm needs two
        raise DataError(f"{folder.root}: its train split has {len(crops)} objects, too few for pretrain: classify")
    unseen = _crops(folder, "val", pretrain.crop_size)
    model = _classifier(config, len(folder.classes), pretrain.crop_size)

    def losses(model: nn.Module, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {"cross_entropy": functional.cross_entropy(model(images), torch.stack([t["label"] for t in targets]))}

    def validate(model: nn.Module) -> dict[str, float]:
        return {"accuracy": _accuracy(model, *(unseen if len(unseen[1]) else (crops, labels)), pretrain.batch_size)}

    side = (pretrain.crop_size, pretrain.crop_size)
    batches = EpochBatches(len(crops), pretrain.batch_size, config.seed, side)
    loader: DataLoader[Any] = DataLoader(
        _Crops(crops, labels),
        batch_sampler=batches,
        collate_fn=lambda samples: Batch(*stack(samples)),
        generator=torch.Generator(),
    )
    schedule = OneCycle("one_cycle", rise=0.3, initial_factor=0.04, final_factor=0.0)
    plan = replace(
        config,
        optimizer=AdamW("adamw", pretrain.lr, 0.01, [0.9, 0.999]),
        schedule=schedule,
        trainer=_trainer(pretrain),
        transfer=Full("full", 1.0),
    )
    hardware = plain_hardware(plan.trainer, side, len(crops))
    state, report = train(model, Task(losses, validate, "accuracy"), loader, plan, hardware)
    origin = {
        "source": "classify",
        "name": f"{config.model.name} backbone, trained on the crops of the train split",
        "crops": len(crops),
        "epochs": report["epochs"],
        "accuracy": report["val/accuracy"],
        "licence": "as the data set's owner says",
    }
    return StartingWeights({name: state[name] for name in state if name.startswith("backbone.")}, (), origin)


def _trainer(pretrain: Classify) -> Trainer:
    """Return the trainer of a classifier of crops: nothing of the detector's, so that its knobs do not rerun this."""
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


class _Classifier(nn.Module):
    """A detector's backbone with one linear layer over the means of all its levels."""

    def __init__(self, backbone: nn.Module, width: int, classes: int, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(width, classes)
        self.mean, self.std = mean, std

    def forward(self, images: Tensor) -> Tensor:
        """Name pictures `(N, 3, H, W)`, 0 to 1: logits `(N, classes)`."""
        return self.head(_pooled(self.backbone, normalize(images, self.mean, self.std)))


def _classifier(config: Config, classes: int, side: int) -> _Classifier:
    detector = build(config.model, classes)
    backbone = detector.get_submodule("backbone")
    transform: Any = detector.get_submodule("transform")
    try:
        with torch.no_grad():  # in evaluation mode, which leaves running statistics alone
            width = _pooled(backbone.eval(), torch.zeros(1, 3, side, side)).shape[1]
    except RuntimeError:
        raise ConfigError(f"pretrain.crop_size: {side} is too small for {config.model.name}") from None
    return _Classifier(backbone, width, classes, transform.image_mean, transform.image_std)


def _pooled(backbone: nn.Module, images: Tensor) -> Tensor:
    """Return `(N, C)`: every level of the backbone averaged over the picture, side by side."""
    levels = backbone(images)
    return torch.cat([level.mean((2, 3)) for level in levels.values()], dim=1)


@torch.inference_mode()
def _accuracy(model: nn.Module, crops: Tensor, labels: Tensor, batch_size: int) -> float:
    """Return the share of crops `(N, 3, side, side)` uint8 that the model names right."""
    device = next(model.parameters()).device
    right = 0
    model.eval()
    for images, expected in zip(crops.split(batch_size), labels.split(batch_size), strict=True):
        right += int((model(images.to(device).float() / 255).argmax(1).cpu() == expected).sum())
    return right / len(labels)


class _Crops(Dataset[tuple[Tensor, dict[str, Tensor], str]]):
    def __init__(self, crops: Tensor, labels: Tensor) -> None:
        self._crops, self._labels = crops, labels

    def __getitem__(self, key: Key) -> tuple[Tensor, dict[str, Tensor], str]:
        return self._crops[key.index], {"label": self._labels[key.index]}, f"crop {key.index}"


def _crops(folder: Folder, split: str, side: int) -> tuple[Tensor, Tensor]:
    """Return a split's objects, cut out and resized: `(N, 3, side, side)` uint8, and their classes `(N,)`."""
    crops, labels = [torch.empty(0, 3, side, side, dtype=torch.uint8)], list[int]()
    for record in folder.records(split):
        picture = open_rgb(folder, record)
        for item in record.objects:
            if not item.crowd:
                crop = picture.resize((side, side), Image.Resampling.BILINEAR, box=item.box)
                crops.append(torch.from_numpy(np.array(crop)).permute(2, 0, 1)[None])
                labels.append(folder.classes.index(item.name))
    return torch.cat(crops), torch.tensor(labels, dtype=torch.int64)
