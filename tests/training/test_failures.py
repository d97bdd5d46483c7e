"""What goes wrong within a step ends in one line that says what to do."""

import math

import pytest
import torch
from torch import nn

from reprolens.errors import TrainingError
from reprolens.training.failures import check_finite, explained


def _line(shape: tuple[int, ...], error: Exception) -> str:
    with pytest.raises(TrainingError) as caught, explained(shape):
        raise error
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_full_gpu_says_which_batch_and_which_size_to_try() -> None:
    line = _line((16, 3, 640, 960), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert line == (
        "the GPU's memory is too small for batches of 16 pictures of 640 x 960; try trainer.batch_size=8 "
        "(with trainer.accumulate=2 a step stays as large), or model.image_size=[448, 672]"
    )


def test_a_single_picture_that_does_not_fit_can_only_be_smaller() -> None:
    line = _line((1, 3, 640, 640), torch.OutOfMemoryError())
    assert line.endswith("batches of 1 pictures of 640 x 640; try model.image_size=[448, 448]")


@pytest.mark.parametrize("side", [32, 33, 64, 160, 300, 1333])
def test_the_size_to_try_is_smaller_where_it_can_be_and_one_that_models_take(side: int) -> None:
    line = _line((2, 3, side, side), torch.OutOfMemoryError())
    height, width = map(int, line.rpartition("[")[2].strip("]").split(", "))
    assert height == width
    assert height % 32 == 0
    assert 32 <= height <= max(32, side * 0.7)


def test_memory_that_the_machine_itself_lacks_is_told_apart() -> None:
    line = "this machine's memory is too small for batches of 4"
    with pytest.raises(TrainingError, match=line), explained((4, 3, 9, 9)):
        torch.empty(2**55)


def test_a_batch_too_small_for_its_normalisation_says_so() -> None:
    line = r"trainer\.batch_size: this model needs at least 2, a batch has 1"
    with pytest.raises(TrainingError, match=line), explained((1, 3, 1, 1)):
        nn.BatchNorm2d(3).train()(torch.zeros(1, 3, 1, 1))


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("bad value"), KeyError("boxes")])
def test_an_error_of_ours_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, explained((4, 3, 64, 64)):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_names_the_part_the_step_and_the_pictures(value: float) -> None:
    with pytest.raises(TrainingError) as caught:
        check_finite({"loss": value, "boxes": 0.25, "classes": value}, 12, ["a/1", "b"])
    message = str(caught.value)
    assert f"the loss is not finite at step 12 (boxes 0.25, classes {value:g});" in message
    assert message.endswith("a/1, b")


def test_finite_losses_pass() -> None:
    check_finite({"loss": 1e30, "boxes": -3.0}, 1, [])
