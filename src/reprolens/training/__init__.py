"""Training: one loop for every task."""

from reprolens.training.hardware import Hardware
from reprolens.training.loop import Batch, Task, train

__all__ = ["Batch", "Hardware", "Task", "train"]
