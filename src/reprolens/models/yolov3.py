"""YOLOv3: an incremental improvement (Redmon and Farhadi, 2018, arXiv:1804.02767), and YOLOv3-tiny.

Layers, anchors and their numbers are those of darknet's yolov3.cfg and yolov3-tiny.cfg, so that its weight files fit.
Anchors are in pixels of the network's input, whatever its size, as in darknet: what a layer sees does not grow with
the picture. What differs from darknet: objectness begins at a probability of 0.01 instead of one half (Lin et al.,
2017, arXiv:1708.02002, section 3.3), without which the first steps go into saying that most cells are empty.
"""

import math
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import box_iou

from reprolens.config import Model
from reprolens.models.backbones import body
from reprolens.models.backbones.darknet import Convolution, Darknet53, DarknetTiny
from reprolens.models.darknet_weights import read_darknet
from reprolens.models.one_stage import OneStage, Target
from reprolens.models.preprocessing import UNCHANGED
from reprolens.models.registry import ForeignFormat, Size, register

Anchors = tuple[tuple[tuple[int, int], ...], ...]

ANCHORS: Anchors = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
"""Width and height in pixels, by level, largest map first: of k-means over COCO at 416 x 416 (section 2.3)."""
TINY_ANCHORS: Anchors = (((23, 27), (37, 58), (81, 82)), ((81, 82), (135, 169), (344, 319)))
"""Of six the masks 1, 2, 3 and 3, 4, 5, with which OpenVINO runs the published weights; (10, 14) is not used.

One anchor is in both levels: both learn the objects that it is the best of, see `YOLOv3.assign`.
"""

IGNORED_FROM = 0.5
"""Predictions that overlap an object by more, though another is its own, are not called background (section 2.1).

The threshold is the paper's; the configuration files that came later have 0.7.
"""
LEADING = 5
"""x, y, width, height and objectness, which precede the classes of each anchor."""
_PRIOR = 0.01
_LARGEST_EXPONENT = 8.0
"""Makes an anchor 3000 times as wide; beyond, an untrained network could reach infinity."""

_FORMATS = (ForeignFormat("darknet", read_darknet, UNCHANGED),)


@register(
    "yolov3",
    paper="arXiv:1804.02767",
    licence="Apache-2.0",
    weights="https://pjreddie.com/media/files/darknet53.conv.74",
    weights_licence="YOLO LICENSE 2",
    preprocessing=UNCHANGED,
    backbones=True,
    formats=_FORMATS,
)
def build_yolov3(classes: int, size: Size, options: Model) -> nn.Module:
    """Build YOLOv3 on Darknet-53 or another backbone, 61.9 M parameters."""
    inner = body(options.backbone, Darknet53.strides) if options.backbone else Darknet53()
    neck = Neck(inner.channels, widths=(128, 256, 512), convolutions=(5, 5, 5))
    return YOLOv3(Backbone(inner, neck), (256, 512, 1024), ANCHORS, classes, options)


@register(
    "yolov3_tiny",
    paper="arXiv:1804.02767",
    licence="Apache-2.0",
    weights="https://pjreddie.com/media/files/yolov3-tiny.weights",
    weights_licence="YOLO LICENSE 2",
    preprocessing=UNCHANGED,
    backbones=True,
    formats=_FORMATS,
)
def build_yolov3_tiny(classes: int, size: Size, options: Model) -> nn.Module:
    """Build YOLOv3-tiny, two levels, 8.9 M parameters."""
    inner = body(options.backbone, DarknetTiny.strides) if options.backbone else DarknetTiny()
    neck = Neck(inner.channels, widths=(128, 256), convolutions=(0, 1))
    return YOLOv3(Backbone(inner, neck), (256, 512), TINY_ANCHORS, classes, options)


class Level(nn.Module):
    """What the level above saw, twice as large, beside this level's map; then convolutions, 1 x 1 and 3 x 3 in turn."""

    def __init__(self, inputs: int, above: int, width: int, convolutions: int) -> None:
        super().__init__()
        if above:
            self.reduce = Convolution(above, width, 1)
            inputs += width
        self.block = nn.Sequential()
        self.channels = inputs
        for layer in range(convolutions):
            kernel, outputs = (3, 2 * width) if layer % 2 else (1, width)
            self.block.append(Convolution(self.channels, outputs, kernel))
            self.channels = outputs

    def forward(self, maps: Tensor, above: Tensor | None) -> Tensor:
        if above is not None:
            shape = [maps.shape[-2], maps.shape[-1]]
            maps = torch.cat([functional.interpolate(self.reduce(above), shape, mode="nearest"), maps], dim=1)
        return self.block(maps)


class Neck(nn.Module):
    """Features of all levels, each with those of the levels above it (section 2.3); lists are largest map first.

    `channels` are those that come in; `widths` and the number of `convolutions` are given by level, too.
    """

    def __init__(self, channels: tuple[int, ...], widths: tuple[int, ...], convolutions: tuple[int, ...]) -> None:
        super().__init__()
        levels: list[Level] = []
        for inputs, width, count in reversed(list(zip(channels, widths, convolutions, strict=True))):
            levels.insert(0, Level(inputs, levels[0].channels if levels else 0, width, count))
        self.levels = nn.ModuleList(levels)
        self.channels = tuple(level.channels for level in levels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        found: list[Tensor] = []
        for level, own in reversed(list(zip(self.levels, maps, strict=True))):
            found.insert(0, level(own, found[0] if found else None))
        return found


class Backbone(nn.Module):
    """`body` and `neck`: images `(N, 3, h, w)` to maps called "0", "1", ..., largest first."""

    def __init__(self, body: nn.Module, neck: Neck) -> None:
        super().__init__()
        self.body, self.neck = body, neck

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.neck(list(self.body(images).values()))
        return {str(level): own for level, own in enumerate(maps)}


class Head(nn.Module):
    """A 3 x 3 and a 1 x 1 convolution a level: maps to `(N, anchors * (5 + classes), h, w)`."""

    def __init__(self, channels: tuple[int, ...], widths: tuple[int, ...], anchors: int, classes: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(Convolution(inputs, width, 3), nn.Conv2d(width, anchors * (LEADING + classes), 1))
            for inputs, width in zip(channels, widths, strict=True)
        )
        for level in self.levels:
            weight, bias = level.get_parameter("1.weight"), level.get_parameter("1.bias")
            nn.init.normal_(weight, std=0.01)
            nn.init.zeros_(bias)
            nn.init.constant_(bias.view(anchors, -1)[:, LEADING - 1], -math.log(1 / _PRIOR - 1))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [level(own) for level, own in zip(self.levels, maps, strict=True)]


class Places(NamedTuple):
    """Where the rows of raw outputs, `(N, R, 5 + classes)`, lie: by level, then by cell, row by row, then by anchor.

    All `(R, 2)`, x and y, in pixels of the network's input: the cell's corner at the top left, its sides, the anchor's.
    """

    corners: Tensor
    cells: Tensor
    anchors: Tensor


class YOLOv3(OneStage):
    """YOLOv3's losses and boxes; raw outputs are the head's, `(N, anchors * (5 + classes), h, w)` a level."""

    anchors: Tensor

    def __init__(
        self, backbone: Backbone, widths: tuple[int, ...], anchors: Anchors, classes: int, options: Model
    ) -> None:
        super().__init__(backbone, Head(backbone.neck.channels, widths, len(anchors[0]), classes), options)
        self.register_buffer("anchors", torch.tensor(anchors, dtype=torch.float32), persistent=False)  # (L, A, 2)

    def decode(self, outputs: list[Tensor], size: Size) -> tuple[Tensor, Tensor]:
        """Return boxes `(N, R, 4)` and scores `(N, R, K)`, the product of objectness and class.

        Equations of section 2.1: `b = sigmoid(t) + cell` for the centre, `b = anchor * exp(t)` for the sides.
        """
        rows = self._rows(outputs)
        return boxes_of(rows, self.places(outputs, size)), rows[..., 4:5].sigmoid() * rows[..., LEADING:].sigmoid()

    def losses(self, outputs: list[Tensor], targets: list[Target], size: Size) -> dict[str, Tensor]:
        """Return the losses of section 2.1 and 2.2, summed over a picture, the mean of the pictures.

        Only the predictions that an object is assigned to (`assign`) learn its box and classes; two objects that share
        one both teach their boxes. The gradients with respect to raw outputs are darknet's: prediction less truth,
        for the box times `2 - w * h` of the object's share of the picture. So `xy` is a cross-entropy, less the least
        that it can be, `wh` half the squared error of `log(side / anchor)`.
        """
        rows, places = self._rows(outputs), self.places(outputs, size)
        with torch.no_grad():
            boxes = boxes_of(rows, places)
        grids = [(int(output.shape[-2]), int(output.shape[-1])) for output in outputs]
        terms = [
            _losses(own, found, places, target, self.assign(target["boxes"], grids, size), size)
            for own, found, target in zip(rows, boxes, targets, strict=True)
        ]
        return {name: torch.stack([term[name] for term in terms]).mean() for name in terms[0]}

    def assign(self, boxes: Tensor, grids: list[Size], size: Size) -> tuple[Tensor, Tensor]:
        """Return the rows of raw outputs that have to find the objects `(M, 4)`, and which object each, `(P,)` int64.

        It is that of the one anchor, of all levels, whose shape overlaps the object's most, if both had one centre, in
        the cell that the object's centre is in (section 2.1). If several levels have that anchor, it is that of each:
        every layer of darknet looks whether the best anchor is among its own. `grids` are the levels' heights and
        widths.
        """
        anchors = self.anchors.shape[1]
        sides = boxes[:, None, 2:] - boxes[:, None, :2]  # (M, 1, 2)
        shapes = self.anchors.flatten(0, 1)  # (L * A, 2)
        common = torch.minimum(sides, shapes).prod(-1)
        best = (common / (sides.prod(-1) + shapes.prod(-1) - common)).argmax(1)
        objects, places = (shapes[best][:, None] == shapes).all(-1).nonzero(as_tuple=True)
        level, anchor = places // anchors, places % anchors
        grid = boxes.new_tensor(grids).flip(1)  # (L, 2) as width, height
        cells = boxes.new_tensor([size[1], size[0]]) / grid
        centres = (boxes[:, :2] + boxes[:, 2:])[objects] / 2
        column, row = (centres / cells[level]).long().clamp(min=0).unbind(1)
        width, height = grid.long()[level].unbind(1)
        ends = accumulate((high * wide for high, wide in grids[:-1]), initial=0)
        first = boxes.new_tensor(list(ends), dtype=torch.int64)  # cells before each level's
        cell = first[level] + row.minimum(height - 1) * width + column.minimum(width - 1)
        return cell * anchors + anchor, objects

    def places(self, outputs: list[Tensor], size: Size) -> Places:
        """Return where the rows of raw outputs lie in a picture of `size`."""
        corners, cells, anchors = [], [], []
        for output, shapes in zip(outputs, self.anchors, strict=True):
            height, width = int(output.shape[-2]), int(output.shape[-1])
            cell = shapes.new_tensor([size[1] / width, size[0] / height])
            y = torch.arange(height, device=shapes.device, dtype=shapes.dtype)
            x = torch.arange(width, device=shapes.device, dtype=shapes.dtype)
            grid = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1) * cell
            corners.append(grid.reshape(-1, 1, 2).expand(-1, len(shapes), 2).reshape(-1, 2))
            cells.append(cell.expand(height * width * len(shapes), 2))
            anchors.append(shapes.expand(height * width, -1, 2).reshape(-1, 2))
        return Places(torch.cat(corners), torch.cat(cells), torch.cat(anchors))

    def _rows(self, outputs: list[Tensor]) -> Tensor:
        """Return raw outputs as float32 rows `(N, R, 5 + classes)`, in the order that `Places` tells."""
        anchors = self.anchors.shape[1]
        rows = [output.unflatten(1, (anchors, -1)).permute(0, 3, 4, 1, 2).flatten(1, 3) for output in outputs]
        return torch.cat(rows, dim=1).float()


def boxes_of(rows: Tensor, places: Places) -> Tensor:
    """Return the boxes `(..., R, 4)`, x0 y0 x1 y1 in pixels, of rows `(..., R, 5 + classes)` (section 2.1)."""
    centres = places.corners + rows[..., :2].sigmoid() * places.cells
    halves = places.anchors * rows[..., 2:4].clamp(max=_LARGEST_EXPONENT).exp() / 2
    return torch.cat([centres - halves, centres + halves], dim=-1)


def _losses(
    rows: Tensor, boxes: Tensor, places: Places, target: Target, assignment: tuple[Tensor, Tensor], size: Size
) -> dict[str, Tensor]:
    """Return one picture's losses of `rows (R, 5 + classes)`, whose boxes are `boxes (R, 4)`; see `assign`."""
    assigned, of = assignment
    objects, classes = target["boxes"].to(rows)[of], target["labels"][of] - 1
    found = torch.zeros(len(rows), device=rows.device)
    found[assigned] = 1.0
    ignored = (box_iou(boxes, target["boxes"].to(rows)) > IGNORED_FROM).any(1) & (found == 0)
    objectness = functional.binary_cross_entropy_with_logits(rows[:, 4], found, reduction="none")

    own, place = rows[assigned], Places(*(part[assigned] for part in places))  # (P, 5 + classes)
    centres, sides = (objects[:, :2] + objects[:, 2:]) / 2, (objects[:, 2:] - objects[:, :2]).clamp(min=1.0)
    xy = ((centres - place.corners) / place.cells).clamp(0, 1)
    scale = 2 - (sides / sides.new_tensor([size[1], size[0]])).prod(1, keepdim=True)
    named = torch.zeros_like(rows[:, LEADING:])
    named[assigned, classes] = 1.0  # the classes of all objects that share a prediction
    return {
        "xy": (scale * _excess(own[:, :2], xy)).sum(),
        "wh": (scale * (own[:, 2:4] - (sides / place.anchors).log()).square() / 2).sum(),
        "objectness": objectness.masked_fill(ignored, 0.0).sum(),
        "classification": functional.binary_cross_entropy_with_logits(
            own[:, LEADING:], named[assigned], reduction="sum"
        ),
    }


def _excess(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the cross-entropy of `logits` for probabilities `truth`, less that of the truth itself."""
    least = -torch.xlogy(truth, truth) - torch.xlogy(1 - truth, 1 - truth)
    return functional.binary_cross_entropy_with_logits(logits, truth, reduction="none") - least
