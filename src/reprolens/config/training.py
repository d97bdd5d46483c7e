"""How a model is trained: optimizer, schedule, trainer; types and bounds. What a knob does is said in conf/."""

from dataclasses import dataclass
from enum import StrEnum

from reprolens.config.check import check


class Precision(StrEnum):
    """Number format of the training arithmetic."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Keep(StrEnum):
    """Which epoch's model becomes weights/model.pt."""

    best = "best"
    last = "last"


class Cache(StrEnum):
    """Where decoded and resized pictures are kept."""

    memory = "memory"
    disk = "disk"
    none = "none"


class Device(StrEnum):
    """Where the model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@dataclass(frozen=True)
class AdamW:
    name: str
    lr: float
    weight_decay: float
    betas: list[float]

    def __post_init__(self) -> None:
        check(self.lr > 0, "optimizer.lr", "must be above 0")
        check(self.weight_decay >= 0, "optimizer.weight_decay", "must be at least 0")
        good = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        check(good, "optimizer.betas", "must be two numbers from 0 to below 1")


@dataclass(frozen=True)
class Sgd:
    name: str
    lr: float
    weight_decay: float
    momentum: float
    nesterov: bool

    def __post_init__(self) -> None:
        check(self.lr > 0, "optimizer.lr", "must be above 0")
        check(self.weight_decay >= 0, "optimizer.weight_decay", "must be at least 0")
        check(0 <= self.momentum < 1, "optimizer.momentum", "must be from 0 to below 1")


Optimizer = AdamW | Sgd


@dataclass(frozen=True)
class Cosine:
    name: str
    warmup_epochs: float
    final_factor: float

    def __post_init__(self) -> None:
        check(self.warmup_epochs >= 0, "schedule.warmup_epochs", "must be at least 0")
        check(0 <= self.final_factor <= 1, "schedule.final_factor", "must be from 0 to 1")


@dataclass(frozen=True)
class Constant:
    name: str
    warmup_epochs: float

    def __post_init__(self) -> None:
        check(self.warmup_epochs >= 0, "schedule.warmup_epochs", "must be at least 0")


@dataclass(frozen=True)
class Step:
    name: str
    warmup_epochs: float
    milestones: list[float]
    factor: float

    def __post_init__(self) -> None:
        check(self.warmup_epochs >= 0, "schedule.warmup_epochs", "must be at least 0")
        good = self.milestones == sorted(self.milestones) and all(0 < place < 1 for place in self.milestones)
        check(good, "schedule.milestones", "must be rising shares of the training, each above 0 and below 1")
        check(0 < self.factor <= 1, "schedule.factor", "must be above 0 and at most 1")


@dataclass(frozen=True)
class OneCycle:
    name: str
    rise: float
    initial_factor: float
    final_factor: float

    def __post_init__(self) -> None:
        check(0 < self.rise < 1, "schedule.rise", "must be above 0 and below 1")
        check(0 < self.initial_factor <= 1, "schedule.initial_factor", "must be above 0 and at most 1")
        check(0 <= self.final_factor <= 1, "schedule.final_factor", "must be from 0 to 1")


Schedule = Cosine | Step | OneCycle | Constant


@dataclass(frozen=True)
class Trainer:
    max_epochs: int
    max_steps: int | None
    max_minutes: float | None
    batch_size: int | str
    accumulate: int
    gradient_clip: float
    ema_decay: float
    evaluate_every: int
    patience: int | None
    keep: Keep
    checkpoint_steps: int | None
    checkpoint_minutes: float | None
    deterministic: bool
    device: Device
    processes: int
    precision: Precision
    channels_last: bool | None
    compile: bool
    threads: int | None
    workers: int | None
    cache: Cache
    cache_mb: int

    def __post_init__(self) -> None:
        batch_size = self.batch_size
        good = batch_size == "auto" or (isinstance(batch_size, int) and batch_size > 0)
        check(good, "trainer.batch_size", "must be at least 1, or auto")
        for name in ("max_epochs", "accumulate", "evaluate_every", "processes"):
            check(getattr(self, name) > 0, f"trainer.{name}", "must be at least 1")
        for name in ("max_steps", "patience", "checkpoint_steps", "threads"):
            value = getattr(self, name)
            check(value is None or value > 0, f"trainer.{name}", "must be at least 1, or null")
        for name in ("max_minutes", "checkpoint_minutes"):
            value = getattr(self, name)
            check(value is None or value > 0, f"trainer.{name}", "must be above 0, or null")
        check(self.gradient_clip >= 0, "trainer.gradient_clip", "must be at least 0 (0: no clipping)")
        check(0 <= self.ema_decay < 1, "trainer.ema_decay", "must be from 0 (no averaging) to below 1")
        check(self.workers is None or self.workers >= 0, "trainer.workers", "must be at least 0, or null")
        check(self.cache_mb >= 0, "trainer.cache_mb", "must be at least 0")
        never = self.patience and self.evaluate_every > self.max_epochs
        check(not never, "trainer.patience", "never comes to bear: trainer.evaluate_every is above trainer.max_epochs")
