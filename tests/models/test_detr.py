"""What RT-DETRv2 and D-FINE have in common: the transformers library's networks as detectors of this package."""

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from reprolens.config import AdamW, Full, Model
from reprolens.errors import ConfigError
from reprolens.models import build
from reprolens.models.detr import LabelEmbedding
from reprolens.models.freezing import backbone_stages
from reprolens.models.heads import ClassRows, class_rows, head_by_name, without_memory
from reprolens.training.optimizer import build_optimizer

pytest.importorskip("transformers", reason="the extra transformers is not installed")

NAMES = ("rtdetr_v2_r18", "dfine_n")
CLASSES = ("ant", "bee", "cat")
Options = Callable[..., Model]


@pytest.fixture(scope="module")
def models(options: Options) -> dict[str, Any]:
    """Return a model of each family whose BatchNorms have seen pictures; copy one before changing it."""
    made = {}
    for name in NAMES:
        torch.manual_seed(3)
        made[name] = build(options(name), len(CLASSES)).train()
        with torch.no_grad():
            for embed in made[name].head.decoder.class_embed:  # untrained, all queries score the same
                embed.weight.mul_(3)
            made[name](_pictures(), _targets(2, 1))
        made[name].eval()
    return made


def _pictures(height: int = 64, width: int = 64) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def _targets(*counts: int) -> list[dict[str, Tensor]]:
    boxes, labels = torch.tensor([[8.0, 8, 40, 40], [20, 30, 60, 60]]), torch.tensor([1, 3])
    return [{"boxes": boxes[:count], "labels": labels[:count]} for count in counts]


# ---- the extra


def test_looking_through_the_models_does_not_import_the_library() -> None:
    code = "import sys; from reprolens.models import registry; registry.names(); print('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("absent", ["transformers", "scipy.optimize"])
def test_without_the_extra_the_error_names_it(
    name: str, absent: str, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(ConfigError, match=rf"^model\.name: {name} needs the extra: pip install 'reprolens\[transf"):
        build(options(name), 3)


# ---- training


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("counts", [(2, 1), (0, 1), (0, 0)])
def test_every_parameter_has_a_finite_gradient_even_without_objects(
    name: str, counts: tuple[int, ...], models: dict[str, Any]
) -> None:
    model = copy.deepcopy(models[name]).train()
    losses = model(_pictures(), _targets(*counts))
    assert {"classification", "box_distance", "box_overlap"} <= losses.keys()
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_alone_decides_the_losses(name: str, models: dict[str, Any]) -> None:
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(copy.deepcopy(models[name]).train()(_pictures(), _targets(2, 1)))
    assert found[0] == found[1]
    assert found[0] != found[2]  # the noise of the denoising queries


@pytest.mark.parametrize("name", NAMES)
def test_predictions_that_are_no_numbers_give_a_loss_that_is_none(name: str, models: dict[str, Any]) -> None:
    model = copy.deepcopy(models[name]).train()
    with torch.no_grad():
        model.head.enc_bbox_head.layers[-1].bias.fill_(torch.nan)
    assert all(value.isnan() for value in model(_pictures(), _targets(2, 1)).values())


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_trains_and_finds(name: str, models: dict[str, Any]) -> None:
    model = copy.deepcopy(models[name])
    with torch.autocast("cpu", torch.bfloat16):
        found = model(list(_pictures()))[0]
        losses = model.train()(_pictures(), _targets(2, 1))
    sum(losses.values()).backward()
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert found["boxes"].dtype == found["scores"].dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_after_it_has_looked_at_pictures_of_the_size_without_gradients(
    name: str, models: dict[str, Any]
) -> None:
    model = copy.deepcopy(models[name])
    with torch.inference_mode():
        model(_pictures(96, 96))  # the library keeps anchors and positions of a size
    sum(model.train()(_pictures(96, 96), _targets(2, 1)).values()).backward()


# ---- predictions


@pytest.mark.parametrize(("name", "small"), [("rtdetr_v2_r18", 8 * 8 + 4 * 4 + 2 * 2), ("dfine_n", 4 * 4 + 2 * 2)])
def test_a_picture_has_300_boxes_or_one_a_place_where_it_has_fewer(
    name: str, small: int, models: dict[str, Any]
) -> None:
    with torch.no_grad():
        assert models[name].candidates(_pictures(64, 64), (64, 64))[1].shape == (2, small, 3)
        assert models[name].candidates(_pictures(224, 288), (224, 288))[1].shape == (2, 300, 3)
        assert models[name].candidates(_pictures(64, 64), (64, 64))[1].shape == (2, small, 3)


@pytest.mark.parametrize("name", NAMES)
def test_it_finds_what_the_librarys_post_processing_finds(name: str, models: dict[str, Any]) -> None:
    from transformers import RTDetrImageProcessor

    model = models[name]
    with torch.no_grad():
        outputs = model._run(_pictures(), None)
        found = model(list(_pictures()))
    outputs.logits = outputs.intermediate_logits[:, -1]
    outputs.pred_boxes = outputs.intermediate_reference_points[:, -1]
    threshold = model.score_threshold
    processor = RTDetrImageProcessor()
    theirs = processor.post_process_object_detection(outputs, threshold, [(64, 64), (64, 64)])
    for ours, other in zip(found, theirs, strict=True):
        count = min(len(ours["scores"]), len(other["scores"]))  # theirs are as many as there are queries
        torch.testing.assert_close(ours["scores"][:count], other["scores"][:count])
        order, theirs_order = (_sorted(item, shift) for item, shift in ((ours, -1), (other, 0)))
        torch.testing.assert_close(order[: count // 2], theirs_order[: count // 2], atol=1e-3, rtol=0)


def _sorted(found: dict[str, Tensor], shift: int) -> Tensor:
    """Return scores, labels and boxes (within the picture) of what was found, best first; equal ones in a set order."""
    columns = [found["scores"][:, None], found["labels"][:, None] + shift, found["boxes"].clamp(0, 64)]
    return torch.stack(sorted(torch.cat(columns, 1), key=lambda row: [-round(float(row[0]), 6), *row[1:].tolist()]))


# ---- names and classes


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_there_once_and_the_backbones_begin_with_its_name(name: str, models: dict[str, Any]) -> None:
    model = models[name]
    kept = model.state_dict(keep_vars=True)
    assert len({id(value) for value in kept.values()}) == len(kept)
    assert all(key.startswith(("backbone.model.", "head.")) for key in kept)
    assert len(backbone_stages(model)) >= 3
    groups = build_optimizer(model, AdamW("adamw", 1.0, 0.1, [0.9, 0.99]), Full("full", 0.1)).param_groups
    slow = sum(parameter.numel() for group in groups if group["lr"] < 0.9 for parameter in group["params"])
    assert slow == sum(parameter.numel() for parameter in model.backbone.parameters()) > 1_000_000


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_has_a_backbone_of_its_own(name: str, models: dict[str, Any]) -> None:
    other = copy.deepcopy(models[name])
    assert other.head.backbone is other.backbone is not models[name].backbone


@pytest.mark.parametrize("name", NAMES)
def test_classes_in_another_order_are_found_as_before(name: str, models: dict[str, Any], options: Options) -> None:
    rows = class_rows(options(name))
    assert set(rows.values()) == {ClassRows(0, 1, 0, 1)}
    assert {key.split(".")[-2] for key in rows} >= {"enc_score_head", "denoising_class_embed", "0", "2"}
    old, new = models[name], build(options(name), 4)
    state = old.state_dict()
    heads = head_by_name(state, new.state_dict(), rows, CLASSES, ("cat", "dog", "ant", "bee"))
    new.load_state_dict({key: heads.get(key, value) for key, value in state.items()})
    with torch.no_grad():  # the new class must not choose the queries, or what they say of it
        for layer in (new.head.enc_score_head, *new.head.decoder.class_embed):
            layer.bias[1] = -100.0
        boxes, scores = new.eval().candidates(_pictures(), (64, 64))
        before = old.candidates(_pictures(), (64, 64))
    torch.testing.assert_close(boxes, before[0])
    torch.testing.assert_close(scores[..., [2, 3, 0]], before[1])


def test_the_label_of_no_class_is_embedded_as_zero_as_in_the_library() -> None:
    theirs = torch.nn.Embedding(4, 5, padding_idx=3)
    labels = torch.tensor([[0, 3], [2, 1]], dtype=torch.int32)
    ours = LabelEmbedding(theirs.weight.detach()[:-1])
    assert torch.equal(ours(labels), theirs(labels))
    ours(labels).sum().backward()
    assert torch.equal(ours.weight.grad, torch.ones(3, 5))


def test_sizes_are_built_without_memory_too(options: Options) -> None:
    model = without_memory(options("dfine_n"), 5)
    assert {value.device.type for value in model.state_dict().values()} == {"meta"}
