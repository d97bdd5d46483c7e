"""Pictures and targets out of a VOC folder, as torch takes them."""

from reprolens.loading.augment import build_augmentation
from reprolens.loading.detection import EvaluationPictures, TrainingPictures, evaluation_loader, training_loader

__all__ = ["EvaluationPictures", "TrainingPictures", "build_augmentation", "evaluation_loader", "training_loader"]
