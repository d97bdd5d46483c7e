"""How a picture enters the network, the same in training, evaluation and export."""

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes

from reprolens.models.preprocessing import Preprocessing


class FixedSizeTransform(GeneralizedRCNNTransform):
    """Resize every picture to one size, antialiased, then normalise it.

    Pictures given as one batch `(N, 3, H, W)`, not as a list, keep their size: that of a multi-scale batch was chosen.
    One size makes batches without padding and a graph of fixed shapes for export; antialiasing makes what the network
    sees of a large picture the same as what the loader makes of it.
    `preprocessing` is what the weights expect; whoever loads others sets it. Batches are padded at the right and the
    bottom to sides that `size_divisible` divides.
    """

    def __init__(self, size: tuple[int, int], preprocessing: Preprocessing, size_divisible: int) -> None:
        super().__init__(
            min_size=min(size),
            max_size=max(size),
            image_mean=[],
            image_std=[],
            size_divisible=size_divisible,
            fixed_size=(size[1], size[0]),
        )
        self.size, self.preprocessing = size, preprocessing
        self._keep = False
        self.paste = True
        """Whether predicted masks are pasted into the picture they are of, or stay `(N, 1, m, m)` in their boxes."""

    def forward(
        self, images: list[Tensor] | Tensor, targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[ImageList, list[dict[str, Tensor]] | None]:
        """Return the pictures as the network takes them, and the targets with their boxes at that size."""
        self._keep = isinstance(images, Tensor)
        return super().forward(images, targets)

    def normalize(self, image: Tensor) -> Tensor:
        """Return a picture `(3, H, W)` as the network's weights expect it."""
        return self.preprocessing(image)

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Resize `(3, H, W)`, its boxes and its masks `(N, H, W)` to the network's size."""
        before = (image.shape[-2], image.shape[-1])
        if self._keep or before == self.size:
            return image, target
        image = functional.interpolate(image[None], self.size, mode="bilinear", align_corners=False, antialias=True)[0]
        if target is not None:
            target["boxes"] = resize_boxes(target["boxes"], list(before), list(self.size))
            if "masks" in target:
                masks = target["masks"].to(torch.uint8)[:, None]
                target["masks"] = functional.interpolate(masks, self.size, mode="nearest-exact")[:, 0]
        return image, target

    def postprocess(
        self,
        result: list[dict[str, Tensor]],
        image_shapes: list[tuple[int, int]],
        original_image_sizes: list[tuple[int, int]],
    ) -> list[dict[str, Tensor]]:
        """Return predictions in the pixels of the pictures that were given; in training `result` as it is."""
        small = [] if self.paste else [found.pop("masks", None) for found in result]
        result = super().postprocess(result, image_shapes, original_image_sizes)
        for found, masks in zip(result, small, strict=False):
            if masks is not None:
                found["masks"] = masks
        return result
