"""YOLOX (Ge et al., 2021, arXiv:2107.08430), true to release 0.3.0 of Megvii-BaseDetection/YOLOX (Apache-2.0).

One prediction a cell and no anchors; decoupled heads; SimOTA assigns predictions to objects, see `simota`. With another
`model.backbone` the neck and the heads of the same widths stand on that network's maps at strides 8, 16 and 32.

Its checkpoints, see `yolox_weights`, expect BGR from 0 to 255, as the models here do; those from before release 0.1.1
expected ImageNet's mean and standard deviation of RGB from 0 to 1.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from reprolens.config import Model
from reprolens.models.backbones import Body, body
from reprolens.models.backbones.csp_darknet import (
    STRIDES,
    Activation,
    ConvNormAct,
    CSPDarknet,
    CSPLayer,
    Darknet,
    DarknetSPP,
    convolution,
)
from reprolens.models.one_stage import OneStage, Target
from reprolens.models.preprocessing import Preprocessing
from reprolens.models.registry import Builder, ForeignFormat, Size, register
from reprolens.models.simota import Assignment, assign, iou
from reprolens.models.yolox_weights import read_checkpoint

BGR = Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 255.0, "BGR")
IOU_WEIGHT = 5.0
PRIOR = 0.01
"""Objectness and class scores of an untrained head (Lin et al., 2017, arXiv:1708.02002, 3.3)."""
_LARGEST_EXPONENT = math.log(1000)
"""A box is at most 1000 strides wide; without a bound, which the original lacks, gradients can become infinite."""

_RELEASE = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
_CHECKPOINT = ForeignFormat("YOLOX checkpoint", read_checkpoint, BGR)


def _register(name: str, file: str) -> Callable[[Builder], Builder]:
    return register(
        name,
        paper="arXiv:2107.08430",
        licence="Apache-2.0",
        weights=f"{_RELEASE}/{file}",
        weights_licence="Apache-2.0",
        preprocessing=BGR,
        backbones=True,
        formats=(_CHECKPOINT,),
    )


@_register("yolox_nano", "yolox_nano.pth")
def build_yolox_nano(classes: int, size: Size, options: Model) -> nn.Module:
    """Build YOLOX-Nano, 0.91 M parameters, all its 3 x 3 convolutions depthwise."""
    return _yolox(classes, options, 0.33, 0.25, depthwise=True)


@_register("yolox_tiny", "yolox_tiny.pth")
def build_yolox_tiny(classes: int, size: Size, options: Model) -> nn.Module:
    """Build YOLOX-Tiny, 5.06 M parameters."""
    return _yolox(classes, options, 0.33, 0.375)


@_register("yolox_s", "yolox_s.pth")
def build_yolox_s(classes: int, size: Size, options: Model) -> nn.Module:
    """Build YOLOX-S, 8.97 M parameters."""
    return _yolox(classes, options, 0.33, 0.5)


@_register("yolox_m", "yolox_m.pth")
def build_yolox_m(classes: int, size: Size, options: Model) -> nn.Module:
    """Build YOLOX-M, 25.3 M parameters."""
    return _yolox(classes, options, 0.67, 0.75)


@_register("yolox_l", "yolox_l.pth")
def build_yolox_l(classes: int, size: Size, options: Model) -> nn.Module:
    """Build YOLOX-L, 54.2 M parameters."""
    return _yolox(classes, options, 1.0, 1.0)


@_register("yolox_x", "yolox_x.pth")
def build_yolox_x(classes: int, size: Size, options: Model) -> nn.Module:
    """Build YOLOX-X, 99.1 M parameters."""
    return _yolox(classes, options, 1.33, 1.25)


@_register("yolox_darknet53", "yolox_darknet.pth")
def build_yolox_darknet53(classes: int, size: Size, options: Model) -> nn.Module:
    """Build YOLOX-DarkNet53, 63.7 M parameters: YOLOv3's body and neck with YOLOX's heads."""
    levels = body(options.backbone, STRIDES) if options.backbone else DarknetSPP()
    neck = FPN(levels.channels)
    head = Head(classes, neck.channels, 256, activation="lrelu")
    return YOLOX(Backbone(levels, neck), head, options)


def _yolox(classes: int, options: Model, depth: float, width: float, *, depthwise: bool = False) -> nn.Module:
    levels = body(options.backbone, STRIDES) if options.backbone else CSPDarknet(depth, width, depthwise)
    neck = PAFPN(levels.channels, depth, width, depthwise)
    head = Head(classes, neck.channels, int(256 * width), depthwise=depthwise)
    return YOLOX(Backbone(levels, neck), head, options)


class YOLOX(OneStage):
    """The detector; `head.use_l1` adds the L1 loss, which is for the last epochs, without mosaic."""

    head: "Head"

    def losses(self, outputs: list[Tensor], targets: list[Target], size: Size) -> dict[str, Tensor]:
        """Return the losses of section 2.2: sums over the assigned predictions (objectness: over all), by their number.

        `iou` is weighted already; `l1`, of raw outputs, is there only if `head.use_l1`.
        """
        with torch.autocast(outputs[0].device.type, enabled=False):
            raw = flat(outputs)
            corners, strides = grid(outputs)
            predicted = decoded(raw, corners, strides)
            objects = [_centred(target["boxes"].to(raw)) for target in targets]
            assigned = self._assign(raw, predicted, (corners, strides), objects, targets)
            foreground = torch.stack([found.foreground for found in assigned])  # (N, A)
            wanted = torch.cat([boxes[found.objects] for boxes, found in zip(objects, assigned, strict=True)])
            labels = torch.cat([t["labels"][found.objects] - 1 for t, found in zip(targets, assigned, strict=True)])
            ious = torch.cat([found.ious for found in assigned])
            chosen, count = raw[foreground], max(len(wanted), 1)

            scores = functional.one_hot(labels, chosen.shape[1] - 5) * ious[:, None]
            losses = {
                "iou": IOU_WEIGHT * (1 - iou(predicted[foreground], wanted) ** 2).sum(),
                "objectness": _cross_entropy(raw[..., 4], foreground.to(raw)),
                "classification": _cross_entropy(chosen[:, 5:], scores),
            }
            if self.head.use_l1:
                places = foreground.nonzero()[:, 1]
                origin = _encoded(wanted, corners[places], strides[places])
                losses["l1"] = functional.l1_loss(chosen[:, :4], origin, reduction="sum")
            return {name: loss / count for name, loss in losses.items()}

    def _assign(
        self,
        raw: Tensor,
        predicted: Tensor,
        cells: tuple[Tensor, Tensor],
        objects: list[Tensor],
        targets: list[Target],
    ) -> list[Assignment]:
        corners, strides = cells
        centres, sides = (corners + 0.5) * strides, strides[:, 0]
        return [
            assign(boxes, outputs[:, 5:], outputs[:, 4], centres, sides, wanted, target["labels"] - 1)
            for boxes, outputs, wanted, target in zip(predicted, raw, objects, targets, strict=True)
        ]

    def decode(self, outputs: list[Tensor], size: Size) -> tuple[Tensor, Tensor]:
        """Return boxes `(N, A, 4)` and scores `(N, A, K)`, which are class x objectness."""
        raw = flat(outputs)
        boxes = decoded(raw, *grid(outputs))
        half = boxes[..., 2:] / 2
        corners = torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)
        return corners, raw[..., 5:].sigmoid() * raw[..., 4:5].sigmoid()


def flat(outputs: list[Tensor]) -> Tensor:
    """Return the raw outputs `(N, 5 + K, h, w)` of all levels as `(N, A, 5 + K)`, float32; see `Head.forward`."""
    return torch.cat([level.flatten(2) for level in outputs], dim=2).transpose(1, 2).float()


def grid(outputs: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the top left corners `(A, 2)` of all levels' cells, in cells, and their strides `(A, 1)`, in pixels."""
    corners, strides = [], []
    for level, stride in zip(outputs, STRIDES, strict=True):
        height, width = level.shape[-2:]
        y, x = (torch.arange(side, dtype=torch.float32, device=level.device) for side in (height, width))
        cells = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1).reshape(-1, 2)
        corners.append(cells)
        strides.append(torch.full_like(cells[:, :1], stride))
    return torch.cat(corners), torch.cat(strides)


def decoded(raw: Tensor, corners: Tensor, strides: Tensor) -> Tensor:
    """Return boxes `(N, A, 4)`, centre x, centre y, width, height in pixels, of raw outputs `(N, A, 4 or more)`."""
    sides = raw[..., 2:4].clamp(max=_LARGEST_EXPONENT).exp()
    return torch.cat([(raw[..., :2] + corners) * strides, sides * strides], dim=-1)


def _encoded(boxes: Tensor, corners: Tensor, strides: Tensor) -> Tensor:
    """Return the raw outputs `(F, 4)` that `decoded` would make `boxes` of."""
    return torch.cat([boxes[:, :2] / strides - corners, torch.log(boxes[:, 2:] / strides + 1e-8)], dim=-1)


def _centred(boxes: Tensor) -> Tensor:
    """Return `(M, 4)` x0 y0 x1 y1 as centre x, centre y, width, height."""
    return torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1)


def _cross_entropy(logits: Tensor, scores: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, scores, reduction="sum")


class Head(nn.Module):
    """Decoupled heads, two convolutions for the class and two for box and objectness at each of three levels."""

    def __init__(
        self,
        classes: int,
        inputs: tuple[int, int, int],
        width: int,
        *,
        depthwise: bool = False,
        activation: Activation = "silu",
    ) -> None:
        super().__init__()
        self.use_l1 = False

        def tower() -> nn.Sequential:
            return nn.Sequential(
                *(convolution(width, width, 3, depthwise=depthwise, activation=activation) for _ in range(2))
            )

        self.cls_convs = nn.ModuleList(tower() for _ in inputs)
        self.reg_convs = nn.ModuleList(tower() for _ in inputs)
        self.cls_preds = nn.ModuleList(nn.Conv2d(width, classes, 1) for _ in inputs)
        self.reg_preds = nn.ModuleList(nn.Conv2d(width, 4, 1) for _ in inputs)
        self.obj_preds = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in inputs)
        self.stems = nn.ModuleList(ConvNormAct(count, width, 1, activation=activation) for count in inputs)
        for predictor in (*self.cls_preds, *self.obj_preds):
            nn.init.constant_(predictor.get_parameter("bias"), -math.log((1 - PRIOR) / PRIOR))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return for each level `(N, 5 + K, h, w)`: x, y, w, h, and the logits of objectness and the K classes."""
        outputs = []
        for level, features in enumerate(maps):
            stem = self.stems[level](features)
            of_class, of_box = self.cls_convs[level](stem), self.reg_convs[level](stem)
            parts = [self.reg_preds[level](of_box), self.obj_preds[level](of_box), self.cls_preds[level](of_class)]
            outputs.append(torch.cat(parts, dim=1))
        return outputs


class Backbone(nn.Module):
    """A body and the neck on its maps."""

    def __init__(self, body: Darknet | Body, neck: nn.Module) -> None:
        super().__init__()
        self.body, self.neck = body, neck

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return for images `(N, 3, h, w)` the maps at strides 8, 16 and 32, called "0", "1" and "2"."""
        small, middle, large = self.neck(*self.body(images).values())
        return {"0": small, "1": middle, "2": large}


class PAFPN(nn.Module):
    """A path aggregation network (Liu et al., 2018, arXiv:1803.01534) of cross-stage partial layers.

    It takes maps of `inputs` channels at strides 8, 16, 32 and gives `channels`, 256, 512 and 1024 times `width`.
    """

    def __init__(self, inputs: tuple[int, ...], depth: float, width: float, depthwise: bool) -> None:
        super().__init__()
        small, middle, large = self.channels = int(256 * width), int(512 * width), int(1024 * width)

        def layer(inputs: int, outputs: int) -> CSPLayer:
            return CSPLayer(inputs, outputs, round(3 * depth), shortcut=False, depthwise=depthwise)

        self.lateral_conv0 = ConvNormAct(inputs[2], middle, 1)
        self.C3_p4 = layer(middle + inputs[1], middle)
        self.reduce_conv1 = ConvNormAct(middle, small, 1)
        self.C3_p3 = layer(small + inputs[0], small)
        self.bu_conv2 = convolution(small, small, 3, 2, depthwise=depthwise)
        self.C3_n3 = layer(2 * small, middle)
        self.bu_conv1 = convolution(middle, middle, 3, 2, depthwise=depthwise)
        self.C3_n4 = layer(2 * middle, large)

    def forward(self, small: Tensor, middle: Tensor, large: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maps at strides 8, 16, 32 of those of the body."""
        top = self.lateral_conv0(large)
        between = self.reduce_conv1(self.C3_p4(torch.cat([_twice(top), middle], dim=1)))
        first = self.C3_p3(torch.cat([_twice(between), small], dim=1))
        second = self.C3_n3(torch.cat([self.bu_conv2(first), between], dim=1))
        return first, second, self.C3_n4(torch.cat([self.bu_conv1(second), top], dim=1))


class FPN(nn.Module):
    """YOLOv3's neck (Redmon and Farhadi, 2018, arXiv:1804.02767): down only; the last map goes through as it is."""

    def __init__(self, inputs: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = (128, 256, inputs[2])
        self.out1_cbl = ConvNormAct(inputs[2], 256, 1, activation="lrelu")
        self.out1 = _embedding(256 + inputs[1], 256)
        self.out2_cbl = ConvNormAct(256, 128, 1, activation="lrelu")
        self.out2 = _embedding(128 + inputs[0], 128)

    def forward(self, small: Tensor, middle: Tensor, large: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maps at strides 8, 16, 32 of those of the body."""
        second = self.out1(torch.cat([_twice(self.out1_cbl(large)), middle], dim=1))
        return self.out2(torch.cat([_twice(self.out2_cbl(second)), small], dim=1)), second, large


def _embedding(inputs: int, outputs: int) -> nn.Sequential:
    """Return five convolutions, 1 x 1 and 3 x 3 in turn, those of 3 x 3 twice as wide as `outputs`."""
    widths = [(inputs, outputs, 1), *[(outputs, outputs * 2, 3), (outputs * 2, outputs, 1)] * 2]
    return nn.Sequential(*(ConvNormAct(*shape, activation="lrelu") for shape in widths))


def _twice(maps: Tensor) -> Tensor:
    return functional.interpolate(maps, scale_factor=2.0, mode="nearest")
