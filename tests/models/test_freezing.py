"""What transfer learning holds still stays still, to the bit; the rest moves."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from reprolens.config import Full, LastLayers, Model, NewHead, Transfer
from reprolens.models import build
from reprolens.models.backbones import pyramid
from reprolens.models.freezing import backbone_stages, body_parameters, ever_trainable, set_trainable, train_mode
from reprolens.models.weights import Match, StartingWeights, load_starting_weights, save_starting_weights

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


def _trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def _trained_stages(model: nn.Module) -> list[bool]:
    """Tell of each stage of the backbone whether it is trained; a stage that is so in part has no place here."""
    stages = [{parameter.requires_grad for parameter in stage.parameters()} for stage in backbone_stages(model)]
    assert all(len(stage) == 1 for stage in stages)
    return [stage == {True} for stage in stages]


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("name", NAMES)
def test_last_layers_leaves_early_stages_and_their_statistics_as_they_were(
    name: str, options: Callable[..., Model]
) -> None:
    model = build(options(name), 2)
    set_trainable(model, LastLayers("last_layers", 1.0, 2, None), NOTHING, epoch=1)
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
    set_trainable(model, LastLayers("last_layers", 1.0, stages, None), NOTHING, epoch=1)
    trained = _trained_stages(model)
    assert sum(trained) == (len(trained) if expected is None else expected)
    assert trained == sorted(trained)  # the last ones, not the first
    assert all(parameter.requires_grad for parameter in model.get_submodule("head").parameters())


def test_new_head_trains_only_what_the_weights_did_not_cover(options: Callable[..., Model]) -> None:
    model = build(options("fcos_mobilenet_v2"), 2)
    kept = tuple(key for key in model.state_dict() if key.startswith("backbone.body."))
    set_trainable(model, NewHead("new_head"), Match(kept, (), ()), epoch=1)
    before = _state(model)
    _step(model)
    after = model.state_dict()
    assert [key for key in kept if not torch.equal(after[key], before[key])] == []
    free = [key for key, _ in model.named_parameters() if key not in kept]
    assert [key for key in free if torch.equal(after[key], before[key])] == []


def test_full_trains_everything(options: Callable[..., Model]) -> None:
    model = build(options("fcos_mobilenet_v2"), 2)
    set_trainable(model, Full("full", 0.1), NOTHING, epoch=1)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_where_the_weights_cover_all_and_no_class_a_new_head_leaves_nothing_to_train(
    options: Callable[..., Model],
) -> None:
    model = build(options("fcos_mobilenet_v2"), 2)
    assert ever_trainable(model, NewHead("new_head"), Match(tuple(model.state_dict()), (), ())) == set()


def test_a_resnet_has_a_stem_with_its_normalisation_and_four_layers(options: Callable[..., Model]) -> None:
    with torch.device("meta"):
        model = build(options("fcos_resnet50_fpn"), 2)
    body = model.get_submodule("backbone.body")
    stem, *layers = backbone_stages(model)
    assert layers == [body.get_submodule(f"layer{number}") for number in (1, 2, 3, 4)]
    assert {id(p) for p in stem.parameters()} == {
        id(p) for name in ("conv1", "bn1") for p in body.get_submodule(name).parameters()
    }


@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssd512_vgg16"])
def test_the_end_of_vgg_belongs_to_the_stages_of_ssd_and_what_follows_does_not(
    name: str, options: Callable[..., Model]
) -> None:
    with torch.device("meta"):
        model = build(options(name), 2)
    extra = model.get_submodule("backbone.extra")
    *_, conv5_3, end = stages = backbone_stages(model)
    assert len(stages) == 10 + 3 + 1
    assert (conv5_3, end) == (extra.get_submodule("0.5"), extra.get_submodule("0.7"))
    assert [parameter.shape[:2] for parameter in end.parameters() if parameter.ndim > 1] == [(1024, 512), (1024, 1024)]
    new = {key for key, _ in model.named_parameters()} - body_parameters(model)
    behind = [f"backbone.extra.{place}." for place, _ in list(extra.named_children())[1:]]
    assert new == {
        key for key, _ in model.named_parameters() if key.startswith(("head.", "backbone.scale_weight", *behind))
    }


# ---- a head for the same classes


@pytest.mark.parametrize("classes", [("a", "b"), ("b", "a"), ("b", "c"), ("c",)], ids="-".join)
def test_a_new_head_on_a_trained_detector_trains_what_names_the_classes_and_no_more(
    classes: tuple[str, ...], options: Callable[..., Model], tmp_path: Path
) -> None:
    small = options("fcos_mobilenet_v2")
    weights = StartingWeights(build(small, 2).state_dict(), ("a", "b"), {})
    save_starting_weights(tmp_path / "initial.pt", weights)
    model = build(small, len(classes))
    match = load_starting_weights(tmp_path / "initial.pt", model, small, classes)
    set_trainable(model, NewHead("new_head"), match, epoch=1)
    assert _trained(model) == {f"head.classification_head.cls_logits.{kind}" for kind in ("weight", "bias")}
    before = _state(model)
    _step(model)
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == _trained(model)


# ---- gradual unfreezing


def test_gradual_unfreezing_trains_one_more_stage_after_every_so_many_epochs(options: Callable[..., Model]) -> None:
    with torch.device("meta"):
        model = build(options("ssdlite320_mobilenet_v3_large"), 2)
    count = len(backbone_stages(model))
    transfer = LastLayers("last_layers", 1.0, 1, 3)
    for epoch in range(1, 3 * count + 4):
        set_trainable(model, transfer, NOTHING, epoch)
        expected = min(count, 1 + (epoch - 1) // 3)
        assert _trained_stages(model) == [False] * (count - expected) + [True] * expected, epoch


def test_what_is_trained_depends_on_the_epoch_alone_not_on_those_before(options: Callable[..., Model]) -> None:
    with torch.device("meta"):
        model = build(options("fcos_mobilenet_v2"), 2)
        resumed = build(options("fcos_mobilenet_v2"), 2)
    transfer = LastLayers("last_layers", 1.0, 0, 1)
    for epoch in (1, 2, 7, 3, 40, 1):
        set_trainable(model, transfer, NOTHING, epoch)
        for parameter in resumed.parameters():
            parameter.requires_grad_(epoch % 2 == 0)
        set_trainable(resumed, transfer, NOTHING, epoch)
        assert _trained(model) == _trained(resumed)


def test_statistics_of_a_stage_follow_its_pictures_from_its_first_trained_epoch_on(
    options: Callable[..., Model],
) -> None:
    model = build(options("fcos_mobilenet_v2"), 2)
    transfer = LastLayers("last_layers", 1.0, 1, 1)
    moved = []
    for epoch in (1, 2):
        set_trainable(model, transfer, NOTHING, epoch)
        before = [_state(stage) for stage in backbone_stages(model)]
        _step(model)
        after = [stage.state_dict() for stage in backbone_stages(model)]
        same = [all(torch.equal(new[key], old[key]) for key in old) for new, old in zip(after, before, strict=True)]
        moved.append(same.count(False))
        assert same == sorted(same, reverse=True)
        counted = [key for key in before[-1] if key.endswith("num_batches_tracked")]
        assert all(int(after[-1][key]) == epoch for key in counted)
    assert moved == [1, 2]


KEPT = Match(("backbone.body.0.0.weight", "backbone.body.0.1.weight", "backbone.body.0.1.bias"), (), ())


@pytest.mark.parametrize(
    "transfer",
    [
        Full("full", 1.0),
        LastLayers("last_layers", 1.0, 2, None),
        LastLayers("last_layers", 1.0, 2, 2),
        LastLayers("last_layers", 1.0, 0, 1),
        NewHead("new_head"),
    ],
    ids=str,
)
def test_the_optimizer_is_told_of_all_that_is_ever_trained_and_no_more(
    transfer: Transfer, options: Callable[..., Model]
) -> None:
    with torch.device("meta"):
        model = build(options("fcos_mobilenet_v2"), 2)
    ever = set[str]()
    for epoch in range(1, 60):
        set_trainable(model, transfer, KEPT, epoch)
        ever |= _trained(model)
    assert ever_trainable(model, transfer, KEPT) == ever


# ---- BatchNorm without parameters


def test_statistics_of_a_normalisation_without_parameters_go_with_the_layer_before_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.BatchNorm2d(4, affine=False),
        FrozenBatchNorm2d(4),
        nn.Conv2d(4, 4, 1),
        nn.BatchNorm2d(4, affine=False),
        FrozenBatchNorm2d(4),
    )
    model[0].requires_grad_(False)
    before = _state(model)
    train_mode(model)
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"4.running_mean", "4.running_var", "4.num_batches_tracked"}
    model.requires_grad_(True)
    train_mode(model)
    assert all(module.training for module in model)


# ---- stages of any backbone


class _Looking(nn.Module):
    """As little of a detector as has a backbone."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone


@pytest.mark.parametrize(
    ("name", "count"),
    [  # what its paper calls stages and the stem, or its blocks
        ("resnet18", 5),
        ("regnet_y_400mf", 5),
        ("mobilenet_v2", 19),
        ("densenet121", 8),
        ("shufflenet_v2_x1_0", 5),
        ("mnasnet0_5", 10),
        ("vgg11_bn", 8),
        ("convnext_tiny", 8),
        ("timm/resnet18", 5),
        ("resnet50d", 5),
        ("repvgg_a0", 5),
        ("mobilenetv3_large_100", 8),
        ("timm/vgg11_bn", 8),
        ("cspdarknet53", 6),
        ("pvt_v2_b0", 5),
    ],
)
def test_stages_of_any_body_are_apart_and_leave_nothing_out(name: str, count: int) -> None:
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # it works out its widths as it is built
        backbone = pyramid(name, (8, 16, 32))
    stages = backbone_stages(_Looking(backbone))
    parameters = [id(parameter) for stage in stages for parameter in stage.parameters()]
    assert len(stages) == count
    assert len(parameters) == len(set(parameters))
    assert set(parameters) == {id(parameter) for parameter in backbone.body.parameters()}
    assert parameters == [id(parameter) for parameter in backbone.body.parameters()]  # from the picture on


@pytest.mark.parametrize("name", ["repvgg_a0", "mobilenetv3_large_100", "mnasnet0_5"])
def test_last_layers_holds_still_whatever_body_it_is(name: str, options: Callable[..., Model]) -> None:
    test_last_layers_leaves_early_stages_and_their_statistics_as_they_were(
        "fcos_mobilenet_v2", lambda model: options(model, backbone=name)
    )


class _Encoder(nn.Module):
    """Stages in a list in a module in a module, beside an embedding: as transformers' ResNet and HGNet have them."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)) for _ in range(4))


class _Embedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.normalization = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)


def test_stages_are_found_however_deep_they_lie() -> None:
    inner = nn.Module()
    inner.embedder, inner.encoder = _Embedding(), _Encoder()
    outer = nn.Module()
    outer.model = inner
    stages = backbone_stages(_Looking(outer))
    assert stages == [inner.embedder, *inner.encoder.stages]


def test_a_part_with_values_of_its_own_is_not_opened() -> None:
    part = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    part.scale = nn.Parameter(torch.ones(1))
    backbone = nn.Module()
    backbone.part = part
    assert backbone_stages(_Looking(backbone)) == [part]
