"""Pictures made of several: mosaic, mixup and copy-paste, and the placing of one picture in another's frame.

A picture is uint8 `(3, H, W)`. Its target holds `boxes (N, 4)` as `[x0, y0, x1, y1]` in pixels, `labels (N,)`, perhaps
`masks (N, H, W)`, and `visible (N,)`: the share of each object's area that is still in view, which every cut lowers.
Every draw comes from torch's global generator.
"""

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

Target = dict[str, Tensor]
Sample = tuple[Tensor, Target]

PADDING = 127
"""Grey of all that no picture covers."""

MOSAIC_SCALE = (0.5, 1.5)
"""Least and most scale of a mosaic: YOLOX's for its small models (its large ones take 0.1 to 2)."""

MOSAIC_TRANSLATION = 0.1
"""How far a mosaic is moved at most, as a share of the side (YOLOX)."""

PASTE_SCALE = (0.8, 1.25)
"""Least and most scale of the picture that objects are taken from: copy-paste's standard scale jittering."""


def uniform(least: float, most: float) -> float:
    """Return a number drawn evenly between the two."""
    return least + (most - least) * float(torch.rand(()))


def chance(probability: float) -> bool:
    """Return True with this probability; 0 and 1 draw nothing."""
    return probability >= 1 or (probability > 0 and float(torch.rand(())) < probability)


def mosaic(tiles: list[Sample], size: tuple[int, int]) -> Sample:
    """Return four pictures around a random centre, as a picture of `size` (height, width).

    Bochkovskiy et al. 2020 (arXiv:2004.10934) in YOLOX's form (arXiv:2107.08430): the pictures, each of `size`, meet at
    a centre drawn from the middle half of a canvas twice as large; the canvas is scaled, moved and cut to `size`. Here
    that canvas is never made: each picture is brought to its scale and only what shows of it is copied.
    """
    scale = uniform(*MOSAIC_SCALE)
    centre, tile = [], []
    for side in size:
        on_canvas = uniform(0.5, 1.5) - 1  # from the canvas' middle, in sides
        moved = uniform(0.5 - MOSAIC_TRANSLATION, 0.5 + MOSAIC_TRANSLATION)
        centre.append(min(max(0, round((moved + scale * on_canvas) * side)), side))
        tile.append(max(1, round(scale * side)))
    (cy, cx), (height, width) = centre, tile
    image = _empty(size)
    targets = []
    for place, sample in enumerate(tiles):
        below, right = divmod(place, 2)
        corner = (cy if below else cy - height, cx if right else cx - width)
        targets.append(_place(image, sample, (height, width), corner))
    return image, _joined(targets, size)


def mixup(first: Sample, second: Sample) -> Sample:
    """Return two pictures of one size blended half and half, with the objects of both.

    The form for detection: Zhang et al. 2019 (arXiv:1902.04103), section 3.1; YOLOX's weights are equal, too.
    """
    image = ((first[0].to(torch.int16) + second[0]) >> 1).to(torch.uint8)
    size = (image.shape[1], image.shape[2])
    return tv_tensors.wrap(image, like=first[0]), _joined([first[1], second[1]], size)


def copy_paste(base: Sample, source: Sample) -> Sample:
    """Return `base` with a random part of the objects of `source` pasted in; both pictures have one size.

    Ghiasi et al. 2021 (arXiv:2012.07177), without the blending of edges that it found to change nothing. `source` is
    scaled and moved first. An object is cut out by its mask, or by its box where `source` has no masks. What then lies
    below a pasted object loses its share of `visible`, and its box shrinks to what is left of it.
    """
    image, target = base
    size = (image.shape[1], image.shape[2])
    moved, objects = resize_crop(source, size, uniform(*PASTE_SCALE))
    count = len(objects["labels"])
    if count == 0:
        return base
    taken = torch.unique(torch.randint(count, (count,)))  # at least one; torchvision's reference draws so
    objects = {name: value[taken] for name, value in objects.items()}
    covered = _covered(objects, size)
    if not covered.any():
        return base
    image = tv_tensors.wrap(torch.where(covered, moved, image), like=image)
    return image, _joined([_uncovered(target, covered), objects], size)


def resize_crop(sample: Sample, size: tuple[int, int], scale: float) -> Sample:
    """Return the picture resized to `scale` times `size` (height, width) and cut or padded to `size` at a random place.

    Scale jittering as in copy-paste (arXiv:2012.07177), section 3, but padding on all sides.
    """
    height, width = (max(1, round(scale * side)) for side in size)
    top, left = (round(uniform(min(0, gap), max(0, gap))) for gap in (size[0] - height, size[1] - width))
    image = _empty(size)
    target = _place(image, sample, (height, width), (top, left))
    return image, _joined([target], size)


def cut(target: Target, region: tuple[float, float, float, float]) -> Target:
    """Return the target with boxes clamped to `region` (x0, y0, x1, y1) and `visible` lowered by what that took."""
    boxes = target["boxes"].as_subclass(Tensor)
    low, high = boxes.new_tensor(region[:2] * 2), boxes.new_tensor(region[2:] * 2)
    clamped = torch.minimum(torch.maximum(boxes, low), high)
    share = _area(clamped) / _area(boxes).clamp(min=1e-6)
    return {**target, "boxes": tv_tensors.wrap(clamped, like=target["boxes"]), "visible": target["visible"] * share}


def unbounded(boxes: Tensor, size: tuple[int, int]) -> tv_tensors.BoundingBoxes:
    """Return boxes `(N, 4)` that transforms leave unclamped, so that `cut` can see what leaves the picture."""
    plain = boxes.as_subclass(Tensor).to(torch.float32).reshape(-1, 4)
    return tv_tensors.BoundingBoxes(plain, format="XYXY", canvas_size=size, clamping_mode=None)


def _empty(size: tuple[int, int]) -> tv_tensors.Image:
    # Laid out as decoded pictures are, colours innermost: so are resized pictures, and a copy keeps its order.
    return tv_tensors.Image(torch.full((*size, 3), PADDING, dtype=torch.uint8).permute(2, 0, 1))


def _place(image: Tensor, sample: Sample, size: tuple[int, int], corner: tuple[int, int]) -> Target:
    """Copy the picture, resized to `size` (height, width), into `image` from `corner` (top, left) on.

    What falls outside `image` is left out. Returns the objects in the pixels of `image`.
    """
    (height, width), (top, left) = size, corner
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(image.shape[1], top + height), min(image.shape[2], left + width)
    picture, target = sample
    boxes = target["boxes"].as_subclass(Tensor)
    factor = boxes.new_tensor([width / picture.shape[2], height / picture.shape[1]] * 2)
    boxes = boxes * factor + boxes.new_tensor([left, top] * 2)
    placed = {**target, "boxes": unbounded(boxes, (image.shape[1], image.shape[2]))}
    shown = y1 > y0 and x1 > x0
    if shown:
        resized = functional.resize(picture.as_subclass(Tensor), [height, width], antialias=True)
        image[:, y0:y1, x0:x1] = resized[:, y0 - top : y1 - top, x0 - left : x1 - left]
    if "masks" in target:
        masks = target["masks"].as_subclass(Tensor).new_zeros(len(boxes), image.shape[1], image.shape[2])
        if shown and len(boxes):
            resized = functional.resize_mask(target["masks"].as_subclass(Tensor), [height, width])
            masks[:, y0:y1, x0:x1] = resized[:, y0 - top : y1 - top, x0 - left : x1 - left]
        placed["masks"] = tv_tensors.Mask(masks)
    return cut(placed, (x0, y0, max(x0, x1), max(y0, y1)))


def _joined(targets: list[Target], size: tuple[int, int]) -> Target:
    """Return one target with the objects of all that are in view."""
    names = set.intersection(*(set(target) for target in targets))
    joined = {name: torch.cat([target[name].as_subclass(Tensor) for target in targets]) for name in sorted(names)}
    seen = joined["visible"] > 0
    if not seen.all():
        joined = {name: value[seen] for name, value in joined.items()}
    joined["boxes"] = unbounded(joined["boxes"], size)
    if "masks" in joined:
        joined["masks"] = tv_tensors.Mask(joined["masks"])
    return joined


def _covered(objects: Target, size: tuple[int, int]) -> Tensor:
    """Return which pixels the objects cover, `(height, width)` bool: by their masks, else by their boxes."""
    if "masks" in objects:
        return objects["masks"].as_subclass(Tensor).bool().any(0)
    covered = torch.zeros(size, dtype=torch.bool)
    for x0, y0, x1, y1 in _whole(objects["boxes"]):
        covered[y0:y1, x0:x1] = True
    return covered


def _uncovered(target: Target, covered: Tensor) -> Target:
    """Return the target without what lies below `covered` `(H, W)`: smaller boxes, masks and visible shares."""
    boxes = target["boxes"].as_subclass(Tensor).clone()
    visible = target["visible"].clone()
    masks = target["masks"].as_subclass(Tensor) if "masks" in target else None
    for place, (x0, y0, x1, y1) in enumerate(_whole(boxes)):
        free = ~covered[y0:y1, x0:x1]
        if free.all():
            continue
        shape = torch.ones_like(free) if masks is None else masks[place, y0:y1, x0:x1].bool()
        left = shape & free
        visible[place] *= float(left.sum()) / max(1, int(shape.sum()))
        rows, columns = torch.nonzero(left.any(1)).flatten().tolist(), torch.nonzero(left.any(0)).flatten().tolist()
        if rows and columns:
            inner = boxes.new_tensor([x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1])
            boxes[place, :2] = torch.maximum(boxes[place, :2], inner[:2])
            boxes[place, 2:] = torch.minimum(boxes[place, 2:], inner[2:])
    changed = {**target, "boxes": tv_tensors.wrap(boxes, like=target["boxes"]), "visible": visible}
    if masks is not None:
        changed["masks"] = tv_tensors.Mask(masks * ~covered)
    return changed


def _whole(boxes: Tensor) -> list[list[int]]:
    """Return boxes as the pixels that they touch, at least one each way."""
    low, high = boxes[:, :2].floor(), boxes[:, 2:].ceil()
    return torch.cat([low, torch.maximum(high, low + 1)], dim=1).int().tolist()


def _area(boxes: Tensor) -> Tensor:
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    return sides[:, 0] * sides[:, 1]
