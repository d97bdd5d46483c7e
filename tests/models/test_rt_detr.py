"""RT-DETRv2 is the published one, and its losses are the library's."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from reprolens.config import Model
from reprolens.models import build
from reprolens.models.heads import without_memory

pytest.importorskip("transformers", reason="the extra transformers is not installed")


@pytest.mark.parametrize(("name", "millions"), [("rtdetr_v2_r18", 20), ("rtdetr_v2_r50", 43)])
def test_the_parameters_are_as_many_as_published(name: str, millions: int, options: Callable[..., Model]) -> None:
    model = without_memory(options(name), 80)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == millions


def test_the_losses_are_the_librarys(options: Callable[..., Model]) -> None:
    from transformers import RTDetrV2ForObjectDetection

    detector: Any = build(options("rtdetr_v2_r18"), 3)
    torch.manual_seed(2)
    library: Any = RTDetrV2ForObjectDetection(detector.head.config)
    library.config.num_queries = 300
    with torch.no_grad():
        library.model.denoising_class_embed.weight[-1] = 0.0
    ours = type(detector)(copy.deepcopy(library), options("rtdetr_v2_r18")).train()
    pictures = torch.rand(2, 3, 128, 160)
    boxes, labels = torch.tensor([[16.0, 32, 48, 96], [80, 64, 160, 128]]), torch.tensor([1, 3])
    targets = [{"boxes": boxes, "labels": labels}, {"boxes": boxes[:1], "labels": labels[1:]}]
    shares = torch.tensor([[0.2, 0.5, 0.2, 0.5], [0.75, 0.75, 0.5, 0.5]])
    theirs = [{"boxes": shares, "class_labels": labels - 1}, {"boxes": shares[:1], "class_labels": labels[1:] - 1}]
    torch.manual_seed(5)
    found = ours.losses(ours.raw(pictures), targets, (128, 160))
    torch.manual_seed(5)
    expected = library.train()(pictures, labels=theirs)
    torch.testing.assert_close(sum(found.values()), expected.loss)
    kinds = {"classification": "loss_vfl", "box_distance": "loss_bbox", "box_overlap": "loss_giou"}
    assert found.keys() == kinds.keys()
    for kind, name in kinds.items():
        whole = sum(value for key, value in expected.loss_dict.items() if key.startswith(name))
        torch.testing.assert_close(found[kind], whole)
