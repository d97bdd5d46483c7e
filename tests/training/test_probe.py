"""The probe: another arithmetic only for a clear gain, without a trace in the run; the largest batch that fits."""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reprolens.training.hardware import Hardware
from reprolens.training.probe import MARGIN, _key, fastest, largest_batch

PLAIN = Hardware(torch.device("cpu"), "fp32", False, 1, 0, 2)
CHOICES = [PLAIN, replace(PLAIN, channels_last=True), replace(PLAIN, precision="bf16", channels_last=True)]
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
TARGETS = [{"labels": torch.zeros(1, dtype=torch.int64)}] * 2


def _model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(784, 1))


def _losses(model: nn.Module, images: Tensor, targets: list[Any]) -> Mapping[str, Tensor]:
    return {"mean": model(images).mean(), "size": model(images).square().mean()}


def _choose(seconds: list[float], folder: Path, choices: list[Hardware] = CHOICES) -> Hardware:
    """Let these be the measured seconds a step, by the file that a measurement leaves."""
    times = {choice.arithmetic: time for choice, time in zip(choices, seconds, strict=True)}
    cache = folder / "arithmetic.json"
    cache.write_text(json.dumps({_key(choices, _model(), IMAGES): times}))
    chosen = fastest(choices, _model(), _losses, IMAGES, TARGETS, cache)
    assert chosen.measured == times
    return replace(chosen, measured={})


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([1.0, 1.0, 1.0], 0),
        ([1.0, 0.98, 0.90], 0),  # gains within the margins are none
        ([1.0, 0.96, 0.90], 1),
        ([1.0, 0.96, 0.50], 2),
        ([1.0, 2.00, 0.80], 2),
        ([1.0, 0.50, 0.80], 1),
        ([1.0, 0.97, 0.87], 1),  # bfloat16 has to gain clearly over the best float32
        ([1.0, 0.97, 0.84], 2),
        ([1.0, 2.00, 3.00], 0),
    ],
)
def test_another_arithmetic_is_chosen_only_where_it_gains_more_than_its_margin(
    seconds: list[float], expected: int, tmp_path: Path
) -> None:
    assert MARGIN == {"fp32": 0.97, "bf16": 0.87}
    assert _choose(seconds, tmp_path) == CHOICES[expected]


@given(st.lists(st.floats(1e-4, 10), min_size=3, max_size=3))
def test_what_is_chosen_never_took_longer_than_the_plain_one(
    tmp_path_factory: pytest.TempPathFactory, seconds: list[float]
) -> None:
    chosen = _choose(seconds, tmp_path_factory.getbasetemp())
    assert seconds[CHOICES.index(chosen)] <= seconds[0]


def test_a_measurement_is_written_and_used_again(tmp_path: Path) -> None:
    cache = tmp_path / "arithmetic.json"
    cache.write_text('{"another machine": {"x": 1.0}}')
    first = fastest(CHOICES, _model(), _losses, IMAGES, TARGETS, cache)
    assert set(first.measured) == {choice.arithmetic for choice in CHOICES}
    assert all(value > 0 for value in first.measured.values())
    written = cache.read_text()
    assert set(json.loads(written)) == {"another machine", _key(CHOICES, _model(), IMAGES)}
    assert fastest(CHOICES, _model(), _losses, IMAGES, TARGETS, cache) == first
    assert cache.read_text() == written


@pytest.mark.parametrize("content", [None, "", "[1]", "{", b"\xff"])
def test_a_missing_or_damaged_file_of_measurements_is_made_anew(content: str | bytes | None, tmp_path: Path) -> None:
    cache = tmp_path / "arithmetic.json"
    if content is not None:
        cache.write_bytes(content if isinstance(content, bytes) else content.encode())
    measured = fastest(CHOICES, _model(), _losses, IMAGES, TARGETS, cache).measured
    assert list(json.loads(cache.read_text()).values()) == [measured]


def test_measurements_are_told_apart_by_model_batch_and_choices() -> None:
    usual = _key(CHOICES, _model(), IMAGES)
    frozen = _model()
    next(frozen.parameters()).requires_grad_(False)
    others = [
        _key(CHOICES, nn.Conv2d(3, 4, 3), IMAGES),
        _key(CHOICES, frozen, IMAGES),
        _key(CHOICES, _model(), IMAGES[:1]),
        _key(CHOICES[:2], _model(), IMAGES),
        _key([replace(choice, threads=2) for choice in CHOICES], _model(), IMAGES),
    ]
    assert len({usual, *others}) == 6
    assert _key(CHOICES, _model(), IMAGES) == usual


def test_one_choice_is_taken_without_a_measurement(tmp_path: Path) -> None:
    def never(model: nn.Module, images: Tensor, targets: list[Any]) -> Mapping[str, Tensor]:
        raise AssertionError

    assert fastest([PLAIN], _model(), never, IMAGES, TARGETS, tmp_path / "arithmetic.json") is PLAIN
    assert list(tmp_path.iterdir()) == []


def _drawn() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def test_a_measurement_leaves_model_and_random_states_as_they_were() -> None:
    model = _model().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = _drawn()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    fastest(CHOICES, model, _losses, IMAGES, TARGETS, None)
    assert _drawn() == expected
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.stride() == before[name].stride() for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_the_largest_batch_is_found_to_an_eighth(most: int, limit: int) -> None:
    """`most` pictures are the most that fit; one always has to."""
    asked = []

    def fits(count: int) -> bool:
        asked.append(count)
        return count <= most

    found = largest_batch(fits, limit)
    assert 1 <= found <= min(most, limit)
    assert found == limit or found + max(1, found // 8) > min(most, limit)
    assert all(2 <= count <= limit for count in asked)
    assert found == 1 or found in asked
    assert len(asked) == len(set(asked)) <= 18


def test_a_batch_that_the_data_set_fills_is_not_exceeded() -> None:
    assert largest_batch(lambda count: True, 700) == 700
    assert largest_batch(lambda count: False, 700) == 1
