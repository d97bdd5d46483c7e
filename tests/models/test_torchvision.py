"""Every detector that torchvision has is torchvision's to the letter, so that its published weights fit."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision.models import detection, get_model_weights

from reprolens.config import Model
from reprolens.models import build, names

COCO = 90
NAMES = [name for name in names() if callable(getattr(detection, name, None))]


def test_they_are_of_all_the_families_of_torchvision() -> None:
    families = {"fasterrcnn", "maskrcnn", "retinanet", "fcos", "ssd300", "ssdlite320"}
    assert {name.partition("_")[0] for name in NAMES} == families


@pytest.mark.parametrize("name", NAMES)
def test_published_detection_weights_fit_by_name_and_shape(name: str, options: Callable[..., Model]) -> None:
    with torch.device("meta"):
        own = build(options(name), COCO).state_dict()
        theirs = getattr(detection, name)(weights_backbone=None, num_classes=COCO + 1).state_dict()
    assert {key: tensor.shape for key, tensor in own.items()} == {key: tensor.shape for key, tensor in theirs.items()}


@pytest.mark.parametrize("name", NAMES)
def test_there_are_as_many_parameters_as_published(name: str, options: Callable[..., Model]) -> None:
    with torch.device("meta"):
        model = build(options(name), COCO)
    count = sum(parameter.numel() for parameter in model.parameters())
    if not name.startswith("ssd") and not name.endswith("v2"):  # torchvision does not count frozen BatchNorms'
        body = model.get_submodule("backbone.body").modules()
        count -= sum(2 * module.num_features for module in body if isinstance(module, nn.BatchNorm2d))
    assert count == get_model_weights(name).DEFAULT.meta["num_params"]
