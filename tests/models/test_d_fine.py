"""D-FINE is the published one, and each layer's boxes are supervised together with its own distributions."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from reprolens.config import Model
from reprolens.models import build
from reprolens.models.heads import without_memory

pytest.importorskip("transformers", reason="the extra transformers is not installed")


@pytest.fixture(scope="module")
def model(options: Callable[..., Model]) -> Any:
    torch.manual_seed(4)
    model: Any = build(options("dfine_n"), 3)
    with torch.no_grad():
        for embed in model.head.decoder.bbox_embed:  # zeros, in an untrained model: all layers say the same
            embed.layers[-1].weight.normal_(std=0.05)
    return model.train()


def _losses(model: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(6)
    target = {"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([2])}
    return model(torch.rand(2, 3, 64, 64), [dict(target), dict(target)])


@pytest.mark.parametrize(("name", "millions"), [("dfine_n", 4), ("dfine_s", 10), ("dfine_m", 20)])
def test_the_parameters_are_as_many_as_published(name: str, millions: int, options: Callable[..., Model]) -> None:
    # 19 million are published of D-FINE-M with the branches of its encoder folded; in training it has 0.4 more
    model = without_memory(options(name), 80)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == millions


def test_each_layers_boxes_are_what_its_own_distributions_say(model: Any) -> None:
    from transformers.models.d_fine.modeling_d_fine import distance2bbox, weighting_function

    with torch.no_grad():
        first, *layers = model.layers(model._run(torch.rand(2, 3, 64, 64), None))
    decoder = model.head.decoder
    bins = weighting_function(decoder.max_num_bins, decoder.up, decoder.reg_scale)
    assert first.keys() == {"logits", "pred_boxes"}
    assert len(layers) == len(decoder.layers) == 3
    for layer in layers:
        edges = decoder.integral(layer["pred_corners"], bins)
        boxes = distance2bbox(layer["ref_points"], edges, decoder.reg_scale).clamp(0, 1)
        torch.testing.assert_close(layer["pred_boxes"], boxes)
    assert torch.equal(layers[-1]["pred_corners"], layers[0]["teacher_corners"])
    assert not torch.allclose(layers[0]["pred_boxes"], layers[1]["pred_boxes"])


def test_the_edges_of_every_layer_are_learned_and_the_earlier_ones_from_the_last(model: Any) -> None:
    model.zero_grad()
    losses = _losses(model)
    assert losses.keys() == {"classification", "box_distance", "box_overlap", "box_edges", "distillation"}
    losses["box_edges"].backward(retain_graph=True)
    heads = [embed.layers[-1].bias for embed in model.head.decoder.bbox_embed]
    assert all(head.grad.abs().sum() > 0 for head in heads)
    model.zero_grad()
    losses["distillation"].backward()
    assert losses["distillation"] > 0
    assert heads[0].grad.abs().sum() > 0
    assert heads[-1].grad is None or heads[-1].grad.abs().sum() == 0


def test_constants_are_no_parameters_but_are_kept(model: Any) -> None:
    assert {"head.decoder.up", "head.decoder.reg_scale"} <= model.state_dict().keys()
    assert not {"head.decoder.up", "head.decoder.reg_scale"} & dict(model.named_parameters()).keys()
    assert (float(model.head.decoder.up), float(model.head.decoder.reg_scale)) == (0.5, 4.0)
