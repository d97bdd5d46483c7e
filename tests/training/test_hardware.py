"""What the configuration leaves open is filled in; what this machine cannot do is refused."""

import os
from dataclasses import replace

import pytest
import torch
from torch import nn

from reprolens.config import Trainer
from reprolens.config.training import Device, Precision
from reprolens.errors import TrainingError
from reprolens.training import choose_hardware

OPEN = Trainer(1, 4, 0.0, 0.0, 1, None, Device.auto, Precision.auto, None, None, 0)
ORDINARY, DEPTHWISE = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4)

needs_cpu_only = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@needs_cpu_only
def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"trainer\.device: cuda, but torch sees no GPU"):
        choose_hardware(replace(OPEN, device=Device.cuda), ORDINARY)


def test_fp16_on_the_cpu_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"trainer\.precision: fp16 needs a GPU"):
        choose_hardware(replace(OPEN, device=Device.cpu, precision=Precision.fp16), ORDINARY)


def test_what_is_asked_for_is_what_is_chosen() -> None:
    asked = replace(OPEN, device=Device.cpu, precision=Precision.bf16, threads=3, workers=1)
    chosen = choose_hardware(asked, DEPTHWISE)
    assert (chosen.device.type, chosen.precision, chosen.threads, chosen.workers) == ("cpu", "bf16", 3, 1)


def test_depthwise_convolutions_are_not_given_bf16_on_the_cpu() -> None:
    assert choose_hardware(replace(OPEN, device=Device.cpu), DEPTHWISE).precision == "fp32"


def test_ordinary_convolutions_are_given_bf16_where_the_cpu_multiplies_it_in_hardware() -> None:
    expected = "bf16" if torch.cpu._is_amx_tile_supported() else "fp32"
    assert choose_hardware(replace(OPEN, device=Device.cpu), ORDINARY).precision == expected


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not bind processes to cores")
def test_threads_and_workers_follow_the_cores_that_this_process_may_use() -> None:
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        chosen = choose_hardware(OPEN, ORDINARY)
    finally:
        os.sched_setaffinity(0, cores)
    assert (chosen.threads, chosen.workers) == (1, 0)


def test_no_workers_asked_for_is_none_not_open() -> None:
    assert choose_hardware(replace(OPEN, workers=0), ORDINARY).workers == 0
