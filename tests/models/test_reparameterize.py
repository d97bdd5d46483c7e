"""Folding many-branched networks, on models that were trained: equal to rounding, smaller, and never a wrong answer."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reprolens.config import Model
from reprolens.errors import ExportError
from reprolens.models import build
from reprolens.models.backbones import body
from reprolens.models.freezing import train_mode
from reprolens.models.reparameterize import reparameterize

BRANCHED = ["mobileone_s0", "fastvit_t8", "repghostnet_050"]


def _count(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


@pytest.fixture(scope="module")
def trained(options: Callable[..., Model]) -> nn.Module:
    """Return a detector after steps in which its values and BatchNorms' statistics moved."""
    torch.manual_seed(0)
    model = build(options("fcos_mobilenet_v2", backbone="repvgg_a0"), 3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(6):
        images = [torch.rand(3, 64, 64) for _ in range(4)]
        targets = [{"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([1])} for _ in images]
        optimizer.zero_grad()
        torch.stack(list(model(images, targets).values())).sum().backward()
        optimizer.step()
    moved = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    assert sum(key.endswith("running_var") for key in moved) > 50
    return model.eval()


def _outputs(model: nn.Module, dtype: torch.dtype) -> list[Tensor]:
    """Return what a detector's backbone and head give."""
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).to(dtype)
    with torch.no_grad():
        maps = list(model.get_submodule("backbone")(images).values())
        return [*maps, *model.get_submodule("head")(maps).values()]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-12)], ids=str)
def test_folded_and_unfolded_are_equal_after_training(dtype: torch.dtype, tolerance: float, trained: nn.Module) -> None:
    model = copy.deepcopy(trained).to(dtype)
    folded = reparameterize(model)
    for ours, theirs in zip(_outputs(folded, dtype), _outputs(model, dtype), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
        assert theirs.std() > 1e-3


def test_both_find_the_same_in_a_picture(trained: nn.Module) -> None:
    pictures = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(2))]
    with torch.no_grad():
        (found,), (expected,) = reparameterize(trained)(pictures), trained(pictures)
    torch.testing.assert_close(found["scores"], expected["scores"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["boxes"], expected["boxes"], rtol=1e-4, atol=1e-2)


def test_no_branch_is_left_and_parameters_are_fewer(trained: nn.Module) -> None:
    folded = reparameterize(trained)
    assert [key for key in folded.state_dict() if "conv_1x1" in key or "identity" in key] == []
    net = folded.get_submodule("backbone.body.net")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert {module.kernel_size for module in convolutions} == {(3, 3)}
    assert len(convolutions) == 22  # RepVGG, table 2: A has 1 + 2 + 4 + 14 + 1 layers
    assert _count(folded) < _count(trained)
    assert not any(module.training for module in folded.modules())


def test_the_trained_form_stays_as_it_was_and_loads_into_a_fresh_model(
    trained: nn.Module, options: Callable[..., Model]
) -> None:
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    reparameterize(trained)
    fresh = build(options("fcos_mobilenet_v2", backbone="repvgg_a0"), 3).eval()
    fresh.load_state_dict(trained.state_dict())
    assert before.keys() == fresh.state_dict().keys()
    assert all(torch.equal(value, before[key]) for key, value in fresh.state_dict().items())


def test_folding_again_changes_nothing(trained: nn.Module) -> None:
    once = reparameterize(trained)
    twice = reparameterize(once)
    assert once.state_dict().keys() == twice.state_dict().keys()
    assert all(torch.equal(value, once.state_dict()[key]) for key, value in twice.state_dict().items())


def test_a_model_in_training_mode_is_refused(trained: nn.Module) -> None:
    model = copy.deepcopy(trained)
    train_mode(model)
    with pytest.raises(ExportError, match=r"FCOS cannot be re-parameterised: it is in training mode; call eval\(\)"):
        reparameterize(model)


def test_a_single_block_in_training_mode_is_refused(trained: nn.Module) -> None:
    model = copy.deepcopy(trained)
    block = model.get_submodule("backbone.body.net.stages.2.3")
    block.train()
    with pytest.raises(ExportError, match=r"its block backbone\.body\.net\.stages\.2\.3 is in training mode"):
        reparameterize(model)


@pytest.mark.parametrize("name", BRANCHED)
def test_every_family_that_can_fold_gives_the_same_after_it(name: str) -> None:
    torch.manual_seed(0)
    network = body(name, (8, 16, 32)).double()
    with torch.no_grad():
        network(torch.rand(4, 3, 64, 64, dtype=torch.float64))  # BatchNorms' statistics follow
    folded = reparameterize(network.eval())
    pictures = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected, found = network(pictures), folded(pictures)
    assert _count(folded) < _count(network)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-9 * float(value.abs().max()))
    reparameterize(folded)


def test_what_cannot_fold_comes_back_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    folded = reparameterize(network)
    assert folded is not network
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in folded.state_dict().items())


class Twofold(nn.Module):
    """Layers that add up, of no family that anybody knows."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, values: Tensor) -> Tensor:
        return torch.stack([branch(values) for branch in self.branches]).sum(0)

    def reparameterize(self) -> None:
        whole = nn.Linear(4, 4)
        with torch.no_grad():
            for key, parameter in whole.named_parameters():
                parameter.copy_(torch.stack([branch.get_parameter(key) for branch in self.branches]).sum(0))
        self.branches = nn.ModuleList([whole])


def test_a_new_family_joins_by_having_the_method() -> None:
    network = nn.Sequential(Twofold(), nn.ReLU(), nn.Sequential(Twofold())).eval()
    folded = reparameterize(network)
    assert _count(folded) * 2 == _count(network)
    values = torch.rand(2, 4)
    torch.testing.assert_close(folded(values), network(values))
