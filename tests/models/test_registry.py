"""The list of models and the menu in conf/model/ name the same."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.models import get_weight

from reprolens.config import Model
from reprolens.errors import ConfigError
from reprolens.models import build, names
from reprolens.models.cost import cost
from reprolens.models.registry import _entries, get, register

CONF = Path(__file__).parents[2] / "conf" / "model"


def test_every_model_is_a_choice_in_conf_and_every_choice_is_a_model() -> None:
    assert names() == sorted(path.stem for path in CONF.glob("*.yaml"))


@pytest.mark.parametrize("name", names())
def test_a_choice_bears_the_name_of_its_model(name: str, options: Callable[..., Model]) -> None:
    assert options(name).name == name == get(name).name


@pytest.mark.parametrize("name", names())
def test_the_published_weights_of_every_model_are_a_name_that_is_known_or_an_address(name: str) -> None:
    weights = get(name).weights
    if weights is not None and not re.match(r"https://\S+|hf/\w[\w.-]*/\w[\w.-]*$", weights):
        assert get_weight(weights).url.endswith(".pth")


@pytest.mark.parametrize("name", names())
def test_every_model_says_its_paper_and_its_licences(name: str) -> None:
    entry = get(name)
    assert re.fullmatch(r"arXiv:\d{4}\.\d{5}", entry.paper)
    assert entry.licence in ("Apache-2.0", "BSD-3-Clause", "MIT")
    assert bool(entry.weights_licence)


def test_a_backbone_for_a_model_that_has_its_own_is_refused(options: Callable[..., Model]) -> None:
    with pytest.raises(ConfigError, match=r"model\.backbone: dfine_n has one of its own"):
        build(options("dfine_n", backbone="resnet18"), 3)


@pytest.mark.parametrize("backbone", ["resnet50d", "seresnet50", "resnext50_32x4d", "repvgg_a0", "vgg16_bn"])
@pytest.mark.parametrize("name", [name for name in names() if get(name).backbones])
def test_any_detector_takes_any_backbone(name: str, backbone: str, options: Callable[..., Model]) -> None:
    # The shapes of all layers fit each other, which is all there is to see without memory.
    assert cost(options(name, backbone=backbone), 3).flops > 0


def test_an_unknown_model_is_refused_with_the_nearest_name(options: Callable[..., Model]) -> None:
    with pytest.raises(ConfigError, match=r"model\.name: .*'ssdlite'.*ssdlite320_mobilenet_v3_large"):
        build(replace(options("ssd300_vgg16"), name="ssdlite"), 3)


def test_ssd300_refuses_every_other_size(options: Callable[..., Model]) -> None:
    with pytest.raises(ConfigError, match=r"model\.image_size: ssd300_vgg16 works at \[300, 300\] only"):
        build(options("ssd300_vgg16", image_size=[320, 320]), 3)


def test_the_model_that_the_readme_adds_learns_and_finds(options: Callable[..., Model]) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    [code] = re.findall(
        r"```python\n(.*?)```", readme[readme.index("## Models") : readme.index("## Training")], re.DOTALL
    )
    exec(code, {})
    try:
        choice = replace(options("retinanet_resnet50_fpn"), name="my_retinanet", score_threshold=0.0)
        model = build(choice, 3)
        targets = [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([3])}]
        assert all(loss.isfinite() for loss in model.train()([torch.rand(3, 64, 64)], targets).values())
        with torch.inference_mode():
            [found] = model.eval()([torch.rand(3, 64, 64)])
        assert 0 < len(found["labels"]) <= choice.detections_per_image
        assert set(found["labels"].tolist()) <= {1, 2, 3}
    finally:
        _entries.pop("my_retinanet")


def test_a_name_is_given_once() -> None:
    entry = get("yolov3")
    again = register("yolov3", paper="", licence="", weights=None, weights_licence="")
    with pytest.raises(ValueError, match="there is a model 'yolov3' already"):
        again(entry.build)
    assert get("yolov3") is entry
