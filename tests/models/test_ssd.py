"""SSD300, SSD512 and SSDLite: the published layers and default boxes, and the same on other backbones."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from reprolens.config import Model
from reprolens.errors import ConfigError
from reprolens.models import build
from reprolens.models.heads import class_rows

NAMES = ("ssd300_vgg16", "ssd512_vgg16", "ssdlite320_mobilenet_v3_large")


def test_ssd512_has_36_04_million_parameters_with_80_classes(options: Callable[..., Model]) -> None:
    with torch.device("meta"):
        model = build(options("ssd512_vgg16"), 80)
    assert sum(parameter.numel() for parameter in model.parameters()) == 36_038_196


@pytest.mark.parametrize(
    ("name", "sides", "count"),
    [("ssd300_vgg16", [38, 19, 10, 5, 3, 1], 8732), ("ssd512_vgg16", [64, 32, 16, 8, 4, 2, 1], 24564)],
)
@pytest.mark.parametrize("backbone", [None, "resnet18"])
def test_maps_and_default_boxes_are_the_papers(
    name: str, sides: list[int], count: int, backbone: str | None, options: Callable[..., Model]
) -> None:
    maps, boxes = _default_boxes(options(name, backbone=backbone))
    assert [tuple(level.shape[-2:]) for level in maps] == [(side, side) for side in sides]
    assert boxes.shape == (count, 4)


def test_the_squares_of_ssd512_have_the_sizes_of_the_authors_release(options: Callable[..., Model]) -> None:
    """`ssd_pascal.py` for 512: minimum and maximum sizes in pixels; the second square's is their geometric mean."""
    smallest = [35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8]
    largest = [76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6]
    by_map = _by_map(options("ssd512_vgg16"))
    squares = torch.stack([boxes[:2, 2:] - boxes[:2, :2] for boxes in by_map])  # map, square, width and height
    wanted = torch.tensor([[low, (low * high) ** 0.5] for low, high in zip(smallest, largest, strict=True)])
    assert squares.allclose(wanted[:, :, None].expand(7, 2, 2), atol=1e-3)


def test_the_default_boxes_of_ssd512_have_the_papers_ratios_about_the_middles_of_their_cells(
    options: Callable[..., Model],
) -> None:
    by_map = _by_map(options("ssd512_vgg16"))
    cells = (8, 16, 32, 64, 128, 256, 512)
    for boxes, cell, ratios in zip(by_map, cells, ([2], *[[2, 3]] * 4, [2], [2]), strict=True):
        width, height = (boxes[2 : 2 + 2 * len(ratios), 2:] - boxes[2 : 2 + 2 * len(ratios), :2]).unbind(1)
        assert (width / height)[::2].tolist() == pytest.approx(ratios, rel=1e-4)
        assert (height / width)[1::2].tolist() == pytest.approx(ratios, rel=1e-4)
        first, last = (boxes[[0, -1], :2] + boxes[[0, -1], 2:]) / 2
        assert first.tolist() == pytest.approx([cell / 2] * 2, abs=1e-3)
        assert last.tolist() == pytest.approx([512 - cell / 2] * 2, abs=1e-3)


@pytest.mark.parametrize("name", NAMES[:2])
@pytest.mark.parametrize("backbone", [None, "resnet18"])
def test_other_sizes_are_refused(name: str, backbone: str | None, options: Callable[..., Model]) -> None:
    side = name[3:6]
    with pytest.raises(
        ConfigError, match=rf"model\.image_size: {name} works at \[{side}, {side}\] only, not \[64, 64\]"
    ):
        build(options(name, backbone=backbone, image_size=[64, 64]), 3)


@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssdlite320_mobilenet_v3_large"])
@pytest.mark.parametrize("objects", [1, 0])
def test_another_backbone_learns_with_and_without_objects(
    name: str, objects: int, options: Callable[..., Model]
) -> None:
    model = build(options(name, backbone="mobilenet_v3_small"), 3).train()
    losses = model([torch.rand(3, 64, 64)] * 2, [_target(objects), _target(0)])
    sum(losses.values()).backward()
    assert all(bool(loss.isfinite()) for loss in losses.values())
    gradients = [parameter.grad for parameter in model.parameters() if objects or parameter.grad is not None]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)


@pytest.mark.parametrize(("backbone", "rescaled"), [("vgg11", True), ("mobilenet_v3_small", False)])
def test_only_vggs_first_map_is_brought_to_a_norm_of_20(
    backbone: str, rescaled: bool, options: Callable[..., Model]
) -> None:
    layers: Any = build(options("ssd512_vgg16", backbone=backbone), 1).eval().get_submodule("backbone")
    layers.extra = nn.ModuleList()  # they need a large picture
    with torch.inference_mode():
        first, *others = (level.norm(dim=1) for level in layers(torch.rand(1, 3, 64, 64)).values())
    assert bool(first.allclose(torch.tensor(20.0), atol=1e-3)) is rescaled
    assert not any(norm.allclose(torch.tensor(20.0), atol=1e-3) for norm in others)


def test_a_body_that_ends_at_stride_16_gets_one_more_extra_layer(options: Callable[..., Model]) -> None:
    maps, boxes = _default_boxes(options("ssd512_vgg16", backbone="squeezenet1_1"))
    assert [level.shape[-1] for level in maps] == [64, 32, 16, 8, 4, 2, 1]
    assert len(boxes) == 24564


def test_ssdlite_sees_strides_16_and_32_of_another_backbone_and_four_smaller_maps(
    options: Callable[..., Model],
) -> None:
    choice = options("ssdlite320_mobilenet_v3_large", backbone="resnet18", image_size=[320, 320])
    maps, boxes = _default_boxes(choice)
    assert [tuple(level.shape[1:]) for level in maps] == [
        (256, 20, 20),
        (512, 10, 10),
        (512, 5, 5),
        (256, 3, 3),
        (256, 2, 2),
        (128, 1, 1),
    ]
    stock, theirs = _default_boxes(options("ssdlite320_mobilenet_v3_large", image_size=[320, 320]))
    assert [level.shape[-1] for level in stock] == [level.shape[-1] for level in maps]
    assert torch.equal(boxes, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_of_the_classes_are_known_with_another_backbone_too(name: str, options: Callable[..., Model]) -> None:
    choice = options(name, backbone="resnet18")
    rows = class_rows(choice)
    with torch.device("meta"):
        head: Any = build(choice, 3).get_submodule("head")
        places = _places(choice)
    assert {row.leading for row in rows.values()} == {1}
    biases = [row.before for key, row in rows.items() if key.endswith("bias")]
    assert biases == places
    assert len(head.classification_head.module_list) == len(places)


def test_a_backbone_that_lacks_a_map_is_refused(options: Callable[..., Model]) -> None:
    with pytest.raises(ConfigError, match=r"model\.backbone: squeezenet1_1 .*32"):
        build(options("ssdlite320_mobilenet_v3_large", backbone="squeezenet1_1"), 3)


def _default_boxes(options: Model) -> tuple[list[Tensor], Tensor]:
    """Return the maps, without values, and the default boxes `(A, 4)` in pixels of the network's picture."""
    height, width = options.image_size
    with torch.device("meta"):
        model: Any = build(options, 3).eval()
        maps = list(model.backbone(torch.zeros(1, 3, height, width)).values())
    generator: Any = type(model.anchor_generator)(
        model.anchor_generator.aspect_ratios,
        scales=model.anchor_generator.scales,
        steps=model.anchor_generator.steps,
        clip=model.anchor_generator.clip,
    )
    with torch.device("cpu"):
        images = ImageList(torch.zeros(1, 3, height, width), [(height, width)])
        [boxes] = generator(images, [torch.zeros(1, 1, *level.shape[-2:]) for level in maps])
    return maps, boxes


def _by_map(options: Model) -> list[Tensor]:
    """Return the default boxes of each map."""
    maps, boxes = _default_boxes(options)
    counts = zip(maps, _places(options), strict=True)
    return list(boxes.split([level.shape[-2] * level.shape[-1] * places for level, places in counts]))


def _places(options: Model) -> list[int]:
    """Return the number of default boxes at a place of each map."""
    with torch.device("meta"):
        generator: Any = build(options, 3).get_submodule("anchor_generator")
    return list(generator.num_anchors_per_location())


def _target(count: int) -> dict[str, Tensor]:
    boxes = torch.tensor([[8.0, 8.0, 40.0, 44.0]])[:count]
    return {"boxes": boxes, "labels": torch.ones(count, dtype=torch.int64)}
