"""Augmentation of pictures with boxes, by torchvision.transforms.v2. Every draw comes from torch's global generator."""

from torchvision.transforms import v2

from reprolens.config import Augment


def build_augmentation(config: Augment, image_size: tuple[int, int]) -> v2.Transform:
    """Return what turns `(image uint8 (3, H, W), target)` into a varied one of `image_size` (height, width).

    Boxes follow their picture; they are cut at its edge, and those that are gone are left out with their labels.
    """
    steps: list[v2.Transform] = []
    if config.photometric:
        steps.append(v2.RandomPhotometricDistort(p=config.photometric))
    if config.grayscale:
        steps.append(v2.RandomGrayscale(config.grayscale))
    if config.zoom_out:
        steps.append(v2.RandomZoomOut(fill=127, side_range=(1.0, 2.0), p=config.zoom_out))
    if config.crop:
        steps.append(v2.RandomApply([v2.RandomIoUCrop()], config.crop))
    if config.affine:
        affine = v2.RandomAffine(
            degrees=config.max_rotation,
            translate=(config.max_translation, config.max_translation),
            scale=(config.scale[0], config.scale[1]),
            interpolation=v2.InterpolationMode.BILINEAR,
            fill=127,
        )
        steps.append(v2.RandomApply([affine], config.affine))
    if config.horizontal_flip:
        steps.append(v2.RandomHorizontalFlip(config.horizontal_flip))
    if config.vertical_flip:
        steps.append(v2.RandomVerticalFlip(config.vertical_flip))
    if config.zoom_out or config.crop:  # these change the size
        steps.append(v2.Resize(image_size, antialias=True))
    steps += [v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(min_size=2)]
    return v2.Compose(steps)
