"""The trial's Weights & Biases run, written from the reports. Imports wandb only when a run is written, torch never."""

from reprolens.tracking.failure import publish_failure, retract_failure
from reprolens.tracking.publish import publish

__all__ = ["publish", "publish_failure", "retract_failure"]
