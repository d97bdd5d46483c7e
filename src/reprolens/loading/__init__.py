"""Pictures and targets out of a VOC folder, as torch takes them."""

from reprolens.loading.augment import build_augmentation
from reprolens.loading.cache import PictureCache
from reprolens.loading.decode import open_rgb
from reprolens.loading.detection import (
    EvaluationPictures,
    TrainingPictures,
    evaluation_loader,
    picture_cache,
    stack,
    training_loader,
)
from reprolens.loading.index import open_index
from reprolens.loading.sampling import EpochBatches, Key

__all__ = [
    "EpochBatches",
    "EvaluationPictures",
    "Key",
    "PictureCache",
    "TrainingPictures",
    "build_augmentation",
    "evaluation_loader",
    "open_index",
    "open_rgb",
    "picture_cache",
    "stack",
    "training_loader",
]
