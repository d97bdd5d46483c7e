"""Every knob, its type and its bounds. What a knob does is said beside its default in conf/, not here.

A group whose choices have different knobs is a union of dataclasses, told apart by one key (`VARIANTS`), so that a knob
which does not apply cannot be set. There are no defaults here: they live in conf/, where a user sees them.
"""

import re
from dataclasses import dataclass, fields
from enum import StrEnum

from reprolens.config.check import check
from reprolens.config.data import FORMATS, Data
from reprolens.config.export import Export
from reprolens.config.model import (
    ArtifactWeights,
    Classify,
    DvcWeights,
    FileWeights,
    Full,
    LastLayers,
    Model,
    NewHead,
    Pretrain,
    Published,
    RandomWeights,
    Transfer,
)
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
    cases: int
    label_errors: int

    def __post_init__(self) -> None:
        check(self.split in ("train", "val", "test"), "evaluate.split", "must be train, val or test")
        check(self.batch_size > 0, "evaluate.batch_size", "must be at least 1")
        check(0 <= self.score_threshold <= 1, "evaluate.score_threshold", "must be from 0 to 1")
        good = self.bootstrap == 0 or 100 <= self.bootstrap <= 100_000
        check(good, "evaluate.bootstrap", "must be from 100 to 100000, or 0 (no intervals)")
        for name in ("samples", "worst", "cases", "label_errors"):
            check(getattr(self, name) >= 0, f"evaluate.{name}", "must be at least 0")


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


MEASURED = re.compile(r"(voc07|voc12|coco|coco_segm|tide|calibration|precision|recall|f1|best_f1|detections)(/|$)")
"""The keys of reports/evaluation.json that say how good the model is on evaluate.split; val/* come from training."""

JUDGED = re.compile(r"(torch|onnx|onnx_float16|onnx_int8|torch_export|openvino)/(drop/)?(voc12|coco)/")
"""The keys of reports/export.json that say how good the model or a file of it is: always on test, as the gate does."""


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
        rule = "{} is measured on {}, which must not choose a model; take val/map"
        for name in self.sweep.metric:
            check(not JUDGED.match(name), "sweep.metric", rule.format(name, "test"))
        for name in self.sweep.metric if self.evaluate.split != "val" else ():
            told = f"{rule.format(name, self.evaluate.split)}, or set evaluate.split=val"
            check(not MEASURED.match(name), "sweep.metric", told)


VARIANTS: dict[str, tuple[str, dict[str, type]]] = {
    "data": ("format", FORMATS),
    "pretrain": (
        "source",
        {
            "random": RandomWeights,
            "published": Published,
            "file": FileWeights,
            "artifact": ArtifactWeights,
            "dvc": DvcWeights,
            "classify": Classify,
        },
    ),
    "transfer": ("method", {"full": Full, "last_layers": LastLayers, "new_head": NewHead}),
    "optimizer": ("name", {"adamw": AdamW, "sgd": Sgd}),
    "schedule": ("name", {"cosine": Cosine, "step": Step, "one_cycle": OneCycle, "constant": Constant}),
}
"""Of each group with several kinds of choices: the key that tells them apart, and the schema of each kind."""
