"""The model, its starting weights, and what of them is trained; types and bounds. What a knob does is said in conf/."""

from dataclasses import dataclass
from enum import StrEnum

from reprolens.config.check import check


@dataclass(frozen=True)
class Model:
    name: str
    backbone: str | None
    image_size: list[int]
    score_threshold: float
    nms_threshold: float
    detections_per_image: int

    def __post_init__(self) -> None:
        check(self.backbone != "", "model.backbone", "must be the name of one, or null")
        good = len(self.image_size) == 2 and all(side >= 32 for side in self.image_size)
        check(good, "model.image_size", "must be [height, width], each at least 32")
        check(0 <= self.score_threshold < 1, "model.score_threshold", "must be from 0 to below 1")
        check(0 < self.nms_threshold <= 1, "model.nms_threshold", "must be above 0 and at most 1")
        check(self.detections_per_image > 0, "model.detections_per_image", "must be at least 1")


# ---- starting weights


class Channels(StrEnum):
    """The order of a picture's colours."""

    RGB = "RGB"
    BGR = "BGR"


@dataclass(frozen=True)
class Expected:
    """What a file's weights expect of a picture, where the file does not say it; null: as the model has it."""

    mean: list[float] | None
    std: list[float] | None
    range: float | None
    order: Channels | None

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = getattr(self, name)
            check(values is None or len(values) == 3, f"pretrain.expects.{name}", "must be three numbers, or null")
        check(self.std is None or min(self.std) > 0, "pretrain.expects.std", "must be above 0")
        check(self.range is None or self.range > 0, "pretrain.expects.range", "must be above 0 (1 or 255), or null")


@dataclass(frozen=True)
class RandomWeights:
    source: str


@dataclass(frozen=True)
class Published:
    source: str
    weights: str
    expects: Expected


@dataclass(frozen=True)
class FileWeights:
    source: str
    path: str
    expects: Expected

    def __post_init__(self) -> None:
        check(bool(self.path), "pretrain.path", "must not be empty")


@dataclass(frozen=True)
class ArtifactWeights:
    source: str
    artifact: str
    file: str | None
    expects: Expected

    def __post_init__(self) -> None:
        check(bool(self.artifact), "pretrain.artifact", "must not be empty")


@dataclass(frozen=True)
class DvcWeights:
    source: str
    path: str
    repo: str
    rev: str | None
    expects: Expected

    def __post_init__(self) -> None:
        check(bool(self.path), "pretrain.path", "must not be empty")
        check(bool(self.repo), "pretrain.repo", "must not be empty (. is this repository)")


@dataclass(frozen=True)
class Classify:
    source: str
    data: str | None
    shallower: str | None
    max_epochs: int
    batch_size: int
    crop_size: int
    lr: float

    def __post_init__(self) -> None:
        check(self.data != "", "pretrain.data", "must be the path of a data set, or null")
        check(self.shallower != "", "pretrain.shallower", "must be the name of a backbone, or null")
        for name in ("max_epochs", "batch_size"):
            check(getattr(self, name) > 0, f"pretrain.{name}", "must be at least 1")
        check(self.crop_size >= 32, "pretrain.crop_size", "must be at least 32")
        check(self.lr > 0, "pretrain.lr", "must be above 0")


Pretrain = RandomWeights | Published | FileWeights | ArtifactWeights | DvcWeights | Classify

# ---- what of the model is trained


@dataclass(frozen=True)
class Full:
    method: str
    backbone_lr_factor: float

    def __post_init__(self) -> None:
        check(self.backbone_lr_factor > 0, "transfer.backbone_lr_factor", "must be above 0")


@dataclass(frozen=True)
class LastLayers:
    method: str
    backbone_lr_factor: float
    trainable_stages: int
    unfreeze_every: int | None

    def __post_init__(self) -> None:
        check(self.backbone_lr_factor > 0, "transfer.backbone_lr_factor", "must be above 0")
        check(self.trainable_stages >= 0, "transfer.trainable_stages", "must be at least 0")
        good = self.unfreeze_every is None or self.unfreeze_every > 0
        check(good, "transfer.unfreeze_every", "must be at least 1 epoch, or null (never)")


@dataclass(frozen=True)
class NewHead:
    method: str


Transfer = Full | LastLayers | NewHead
