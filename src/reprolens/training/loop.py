"""The training loop, for every task. A task says what the loss is and how good a model is; the loop knows neither."""

import math
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import accelerate
import torch
from accelerate.state import AcceleratorState
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.utils.data import DataLoader

from reprolens.config import Config
from reprolens.config.training import Keep
from reprolens.files import write_csv
from reprolens.models.freezing import train_mode
from reprolens.progress import Bar, bar
from reprolens.training.ema import ExponentialMovingAverage
from reprolens.training.failures import check_finite, explained
from reprolens.training.hardware import Hardware
from reprolens.training.interruption import leave_deaths_to_loader
from reprolens.training.optimizer import build_optimizer, build_schedule
from reprolens.training.state import Run, copy_weights, restore, share_statistics
from reprolens.training.watch import Watch, watched

CLOCKED = ("images_per_second", "data_wait", "peak_memory_mb", "seconds")
"""The columns of the history that clocks decide; all others are the same bits in every run of one fingerprint."""


class Batch(NamedTuple):
    """What a loader gives: pictures `(N, 3, H, W)` uint8, what the task's loss wants to know of each, and their ids."""

    images: Tensor
    targets: list[Any]
    ids: list[str]


@dataclass(frozen=True)
class Task:
    """What the loop asks of a task.

    `losses(model, images, targets)` gives named losses, whose sum is minimised; `images (N, 3, H, W)` float, 0 to 1.
    `validate(model)` gives named metrics of the val split, of which `metric` decides which epoch's model is the best;
    greater is better. `set_trainable(model, epoch)` switches the gradients of what an epoch trains.
    """

    losses: Callable[[nn.Module, Tensor, list[Any]], Mapping[str, Tensor]]
    validate: Callable[[nn.Module], Mapping[str, float]]
    metric: str
    set_trainable: Callable[[nn.Module, int], None] = lambda model, epoch: None


def train(
    model: nn.Module,
    task: Task,
    loader: DataLoader[Batch],
    config: Config,
    hardware: Hardware,
    history: Path | None = None,
    checkpoints: Path | None = None,
    saved: dict[str, Any] | None = None,
    epoch_over: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train `model`; return the weights to keep and the report for reports/train.json.

    The loader's batch sampler has `epoch` and `start`, the number of batches of that epoch to pass over. `history`
    gains a row after every epoch, then `epoch_over` is called. With `checkpoints`, a folder, the state is saved there
    now and then; `saved` is such a state to go on from. Raises TrainingError if the loss is not finite, memory runs
    out, or a signal asks to stop.
    """
    trainer = config.trainer
    steps_an_epoch = -(-len(loader) // trainer.accumulate)
    total = min(trainer.max_steps or math.inf, steps_an_epoch * trainer.max_epochs)
    run = _prepare(model, config, hardware, steps_an_epoch, int(total))
    if saved is not None:
        restore(run, saved)
    progress = run.progress
    history = history if run.accelerator.is_main_process else None
    if history:  # DVC removes it with the stage's other outputs; without DVC it may be an earlier training's
        history.unlink(missing_ok=True)
        if progress.rows:
            _write_history(history, progress.rows)
    with watched(run, trainer, hardware, checkpoints) as watch, bar("train", int(total)) as line:
        line.advance(progress.step)
        while not progress.finished:
            task.set_trainable(run.module, progress.epoch)
            _train_epoch(run, task, loader, config, watch, line)
            _close_epoch(run, task, config, watch)
            if history:
                _write_history(history, progress.rows)
            epoch_over()
            watch.save_if_due()
        watch.save()  # so that nothing is lost if the results cannot be written
    if history:
        write_csv(history, progress.rows)
    kept = run.best if trainer.keep == Keep.best else copy_weights(run.average.model)
    return kept, _report(run, config, hardware)


def _prepare(model: nn.Module, config: Config, hardware: Hardware, steps_an_epoch: int, total: int) -> Run:
    torch.set_num_threads(hardware.threads)
    if hardware.channels_last:
        model.to(memory_format=torch.channels_last)
    AcceleratorState._reset_state(reset_partial_state=True)  # else an earlier training in this process decides for us
    accelerator = accelerate.Accelerator(
        cpu=hardware.device.type == "cpu",
        mixed_precision="no" if hardware.precision == "fp32" else hardware.precision,
    )
    optimizer = build_optimizer(model, config.optimizer, config.transfer)
    schedule = build_schedule(optimizer, config.schedule, steps_an_epoch, total)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    module = accelerator.unwrap_model(prepared)
    average = ExponentialMovingAverage(module, config.trainer.ema_decay)
    if config.trainer.compile:
        getattr(module, "backbone", module).compile()
    return Run(accelerator, prepared, average, optimizer, schedule)


def _train_epoch(run: Run, task: Task, loader: DataLoader[Batch], config: Config, watch: Watch, line: Bar) -> None:
    """Take what is left of an epoch's batches, `accumulate` of them a step, and add up what its row will say."""
    trainer, progress, sums = config.trainer, run.progress, run.progress.sums
    sampler: Any = loader.batch_sampler
    sampler.epoch, sampler.start = progress.epoch, progress.batch
    train_mode(run.model)
    for batches, waited in _steps(loader, trainer.accumulate, watch):
        began = time.monotonic()
        sums["rate"] = float(run.schedule.get_last_lr()[-1])
        losses = _step(run, task, batches, trainer.gradient_clip)
        pictures = sum(len(batch.ids) for batch in batches)
        for name, value in losses.items():
            sums[f"train/{name}"] += value * pictures
        sums["pictures"] += pictures
        sums["waited"] += waited
        sums["seconds"] += waited + time.monotonic() - began
        progress.batch += len(batches)
        progress.step += 1
        speed = sums["pictures"] / sums["seconds"]
        line.note(f"epoch {progress.epoch} loss {sums['train/loss'] / sums['pictures']:.3f} {speed:.0f} img/s")
        line.advance()
        if progress.step == trainer.max_steps or watch.time_is_over():
            progress.finished = True
            return
        watch.save_if_due()


def _steps(loader: DataLoader[Batch], accumulate: int, watch: Watch) -> Iterator[tuple[list[Batch], float]]:
    """Yield the batches of every step with the seconds waited for them."""
    batches, waited = list[Batch](), 0.0
    with watch.loader_failures():
        iterator = iter(loader)
        if loader.num_workers:
            leave_deaths_to_loader()
    while True:
        began = time.monotonic()
        with watch.loader_failures():
            batch = next(iterator, None)
        waited += time.monotonic() - began
        if batch is not None:
            batches.append(batch)
        if len(batches) == accumulate or (batch is None and batches):
            yield batches, waited
            batches, waited = [], 0.0
        if batch is None:
            return


def _step(run: Run, task: Task, batches: list[Batch], gradient_clip: float) -> dict[str, float]:
    """Take one step of the optimizer and return the losses as numbers, means over the batches; `loss` is their sum."""
    means = defaultdict[str, float](float)
    for number, batch in enumerate(batches, start=1):
        # Gradients are exchanged between processes once a step, with the last batch's.
        alone = run.accelerator.no_sync(run.model) if number < len(batches) else nullcontext()
        with explained(tuple(batch.images.shape)), alone:
            images, targets = send_to_device((batch.images, batch.targets), run.accelerator.device, non_blocking=True)
            with run.accelerator.autocast():
                losses = task.losses(run.model, images.float().div_(255), targets)
            values = torch.stack([value.float() for value in losses.values()])
            loss = values.sum()
            numbers: list[float] = torch.cat([loss.detach()[None], values.detach()]).tolist()  # one wait for the GPU
            named = dict(zip(["loss", *losses], numbers, strict=True))
            check_finite(named, run.progress.step + 1, batch.ids)
            run.accelerator.backward(loss / len(batches))
        for name, value in named.items():
            means[name] += value / len(batches)
    if gradient_clip:
        norm = run.accelerator.clip_grad_norm_(run.model.parameters(), gradient_clip)
        if run.accelerator.scaler is None:  # which leaves steps out whose gradients are not finite
            ids = [id for batch in batches for id in batch.ids]
            check_finite({"gradient": float(norm)}, run.progress.step + 1, ids)
    run.optimizer.step()
    run.schedule.step()
    run.optimizer.zero_grad()
    run.average.update()
    return means


def _close_epoch(run: Run, task: Task, config: Config, watch: Watch) -> None:
    """Validate the epoch's model if it is time to, add the epoch's row to the progress, and go to the next epoch."""
    trainer, progress = config.trainer, run.progress
    progress.finished |= progress.epoch == trainer.max_epochs
    validated = progress.finished or progress.epoch % trainer.evaluate_every == 0
    metrics: Mapping[str, float] = {}
    if validated:
        share_statistics(run)
        with watch.loader_failures(between_steps=False):
            metrics = task.validate(run.average.model)
    if validated and metrics[task.metric] > progress.best_metric:
        progress.best_metric, progress.best_epoch = metrics[task.metric], progress.epoch
        run.best = copy_weights(run.average.model)
    sums = watch.total(progress.sums)
    progress.rows.append(
        {
            "epoch": progress.epoch,
            "global_step": progress.step,
            "lr": progress.sums["rate"],
            **{name: value / sums["pictures"] for name, value in sums.items() if name.startswith("train/")},
            **{f"val/{name}": value for name, value in metrics.items()},
            "images_per_second": round(sums["pictures"] / progress.sums["seconds"], 1),
            "data_wait": round(progress.sums["waited"] / progress.sums["seconds"], 4),
            "peak_memory_mb": _peak_memory(run.accelerator.device),
            "seconds": round(watch.seconds(), 3),
        }
    )
    if trainer.patience and progress.epoch - progress.best_epoch >= trainer.patience * trainer.evaluate_every:
        progress.finished = True
    progress.epoch, progress.batch = progress.epoch + 1, 0
    progress.sums.clear()


def _write_history(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows so far; a full disk does not stop a training that may yet end on one with room."""
    try:
        write_csv(path, rows)
    except OSError as error:
        print(f"warning: {path}: not written ({error}); training goes on", file=sys.stderr)


def _report(run: Run, config: Config, hardware: Hardware) -> dict[str, Any]:
    """Return what reports/train.json says of a finished run."""
    rows, best_epoch = run.progress.rows, run.progress.best_epoch
    kept = rows[best_epoch - 1] if config.trainer.keep == Keep.best else rows[-1]
    parameters = list(run.model.parameters())
    return {
        "epochs": len(rows),
        "steps": run.progress.step,
        "kept/epoch": kept["epoch"],
        "best/epoch": best_epoch,
        **{name: value for name, value in kept.items() if name.startswith("val/")},
        "seconds": rows[-1]["seconds"],
        "images_per_second": round(sum(row["images_per_second"] for row in rows) / len(rows), 1),
        "data_wait": round(sum(row["data_wait"] for row in rows) / len(rows), 4),
        "peak_memory_mb": max(row["peak_memory_mb"] for row in rows),
        **{name: str(value) if name == "device" else value for name, value in asdict(hardware).items()},
        "processes": run.accelerator.num_processes,
        "parameters": sum(parameter.numel() for parameter in parameters),
        "parameters/trained": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    }


def _peak_memory(device: torch.device) -> int:
    """Return the most memory held so far in MiB: the GPU's where there is one, else this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
