"""How a picture enters the network, the same in training, evaluation and export."""

from torch import Tensor
from torch.nn import functional
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes


class FixedSizeTransform(GeneralizedRCNNTransform):
    """Resize every picture to one size, antialiased, then normalise it.

    Pictures given as one batch `(N, 3, H, W)`, not as a list, keep their size: that of a multi-scale batch was chosen.
    One size makes batches without padding and a graph of fixed shapes for export; antialiasing makes what the network
    sees of a large picture the same as what the loader makes of it. Normalisation is taken over from `original`.
    """

    def __init__(self, size: tuple[int, int], original: GeneralizedRCNNTransform) -> None:
        super().__init__(
            min_size=min(size),
            max_size=max(size),
            image_mean=original.image_mean,
            image_std=original.image_std,
            size_divisible=original.size_divisible,
            fixed_size=(size[1], size[0]),
        )
        self.size = size
        self._keep = False

    def forward(
        self, images: list[Tensor] | Tensor, targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[ImageList, list[dict[str, Tensor]] | None]:
        """Return the pictures as the network takes them, and the targets with their boxes at that size."""
        self._keep = isinstance(images, Tensor)
        return super().forward(images, targets)

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Resize `(3, H, W)` and its boxes to the network's size."""
        before = (image.shape[-2], image.shape[-1])
        if self._keep or before == self.size:
            return image, target
        image = functional.interpolate(image[None], self.size, mode="bilinear", align_corners=False, antialias=True)[0]
        if target is not None:
            target["boxes"] = resize_boxes(target["boxes"], list(before), list(self.size))
        return image, target
