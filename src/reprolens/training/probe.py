"""Short measurements of the model at hand: which arithmetic is fastest, and which batch is the largest that fits.

A rule would be shorter, and wrong: bfloat16 halves the time of ordinary convolutions on a CPU with AMX and doubles that
of depthwise ones; the order of the channels matters on some processors and not on others.
"""

import copy
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reprolens.files import write_json
from reprolens.training.hardware import Hardware

MARGIN = {"fp32": 0.97, "bf16": 0.87}
"""What share of the time of the best before it another arithmetic may take to be chosen: a gain within the noise is
none, and bfloat16, which rounds more, has to pay for it."""
_ROUNDS = 3
_BUDGET = 15.0  # seconds, after which no further round begins

Losses = Callable[[nn.Module, Tensor, list[Any]], Mapping[str, Tensor]]


def fastest(
    choices: Sequence[Hardware],
    model: nn.Module,
    losses: Losses,
    images: Tensor,
    targets: list[Any],
    cache: Path | None,
) -> Hardware:
    """Return the choice whose training step takes least time, the plain one first, those that round more last: a choice
    has to gain clearly over those before it.

    Every choice takes a few steps on its own copy of `model`, with `images (N, 3, H, W)` float and their `targets`, in
    turns, so that a busy machine slows all of them. The times are kept in the file `cache`, so that a second run on the
    same machine with the same model decides the same.
    """
    if len(choices) == 1:
        return choices[0]
    key = _key(choices, model, images)
    known = _read(cache) if cache else {}
    times = known.get(key) or _measure(choices, model, losses, images, targets)
    if cache and key not in known:
        with suppress(OSError):  # a place that cannot be written: it is measured again next time
            write_json(cache, known | {key: times})
    best = choices[0]
    for choice in choices[1:]:
        if times[choice.arithmetic] <= MARGIN[choice.precision] * times[best.arithmetic]:
            best = choice
    return replace(best, measured=times)


def measurements() -> Path:
    """Return the file of this user's measurements on this machine: one for all repositories and trials."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "reprolens" / "arithmetic.json"


def largest_batch(fits: Callable[[int], bool], limit: int) -> int:
    """Return the largest batch up to `limit` that fits, to a precision of an eighth: by doubling, then by halving gaps.

    `fits` says whether a step with so many pictures does; 1 is returned where not even 2 do.
    """
    good, bad = 1, limit + 1
    while good < limit and bad > limit:
        trial = min(2 * good, limit)
        if fits(trial):
            good = trial
        else:
            bad = trial
    while bad <= limit and bad - good > max(1, good // 8):
        trial = (good + bad) // 2
        if fits(trial):
            good = trial
        else:
            bad = trial
    return good


def fits_gpu(hardware: Hardware, model: nn.Module, losses: Losses, images: Tensor, targets: list[Any]) -> bool:
    """Return whether a whole step with this batch leaves a tenth of the GPU's memory free.

    The step has gradients, two moments a parameter, as Adam keeps them, and the moving average beside them.
    """
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(hardware.device)
    try:
        trial = _copy(model, hardware)
        average = copy.deepcopy(trial)
        moments = [torch.zeros_like(parameter) for parameter in trial.parameters() for _ in range(2)]
        _step(trial, losses, images.to(hardware.device), _moved(targets, hardware.device), hardware)
        used = torch.cuda.max_memory_allocated(hardware.device)
        del trial, average, moments
    except torch.OutOfMemoryError:
        return False
    finally:
        torch.cuda.empty_cache()
    return used < 0.9 * torch.cuda.get_device_properties(hardware.device).total_memory


def _measure(
    choices: Sequence[Hardware], model: nn.Module, losses: Losses, images: Tensor, targets: list[Any]
) -> dict[str, float]:
    """Return the seconds of a step by arithmetic: the least of a few, after one that is not counted."""
    began = time.monotonic()
    times: dict[str, float] = {}
    devices = [choices[0].device] if choices[0].device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):  # the run's own draws stay what they were
        trials = [(choice, _copy(model, choice)) for choice in choices]
        images, targets = images.to(choices[0].device), _moved(targets, choices[0].device)
        for number in range(_ROUNDS + 1):
            if number > 1 and time.monotonic() - began > _BUDGET:
                break
            for choice, trial in trials:
                torch.set_num_threads(choice.threads)
                seconds = _step(trial, losses, images, targets, choice)
                if number:
                    times[choice.arithmetic] = min(seconds, times.get(choice.arithmetic, seconds))
    return {name: round(seconds, 5) for name, seconds in times.items()}


def _step(model: nn.Module, losses: Losses, images: Tensor, targets: list[Any], hardware: Hardware) -> float:
    """Take the forward and the backward pass of a step; return the seconds."""
    cuda = hardware.device.type == "cuda"
    began = time.perf_counter()
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(hardware.precision)
    with torch.autocast(hardware.device.type, dtype=kind, enabled=kind is not None):
        values = losses(model, images, targets)
    torch.stack([value.float() for value in values.values()]).sum().backward()
    model.zero_grad()
    if cuda:
        torch.cuda.synchronize(hardware.device)
    return time.perf_counter() - began


def _copy(model: nn.Module, hardware: Hardware) -> nn.Module:
    trial = copy.deepcopy(model).to(hardware.device)
    if hardware.channels_last:
        trial.to(memory_format=torch.channels_last)
    return trial.train()


def _moved(targets: list[Any], device: torch.device) -> list[Any]:
    return [{name: value.to(device) for name, value in target.items()} for target in targets]


def _key(choices: Sequence[Hardware], model: nn.Module, images: Tensor) -> str:
    """Return a digest of all that the times depend on."""
    device = choices[0].device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    shapes = [(key, tuple(value.shape)) for key, value in model.named_parameters() if value.requires_grad]
    value = [
        name,
        torch.__version__,
        [choice.arithmetic for choice in choices],
        tuple(images.shape),
        repr(model),
        shapes,
    ]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _processor() -> str:
    """Return the CPU's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else torch.backends.cpu.get_cpu_capability()


def _read(cache: Path) -> dict[str, dict[str, float]]:
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
