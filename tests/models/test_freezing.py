"""What transfer learning holds still stays still, to the bit; the rest moves."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reprolens.config import Full, LastLayers, Model, NewHead
from reprolens.errors import TrainingError
from reprolens.models import build
from reprolens.models.freezing import backbone_stages, freeze, train_mode
from reprolens.models.weights import Match

NAMES = ["fcos_mobilenet_v2", "ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn_v2"]
NOTHING = Match((), (), ())


def _step(model: nn.Module) -> None:
    """Take one step with a rate and a decay that move every parameter that has a gradient."""
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(3, 64, 64, generator=generator) for _ in range(2)]
    targets = [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 36.0]]), "labels": torch.tensor([1])} for _ in images]
    train_mode(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.1)
    sum(model(images, targets).values()).backward()
    optimizer.step()


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("name", NAMES)
def test_last_layers_leaves_early_stages_and_their_statistics_as_they_were(
    name: str, options: Callable[..., Model]
) -> None:
    model = build(options(name), 2)
    freeze(model, LastLayers("last_layers", 1.0, 2), NOTHING)
    stages = backbone_stages(model)
    held, moving = stages[:-2], stages[-2:]
    before = [_state(stage) for stage in stages]
    _step(model)
    for stage, state in zip(held, before[:-2], strict=True):
        assert [key for key, value in stage.state_dict().items() if not torch.equal(value, state[key])] == []
    for stage, state in zip(moving, before[-2:], strict=True):
        still = [key for key, value in stage.state_dict().items() if torch.equal(value, state[key])]
        assert [key for key in still if key.endswith(("weight", "running_mean"))] == []


@pytest.mark.parametrize(("stages", "expected"), [(0, 0), (1, 1), (1000, None)])
def test_last_layers_trains_as_many_stages_as_asked(
    stages: int, expected: int | None, options: Callable[..., Model]
) -> None:
    model = build(options("fcos_mobilenet_v2"), 2)
    freeze(model, LastLayers("last_layers", 1.0, stages), NOTHING)
    trained = [any(p.requires_grad for p in stage.parameters()) for stage in backbone_stages(model)]
    assert sum(trained) == (len(trained) if expected is None else expected)
    assert trained == sorted(trained)  # the last ones, not the first
    assert all(parameter.requires_grad for parameter in model.get_submodule("head").parameters())


def test_new_head_trains_only_what_the_weights_did_not_cover(options: Callable[..., Model]) -> None:
    model = build(options("fcos_mobilenet_v2"), 2)
    kept = tuple(key for key in model.state_dict() if key.startswith("backbone.body."))
    freeze(model, NewHead("new_head"), Match(kept, (), ()))
    before = _state(model)
    _step(model)
    after = model.state_dict()
    assert [key for key in kept if not torch.equal(after[key], before[key])] == []
    free = [key for key, _ in model.named_parameters() if key not in kept]
    assert [key for key in free if torch.equal(after[key], before[key])] == []


def test_full_trains_everything(options: Callable[..., Model]) -> None:
    model = build(options("fcos_mobilenet_v2"), 2)
    freeze(model, Full("full", 0.1), NOTHING)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_new_head_where_the_weights_cover_all_is_refused(options: Callable[..., Model]) -> None:
    model = build(options("fcos_mobilenet_v2"), 2)
    with pytest.raises(TrainingError, match=r"transfer: .*nothing is left to train"):
        freeze(model, NewHead("new_head"), Match(tuple(model.state_dict()), (), ()))
