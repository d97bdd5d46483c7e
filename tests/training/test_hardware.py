"""What the configuration leaves open is filled in; what this machine cannot do is refused."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reprolens.config.compose import compose
from reprolens.config.training import Device, Precision
from reprolens.errors import TrainingError
from reprolens.training.hardware import candidates, choose_device, plain_hardware

OPEN = replace(compose(Path(__file__).parents[2], ["trainer=default"]).trainer, device=Device.cpu)
SIDE = (160, 160)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"trainer\.device: cuda, but torch sees no GPU"):
        choose_device(replace(OPEN, device=Device.cuda))


def test_fp16_on_the_cpu_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"trainer\.precision: fp16 needs a GPU"):
        choose_device(replace(OPEN, precision=Precision.fp16))


def test_what_is_asked_for_is_what_is_chosen_and_leaves_nothing_to_measure() -> None:
    asked = replace(OPEN, precision=Precision.bf16, channels_last=True, threads=3, workers=1, batch_size=5)
    chosen = plain_hardware(asked, SIDE, 100)
    assert (chosen.device.type, chosen.precision, chosen.channels_last) == ("cpu", "bf16", True)
    assert (chosen.threads, chosen.workers, chosen.batch_size) == (3, 1, 5)
    assert candidates(chosen, asked) == [chosen]


def test_the_plain_arithmetic_is_the_first_to_be_measured() -> None:
    plain = plain_hardware(OPEN, SIDE, 100)
    first, *others = candidates(plain, OPEN)
    assert (first, first.precision, first.channels_last) == (plain, "fp32", False)
    assert others
    assert ("bf16" in {choice.precision for choice in others}) == (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    assert len({choice.arithmetic for choice in [first, *others]}) == len(others) + 1


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not bind processes to cores")
def test_threads_and_workers_follow_the_cores_that_this_process_may_use() -> None:
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        chosen = plain_hardware(OPEN, SIDE, 100)
    finally:
        os.sched_setaffinity(0, cores)
    assert (chosen.threads, chosen.workers) == (1, 0)


def test_no_workers_asked_for_is_none_not_open() -> None:
    assert plain_hardware(replace(OPEN, workers=0), SIDE, 100).workers == 0


@pytest.mark.parametrize(
    ("side", "pictures", "expected"), [(160, 1000, 16), (640, 1000, 4), (2000, 1000, 2), (160, 40, 5), (160, 3, 2)]
)
def test_an_automatic_batch_on_a_cpu_is_sane(side: int, pictures: int, expected: int) -> None:
    assert plain_hardware(replace(OPEN, batch_size="auto"), (side, side), pictures).batch_size == expected
