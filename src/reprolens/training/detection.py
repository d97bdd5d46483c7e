"""The detection task: a detector on a VOC folder, from its starting weights to its best epoch."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reprolens.config import Config
from reprolens.loading import (
    EvaluationPictures,
    TrainingPictures,
    build_augmentation,
    evaluation_loader,
    training_loader,
)
from reprolens.loading.detection import EpochSampler
from reprolens.models.freezing import freeze
from reprolens.models.registry import build
from reprolens.models.weights import load_starting_weights
from reprolens.training.hardware import choose_hardware
from reprolens.training.loop import Task, train
from reprolens.voc import Folder

Measure = Callable[[nn.Module, Iterable[Any], tuple[str, ...]], Mapping[str, float]]
"""`(model, batches of the val split, class names)` to named metrics, `map` among them: the evaluator, from above."""


def train_detector(
    config: Config, folder: Folder, initial: Path, history: Path, measure: Measure
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train the configured detector; return the best epoch's weights and the report for reports/train.json.

    Raises WeightsError for bad starting weights, TrainingError if training cannot start or go on.
    """
    torch.manual_seed(config.seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    model = build(config.model, len(folder.classes))
    match = load_starting_weights(initial, model)
    freeze(model, config.transfer, match)
    hardware = choose_hardware(config.trainer, model)

    size = (config.model.image_size[0], config.model.image_size[1])
    augmentation = build_augmentation(config.augment, size)
    pictures = TrainingPictures(folder, "train", size, augmentation, config.seed, config.trainer.image_cache_mb)
    sampler = EpochSampler(len(pictures), config.seed)
    loader = training_loader(pictures, sampler, config.trainer.batch_size, hardware.workers)
    validation = evaluation_loader(EvaluationPictures(folder, "val"), config.trainer.batch_size)

    task = Task(losses, lambda average: measure(average, validation, folder.classes), "map")
    state, report = train(model, task, loader, sampler, config, hardware, history)
    return state, report | {
        "weights/kept": len(match.kept),
        "weights/mismatched": len(match.mismatched),
        "weights/new": len(match.new),
        "mismatched_tensors": list(match.mismatched),
        "new_tensors": list(match.new),
    }


def losses(model: nn.Module, images: list[Tensor], targets: list[dict[str, Tensor]]) -> Mapping[str, Tensor]:
    """Return a detector's losses, which it computes itself."""
    return model(images, targets)
