"""A model's parameters and arithmetic, counted without running it, are the published ones."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from reprolens.config.load import load_model
from reprolens.models import build
from reprolens.models.cost import cost

ROOT = Path(__file__).parents[2]
YOLOX = {
    "yolox_nano": (0.91, 1.08),
    "yolox_tiny": (5.06, 6.45),
    "yolox_s": (8.97, 26.8),
    "yolox_m": (25.3, 73.8),
    "yolox_l": (54.2, 155.6),
    "yolox_x": (99.1, 281.9),
}
"""Millions of parameters and GFLOPs in the authors' table (arXiv:2107.08430, and their repository's for the small)."""


@pytest.mark.parametrize("name", YOLOX)
def test_yolox_costs_what_its_authors_say(name: str) -> None:
    parameters, gflops = YOLOX[name]
    found = cost(load_model(ROOT, name), 80)
    assert found.parameters / 1e6 == pytest.approx(parameters, rel=0.006)
    assert found.flops / 1e9 == pytest.approx(gflops, rel=0.07)  # theirs count BatchNorms and activations, too


@pytest.mark.parametrize("name", ["fcos_mobilenet_v2", "yolox_nano", "dfine_n"])
def test_what_is_counted_without_values_is_what_a_run_takes(name: str) -> None:
    options = load_model(ROOT, name)
    model = build(options, 5).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, *options.image_size))
    found = cost(options, 5)
    assert found.flops == counter.get_total_flops()
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_counting_draws_no_random_number() -> None:
    torch.manual_seed(3)
    cost(load_model(ROOT, "yolox_nano"), 5)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))


def test_a_backbone_that_cannot_be_built_without_values_is_counted_too() -> None:
    options = replace(
        load_model(ROOT, "fcos_mobilenet_v2"), backbone="regnet_y_400mf"
    )  # works out its widths by tensors
    assert cost(options, 5).parameters == sum(parameter.numel() for parameter in build(options, 5).parameters())
