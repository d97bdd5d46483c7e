"""Training: one loop for every task."""

from reprolens.training.hardware import Hardware, choose_hardware
from reprolens.training.loop import Task, train

__all__ = ["Hardware", "Task", "choose_hardware", "train"]
