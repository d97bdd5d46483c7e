"""How good a classifier is on a split: top-1, top-5 and what is taken for what, from pictures given batch by batch.

Sources: top-k accuracy as in Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015 (its
error is 1 minus this); balanced accuracy as in Brodersen, Ong, Stephan and Buhmann, "The Balanced Accuracy and Its
Posterior Distribution", ICPR 2010. Of classes with equal scores the one of the lower index is ranked first, everywhere,
so a tie is decided the same way every time and favours nobody's right answer.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprolens.errors import DataError
from reprolens.evaluation.measures.calibration import Calibration, calibration_of
from reprolens.evaluation.measures.intervals import Metrics, basic_intervals, class_key, with_intervals
from reprolens.evaluation.measures.ratios import defined, ratio

_TOP = 5
_SUM_TOLERANCE = 1e-3
"""Scores of a picture whose sum is this near to 1 are probabilities: float16's softmax strays as far."""


@dataclass(frozen=True)
class ClassificationResults:
    """What an evaluation of a classifier found, for K classes.

    metrics: `images`; `top1` and `top5`, the share of pictures whose class is ranked first, or among the first five
        (None with fewer than six classes, where it would say little or nothing); `balanced_accuracy`, the mean of the
        classes' top1; with probabilities `calibration/ece` and `calibration/mce`; of each class `top1/<class>`, its
        recall, and `precision/<class>`. None where a number is undefined: a class without pictures, or never predicted;
        those are left out of the mean. A class called low or high has `top1/class/low`, see `intervals.class_key`. With
        resamples `top1`, `top5` and `balanced_accuracy` have their 95 % interval behind them, `top1/low` and so on.
    confusion: `(K, K)` int64, true classes down, predicted ones across.
    calibration: of the first-ranked class's score; None if the scores are no probabilities.
    """

    classes: tuple[str, ...]
    metrics: Metrics
    confusion: NDArray[np.int64]
    calibration: Calibration | None


class ClassificationEvaluator:
    """Collects what a classifier says, and measures it: `reset`, `update` for each picture or batch, `compute`.

    Of each picture only its id, class, predicted class, the rank of its class and the prediction's score are kept: some
    20 bytes besides the id, however many classes there are. The intervals are from as many `resamples` of the pictures,
    drawn by `seed`; 0: none.
    """

    def __init__(self, classes: Sequence[str], resamples: int = 0, seed: int = 0) -> None:
        self._classes, self._resamples, self._seed = tuple(classes), resamples, seed
        self.reset()

    def reset(self) -> None:
        """Forget every picture."""
        self._images: set[str | int] = set()
        self._labels, self._predicted, self._ranks = array("i"), array("i"), array("i")
        self._confidence = array("d")
        self._probabilities = True

    def update(self, image_id: str | int | Sequence[str | int], scores: ArrayLike, label: ArrayLike) -> None:
        """Add one picture, or a batch of N with N ids.

        scores: `(K,)` or `(N, K)`, any finite numbers; higher is surer.
        label: the true class's index, or `(N,)` of them.

        Raises DataError, naming the picture, if it was given before, a score is not finite or a label fits no class;
        ValueError if the shapes do not fit each other. Nothing is added then.
        """
        ids = [image_id] if isinstance(image_id, str | int) else list(image_id)
        table = np.atleast_2d(np.asarray(scores, dtype=np.float64))
        labels = np.atleast_1d(np.asarray(label)).astype(np.int64)
        if not len(ids):
            return
        if table.shape != (len(ids), len(self._classes)) or labels.shape != (len(ids),):
            expected = f"({len(ids)}, {len(self._classes)}) and ({len(ids)},)"
            raise ValueError(f"scores and labels must be {expected}, not {table.shape} and {labels.shape}")
        self._check(ids, table, labels)
        own = table[np.arange(len(ids)), labels][:, None]
        before = np.arange(table.shape[1]) < labels[:, None]
        predicted = table.argmax(axis=1)
        confidence = table[np.arange(len(ids)), predicted]
        self._images.update(ids)
        self._labels.extend(labels.tolist())
        self._predicted.extend(predicted.tolist())
        self._ranks.extend(((table > own) | ((table == own) & before)).sum(axis=1).tolist())
        self._confidence.extend(confidence.tolist())
        sums = np.abs(table.sum(axis=1) - 1)
        self._probabilities &= bool(table.min() >= 0 and confidence.max() <= 1 and sums.max() <= _SUM_TOLERANCE)

    def compute(self) -> ClassificationResults:
        """Measure all pictures so far."""
        size = len(self._classes)
        labels, predicted, ranks = (np.array(values) for values in (self._labels, self._predicted, self._ranks))
        confusion = np.bincount((labels * size + predicted).astype(np.int64), minlength=size * size)
        confusion = confusion.reshape(size, size)
        calibration = calibration_of(np.array(self._confidence), labels == predicted) if self._probabilities else None
        whole = _headline(np.ones((1, len(labels)), np.int32), labels, ranks, size)
        metrics: Metrics = {"images": len(self._images), **{key: defined(value[0]) for key, value in whole.items()}}
        if calibration is not None:
            metrics |= {"calibration/ece": calibration.ece, "calibration/mce": calibration.mce}
        right = np.diag(confusion)
        for name, values in (("top1", ratio(right, confusion.sum(1))), ("precision", ratio(right, confusion.sum(0)))):
            metrics |= {class_key(name, one): defined(value) for one, value in zip(self._classes, values, strict=True)}
        ends = basic_intervals(
            lambda weights: _headline(weights, labels, ranks, size), len(labels), self._resamples, self._seed
        )
        return ClassificationResults(self._classes, with_intervals(metrics, ends), confusion, calibration)

    def _check(self, ids: Sequence[str | int], table: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
        size = len(self._classes)
        new: set[str | int] = set()
        for place, id in enumerate(ids):
            if id in self._images or id in new:
                raise DataError(f"{id}: evaluated twice; list each picture once in ImageSets/Main")
            new.add(id)
            if not 0 <= labels[place] < size:
                raise DataError(
                    f"{id}: its class has the index {labels[place]}, outside 0 to {size - 1}; the classes do not fit"
                )
        bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
        if len(bad):
            hint = "the model's weights or its training have gone bad"
            raise DataError(f"{ids[bad[0]]}: a class's score is not a finite number; {hint}")


def _headline(
    weights: NDArray[np.signedinteger], labels: NDArray[np.int64], ranks: NDArray[np.int64], classes: int
) -> dict[str, NDArray[np.float64]]:
    """Return top1, top5 and balanced accuracy, `(B,)` each, of pictures that count `weights` `(B, N)` times; or NaN."""
    total = weights.sum(axis=1)
    top5 = ratio(weights @ (ranks < _TOP), total) if classes > _TOP else np.full(len(weights), np.nan)
    balanced = np.full(len(weights), np.nan)
    for row, weight in enumerate(weights):
        counts, hits = (np.bincount(labels, weight * which, classes) for which in (1, ranks == 0))
        if (counts > 0).any():
            balanced[row] = (hits[counts > 0] / counts[counts > 0]).mean()
    return {"top1": ratio(weights @ (ranks == 0), total), "top5": top5, "balanced_accuracy": balanced}
