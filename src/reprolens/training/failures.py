"""What can go wrong within a step, as one line that says what to do."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from reprolens.errors import TrainingError


@contextmanager
def explained(shape: tuple[int, ...]) -> Iterator[None]:
    """Raise TrainingError where a batch of `shape` (N, 3, H, W) does not fit the memory, or is too small."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise TrainingError(_too_large("the GPU's", shape)) from None
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # the CPU allocator's
            raise
        raise TrainingError(_too_large("this machine's", shape)) from None
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):  # BatchNorm's, where a map is down to one pixel
            raise
        raise TrainingError(f"trainer.batch_size: this model needs at least 2, a batch has {shape[0]}") from None


def check_finite(values: Mapping[str, float], step: int, ids: Sequence[str]) -> None:
    """Raise TrainingError, naming the pictures of the step, if a loss, or the gradient's norm, is NaN or infinite."""
    if all(map(math.isfinite, values.values())):
        return
    what = "gradient" if "gradient" in values else "loss"
    parts = ", ".join(f"{name} {value:g}" for name, value in values.items() if name != "loss")
    raise TrainingError(
        f"the {what} is not finite at step {step} ({parts}); lower optimizer.lr, "
        f"or look at the pictures of this batch: {', '.join(ids)}"
    )


def _too_large(whose: str, shape: tuple[int, ...]) -> str:
    count, height, width = shape[0], shape[-2], shape[-1]
    smaller = [max(32, int(side * 0.7) // 32 * 32) for side in (height, width)]
    fewer = (
        f"trainer.batch_size={count // 2} (with trainer.accumulate=2 a step stays as large), or " if count > 1 else ""
    )
    return (
        f"{whose} memory is too small for batches of {count} pictures of {height} x {width}; "
        f"try {fewer}model.image_size={smaller}"
    )
