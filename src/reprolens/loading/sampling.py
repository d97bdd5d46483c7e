"""Which pictures make a batch, and at what size: a pure function of seed, epoch and place.

Neither an order nor a draw of augmentation depends on what was loaded before. So any batch can be the first, and a
resumed run needs no random states of samplers and loader processes, only the number of the next batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

SIZE_STEP = 32
"""Sides of multi-scale batches are multiples of it: the stride of the coarsest level of most backbones."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a training picture is asked for by: in which epoch, which, at what size, and whether others are mixed in."""

    epoch: int
    index: int
    height: int
    width: int
    mix: bool


class EpochBatches(Sampler[list[Key]]):
    """Every picture once an epoch, in batches whose order and sizes the seed and the epoch decide.

    Set `epoch` (from 1) and `start`, how many batches of it are already taken, before iterating. Of several processes
    each gets its share of every batch, `batch_size` pictures; a last batch that leaves a process fewer than two
    pictures, too few for BatchNorm, is left out.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        image_size: tuple[int, int],
        multi_scale: tuple[float, float] = (1.0, 1.0),
        mix_until: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._count, self._seed, self._rank, self._world = count, seed, rank, world
        self._together = batch_size * world
        self._image_size, self._multi_scale, self._mix_until = image_size, multi_scale, mix_until
        whole, rest = divmod(count, self._together)
        self._length = max(1, whole + (rest >= 2 * world))
        self.epoch, self.start = 1, 0

    def __len__(self) -> int:
        """Return the batches of a whole epoch, wherever it starts."""
        return self._length

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.random.default_rng((self._seed, self.epoch)).permutation(self._count)
        mix = self._mix_until is None or self.epoch <= self._mix_until
        for batch in range(self.start, self._length):
            height, width = self._size(batch)
            pictures = order[batch * self._together : (batch + 1) * self._together][self._rank :: self._world]
            yield [Key(self.epoch, int(index), height, width, mix) for index in pictures]

    def _size(self, batch: int) -> tuple[int, int]:
        least, most = self._multi_scale
        if least == most == 1:
            return self._image_size
        scale = np.random.default_rng((self._seed, self.epoch, batch)).uniform(least, most)
        height, width = (max(SIZE_STEP, round(side * scale / SIZE_STEP) * SIZE_STEP) for side in self._image_size)
        return height, width
