"""How good a detector is on a split: every number of reports/evaluation.json, from pictures given one by one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprolens.errors import DataError
from reprolens.evaluation.bootstrap import intervals, measured
from reprolens.evaluation.coco import coco_evaluation, coco_metrics
from reprolens.evaluation.confusion import confusion_matrix
from reprolens.evaluation.detections import Detections, Truth, check_finite
from reprolens.evaluation.errors import ErrorKind, error_breakdown
from reprolens.evaluation.matches import Matches, coco_matches
from reprolens.evaluation.voc_ap import Curve, all_point_ap, curves_of, eleven_point_ap, mean_ap, voc_matches
from reprolens.evaluation.worst import Faults, count_faults

Metrics = dict[str, float | None]


@dataclass(frozen=True)
class Breakdown:
    """Which errors there are: what is taken for what, what each kind costs, and how many each picture has.

    confusion: `(K + 1, K + 1)` int64, true classes down, predicted ones across, background last, for K classes.
    """

    confusion: NDArray[np.int64]
    errors: tuple[ErrorKind, ...]
    faults: tuple[Faults, ...]


@dataclass(frozen=True)
class Results:
    """What an evaluation found. `curves` and `boxes` (the count of all true boxes) hold one entry a class.

    metrics: the flat numbers: `images`, `boxes`, `detections`; `voc07/map50`, `voc12/map50` and `coco/*`, means over
        the classes that have truth; `precision`, `recall` and `f1` over all classes together, of the detections with a
        score from `score_threshold` up, at IoU 0.5; and of each class `voc12/ap50/<class>`, `voc07/ap50/<class>` and
        `coco/ap/<class>` (`coco.class_key`). None where a number is undefined. With resamples, behind each of
        `bootstrap.HEADLINE` its 95 % interval, `<key>/low` and `<key>/high`. With a breakdown `tide/cls` and so on, the
        AP50 that each kind of error costs.
    """

    classes: tuple[str, ...]
    score_threshold: float
    metrics: Metrics
    curves: tuple[Curve, ...]
    boxes: tuple[int, ...]
    breakdown: Breakdown | None = None


class DetectionEvaluator:
    """Collects what a detector found, picture by picture, and measures it: `reset`, `update` for each, `compute`.

    The intervals of the headline numbers are from as many `resamples` of the pictures, drawn by `seed`; 0: none. With
    `breakdown` the errors are sorted too, which takes as long again as the rest.
    """

    def __init__(
        self,
        classes: Sequence[str],
        score_threshold: float = 0.5,
        resamples: int = 0,
        seed: int = 0,
        breakdown: bool = False,
    ) -> None:
        self._classes, self._score_threshold = tuple(classes), score_threshold
        self._resamples, self._seed, self._breakdown = resamples, seed, breakdown
        self.reset()

    def reset(self) -> None:
        """Forget every picture."""
        self._images: set[str | int] = set()
        self._detections: list[Detections] = []
        self._truths: list[Truth] = []
        self._sizes: list[tuple[int, int]] = []

    def update(self, image_id: str | int, detections: Detections, truth: Truth, size: tuple[int, int]) -> None:
        """Add one picture; `size` is its width and height in pixels.

        Raises DataError, naming the picture, if it was given before, a number is not finite or a label fits no class.
        """
        if image_id in self._images:
            raise DataError(f"{image_id}: evaluated twice; list each picture once in ImageSets/Main")
        check_finite(image_id, detections, truth, len(self._classes))
        self._images.add(image_id)
        self._detections.append(detections)
        self._truths.append(truth)
        self._sizes.append(size)

    def compute(self) -> Results:
        """Measure all pictures so far."""
        classes = self._classes
        matches = voc_matches(self._detections, self._truths, len(classes))
        curves = curves_of(matches, len(classes))
        labels = np.concatenate([np.zeros(0, np.int64), *(truth.labels for truth in self._truths)])
        boxes = tuple(np.bincount(labels, minlength=len(classes)).tolist())
        voc07 = {f"voc07/ap50/{name}": eleven_point_ap(curve) for name, curve in zip(classes, curves, strict=True)}
        voc12 = {f"voc12/ap50/{name}": all_point_ap(curve) for name, curve in zip(classes, curves, strict=True)}
        evaluation = coco_evaluation(self._detections, self._truths, self._sizes, len(classes))
        coco = coco_metrics(evaluation, classes)
        breakdown = self._broken_down(matches, error_breakdown(evaluation)) if self._breakdown else None
        per_class = {key: value for key, value in coco.items() if key.startswith("coco/ap/")}
        metrics: Metrics = {
            "images": len(self._images),
            "boxes": sum(boxes),
            "detections": sum(len(detections) for detections in self._detections),
            "voc07/map50": mean_ap(voc07.values()),
            "voc12/map50": mean_ap(voc12.values()),
            **{key: value for key, value in coco.items() if key not in per_class},
            **working_point(curves, self._score_threshold),
            **{f"tide/{error.name}": error.cost for error in (breakdown.errors if breakdown else ())},
            **voc12,
            **voc07,
            **per_class,
        }
        if self._resamples:
            metrics = _beside(metrics, self._intervals(matches))
        return Results(classes, self._score_threshold, metrics, curves, boxes, breakdown)

    def _broken_down(self, voc: Matches, errors: tuple[ErrorKind, ...]) -> Breakdown:
        confusion = confusion_matrix(self._detections, self._truths, len(self._classes), self._score_threshold)
        return Breakdown(confusion, errors, count_faults(voc, len(self._images), self._score_threshold))

    def _intervals(self, voc: Matches) -> Metrics:
        coco = coco_matches(self._detections, self._truths, len(self._classes))
        split = measured(voc, coco, len(self._images), len(self._classes), self._score_threshold)
        return intervals(split, self._resamples, self._seed)


def working_point(curves: Sequence[Curve], threshold: float) -> Metrics:
    """Return `precision`, `recall` and `f1` of the detections with a score from `threshold` up, all classes together.

    Each is None where it would divide by zero: precision without detections, recall without objects, F1 without either.
    """
    counts = [curve.counts(threshold) for curve in curves]
    right, wrong, missed = (sum(count[place] for count in counts) for place in range(3))
    return {
        "precision": right / (right + wrong) if right + wrong else None,
        "recall": right / (right + missed) if right + missed else None,
        "f1": 2 * right / (2 * right + wrong + missed) if right + wrong + missed else None,
    }


def _beside(metrics: Metrics, ends: Metrics) -> Metrics:
    """Return `metrics` with each `<key>/low` and `<key>/high` of `ends` behind its key."""
    together: Metrics = {}
    for key, value in metrics.items():
        together[key] = value
        together |= {end: ends[end] for end in (f"{key}/low", f"{key}/high") if end in ends}
    return together
