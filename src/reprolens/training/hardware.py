"""What the arithmetic runs on: device, precision, memory order, threads, loader processes, batch size.

Each is the user's choice or, where the configuration leaves it open, ours; some of ours are measured (see probe).
A run keeps its choice in its checkpoints, because other arithmetic would not give the same bits.
"""

import os
from dataclasses import dataclass, field, replace

import torch

from reprolens.config import Trainer
from reprolens.config.training import Device, Precision
from reprolens.errors import TrainingError


@dataclass(frozen=True)
class Hardware:
    """The choice made. `precision` is fp32, bf16 or fp16; `workers` are processes that load pictures.

    `measured` holds what the choice rests on: seconds a step by name of the arithmetic; empty where nothing was open.
    """

    device: torch.device
    precision: str
    channels_last: bool
    threads: int
    workers: int
    batch_size: int
    measured: dict[str, float] = field(default_factory=dict)

    @property
    def arithmetic(self) -> str:
        """The name under which this arithmetic's time is measured."""
        return f"{self.precision} {'channels-last' if self.channels_last else 'contiguous'}, {self.threads} threads"


def choose_device(config: Trainer) -> torch.device:
    """Return the device. Raises TrainingError where the configuration asks for what this machine cannot do."""
    cuda = torch.cuda.is_available() and config.device != Device.cpu
    if config.device == Device.cuda and not cuda:
        raise TrainingError("trainer.device: cuda, but torch sees no GPU here; use auto or cpu")
    if config.precision == Precision.fp16 and not cuda:
        raise TrainingError("trainer.precision: fp16 needs a GPU; use auto, fp32 or bf16")
    if cuda and config.processes > torch.cuda.device_count():
        raise TrainingError(
            f"trainer.processes: {config.processes}, but torch sees {torch.cuda.device_count()} GPUs here"
        )
    if not cuda:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def plain_hardware(config: Trainer, image_size: tuple[int, int], pictures: int) -> Hardware:
    """Return the user's choices, with plain values where they are open: nothing is measured.

    Pictures are `image_size` (height, width) large, and there are so many of them.
    """
    device = choose_device(config)
    cores = _cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) or 1
    sane = 16 * 320 * 320 // (image_size[0] * image_size[1])  # about the memory and time of 16 pictures of 320 x 320
    return Hardware(
        device=device,
        precision="fp32" if config.precision == Precision.auto else str(config.precision),
        channels_last=bool(config.channels_last),
        threads=config.threads or cores,
        workers=config.workers if config.workers is not None else (0 if cores <= 2 else min(8, cores // 2)),
        batch_size=max(2, min(16, sane, pictures // 8)) if isinstance(config.batch_size, str) else config.batch_size,
    )


def candidates(plain: Hardware, config: Trainer) -> list[Hardware]:
    """Return what is open between arithmetics, the plain one first: worth measuring only if there are several."""
    orders = [False, True] if config.channels_last is None else [config.channels_last]
    found = [replace(plain, channels_last=order) for order in orders]
    if config.precision == Precision.auto and _has_bf16(plain.device):
        found.append(replace(plain, precision="bf16", channels_last=orders[-1]))
    return found


def _has_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 itself; where it is emulated it is never faster."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
