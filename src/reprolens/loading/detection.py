"""Pictures with boxes for training and evaluation.

A training picture is decoded and resized once and kept within a bound. Each draw of augmentation is seeded by the run's
seed, the epoch and the picture's index, so the same epoch gives the same pictures with any number of workers.
"""

import signal
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import tv_tensors

from reprolens.loading.augment import Augmentation
from reprolens.loading.cache import PictureCache
from reprolens.loading.decode import DECODER, open_rgb, resized_rgb
from reprolens.loading.index import Index, beside
from reprolens.loading.masks import object_masks, object_numbers, single_objects
from reprolens.loading.sampling import EpochBatches, Key
from reprolens.voc import Record

Target = dict[str, Tensor]
Sample = tuple[Tensor, Target, str]


class TrainingPictures(Dataset[Sample]):
    """The pictures of a split, resized to `image_size` (height, width) and augmented to the size that a key asks for.

    Gives the picture `(3, height, width)` uint8; its target with `boxes (N, 4)` float32 and `labels (N,)` int64, 1 for
    the first class; and its id. Objects marked as crowd are left out, difficult ones are not. With `masks` the target
    has `masks (N, height, width)` uint8, 0 or 1, too, and objects of which no pixel shows are left out.
    """

    def __init__(
        self,
        index: Index,
        split: str,
        image_size: tuple[int, int],
        augmentation: Augmentation,
        seed: int,
        cache: PictureCache | None = None,
        masks: bool = False,
    ) -> None:
        self._folder, self._size, self._augmentation, self._seed = index.folder, image_size, augmentation, seed
        self._records: Sequence[Record] = index.records(split)
        self._cache, self._masks = cache, masks

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, key: Key) -> Sample:
        with torch.random.fork_rng(devices=[]):
            seed = np.random.SeedSequence((self._seed, key.epoch, key.index)).generate_state(1, np.uint64)[0]
            torch.manual_seed(int(seed))
            size = (key.height, key.width)
            image, target = self._augmentation(self._picture, key.index, len(self), size, key.mix)
        if self._masks:
            target = _shown(target)
        plain = {name: value.as_subclass(Tensor) for name, value in target.items()}
        return image.as_subclass(Tensor).contiguous(), plain, self._records[key.index].id

    def _picture(self, index: int) -> tuple[tv_tensors.Image, Target]:
        """Return a picture `(3, height, width)` uint8 as it is, resized, and its target."""
        record = self._records[index]

        def decode() -> np.ndarray:
            return np.array(resized_rgb(self._folder, record, self._size))

        pixels = self._cache.get(index, decode) if self._cache is not None else decode()
        scale = (self._size[1] / record.width, self._size[0] / record.height)
        target = _target(record, self._folder.classes, scale, self._size)
        if self._masks:
            places = single_objects(record)
            numbers = object_numbers(self._folder, record, self._size) if places else None
            masks = torch.from_numpy(object_masks(numbers, places, self._size))
            target = _shown(target | {"masks": tv_tensors.Mask(masks)})
        return tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1)), target


class EvaluationPictures(Dataset[tuple[Tensor, Record]]):
    """The pictures of a split as they are: `(3, H, W)` float, 0 to 1, and their records."""

    def __init__(self, index: Index, split: str) -> None:
        self._folder = index.folder
        self.records = index.records(split)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, Record]:
        record = self.records[index]
        pixels = np.array(open_rgb(self._folder, record))
        return torch.from_numpy(pixels).permute(2, 0, 1).float().div_(255), record


def picture_cache(index: Index, split: str, image_size: tuple[int, int], kind: str, limit_mb: int) -> PictureCache:
    """Return a cache for the pictures of a split at one size: none, in memory, or on the disk beside the folder.

    On the disk there is one size at a time, so that `limit_mb` bounds it.
    """
    key = f"{index.digest()} {DECODER}" if kind == "disk" else ""
    path = beside(index.folder.root) / f"{split}.pixels"
    return PictureCache(kind, path, key, len(index.folder.splits[split]), image_size, limit_mb)


def training_loader(pictures: TrainingPictures, batches: EpochBatches, workers: int) -> DataLoader[Any]:
    """Return batches of pictures `(N, 3, height, width)` uint8, their targets and ids."""
    return DataLoader(
        pictures,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=stack,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_leave_signals_to_parent,
        generator=torch.Generator(),  # else it draws from the global one, whenever it is iterated anew
    )


def evaluation_loader(
    pictures: EvaluationPictures, batch_size: int, workers: int = 0, rank: int = 0, world: int = 1
) -> DataLoader[Any]:
    """Return batches of lists `(images, records)` in the split's order; of `world` processes each gets its share."""
    share: Dataset[Any] = Subset(pictures, range(rank, len(pictures), world)) if world > 1 else pictures
    return DataLoader(
        share,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=_lists,
        worker_init_fn=_leave_signals_to_parent,
        generator=torch.Generator(),
    )


def stack(samples: list[Sample]) -> tuple[Tensor, list[Target], list[str]]:
    """Return samples of one size as a batch."""
    images, targets, ids = _lists(samples)
    return torch.stack(images), targets, ids


def _target(record: Record, classes: tuple[str, ...], scale: tuple[float, float], size: tuple[int, int]) -> Target:
    objects = [item for item in record.objects if not item.crowd]
    boxes = torch.tensor([item.box for item in objects], dtype=torch.float32).reshape(-1, 4)
    boxes *= torch.tensor([scale[0], scale[1], scale[0], scale[1]])
    return {
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),
        "labels": torch.tensor([classes.index(item.name) + 1 for item in objects], dtype=torch.int64),
    }


def _shown(target: Target) -> Target:
    """Return the target without the objects whose masks are empty: they are covered, or smaller than a pixel."""
    keep = target["masks"].as_subclass(Tensor).bool().flatten(1).any(1)
    if keep.all():
        return target
    return {name: tv_tensors.wrap(value[keep], like=value) for name, value in target.items()}


def _leave_signals_to_parent(worker: int) -> None:
    """Let Ctrl-C reach the training process alone, which ends its step and saves; it then ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _lists(samples: list[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    return tuple(list(part) for part in zip(*samples, strict=True))
