"""Pictures with boxes for training and evaluation.

A training picture is decoded and resized once and kept in memory within a bound. Each draw of augmentation is seeded by
the run's seed, the epoch and the picture's index, so the same epoch gives the same pictures with any number of workers.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from reprolens.errors import DataError
from reprolens.voc import Folder, Record

Target = dict[str, Tensor]
Sample = tuple[Tensor, Target, str]


class TrainingPictures(Dataset[Sample]):
    """The pictures of a split, resized to one size and augmented. An item's key is `(epoch, index)`.

    Gives the picture `(3, height, width)` float, 0 to 1; its target with `boxes (N, 4)` float32 and `labels (N,)`
    int64, 1 for the first class; and its id. Objects marked as crowd are left out, difficult ones are not.
    """

    def __init__(
        self,
        folder: Folder,
        split: str,
        image_size: tuple[int, int],
        augmentation: v2.Transform,
        seed: int,
        cache_mb: int,
    ) -> None:
        self._folder, self._size, self._augmentation, self._seed = folder, image_size, augmentation, seed
        self._records = list(folder.records(split))
        self._cache: dict[int, np.ndarray] = {}
        self._cache_left = cache_mb * 2**20

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        record = self._records[index]
        image = tv_tensors.Image(torch.from_numpy(self._pixels(index)).permute(2, 0, 1))
        scale = (self._size[1] / record.width, self._size[0] / record.height)
        target = _target(record, self._folder.classes, scale, self._size)
        with torch.random.fork_rng(devices=[]):
            seed = np.random.SeedSequence((self._seed, epoch, index)).generate_state(1, np.uint64)[0]
            torch.manual_seed(int(seed))
            image, target = self._augmentation(image, target)
        plain = {name: value.as_subclass(Tensor) for name, value in target.items()}
        return functional.to_dtype(image, torch.float32, scale=True).as_subclass(Tensor), plain, record.id

    def _pixels(self, index: int) -> np.ndarray:
        """Return the resized picture `(height, width, 3)` uint8, from memory if it is there."""
        pixels = self._cache.get(index)
        if pixels is None:
            picture = open_rgb(self._folder, self._records[index])
            pixels = np.array(picture.resize((self._size[1], self._size[0]), Image.Resampling.BILINEAR))
            if pixels.nbytes <= self._cache_left:
                self._cache_left -= pixels.nbytes
                self._cache[index] = pixels
        return pixels


class EvaluationPictures(Dataset[tuple[Tensor, Record]]):
    """The pictures of a split as they are: `(3, H, W)` float, 0 to 1, and their records."""

    def __init__(self, folder: Folder, split: str) -> None:
        self._folder = folder
        self.records = list(folder.records(split))

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, Record]:
        record = self.records[index]
        pixels = np.array(open_rgb(self._folder, record))
        return torch.from_numpy(pixels).permute(2, 0, 1).float().div_(255), record


class EpochSampler(Sampler[tuple[int, int]]):
    """Every picture once an epoch, in an order that the seed and the epoch decide."""

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed = size, seed
        self.epoch = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self._seed, self.epoch)).permutation(self._size)
        return ((self.epoch, int(index)) for index in order)


def training_loader(
    pictures: TrainingPictures, sampler: EpochSampler, batch_size: int, workers: int
) -> DataLoader[Any]:
    """Return batches of `(images, targets, ids)`; a last batch of one picture is left out, as BatchNorm needs two."""
    return DataLoader(
        pictures,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=_batch,
        persistent_workers=workers > 0,
        drop_last=len(pictures) > batch_size and len(pictures) % batch_size == 1,
    )


def evaluation_loader(pictures: EvaluationPictures, batch_size: int, workers: int = 0) -> DataLoader[Any]:
    """Return batches of `(images, records)` in the split's order."""
    return DataLoader(pictures, batch_size=batch_size, num_workers=workers, collate_fn=_batch)


def open_rgb(folder: Folder, record: Record) -> Image.Image:
    """Decode a record's picture to RGB. Raises DataError if it does not decode."""
    path = folder.image(record)
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except OSError as error:
        raise DataError(f"{path}: does not decode ({error}); run the convert stage again") from None


def _target(record: Record, classes: tuple[str, ...], scale: tuple[float, float], size: tuple[int, int]) -> Target:
    objects = [item for item in record.objects if not item.crowd]
    boxes = torch.tensor([item.box for item in objects], dtype=torch.float32).reshape(-1, 4)
    boxes *= torch.tensor([scale[0], scale[1], scale[0], scale[1]])
    return {
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),
        "labels": torch.tensor([classes.index(item.name) + 1 for item in objects], dtype=torch.int64),
    }


def _batch(samples: list[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    return tuple(list(part) for part in zip(*samples, strict=True))
