"""How good a detector is on a split: every number of reports/evaluation.json, from pictures given one by one."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reprolens.errors import DataError
from reprolens.evaluation.findings.cases import Case, false_positives, misses
from reprolens.evaluation.findings.confusion import confusion_matrix
from reprolens.evaluation.findings.errors import ErrorKind, error_breakdown
from reprolens.evaluation.findings.label_errors import Suspect, likely_label_errors
from reprolens.evaluation.findings.worst import Faults, count_faults
from reprolens.evaluation.measures.bootstrap import intervals, measured
from reprolens.evaluation.measures.calibration import Calibration, calibrate
from reprolens.evaluation.measures.coco import coco_metrics, evaluate_coco, has_masks, mask_overlap, size_counts
from reprolens.evaluation.measures.detections import Detections, Joined, Truth, check_finite, join
from reprolens.evaluation.measures.intervals import Metrics, with_intervals
from reprolens.evaluation.measures.matches import Matches, match_coco
from reprolens.evaluation.measures.thresholds import Row, best_f1, sweep, table
from reprolens.evaluation.measures.voc_ap import Curve, all_point_ap, curves_of, eleven_point_ap, match_voc, mean_ap

if TYPE_CHECKING:
    from hotcoco import COCOeval


@dataclass(frozen=True)
class Breakdown:
    """Which errors there are: what is taken for what, what each kind costs, and where to look.

    confusion: `(K + 1, K + 1)` int64, true classes down, predicted ones across, background last, for K classes.
    faults: one a picture.
    false_positives, misses: the worst single mistakes, the worst first.
    suspects: what is likely labelled wrongly, the surest first.
    """

    confusion: NDArray[np.int64]
    errors: tuple[ErrorKind, ...]
    faults: tuple[Faults, ...]
    false_positives: tuple[Case, ...] = ()
    misses: tuple[Case, ...] = ()
    suspects: tuple[Suspect, ...] = ()


@dataclass(frozen=True)
class Results:
    """What an evaluation found. `curves` and `boxes` (the count of all true boxes) hold one entry a class.

    metrics: the flat numbers: `images`, `boxes`, `detections`; `voc07/map50`, `voc12/map50` and `coco/*`, means over
        the classes that have truth; where every object has an outline and every detection a mask, and there are both,
        `coco_segm/*` of the masks; over all classes together, at IoU 0.5, `precision`, `recall` and `f1` of the
        detections with a score from `score_threshold` up, and `best_f1` with the threshold, precision and recall it
        comes with; `calibration/ece` and `calibration/mce`; how many true boxes are `boxes/small`, `boxes/medium` and
        `boxes/large`; and of each class `voc12/ap50/<class>`, `voc07/ap50/<class>` and `coco/ap/<class>`
        (`intervals.class_key`). With resamples, behind each of `bootstrap.HEADLINE`, and of `bootstrap.MASKS`, its 95 %
        interval, `<key>/low` and `<key>/high`. With a breakdown `tide/cls` and so on, the AP50 that each kind of error
        costs.
    thresholds: score threshold, precision, recall and F1, by rising threshold, at most 200 rows.
    calibration: None where a score is no probability.

    What cannot be measured is None, never 0 or NaN. A class without true boxes has no AP and takes no part in the
    means; a class without detections that has some has AP 0. Without any true box all APs and recalls are undefined,
    precision and F1 0 if something was detected. Without any detection the APs and recall are 0, precision and
    calibration undefined. The numbers by size are undefined where no true box is of that size.
    """

    classes: tuple[str, ...]
    score_threshold: float
    metrics: Metrics
    curves: tuple[Curve, ...]
    boxes: tuple[int, ...]
    breakdown: Breakdown | None = None
    calibration: Calibration | None = None
    thresholds: tuple[Row, ...] = ()


class DetectionEvaluator:
    """Collects what a detector found, picture by picture, and measures it: `reset`, `update` for each, `compute`.

    The intervals of the headline numbers are from as many `resamples` of the pictures, drawn by `seed`; 0: none. With
    `breakdown` the errors are sorted too, which takes as long again as the rest; of single mistakes up to `cases` of
    each kind are kept, of likely label errors up to `label_errors`. Without `ignore_difficult` VOC's measures, and all
    that rests on them, count difficult objects as ordinary ones, as COCO's always do.

    Pictures may come in batches of any size, one after the other; none is kept, only its numbers: 48 bytes a detection
    and some 2 kB a picture, 20 MB for 5,000 pictures with 145,000 detections, whatever the pictures' size, and the
    masks' run-length codes where there are masks.
    """

    def __init__(
        self,
        classes: Sequence[str],
        score_threshold: float = 0.5,
        resamples: int = 0,
        seed: int = 0,
        breakdown: bool = False,
        *,
        ignore_difficult: bool = True,
        cases: int = 100,
        label_errors: int = 100,
    ) -> None:
        self._classes, self._score_threshold = tuple(classes), score_threshold
        self._resamples, self._seed, self._breakdown = resamples, seed, breakdown
        self._ignore_difficult, self._cases, self._label_errors = ignore_difficult, cases, label_errors
        self.reset()

    def reset(self) -> None:
        """Forget every picture."""
        self._images: set[str | int] = set()
        self._detections: list[Detections] = []
        self._truths: list[Truth] = []
        self._sizes: list[tuple[int, int]] = []

    def update(self, image_id: str | int, detections: Detections, truth: Truth, size: tuple[int, int]) -> None:
        """Add one picture; `size` is its width and height in pixels.

        Any finite score ranks, negative ones too. An inverted box or one without area overlaps nothing, so it is wrong.
        Raises DataError, naming the picture, if it was given before, a number is not finite or a label fits no class;
        then nothing is added.
        """
        if image_id in self._images:
            raise DataError(f"{image_id}: evaluated twice; list each picture once in ImageSets/Main")
        check_finite(image_id, detections, truth, len(self._classes))
        if not self._ignore_difficult and truth.difficult.any():
            truth = replace(truth, difficult=np.zeros(len(truth), np.bool_))
        self._images.add(image_id)
        self._detections.append(detections)
        self._truths.append(truth)
        self._sizes.append(size)

    def compute(self) -> Results:
        """Measure all pictures so far."""
        classes, count = self._classes, len(self._classes)
        joined = join(self._detections, self._truths)
        with ThreadPoolExecutor(1) as beside:  # hotcoco leaves the interpreter to us while it works
            measured_coco = beside.submit(self._coco, joined)
            matches = match_voc(joined, count)
            curves = curves_of(matches, count)
            voc, voc_classes = _voc_metrics(curves, classes)
            calibration, points = calibrate(matches), sweep(matches)
            boxes = np.bincount(joined.truth.labels, minlength=count)
            evaluation, coco = measured_coco.result()
        breakdown = self._broken_down(joined, matches, error_breakdown(evaluation)) if self._breakdown else None
        coco_classes = {key: value for key, value in coco.items() if key.startswith(("coco/ap/", "coco_segm/ap/"))}
        metrics: Metrics = {
            "images": joined.images,
            "boxes": len(joined.truth),
            "detections": len(joined.found),
            **voc,
            **{key: value for key, value in coco.items() if key not in coco_classes},
            "score_threshold": self._score_threshold,
            **working_point(curves, self._score_threshold),
            **best_f1(points),
            "calibration/ece": calibration.ece if calibration else None,
            "calibration/mce": calibration.mce if calibration else None,
            **{f"tide/{error.name}": error.cost for error in (breakdown.errors if breakdown else ())},
            **{f"boxes/{size}": number for size, number in size_counts(joined.truth).items()},
            **voc_classes,
            **coco_classes,
        }
        if self._resamples:
            metrics = with_intervals(metrics, self._intervals(matches, joined))
        return Results(
            classes,
            self._score_threshold,
            metrics,
            curves,
            tuple(boxes.tolist()),
            breakdown,
            calibration,
            table(points),
        )

    def _coco(self, joined: Joined) -> tuple["COCOeval", Metrics]:
        """Return hotcoco's evaluation of the boxes, and COCO's numbers of the boxes and, where there are any, masks."""
        classes, count = self._classes, len(self._classes)
        evaluation = evaluate_coco(joined, self._sizes, count)
        metrics = coco_metrics(evaluation, classes)
        if has_masks(joined):
            metrics |= coco_metrics(evaluate_coco(joined, self._sizes, count, "segm"), classes, "coco_segm")
        return evaluation, metrics

    def _broken_down(self, joined: Joined, voc: Matches, errors: tuple[ErrorKind, ...]) -> Breakdown:
        classes = self._classes
        judged = (joined, voc, self._score_threshold, classes, self._cases)
        return Breakdown(
            confusion_matrix(self._detections, self._truths, len(classes), self._score_threshold),
            errors,
            count_faults(voc, len(self._images), self._score_threshold),
            false_positives(*judged),
            misses(*judged),
            likely_label_errors(joined, voc, len(classes), self._label_errors),
        )

    def _intervals(self, voc: Matches, joined: Joined) -> Metrics:
        count = len(self._classes)
        coco = match_coco(joined, count)
        masks = match_coco(joined, count, mask_overlap(joined, self._sizes)) if has_masks(joined) else None
        split = measured(voc, coco, joined.images, count, self._score_threshold, masks)
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


def _voc_metrics(curves: Sequence[Curve], classes: Sequence[str]) -> tuple[Metrics, Metrics]:
    """Return VOC's two means, and both APs of every class."""
    ap12, ap07 = ([ap(curve) for curve in curves] for ap in (all_point_ap, eleven_point_ap))
    per_class = {f"voc12/ap50/{name}": value for name, value in zip(classes, ap12, strict=True)}
    per_class |= {f"voc07/ap50/{name}": value for name, value in zip(classes, ap07, strict=True)}
    return {"voc07/map50": mean_ap(ap07), "voc12/map50": mean_ap(ap12)}, per_class
