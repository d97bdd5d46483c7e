"""Every knob, its type and its bounds. What a knob does is said beside its default in conf/, not here.

A group whose choices have different knobs is a union of dataclasses, told apart by one key (`VARIANTS`), so that a knob
which does not apply cannot be set. There are no defaults here: they live in conf/, where a user sees them.
"""

import re
from dataclasses import dataclass, fields
from enum import StrEnum

from reprolens.config.check import check
from reprolens.config.training import (
    AdamW,
    Constant,
    Cosine,
    OneCycle,
    Optimizer,
    Schedule,
    Sgd,
    Step,
    Trainer,
)


class Action(StrEnum):
    """What convert does about a problem in the source data set."""

    fail = "fail"
    drop = "drop"
    fix = "fix"
    keep = "keep"


class Mode(StrEnum):
    """Whether and how the run is sent to Weights & Biases."""

    offline = "offline"
    online = "online"
    disabled = "disabled"


class Unreachable(StrEnum):
    """What becomes of an online run for which there is no key or no server."""

    offline = "offline"
    fail = "fail"


class Direction(StrEnum):
    """Which way a metric gets better."""

    maximize = "maximize"
    minimize = "minimize"


# ---- data


@dataclass(frozen=True)
class Digits:
    format: str
    path: str
    image_size: int
    train: int
    val: int
    test: int
    min_digits: int
    max_digits: int
    min_size: float
    max_size: float
    min_contrast: float
    max_overlap: float

    def __post_init__(self) -> None:
        check(bool(self.path), "data.path", "must not be empty")
        for name in ("train", "val", "test"):
            check(getattr(self, name) > 0, f"data.{name}", "must be at least 1")
        check(0 <= self.min_digits <= self.max_digits, "data.min_digits", "must be from 0 to data.max_digits")
        check(self.max_digits > 0, "data.max_digits", "must be at least 1")
        check(8 <= self.min_size <= self.max_size, "data.min_size", "must be from 8 (a scan's own) to data.max_size")
        check(self.max_size * 2 <= self.image_size, "data.max_size", "must be at most half of data.image_size")
        check(0 <= self.min_contrast <= 100, "data.min_contrast", "must be from 0 to 100")
        check(0 <= self.max_overlap <= 1, "data.max_overlap", "must be from 0 to 1")


# What can be done about each kind of problem.
_LOST = (Action.fail, Action.drop)
_LIVES = (Action.fail, Action.drop, Action.keep)
_MENDED = (Action.fail, Action.drop, Action.fix)
_POSSIBLE = {
    "missing_image": _LOST,
    "ambiguous_image": _LOST,
    "path_outside": _LOST,
    "undecodable_image": _LOST,
    "wrong_suffix": _LIVES,
    "exif_rotation": (*_MENDED, Action.keep),
    "size_mismatch": _MENDED,
    "duplicate_image": (Action.fail, Action.keep),
    "near_duplicate": (Action.fail, Action.keep),
    "missing_annotation": _LIVES,
    "unreadable_annotation": _LOST,
    "unreadable_mask": _LOST,
    "invalid_box": _LOST,
    "inverted_box": _MENDED,
    "empty_box": _LOST,
    "tiny_box": _LIVES,
    "box_outside": _MENDED,
    "duplicate_box": _LIVES,
    "unsupported_shape": _LOST,
    "ignored_region": _LOST,
    "unknown_class": _LOST,
    "similar_classes": (Action.fail, Action.fix, Action.keep),
    "unused_class": _LIVES,
    "class_not_in_train": _LOST,
}


@dataclass(frozen=True)
class Policy:
    missing_image: Action
    ambiguous_image: Action
    path_outside: Action
    undecodable_image: Action
    wrong_suffix: Action
    exif_rotation: Action
    size_mismatch: Action
    duplicate_image: Action
    near_duplicate: Action
    missing_annotation: Action
    unreadable_annotation: Action
    unreadable_mask: Action
    invalid_box: Action
    inverted_box: Action
    empty_box: Action
    tiny_box: Action
    box_outside: Action
    duplicate_box: Action
    unsupported_shape: Action
    ignored_region: Action
    unknown_class: Action
    similar_classes: Action
    unused_class: Action
    class_not_in_train: Action

    def __post_init__(self) -> None:
        for field in fields(self):
            possible = _POSSIBLE[field.name]
            rule = f"must be {' or '.join(possible)}"
            check(getattr(self, field.name) in possible, f"data.policy.{field.name}", rule)


@dataclass(frozen=True)
class Labelled:
    """What every format has that people bring."""

    format: str
    path: str
    images: str | None
    annotations: str | None
    ratios: list[float]
    group_by: str | None
    policy: Policy

    def __post_init__(self) -> None:
        check(bool(self.path), "data.path", "must not be empty")
        good = len(self.ratios) == 3 and all(ratio > 0 for ratio in self.ratios) and abs(sum(self.ratios) - 1) < 1e-6
        check(good, "data.ratios", "must be three shares above 0 (train, val, test) that add up to 1")
        if self.group_by is not None:
            try:
                re.compile(self.group_by)
            except re.error as error:
                check(False, "data.group_by", f"is no regular expression ({error})")


@dataclass(frozen=True)
class Voc(Labelled):
    first_pixel: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.first_pixel in (0, 1), "data.first_pixel", "must be 0 or 1")


@dataclass(frozen=True)
class Yolo(Labelled):
    classes: list[str] | None


@dataclass(frozen=True)
class Via(Labelled):
    class_attribute: str | None


@dataclass(frozen=True)
class Masks(Labelled):
    classes: list[str] | None
    background: str | None
    void: str | None


@dataclass(frozen=True)
class Imported(Labelled):
    importer: str | None


Data = Digits | Labelled

_LABELLED: dict[str, type] = {
    "auto": Labelled,
    "voc": Voc,
    "coco": Labelled,
    "yolo": Yolo,
    "labelme": Labelled,
    "via": Via,
    "cvat": Labelled,
    "open_images": Labelled,
    "label_studio": Labelled,
    "supervisely": Labelled,
    "vott": Labelled,
    "tf_csv": Labelled,
    "tfrecord": Labelled,
    "createml": Labelled,
    "kitti": Labelled,
    "class_folders": Labelled,
    "class_csv": Labelled,
    "masks": Masks,
    "datumaro": Imported,
}

# ---- model and its starting weights


@dataclass(frozen=True)
class Model:
    name: str
    image_size: list[int]
    score_threshold: float
    nms_threshold: float
    detections_per_image: int

    def __post_init__(self) -> None:
        good = len(self.image_size) == 2 and all(side >= 32 for side in self.image_size)
        check(good, "model.image_size", "must be [height, width], each at least 32")
        check(0 <= self.score_threshold < 1, "model.score_threshold", "must be from 0 to below 1")
        check(0 < self.nms_threshold <= 1, "model.nms_threshold", "must be above 0 and at most 1")
        check(self.detections_per_image > 0, "model.detections_per_image", "must be at least 1")


@dataclass(frozen=True)
class RandomWeights:
    source: str


@dataclass(frozen=True)
class Published:
    source: str
    weights: str


@dataclass(frozen=True)
class FileWeights:
    source: str
    path: str

    def __post_init__(self) -> None:
        check(bool(self.path), "pretrain.path", "must not be empty")


@dataclass(frozen=True)
class Classify:
    source: str
    max_epochs: int
    batch_size: int
    crop_size: int
    lr: float

    def __post_init__(self) -> None:
        for name in ("max_epochs", "batch_size"):
            check(getattr(self, name) > 0, f"pretrain.{name}", "must be at least 1")
        check(self.crop_size >= 32, "pretrain.crop_size", "must be at least 32")
        check(self.lr > 0, "pretrain.lr", "must be above 0")


Pretrain = RandomWeights | Published | FileWeights | Classify


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

# ---- training


@dataclass(frozen=True)
class Augment:
    horizontal_flip: float
    vertical_flip: float
    photometric: float
    grayscale: float
    crop: float
    zoom_out: float
    affine: float
    max_rotation: float
    max_translation: float
    scale: list[float]
    resize_crop: float
    resize_scale: list[float]
    mosaic: float
    mixup: float
    copy_paste: float
    mix_off: float
    multi_scale: list[float]
    min_visible: float

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.type is float and not field.name.startswith(("max_", "min_")):
                check(0 <= getattr(self, field.name) <= 1, f"augment.{field.name}", "is a probability, from 0 to 1")
        check(0 <= self.max_rotation <= 180, "augment.max_rotation", "must be from 0 to 180 degrees")
        check(0 <= self.max_translation <= 1, "augment.max_translation", "must be from 0 to 1")
        for name, most in (("scale", 100.0), ("resize_scale", 10.0), ("multi_scale", 4.0)):
            span = getattr(self, name)
            good = len(span) == 2 and 0.05 <= span[0] <= span[1] <= most
            check(good, f"augment.{name}", f"must be [least, most], from 0.05 to {most:g}")
        check(0 <= self.min_visible <= 1, "augment.min_visible", "is a share, from 0 to 1")


# ---- after training


@dataclass(frozen=True)
class Evaluate:
    split: str
    batch_size: int
    score_threshold: float
    bootstrap: int
    samples: int
    worst: int

    def __post_init__(self) -> None:
        check(self.split in ("train", "val", "test"), "evaluate.split", "must be train, val or test")
        check(self.batch_size > 0, "evaluate.batch_size", "must be at least 1")
        check(0 <= self.score_threshold <= 1, "evaluate.score_threshold", "must be from 0 to 1")
        good = self.bootstrap == 0 or 100 <= self.bootstrap <= 100_000
        check(good, "evaluate.bootstrap", "must be from 100 to 100000, or 0 (no intervals)")
        check(self.samples >= 0, "evaluate.samples", "must be at least 0")
        check(self.worst >= 0, "evaluate.worst", "must be at least 0")


@dataclass(frozen=True)
class Export:
    opset: int
    parity_images: int
    box_tolerance: float
    score_tolerance: float

    def __post_init__(self) -> None:
        check(18 <= self.opset <= 23, "export.opset", "must be from 18 to 23")
        check(self.parity_images > 0, "export.parity_images", "must be at least 1")
        check(self.box_tolerance > 0, "export.box_tolerance", "must be above 0")
        check(self.score_tolerance > 0, "export.score_tolerance", "must be above 0")


@dataclass(frozen=True)
class Tracking:
    mode: Mode
    project: str
    entity: str | None
    name: str | None
    group: str | None
    tags: list[str]
    notes: str | None
    artifacts: bool
    system_metrics: bool
    unreachable: Unreachable
    timeout: float

    def __post_init__(self) -> None:
        check(bool(self.project), "tracking.project", "must not be empty")
        check(self.timeout > 0, "tracking.timeout", "must be greater than 0")


@dataclass(frozen=True)
class Sweep:
    name: str | None
    metric: list[str]
    direction: list[Direction]
    max_failure_rate: float
    retry_failed: bool

    def __post_init__(self) -> None:
        check(bool(self.metric), "sweep.metric", "must name at least one key")
        check(len(self.direction) == len(self.metric), "sweep.direction", f"must have {len(self.metric)}, one a metric")
        check(0 <= self.max_failure_rate <= 1, "sweep.max_failure_rate", "must be from 0 to 1")
        check(
            self.name is None or re.fullmatch(r"\w[\w+=-]*(\.(?!lock$)[\w+=-]+)*", self.name) is not None,
            "sweep.name",
            "names a folder and Git's refs: letters, digits, _ + = - and single dots only",
        )


@dataclass(frozen=True)
class Config:
    """The whole experiment. `seed` decides all chance: splits, scenes, starting weights, order, augmentation."""

    seed: int
    data: Data
    model: Model
    pretrain: Pretrain
    transfer: Transfer
    augment: Augment
    optimizer: Optimizer
    schedule: Schedule
    trainer: Trainer
    evaluate: Evaluate
    export: Export
    tracking: Tracking
    sweep: Sweep

    def __post_init__(self) -> None:
        check(0 <= self.seed < 2**32, "seed", "must be from 0 to 4294967295")


VARIANTS: dict[str, tuple[str, dict[str, type]]] = {
    "data": ("format", {"digits": Digits, **_LABELLED}),
    "pretrain": (
        "source",
        {"random": RandomWeights, "published": Published, "file": FileWeights, "classify": Classify},
    ),
    "transfer": ("method", {"full": Full, "last_layers": LastLayers, "new_head": NewHead}),
    "optimizer": ("name", {"adamw": AdamW, "sgd": Sgd}),
    "schedule": ("name", {"cosine": Cosine, "step": Step, "one_cycle": OneCycle, "constant": Constant}),
}
"""Of each group with several kinds of choices: the key that tells them apart, and the schema of each kind."""
