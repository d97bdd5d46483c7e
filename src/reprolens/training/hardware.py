"""What the arithmetic runs on: device, precision, threads, loader processes; chosen where the configuration is open."""

import os
from dataclasses import dataclass

import torch
from torch import nn

from reprolens.config import Trainer
from reprolens.config.schema import Device, Precision
from reprolens.errors import TrainingError


@dataclass(frozen=True)
class Hardware:
    """The choice made. `precision` is fp32, bf16 or fp16; `workers` are processes that load pictures."""

    device: torch.device
    precision: str
    threads: int
    workers: int


def choose_hardware(config: Trainer, model: nn.Module) -> Hardware:
    """Fill in what the configuration leaves to us. Raises TrainingError for what this machine cannot do."""
    if config.device == Device.cuda and not torch.cuda.is_available():
        raise TrainingError("trainer.device: cuda, but torch sees no GPU here; use auto or cpu")
    cuda = torch.cuda.is_available() and config.device != Device.cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    precision = config.precision
    if precision == Precision.auto:
        precision = Precision.bf16 if _bf16_is_faster(cuda, model) else Precision.fp32
    if precision == Precision.fp16 and not cuda:
        raise TrainingError("trainer.precision: fp16 needs a GPU; use auto, fp32 or bf16")
    workers = config.workers if config.workers is not None else (0 if cores <= 2 else min(8, cores // 2))
    threads = config.threads or cores
    return Hardware(torch.device("cuda" if cuda else "cpu"), str(precision), threads, workers)


def _bf16_is_faster(cuda: bool, model: nn.Module) -> bool:
    """On GPUs that have it; on CPUs with AMX for ordinary convolutions only: depthwise ones run at half the speed."""
    if cuda:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    depthwise = any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in model.modules())
    return torch.cpu._is_amx_tile_supported() and not depthwise
