"""How good a segmentation is on a split: IoU of every class and their mean, from pictures given one by one.

Sources: VOCevalseg.m of the PASCAL VOC development kit (VOC2012): pixels of all pictures are counted together, a
class's IoU is right / (true + predicted - right), void pixels are left out, and the background is a class like the
others if it is among them (VOC's index 0). Pixel accuracy, mean accuracy and frequency-weighted IoU as in Long,
Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, section 5. A class that is
neither in the truth nor predicted anywhere has no IoU and is left out of the mean.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprolens.errors import DataError
from reprolens.evaluation.measures.intervals import Metrics, basic_intervals, class_key, with_intervals
from reprolens.evaluation.measures.ratios import defined, defined_mean, ratio

VOID = 255
"""What VOC's masks hold where a pixel counts as neither object nor background."""


@dataclass(frozen=True)
class SegmentationResults:
    """What an evaluation of a segmentation found, for K classes.

    metrics: `images`, `pixels` (those that count) and `pixels/void`; `miou`; `pixel_accuracy`, the share of pixels that
        are right; `mean_accuracy`, the mean of the classes' recalls; `frequency_weighted_iou`, the mean of the IoUs
        weighted by the classes' true pixels; of each class `iou/<class>` and `accuracy/<class>`, its recall. None where
        a number is undefined. With resamples the four means have their 95 % interval behind them, `miou/low` and so on.
    confusion: `(K, K)` int64 pixels, true classes down, predicted ones across.
    """

    classes: tuple[str, ...]
    metrics: Metrics
    confusion: NDArray[np.int64]


class SegmentationEvaluator:
    """Collects masks, picture by picture, and measures them: `reset`, `update` for each, `compute`.

    Kept are one confusion matrix and, of each picture, its id and three counts a class that it shows or is said to
    show. The intervals are from as many `resamples` of the pictures, drawn by `seed`; 0: none.
    """

    def __init__(
        self, classes: Sequence[str], ignore_index: int | None = VOID, resamples: int = 0, seed: int = 0
    ) -> None:
        self._classes, self._ignore = tuple(classes), ignore_index
        self._resamples, self._seed = resamples, seed
        self.reset()

    def reset(self) -> None:
        """Forget every picture."""
        size = len(self._classes)
        self._images: set[str | int] = set()
        self._confusion = np.zeros((size, size), np.int64)
        self._void = 0
        self._columns = tuple(array("q") for _ in range(5))  # picture, class, right, true, predicted

    def update(self, image_id: str | int, prediction: ArrayLike, truth: ArrayLike) -> None:
        """Add one picture: `prediction` and `truth` hold the class's index of every pixel, `(H, W)` whole numbers.

        Where the truth is `ignore_index`, the pixel does not count, whatever is predicted there.

        Raises DataError, naming the picture, if it was given before, the two are not of one size, or a pixel that
        counts holds no index of a class; ValueError if they do not hold whole numbers. Nothing is added then.
        """
        if image_id in self._images:
            raise DataError(f"{image_id}: evaluated twice; list each picture once in ImageSets/Segmentation")
        size = len(self._classes)
        found, real = np.asarray(prediction), np.asarray(truth)
        if found.ndim != 2 or found.shape != real.shape:
            shapes = " and ".join("x".join(map(str, mask.shape)) for mask in (found, real))
            raise DataError(
                f"{image_id}: the predicted and the true mask are not of one size: {shapes} (height, width)"
            )
        counted = np.ones(real.shape, np.bool_) if self._ignore is None else real != self._ignore
        for what, mask in (("the predicted mask", found), ("the true mask", real)):
            _check_indices(f"{image_id}: {what}", mask[counted], size)
        pairs = real[counted].astype(np.int64) * size + found[counted].astype(np.int64)
        confusion = np.bincount(pairs, minlength=size * size).reshape(size, size)
        right, true, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
        shown = np.flatnonzero(true + predicted)
        number = np.full(len(shown), len(self._images))
        for column, values in zip(
            self._columns, (number, shown, right[shown], true[shown], predicted[shown]), strict=True
        ):
            column.extend(values.tolist())
        self._images.add(image_id)
        self._confusion += confusion
        self._void += int(real.size - counted.sum())

    def compute(self) -> SegmentationResults:
        """Measure all pictures so far."""
        right, true, predicted = (np.diag(self._confusion), self._confusion.sum(axis=1), self._confusion.sum(axis=0))
        metrics: Metrics = {"images": len(self._images), "pixels": int(true.sum()), "pixels/void": self._void}
        means = _means(right[None], true[None], predicted[None])
        metrics |= {key: defined(value[0]) for key, value in means.items()}
        per_class = (("iou", ratio(right, true + predicted - right)), ("accuracy", ratio(right, true)))
        for name, values in per_class:
            metrics |= {class_key(name, one): defined(value) for one, value in zip(self._classes, values, strict=True)}
        ends = basic_intervals(self._weighted_means, len(self._images), self._resamples, self._seed)
        return SegmentationResults(self._classes, with_intervals(metrics, ends), self._confusion.copy())

    def _weighted_means(self, weights: NDArray[np.signedinteger]) -> dict[str, NDArray[np.float64]]:
        """Return the means, `(B,)` each, of pictures that count `weights` `(B, pictures)` times."""
        image, shown, *counts = (np.array(column) for column in self._columns)
        sums = np.zeros((3, len(weights), len(self._classes)))
        for row, weight in enumerate(weights):
            for place, count in enumerate(counts):
                sums[place, row] = np.bincount(shown, weight[image] * count, len(self._classes))
        return _means(*sums)


def _means(right: NDArray, true: NDArray, predicted: NDArray) -> dict[str, NDArray[np.float64]]:
    """Return mIoU and the other means of counts `(B, K)`, each `(B,)`, NaN where undefined."""
    iou, recall = ratio(right, true + predicted - right), ratio(right, true)
    pixels = true.sum(axis=1)
    return {
        "miou": defined_mean(iou),
        "pixel_accuracy": ratio(right.sum(axis=1), pixels),
        "mean_accuracy": defined_mean(recall),
        "frequency_weighted_iou": ratio((np.nan_to_num(iou) * true).sum(axis=1), pixels),
    }


def _check_indices(what: str, values: NDArray, classes: int) -> None:
    if values.dtype.kind not in "iub":
        raise ValueError(f"{what} must hold whole numbers, not {values.dtype}")
    if len(values) and not (values.min() >= 0 and values.max() < classes):
        bad = values[(values < 0) | (values >= classes)][0]
        raise DataError(f"{what} holds {bad}, outside 0 to {classes - 1}; the classes do not fit")
