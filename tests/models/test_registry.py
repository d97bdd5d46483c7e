"""The list of models and the menu in conf/model/ name the same."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reprolens.config import Model
from reprolens.errors import ConfigError
from reprolens.models import build, names
from reprolens.models.registry import get

CONF = Path(__file__).parents[2] / "conf" / "model"


def test_every_model_is_a_choice_in_conf_and_every_choice_is_a_model() -> None:
    assert names() == sorted(path.stem for path in CONF.glob("*.yaml"))


@pytest.mark.parametrize("name", names())
def test_a_choice_bears_the_name_of_its_model(name: str, options: Callable[..., Model]) -> None:
    assert options(name).name == name == get(name).name


@pytest.mark.parametrize("name", names())
def test_the_published_weights_of_every_model_exist_in_torchvision(name: str) -> None:
    from torchvision.models import get_weight

    assert get_weight(get(name).backbone_weights).url.endswith(".pth")


def test_an_unknown_model_is_refused_with_the_nearest_name(options: Callable[..., Model]) -> None:
    with pytest.raises(ConfigError, match=r"model\.name: .*'ssdlite'.*ssdlite320_mobilenet_v3_large"):
        build(replace(options("ssd300_vgg16"), name="ssdlite"), 3)


def test_ssd300_refuses_every_other_size(options: Callable[..., Model]) -> None:
    with pytest.raises(ConfigError, match=r"model\.image_size: ssd300_vgg16 works at \[300, 300\] only"):
        build(options("ssd300_vgg16", image_size=[320, 320]), 3)
