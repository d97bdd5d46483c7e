"""Augmentation of pictures with boxes and masks: torchvision.transforms.v2, and mixing with other pictures.

Every draw comes from torch's global generator, so that whoever seeds it decides the result.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from reprolens.config import Augment
from reprolens.loading.mixing import (
    PADDING,
    Sample,
    Target,
    chance,
    copy_paste,
    cut,
    mixup,
    mosaic,
    resize_crop,
    unbounded,
    uniform,
)
from reprolens.loading.transforms import Affine, IoUCrop, PhotometricDistort

MIN_SIDE = 2
"""Boxes with a side of fewer pixels are left out: nothing can be learnt from them."""


@dataclass(frozen=True)
class Augmentation:
    """Varies pictures. Call it; `build_augmentation` makes it."""

    config: Augment
    steps: tuple[Callable[[Tensor, Target, tuple[int, int]], Sample], ...]

    def __call__(
        self, picture: Callable[[int], Sample], index: int, count: int, size: tuple[int, int], mix: bool
    ) -> Sample:
        """Return picture `index` varied: uint8 `(3, height, width)` of `size`, and its target.

        `picture(i)` for i below `count` gives a picture uint8 `(3, H, W)` and its target: `boxes (N, 4)` float32 XYXY
        in pixels, `labels (N,)`, perhaps `masks (N, H, W)`. The result's target holds the same. Boxes follow their
        picture and are cut at its edge; objects with a side below 2 pixels or with less than `min_visible` of their
        area in view are left out. Other pictures are mixed in only if `mix`. The picture may be the very one that
        `picture` gave: write into neither.
        """
        image, target = self._mixed(lambda place: _started(picture(place)), index, count, size, mix)
        for step in self.steps:
            image, target = step(image, target, size)
        return _finished(_resized((image, target), size), self.config.min_visible)

    def _mixed(
        self, picture: Callable[[int], Sample], index: int, count: int, size: tuple[int, int], mix: bool
    ) -> Sample:
        def another() -> Sample:
            place = int(torch.randint(max(1, count - 1), ()))
            return picture(place + (place >= index and count > 1))

        if mix and chance(self.config.mosaic):
            sample = mosaic([picture(index), another(), another(), another()], size)
        else:
            sample = _resized(picture(index), size)
        if mix and chance(self.config.copy_paste):
            sample = copy_paste(sample, another())
        if mix and chance(self.config.mixup):
            sample = mixup(sample, _resized(another(), size))
        return sample


def build_augmentation(config: Augment) -> Augmentation:
    """Return what varies pictures as `config` says."""
    steps: list[Callable[[Tensor, Target, tuple[int, int]], Sample]] = []
    fill = {tv_tensors.Image: PADDING, "others": 0}
    if config.photometric:
        steps.append(_Step(PhotometricDistort(p=config.photometric)))
    if config.grayscale:
        steps.append(_Step(v2.RandomGrayscale(config.grayscale)))
    if config.zoom_out:
        steps.append(_Step(v2.RandomZoomOut(fill=fill, side_range=(1.0, 2.0), p=config.zoom_out)))
    if config.crop:
        steps.append(_Step(v2.RandomApply([IoUCrop()], config.crop)))
    if config.resize_crop:
        steps.append(_ResizeCrop(config.resize_crop, config.resize_scale[0], config.resize_scale[1]))
    if config.affine:
        affine = Affine(
            degrees=config.max_rotation,
            translate=(config.max_translation, config.max_translation),
            scale=(config.scale[0], config.scale[1]),
            fill=fill,
        )
        steps.append(_Step(v2.RandomApply([affine], config.affine)))
    if config.horizontal_flip:
        steps.append(_Step(v2.RandomHorizontalFlip(config.horizontal_flip)))
    if config.vertical_flip:
        steps.append(_Step(v2.RandomVerticalFlip(config.vertical_flip)))
    return Augmentation(config, tuple(steps))


@dataclass(frozen=True)
class _Step:
    """A transform of torchvision; what it takes out of the picture is cut from the boxes."""

    transform: v2.Transform

    def __call__(self, image: Tensor, target: Target, size: tuple[int, int]) -> Sample:
        image, target = self.transform(image, target)
        return image, cut(target, (0, 0, image.shape[2], image.shape[1]))


@dataclass(frozen=True)
class _ResizeCrop:
    probability: float
    least: float
    most: float

    def __call__(self, image: Tensor, target: Target, size: tuple[int, int]) -> Sample:
        if not chance(self.probability):
            return image, target
        return resize_crop((image, target), size, uniform(self.least, self.most))


def _started(sample: Sample) -> Sample:
    """Return the sample with every object that has an area in the picture, cut to it, as wholly in view."""
    image, target = sample
    size = (image.shape[1], image.shape[2])
    target = cut({**target, "visible": torch.ones(len(target["labels"]))}, (0, 0, size[1], size[0]))
    real = target["visible"] > 0  # what has no area would get one by being rotated
    if not real.all():
        target = {name: tv_tensors.wrap(value[real], like=value) for name, value in target.items()}
    return image, {**target, "boxes": unbounded(target["boxes"], size), "visible": torch.ones(len(target["labels"]))}


def _resized(sample: Sample, size: tuple[int, int]) -> Sample:
    """Return the sample at `size` (height, width)."""
    image, target = sample
    if tuple(image.shape[1:]) == size:
        return sample
    image, target = v2.Resize(size, antialias=True)(image, target)
    return image, target


def _finished(sample: Sample, min_visible: float) -> Sample:
    """Return the sample with the objects that count: enough of them in view, no side below MIN_SIDE pixels."""
    image, target = sample
    size = (image.shape[1], image.shape[2])
    target = cut(target, (0, 0, size[1], size[0]))
    boxes = tv_tensors.BoundingBoxes(target["boxes"].as_subclass(Tensor), format="XYXY", canvas_size=size)
    _, keep = functional.sanitize_bounding_boxes(boxes, min_size=MIN_SIDE)
    keep &= target["visible"] > min_visible - 1e-4  # rounding takes no object away
    kept = {name: tv_tensors.wrap(value[keep], like=value) for name, value in target.items() if name != "visible"}
    kept["boxes"] = tv_tensors.wrap(kept["boxes"], like=boxes)
    return image, kept
