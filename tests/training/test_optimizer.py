"""Rates and decays: who gets which, and when."""

import math
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from reprolens.config import AdamW, Constant, Cosine, Full, LastLayers, Model, NewHead, OneCycle, Sgd, Step
from reprolens.models import build
from reprolens.models.registry import get
from reprolens.training.optimizer import build_optimizer, build_schedule, rate_factor

ADAMW = AdamW("adamw", 1e-2, 0.05, [0.8, 0.95])
SGD = Sgd("sgd", 1e-2, 5e-4, 0.9, True)
FULL = Full("full", 0.1)


class _Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Sequential(nn.Conv2d(4, 2, 1), nn.GroupNorm(1, 2))


def _options(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    """Return the rate and the decay of every parameter that the optimizer moves."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    given = [
        (names[id(p)], (group["lr"], group["weight_decay"]))
        for group in optimizer.param_groups
        for p in group["params"]
    ]
    assert len({name for name, _ in given}) == len(given)
    return dict(given)


@pytest.mark.parametrize("config", [ADAMW, SGD])
def test_norms_and_biases_are_not_decayed_and_the_backbone_has_its_own_rate(config: AdamW | Sgd) -> None:
    model = _Detector()
    options = _options(model, build_optimizer(model, config, FULL))
    decay = config.weight_decay
    assert {name: pytest.approx(pair) for name, pair in options.items()} == {
        "backbone.0.weight": (1e-3, decay),
        "backbone.0.bias": (1e-3, 0.0),
        "backbone.1.weight": (1e-3, 0.0),
        "backbone.1.bias": (1e-3, 0.0),
        "head.0.weight": (1e-2, decay),
        "head.0.bias": (1e-2, 0.0),
        "head.1.weight": (1e-2, 0.0),
        "head.1.bias": (1e-2, 0.0),
    }


LIES_IN_BODY = {
    "fcos_mobilenet_v2": "backbone.body.",
    "ssd300_vgg16": ("backbone.features.", "backbone.extra.0."),
    "ssd512_vgg16": ("backbone.features.", "backbone.extra.0."),
    "ssdlite320_mobilenet_v3_large": "backbone.features.",
    "yolov3_tiny": "backbone.body.",
    "yolox_nano": "backbone.body.",
    "fasterrcnn_mobilenet_v3_large_fpn": "backbone.body.",
    "rtdetr_v2_r18": "backbone.",
}


@pytest.mark.parametrize("name", sorted(LIES_IN_BODY))
def test_pyramids_necks_and_extra_layers_have_the_rate_of_new_layers(name: str) -> None:
    if get(name).extra:
        pytest.importorskip(str(get(name).extra), reason="the extra is not installed")
    with torch.device("meta"):
        model = build(_model(name), 2)
    options = _options(model, build_optimizer(model, ADAMW, FULL))
    slower = {key for key, (rate, _) in options.items() if rate == pytest.approx(1e-3)}
    assert slower == {key for key, _ in model.named_parameters() if key.startswith(LIES_IN_BODY[name])}
    assert {rate for key, (rate, _) in options.items() if key not in slower} == {1e-2}


def _model(name: str) -> Model:
    conf = Path(__file__).parents[2] / "conf" / "model" / f"{name}.yaml"
    return Model(**yaml.safe_load(conf.read_text(encoding="utf-8")))


def test_frozen_parameters_are_left_to_themselves() -> None:
    model = _Detector()
    model.backbone.requires_grad_(False)
    options = _options(model, build_optimizer(model, ADAMW, LastLayers("last_layers", 1.0, 0, None)))
    assert all(name.startswith("head.") for name in options)


def test_a_new_head_has_one_rate() -> None:
    model = _Detector()
    assert {rate for rate, _ in _options(model, build_optimizer(model, ADAMW, NewHead("new_head"))).values()} == {1e-2}


def test_the_knobs_of_both_optimizers_arrive() -> None:
    adamw, sgd = build_optimizer(_Detector(), ADAMW, FULL), build_optimizer(_Detector(), SGD, FULL)
    assert adamw.param_groups[0]["betas"] == (0.8, 0.95)
    assert (sgd.param_groups[0]["momentum"], sgd.param_groups[0]["nesterov"]) == (0.9, True)
    plain = build_optimizer(_Detector(), Sgd("sgd", 1e-2, 0.0, 0.0, True), FULL)
    assert not plain.param_groups[0]["nesterov"]  # torch refuses it without momentum


def test_the_warm_up_is_a_straight_line_that_ends_at_the_full_rate() -> None:
    rates = [rate_factor(Cosine("cosine", 2.0, 0.1), step, 5, 100) for step in range(11)]
    assert rates == pytest.approx([(step + 1) / 11 for step in range(11)])
    assert rates[10] == 1.0


def test_the_cosine_ends_at_its_final_factor_and_is_half_way_half_way() -> None:
    config = Cosine("cosine", 0.0, 0.2)
    rates = [rate_factor(config, step, 10, 100) for step in range(101)]
    assert (rates[0], rates[50], rates[100]) == pytest.approx((1.0, 0.6, 0.2))
    assert rates == sorted(rates, reverse=True)
    expected = [0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * step / 100)) for step in range(101)]  # SGDR, equation 5
    assert rates == pytest.approx(expected)


def test_the_constant_rate_stays() -> None:
    assert {rate_factor(Constant("constant", 1.0), step, 4, 40) for step in range(4, 41)} == {1.0}


def test_a_warm_up_longer_than_the_training_never_reaches_the_full_rate() -> None:
    rates = [rate_factor(Cosine("cosine", 50.0, 0.0), step, 5, 20) for step in range(20)]
    assert rates == pytest.approx([(step + 1) / 21 for step in range(20)])


def test_the_schedule_moves_every_group_by_the_same_factor() -> None:
    model = _Detector()
    optimizer = build_optimizer(model, ADAMW, FULL)
    schedule = build_schedule(optimizer, Cosine("cosine", 1.0, 0.0), 4, 12)
    for step in range(12):
        rates = {round(group["lr"], 12) for group in optimizer.param_groups}
        factor = rate_factor(Cosine("cosine", 1.0, 0.0), step, 4, 12)
        assert rates == {round(1e-2 * factor, 12), round(1e-3 * factor, 12)}
        optimizer.step()
        schedule.step()


def test_steps_fall_to_a_share_at_each_milestone() -> None:
    config = Step("step", 1.0, [0.5, 0.75], 0.1)
    rates = [rate_factor(config, step, 4, 40) for step in range(40)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4:20] == [1.0] * 16
    assert rates[20:30] == pytest.approx([0.1] * 10)
    assert rates[30:] == pytest.approx([0.01] * 10)


def test_one_cycle_is_torch_s_own() -> None:
    config = OneCycle("one_cycle", 0.3, 0.04, 0.0001)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    own = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, 50, pct_start=0.3, div_factor=25, final_div_factor=400, cycle_momentum=False
    )
    expected = []
    for _ in range(50):
        expected.append(own.get_last_lr()[0])
        optimizer.step()
        if len(expected) < 50:
            own.step()
    # torch puts the top half a step to one side of the share; elsewhere the two are the same curve
    ours = [rate_factor(config, step, 5, 50) for step in range(50)]
    assert ours == pytest.approx(expected, abs=0.06)
    assert (ours[0], ours[-1]) == pytest.approx((0.04, 0.0001))
    top = ours.index(max(ours))
    assert ours[:top] == sorted(ours[:top])
    assert ours[top:] == sorted(ours[top:], reverse=True)
