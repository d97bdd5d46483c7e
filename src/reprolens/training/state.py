"""All that decides the next step of a run, and that state to and from the plain values of a checkpoint."""

import math
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import accelerate
import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from reprolens.training.ema import ExponentialMovingAverage


@dataclass
class Progress:
    """How far a run has come. `epoch` counts from 1; `batch` of its batches and `step` steps in all are done."""

    epoch: int = 1
    batch: int = 0
    step: int = 0
    finished: bool = False
    seconds: float = 0.0  # of training and validation, over all sittings
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # of the epoch, for its row
    rows: list[dict[str, Any]] = field(default_factory=list)
    best_metric: float = -math.inf
    best_epoch: int = 0


@dataclass
class Run:
    """The parts of a training that change from step to step."""

    accelerator: accelerate.Accelerator
    model: nn.Module
    average: ExponentialMovingAverage
    optimizer: accelerate.optimizer.AcceleratedOptimizer
    schedule: LambdaLR
    progress: Progress = field(default_factory=Progress)
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def module(self) -> nn.Module:
        """The model without the wrapping that several processes need."""
        return self.accelerator.unwrap_model(self.model)


def capture(run: Run) -> dict[str, Any]:
    """Return the run's state as tensors and plain values. With several processes all must call it."""
    scaler = run.accelerator.scaler
    return {
        "model": run.module.state_dict(),
        "average": run.average.model.state_dict(),
        "average_steps": run.average.steps,
        "optimizer": run.optimizer.optimizer.state_dict(),
        "schedule": run.schedule.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else {},
        "random": _of_all(run, _random_states()),
        "sums": _of_all(run, dict(run.progress.sums)),
        "progress": {name: value for name, value in vars(run.progress).items() if name != "sums"},
        "best": run.best,
    }


def restore(run: Run, saved: dict[str, Any]) -> None:
    """Set the run, which was built from the same configuration, to a captured state."""
    run.module.load_state_dict(saved["model"])
    run.average.model.load_state_dict(saved["average"])
    run.average.steps = saved["average_steps"]
    run.optimizer.optimizer.load_state_dict(saved["optimizer"])
    run.schedule.load_state_dict(saved["schedule"])
    if run.accelerator.scaler is not None:
        run.accelerator.scaler.load_state_dict(saved["scaler"])
    rank = run.accelerator.process_index
    run.progress = Progress(**saved["progress"], sums=defaultdict(float, saved["sums"][rank]))
    run.best = saved["best"]
    _set_random_states(saved["random"][rank])


def share_statistics(run: Run) -> None:
    """Give all processes the first one's averaged running statistics: each has seen other pictures.

    Else they would validate different models, and after an interruption not the same ones as without.
    """
    if run.accelerator.num_processes > 1:
        for buffer in run.average.model.buffers():
            torch.distributed.broadcast(buffer, src=0)


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the model's state on the CPU, in torch's usual memory order."""
    return {
        name: value.detach().to("cpu", memory_format=torch.contiguous_format, copy=True)
        for name, value in model.state_dict().items()
    }


def _of_all(run: Run, value: Any) -> list[Any]:
    """Return the values of all processes, in their order."""
    return gather_object([value]) if run.accelerator.num_processes > 1 else [value]


def _random_states() -> dict[str, Any]:
    """Return the state of every generator of this process. Those of loader processes do not matter: see sampling."""
    kind, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_states(saved: dict[str, Any]) -> None:
    random.setstate(saved["python"])
    kind, keys, *rest = saved["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(saved["torch"])
    if saved["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(saved["cuda"])
