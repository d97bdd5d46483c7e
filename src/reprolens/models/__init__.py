"""Every model under one interface, torchvision's: pictures and targets in; losses out in training, else predictions.

`images`: a list of float tensors `(3, H, W)`, RGB, 0 to 1, of any sizes, or a batch `(N, 3, H, W)` that keeps its size.
`targets`: a list of dicts with `boxes (N, 4)` float, x0 y0 x1 y1 in pixels, and `labels (N,)` int64, 1 for the first
class: 0 is the background. Predictions: a list of dicts with `boxes`, `scores` and `labels` in the same terms, in the
pixels of the picture given.
"""

from reprolens.models.checkpoint import TrainedModel, load_trained, save_trained
from reprolens.models.registry import Entry, build, names, register

__all__ = ["Entry", "TrainedModel", "build", "load_trained", "names", "register", "save_trained"]
