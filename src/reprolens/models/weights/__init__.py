"""Starting weights: where they come from, and how they enter a model (weights/initial.pt, reports/pretrain.json).

Starting weights are not a checkpoint to resume: training begins at step 0 with a new optimizer. What they expect of a
picture comes with them.
"""

from reprolens.models.weights.fetch import fetch
from reprolens.models.weights.files import file_weights
from reprolens.models.weights.loading import (
    Match,
    StartingWeights,
    load_starting_weights,
    random_weights,
    report,
    save_starting_weights,
)
from reprolens.models.weights.places import artifact_weights, dvc_weights
from reprolens.models.weights.published import published_weights

__all__ = [
    "Match",
    "StartingWeights",
    "artifact_weights",
    "dvc_weights",
    "fetch",
    "file_weights",
    "load_starting_weights",
    "published_weights",
    "random_weights",
    "report",
    "save_starting_weights",
]
