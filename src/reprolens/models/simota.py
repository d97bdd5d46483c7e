"""SimOTA, YOLOX's way of saying which predictions have to find which object (Ge et al., 2021, arXiv:2107.08430, 2.2).

True to the code of release 0.3.0 (Megvii-BaseDetection/YOLOX, Apache-2.0): an object's candidates are the cells whose
centre is in its box or within 2.5 strides of its middle; later commits narrowed that to 1.5 strides and left the box
out. Boxes are `[centre x, centre y, width, height]` in pixels. Of predictions whose costs are equal the first wins.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

CENTRE_RADIUS = 2.5
"""In strides: how far from an object's middle a cell's centre may be, along either axis."""

IOU_WEIGHT = 3.0
OUTSIDE_COST = 1e5
"""Added where a cell's centre is not both in the box and near its middle: it is taken if there is nothing better."""

MOST = 10
"""The IoUs of so many predictions that overlap an object most, added up, say how many have to find it."""


@dataclass(frozen=True)
class Assignment:
    """Which of the predictions have to find an object: `foreground (A,)` bool.

    For each of them, in their order, `objects (F,)` is the object's index and `ious (F,)` how well they overlap now.
    """

    foreground: Tensor
    objects: Tensor
    ious: Tensor


@torch.no_grad()
def assign(
    predicted: Tensor,
    class_logits: Tensor,
    objectness: Tensor,
    cells: Tensor,
    strides: Tensor,
    boxes: Tensor,
    classes: Tensor,
) -> Assignment:
    """Assign one picture's predictions `(A, 4)`, `(A, K)` and `(A,)` to its objects `boxes (M, 4)`, `classes (M,)`.

    `cells (A, 2)` are the centres of the predictions' cells in pixels, `strides (A,)` their sizes; classes go from 0.
    Everything is float32; no gradient flows.
    """
    if len(boxes) == 0:
        none = cells.new_zeros(0)
        return Assignment(torch.zeros(len(cells), dtype=torch.bool, device=cells.device), none.long(), none)
    inside, central = _geometry(cells, strides, boxes)
    places = (inside | central).any(0).nonzero().flatten()  # (C,) of the A predictions
    ious = iou(boxes[:, None], predicted[places][None])  # (M, C)
    costs = classification_costs(class_logits[places], objectness[places], classes)
    costs = costs - IOU_WEIGHT * torch.log(ious + 1e-8)
    costs = costs + OUTSIDE_COST * ~(inside & central)[:, places]
    matches = match(costs, ious)
    taken = matches.any(0)
    foreground = torch.zeros(len(cells), dtype=torch.bool, device=cells.device)
    foreground[places[taken]] = True
    matches = matches[:, taken]
    return Assignment(foreground, matches.to(torch.uint8).argmax(0), (matches * ious[:, taken]).sum(0))


def match(costs: Tensor, ious: Tensor) -> Tensor:
    """Return which predictions have to find which objects, `(M, C)` bool, each at most one, of `(M, C)` both.

    An object takes the cheapest, as many as the sum of its `MOST` best IoUs, rounded down, says, one at least ("dynamic
    k", arXiv:2103.14259, 3.2). A prediction that several take goes to the one to which it is cheapest of all objects.
    """
    if costs.shape[1] == 0:  # all objects lie outside the picture
        return torch.zeros_like(costs, dtype=torch.bool)
    counts = ious.topk(min(MOST, ious.shape[1]), dim=1).values.sum(1).int().clamp(min=1)
    ranks = costs.argsort(dim=1, stable=True).argsort(dim=1)
    matches = ranks < counts[:, None]
    cheapest = torch.arange(len(costs), device=costs.device)[:, None] == costs.argmin(0)
    return torch.where(matches.sum(0) > 1, cheapest, matches)


def classification_costs(class_logits: Tensor, objectness: Tensor, classes: Tensor) -> Tensor:
    """Return `(M, C)`: binary cross-entropies of the scores sqrt(class x objectness) with one object's class as target.

    They are added up over the classes; `class_logits (C, K)`, `objectness (C,)` logits, `classes (M,)`.
    """
    scores = torch.sqrt(class_logits.sigmoid() * objectness[:, None].sigmoid())
    hit, miss = -torch.log(scores).clamp(min=-100), -torch.log1p(-scores).clamp(min=-100)  # as torch bounds them
    return (miss.sum(1, keepdim=True) - miss[:, classes] + hit[:, classes]).T


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over union of boxes `(..., 4)` and `(..., 4)`, broadcast against each other."""
    low = torch.maximum(first[..., :2] - first[..., 2:] / 2, second[..., :2] - second[..., 2:] / 2)
    high = torch.minimum(first[..., :2] + first[..., 2:] / 2, second[..., :2] + second[..., 2:] / 2)
    sides = (high - low).clamp(min=0)
    overlap = sides[..., 0] * sides[..., 1]
    union = first[..., 2] * first[..., 3] + second[..., 2] * second[..., 3] - overlap
    return overlap / (union + 1e-16)


def _geometry(cells: Tensor, strides: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return `(M, A)` twice: is the cell's centre in the object's box, is it near the middle of it?"""
    middles, halves, radii = boxes[:, None, :2], boxes[:, None, 2:] / 2, CENTRE_RADIUS * strides[:, None]
    return _within(cells, middles - halves, middles + halves), _within(cells, middles - radii, middles + radii)


def _within(cells: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return ((cells > low) & (cells < high)).all(-1)
