"""`trainer.compile` compiles backbones: nothing in them makes torch.compile fall back to Python."""

from collections.abc import Callable, Iterator

import pytest
import torch

from reprolens.config import Model
from reprolens.models import build, names
from reprolens.models.registry import get

QUICK = {"fcos_mobilenet_v2", "yolov3_tiny", "yolov3", "yolox_nano"}
# transformers' backbones take masks beside pictures, and have breaks of their own
NAMES = [name for name in names() if get(name).extra is None]


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in NAMES]
)
def test_a_backbone_is_one_graph_that_gives_the_same(name: str, options: Callable[..., Model]) -> None:
    torch.manual_seed(0)
    choice = options(name)
    backbone = build(choice, 2).get_submodule("backbone")
    images = torch.rand(2, 3, *choice.image_size)
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)
    expected, found = backbone(images), compiled(images)
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], maps) for key, maps in expected.items())
