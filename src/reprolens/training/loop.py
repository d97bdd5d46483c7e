"""The training loop, for every task. A task says what the loss is and how good a model is; the loop knows neither."""

import math
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import accelerate
import torch
from accelerate.state import AcceleratorState
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from reprolens.config import Config
from reprolens.errors import TrainingError
from reprolens.files import write_csv
from reprolens.loading.detection import EpochSampler
from reprolens.models.freezing import train_mode
from reprolens.progress import Bar, bar
from reprolens.training.ema import ExponentialMovingAverage
from reprolens.training.hardware import Hardware
from reprolens.training.optimizer import build_optimizer, build_schedule


@dataclass(frozen=True)
class Task:
    """What the loop asks of a task.

    `losses(model, images, targets)` gives named losses, whose sum is minimised. `validate(model)` gives named metrics
    of the val split, of which `metric` decides which epoch's model is kept; greater is better.
    """

    losses: Callable[[nn.Module, list[Tensor], list[Any]], Mapping[str, Tensor]]
    validate: Callable[[nn.Module], Mapping[str, float]]
    metric: str


@dataclass
class _Run:
    """What one training run carries from step to step."""

    accelerator: accelerate.Accelerator
    model: nn.Module
    average: ExponentialMovingAverage
    optimizer: accelerate.optimizer.AcceleratedOptimizer
    schedule: LambdaLR
    task: Task
    gradient_clip: float
    steps: int = 0


def train(
    model: nn.Module,
    task: Task,
    loader: DataLoader[Any],
    sampler: EpochSampler,
    config: Config,
    hardware: Hardware,
    history: Path,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train `model`; return the weights of the best epoch by `task.metric` and the report for reports/train.json.

    `history` gains a row after every epoch. Raises TrainingError if the loss is not finite, or memory runs out.
    """
    trainer = config.trainer
    run = _prepare(model, task, loader, config, hardware)
    start, rows = time.monotonic(), list[dict[str, Any]]()
    best_metric, best_epoch, best_state = -math.inf, 0, dict[str, Tensor]()
    with bar("train", trainer.max_epochs * len(loader)) as line:
        for epoch in range(1, trainer.max_epochs + 1):
            sampler.epoch = epoch
            row = _train_epoch(run, loader, f"epoch {epoch}/{trainer.max_epochs}", line)
            validated = epoch % trainer.evaluate_every == 0 or epoch == trainer.max_epochs
            metrics = task.validate(run.average.model) if validated else {}
            rows.append({"epoch": epoch, **row, **{f"val/{name}": value for name, value in metrics.items()}})
            rows[-1]["seconds"] = round(time.monotonic() - start, 3)
            write_csv(history, rows)
            if validated and metrics[task.metric] > best_metric:
                best_metric, best_epoch = metrics[task.metric], epoch
                state = run.average.model.state_dict()
                best_state = {
                    name: value.detach().to("cpu", memory_format=torch.contiguous_format, copy=True)
                    for name, value in state.items()
                }
            if trainer.patience and epoch - best_epoch >= trainer.patience * trainer.evaluate_every:
                break
    return best_state, _report(run, rows, best_epoch, trainer.batch_size, hardware)


def _prepare(model: nn.Module, task: Task, loader: DataLoader[Any], config: Config, hardware: Hardware) -> _Run:
    torch.set_num_threads(hardware.threads)
    model.to(memory_format=torch.channels_last)  # the order of oneDNN's and cuDNN's fastest convolutions
    AcceleratorState._reset_state(reset_partial_state=True)  # else an earlier training in this process decides for us
    accelerator = accelerate.Accelerator(
        cpu=hardware.device.type == "cpu",
        mixed_precision="no" if hardware.precision == "fp32" else hardware.precision,
    )
    optimizer = build_optimizer(model, config.optimizer, config.transfer)
    schedule = build_schedule(optimizer, config.schedule, len(loader), config.trainer.max_epochs)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    average = ExponentialMovingAverage(accelerator.unwrap_model(prepared), config.trainer.ema_decay)
    return _Run(accelerator, prepared, average, optimizer, schedule, task, config.trainer.gradient_clip)


def _train_epoch(run: _Run, loader: DataLoader[Any], label: str, line: Bar) -> dict[str, Any]:
    """Take every batch once; return the epoch's row: rate, mean losses by picture, speed."""
    train_mode(run.model)
    sums, seen, start = defaultdict[str, float](float), 0, time.monotonic()
    for images, targets, ids in loader:
        rate = run.schedule.get_last_lr()[-1]
        for name, value in _step(run, images, targets, ids).items():
            sums[name] += value * len(ids)
        seen += len(ids)
        line.note(f"{label} loss {sums['loss'] / seen:.3f} {seen / (time.monotonic() - start):.0f} img/s")
        line.advance()
    means = {f"train/{name}": total / seen for name, total in sums.items()}
    speed = round(seen / (time.monotonic() - start), 1)
    return {"global_step": run.steps, "lr": rate, **means, "images_per_second": speed}


def _step(run: _Run, images: list[Tensor], targets: list[Any], ids: list[str]) -> dict[str, float]:
    """Take one step of the optimizer and return the losses as numbers, their sum first."""
    images, targets = send_to_device((images, targets), run.accelerator.device)
    try:
        with run.accelerator.autocast():
            losses = run.task.losses(run.model, images, targets)
        loss = torch.stack([value.float() for value in losses.values()]).sum()
        if not torch.isfinite(loss):
            parts = ", ".join(f"{name} {float(value.detach()):g}" for name, value in losses.items())
            raise TrainingError(
                f"the loss is not finite at step {run.steps + 1} ({parts}); lower optimizer.lr, "
                f"or look at the pictures of this batch: {', '.join(ids)}"
            )
        run.accelerator.backward(loss)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):  # BatchNorm's, where a map is down to one pixel
            raise
        raise TrainingError(f"trainer.batch_size: this model needs at least 2, a batch has {len(images)}") from None
    except torch.OutOfMemoryError:
        raise TrainingError(
            f"the GPU's memory is too small for batches of {len(images)}; "
            f"try trainer.batch_size={max(1, len(images) // 2)}"
        ) from None
    if run.gradient_clip:
        run.accelerator.clip_grad_norm_(run.model.parameters(), run.gradient_clip)
    run.optimizer.step()
    run.schedule.step()
    run.optimizer.zero_grad()
    run.average.update()
    run.steps += 1
    return {name: float(value.detach()) for name, value in {"loss": loss, **losses}.items()}


def _report(
    run: _Run, rows: list[dict[str, Any]], best_epoch: int, batch_size: int, hardware: Hardware
) -> dict[str, Any]:
    """Return what reports/train.json says of a run whose history is `rows`."""
    parameters = list(run.model.parameters())
    return {
        "epochs": len(rows),
        "steps": run.steps,
        "best/epoch": best_epoch,
        **{name: value for name, value in rows[best_epoch - 1].items() if name.startswith("val/")},
        "seconds": rows[-1]["seconds"],
        "images_per_second": round(sum(row["images_per_second"] for row in rows) / len(rows), 1),
        "peak_memory_mb": _peak_memory(hardware.device),
        "device": hardware.device.type,
        "precision": hardware.precision,
        "threads": hardware.threads,
        "workers": hardware.workers,
        "batch_size": batch_size,
        "parameters": sum(parameter.numel() for parameter in parameters),
        "parameters/trained": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    }


def _peak_memory(device: torch.device) -> int:
    """Return the most memory held so far in MiB: the GPU's where there is one, else this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
