"""The faster transforms do what torchvision's do."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from reprolens.loading.transforms import Affine, IoUCrop, PhotometricDistort


def _photograph() -> Tensor:
    """Return a smooth picture of all moderate colours, uint8 `(3, 48, 48)`."""
    random = torch.Generator().manual_seed(3)
    coarse = torch.randint(60, 190, (3, 6, 6), dtype=torch.uint8, generator=random)
    return tv_tensors.Image(functional.resize(coarse, [48, 48]))


@pytest.mark.parametrize("seed", range(20))
def test_colours_change_as_torchvision_changes_them(seed: int) -> None:
    image = _photograph()
    ours = PhotometricDistort(p=0.5)
    torch.manual_seed(seed)
    params = {**ours.make_params([image]), "hue_factor": None}
    expected = v2.RandomPhotometricDistort.transform(ours, image, params)
    error = (ours.transform(image, params).int() - expected.int()).abs().float()
    assert error.mean() < 2.5  # torchvision rounds down and cuts after each step


@pytest.mark.parametrize("turns", [-0.05, 0.02, 0.05])
def test_hue_turns_by_the_angle_that_torchvision_turns_it_by(turns: float) -> None:
    image = _photograph()
    params = {**dict.fromkeys(["brightness_factor", "contrast_factor", "saturation_factor", "channel_permutation"])}
    turned = PhotometricDistort().transform(image, {**params, "contrast_before": True, "hue_factor": turns})
    colourful = (image.amax(0).int() - image.amin(0).int()) > 40
    for result in (turned, functional.adjust_hue(image, turns)):
        gap = (_hue(result) - _hue(image) - turns + 0.5).remainder(1) - 0.5
        assert gap[colourful].abs().mean() < 0.006  # about two degrees: whole levels are that coarse


def _hue(image: Tensor) -> Tensor:
    """Return the hue of each pixel, 0 to 1, on HSV's hexagon."""
    pixels = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("HSV")
    return torch.from_numpy(np.array(pixels)[..., 0]).float() / 256


@pytest.mark.parametrize("seed", range(6))
def test_pictures_are_warped_as_torchvision_warps_them(seed: int) -> None:
    image = tv_tensors.Image(_photograph()[:, :40])
    ours = Affine(30, (0.2, 0.2), (0.6, 1.6), fill={tv_tensors.Image: 127, "others": 0})
    torch.manual_seed(seed)
    params = ours.make_params([image])
    bilinear = v2.InterpolationMode.BILINEAR
    expected = functional.affine(image, **params, interpolation=bilinear, fill=127)
    inside = functional.affine(torch.ones(1, 40, 48), **params, interpolation=bilinear) == 1
    inside |= functional.affine(torch.ones(1, 40, 48), **params, interpolation=bilinear) == 0
    difference = (ours.transform(image, params).int() - expected.int()).abs()
    assert difference[inside.expand(3, -1, -1)].max() <= 1  # torchvision darkens the edge itself
    assert inside.float().mean() > 0.8


def test_crops_are_distributed_as_torchvision_draws_them() -> None:
    image = tv_tensors.Image(torch.zeros(3, 64, 96, dtype=torch.uint8))
    objects = torch.tensor([[4, 6, 22, 40], [36, 10, 56, 30], [70, 20, 90, 60.0]])
    boxes = tv_tensors.BoundingBoxes(objects, format="XYXY", canvas_size=(64, 96))
    areas: list[list[float]] = []
    for crop in (IoUCrop(), v2.RandomIoUCrop()):
        torch.manual_seed(1)
        drawn = [crop.make_params([image, boxes]) for _ in range(160)]
        areas.append([params["height"] * params["width"] / (64 * 96) if params else 1.0 for params in drawn])
    ours, theirs = (np.array(values) for values in areas)
    assert abs((ours == 1).mean() - (theirs == 1).mean()) < 0.15
    assert np.abs(np.quantile(ours, [0.1, 0.25, 0.5]) - np.quantile(theirs, [0.1, 0.25, 0.5])).max() < 0.12
