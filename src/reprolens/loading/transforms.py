"""Transforms of torchvision.transforms.v2 that take most of a loader's time, made faster. Torchvision still draws."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample
from torchvision import tv_tensors
from torchvision.ops import box_iou
from torchvision.transforms import v2

from reprolens.loading.mixing import PADDING

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey, as torchvision has them (ITU-R BT.601)."""


class PhotometricDistort(v2.RandomPhotometricDistort):
    """SSD's colour distortion with torchvision's draws, as one affine map of the colours: 5 to 8 times as fast.

    Brightness, contrast, saturation and the exchange of channels are affine in the colour; a picture is rounded and cut
    to 0..255 once, at the end, rather than after each. Hue turns about the grey axis (Rodrigues' formula), which is
    nearer to torchvision's turn in HSV than one in YIQ is, and spares HSV's conversions, nearly all of the time.
    """

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Return a picture uint8 `(3, H, W)` recoloured, anything else as it is."""
        if not isinstance(inpt, tv_tensors.Image):
            return inpt
        pixels = inpt.as_subclass(Tensor).contiguous()
        matrix, offset = _colour_map(params, pixels)
        if np.array_equal(matrix, np.eye(3)) and not offset.any():
            return inpt
        return tv_tensors.wrap(_recoloured(pixels, matrix, offset), like=inpt)


class Affine(v2.RandomAffine):
    """Rotation, movement and scale as torchvision draws them, bilinear on padding, 2 to 4 times as fast; no shear."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Return a picture uint8 `(3, H, W)` warped here, boxes and masks by torchvision."""
        if not isinstance(inpt, tv_tensors.Image):
            return super().transform(inpt, params)
        _, height, width = inpt.shape
        angle, (right, down) = math.radians(params["angle"]), params["translate"]
        # Where each pixel comes from, as shares of half a side from the middle: x(row, column) = along + across.
        cosine, sine = math.cos(angle) / params["scale"], math.sin(angle) / params["scale"]
        column = torch.arange(width) + (0.5 - width / 2 - right)
        row = torch.arange(height)[:, None] + (0.5 - height / 2 - down)
        x = column * (2 * cosine / width) + row * (2 * sine / width)
        y = row * (2 * cosine / height) - column * (2 * sine / height)
        # Laid out plane by plane and colour by colour, which is the fastest to write and to sample.
        grid = torch.stack([x, y])[None].permute(0, 2, 3, 1)
        ground = inpt.as_subclass(Tensor).contiguous().float()[None].sub_(PADDING)  # beyond it grid_sample finds 0
        warped = grid_sample(ground, grid, align_corners=False)[0].add_(PADDING + 0.5)  # rounded by what follows
        return tv_tensors.wrap(warped.to(torch.uint8), like=inpt)


class IoUCrop(v2.RandomIoUCrop):
    """SSD's crop as torchvision draws it, but all trials of an option at once, and at no cost without boxes."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Return the cut and which boxes have their centre in it, or nothing where the picture stays as it is."""
        boxes = next(item for item in flat_inputs if isinstance(item, tv_tensors.BoundingBoxes))
        plain, (height, width) = boxes.as_subclass(Tensor), boxes.canvas_size
        if len(plain) == 0:
            return {}
        full = torch.tensor([width, height])
        centres = (plain[:, :2] + plain[:, 2:]) / 2
        while (least := self.options[int(torch.randint(len(self.options), ()))]) < 1:  # from 1 on: as it is
            draws = torch.rand(self.trials, 4)
            sides = (full * (self.min_scale + (self.max_scale - self.min_scale) * draws[:, :2])).int()
            low = ((full - sides) * draws[:, 2:]).int()
            high = low + sides
            inside = ((centres > low[:, None]) & (centres < high[:, None])).all(2)  # (trials, N)
            overlap = (box_iou(torch.cat([low, high], 1).float(), plain) * inside).amax(1)
            ratio = sides[:, 0] / sides[:, 1]
            good = (ratio >= self.min_aspect_ratio) & (ratio <= self.max_aspect_ratio)
            good &= (sides > 0).all(1) & inside.any(1) & (overlap >= least)
            if good.any():
                trial = int(good.int().argmax())
                (left, top), (across, down) = low[trial].tolist(), sides[trial].tolist()
                return {"top": top, "left": left, "height": down, "width": across, "is_within_crop_area": inside[trial]}
        return {}


def _colour_map(params: dict[str, Any], pixels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the affine map of colours, `(3, 3)` and `(3,)`, that torchvision's drawn `params` amount to."""
    matrix, offset = np.eye(3), np.zeros(3)

    def contrast() -> None:
        nonlocal matrix, offset
        mean = pixels.sum((1, 2)).numpy() / max(1, pixels[0].numel())
        level = np.dot(LUMA, matrix @ mean + offset)
        factor = params["contrast_factor"]
        matrix, offset = factor * matrix, factor * offset + (1 - factor) * level

    if params["brightness_factor"] is not None:
        matrix = params["brightness_factor"] * matrix
    if params["contrast_factor"] is not None and params["contrast_before"]:
        contrast()
    for change in (_saturation(params["saturation_factor"]), _hue(params["hue_factor"])):
        matrix, offset = change @ matrix, change @ offset
    if params["contrast_factor"] is not None and not params["contrast_before"]:
        contrast()
    if params["channel_permutation"] is not None:
        order = params["channel_permutation"].numpy()
        matrix, offset = matrix[order], offset[order]
    return matrix, offset


def _saturation(factor: float | None) -> np.ndarray:
    """Return the map `(3, 3)` that scales the distance from grey."""
    return np.eye(3) if factor is None else factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1))


def _hue(turns: float | None) -> np.ndarray:
    """Return the rotation `(3, 3)` about the grey axis, from red towards green."""
    if turns is None:
        return np.eye(3)
    cosine, sine = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns) / math.sqrt(3)
    around = np.array([[0, -sine, sine], [sine, 0, -sine], [-sine, sine, 0]])
    return cosine * np.eye(3) + (1 - cosine) / 3 + around


def _recoloured(pixels: Tensor, matrix: np.ndarray, offset: np.ndarray) -> Tensor:
    """Return `matrix @ colour + offset` of every pixel, rounded and cut to uint8.

    The numbers are rounded to 1/2048: then every sum fits float32's 24 bits exactly, so that neither the number of
    threads nor the processor can change a bit of the result.
    """
    steps = np.round(np.column_stack([matrix, offset + 0.5]) * 2048) / 2048
    colours = pixels.float()
    result = torch.empty_like(colours)
    for channel, (red, green, blue, constant) in enumerate(steps.tolist()):
        torch.mul(colours[0], red, out=result[channel])
        result[channel].add_(colours[1], alpha=green).add_(colours[2], alpha=blue).add_(constant)
    return result.clamp_(0, 255).to(torch.uint8)
