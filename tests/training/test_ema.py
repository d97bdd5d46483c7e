"""The moving average of the weights against its formula, number by number."""

import pytest
import torch
from torch import nn

from reprolens.training.ema import ExponentialMovingAverage


def _model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def _steps(model: nn.Module, average: ExponentialMovingAverage, count: int) -> list[dict[str, torch.Tensor]]:
    """Move the weights and the statistics, `count` times, and return every state that the average saw."""
    states = []
    for _ in range(count):
        model(torch.randn(2, 3, 8, 8))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update()
        states.append({name: value.double().clone() for name, value in model.state_dict().items()})
    return states


@pytest.mark.parametrize("steps", [1, 2, 7, 150])
def test_the_average_is_that_of_the_formula(steps: int) -> None:
    model = _model()
    expected = {name: value.double().clone() for name, value in model.state_dict().items()}
    average = ExponentialMovingAverage(model, 0.9)
    for step, state in enumerate(_steps(model, average, steps), start=1):
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in state.items():
            expected[name] = value if "num_batches" in name else decay * expected[name] + (1 - decay) * value
    for name, value in average.model.state_dict().items():
        assert torch.allclose(value.double(), expected[name], atol=1e-4), name


def test_the_average_leaves_the_model_alone_and_is_in_evaluation_mode() -> None:
    model = _model().train()
    average = ExponentialMovingAverage(model, 0.9)
    [state] = _steps(model, average, 1)
    assert all(torch.equal(value.double(), state[name]) for name, value in model.state_dict().items())
    assert (model.training, average.model.training) == (True, False)


def test_weights_that_do_not_move_stay_bit_equal_in_the_average() -> None:
    model = _model()
    average = ExponentialMovingAverage(model, 0.99)
    for _ in range(50):
        average.update()
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), average.model.parameters(), strict=True))


def test_a_decay_of_zero_is_the_model_itself() -> None:
    model = _model()
    average = ExponentialMovingAverage(model, 0.0)
    average.update()
    assert average.model is model
