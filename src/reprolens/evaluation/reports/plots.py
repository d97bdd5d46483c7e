"""reports/plots/: every figure as a table for DVC's templates, and as PNG and SVG for light and for dark pages."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from reprolens import files
from reprolens.evaluation.findings.confusion import confusion_rows
from reprolens.evaluation.measures.calibration import Calibration
from reprolens.evaluation.measures.evaluator import Results, working_point
from reprolens.evaluation.measures.intervals import class_key
from reprolens.evaluation.reports.figures import (
    draw_class_ap,
    draw_confusion,
    draw_errors,
    draw_pr_curves,
    draw_reliability,
)

_CURVE_POINTS = 200


def write_plots(results: Results, folder: Path) -> None:
    """Write the tables and figures into `folder`, replacing what was there.

    Tables: pr.csv, thresholds.csv, per_class.csv, reliability.csv, confusion.csv and errors.csv. Figures, each as
    `<name>.png` and `.svg`, and again as `<name>-dark`: pr, class_ap, reliability, confusion and errors. Reliability is
    there where scores are probabilities, the last two where the results have a breakdown.
    """
    classes = results.classes
    with files.atomic_folder(folder) as place:
        write_table(place / "pr.csv", ("class", "recall", "precision"), _curve_rows(results))
        write_table(place / "thresholds.csv", ("threshold", "precision", "recall", "f1"), results.thresholds)
        header = ("class", "boxes", "ap50_voc12", "ap50_voc07", "ap_coco", "precision", "recall", "f1")
        write_table(place / "per_class.csv", header, _class_rows(results))
        draw_pr_curves(results.curves, classes, place)
        voc12 = [results.metrics[f"voc12/ap50/{name}"] for name in classes]
        coco = [results.metrics[class_key("coco/ap", name)] for name in classes]
        draw_class_ap(classes, voc12, coco, results.boxes, place)
        if (calibration := results.calibration) is not None:
            columns = ("lower", "upper", "count", "confidence", "accuracy")
            write_table(place / "reliability.csv", columns, _bins(calibration))
            draw_reliability(calibration, place)
        if (found := results.breakdown) is not None:
            write_table(
                place / "confusion.csv", ("truth", "prediction", "count"), confusion_rows(found.confusion, classes)
            )
            draw_confusion(found.confusion, classes, results.score_threshold, place)
            kinds = ((error.name, error.count, error.cost) for error in found.errors)
            write_table(place / "errors.csv", ("error", "count", "cost"), kinds)
            draw_errors(found.errors, place)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a CSV file whose header is there even without rows; None is an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _curve_rows(results: Results) -> Iterable[tuple[str, float, float]]:
    """Yield class, recall and precision; a long curve is thinned to evenly spaced points, its ends kept."""
    for name, curve in zip(results.classes, results.curves, strict=True):
        if not curve.positives:
            continue
        places = np.unique(np.linspace(0, len(curve.hits) - 1, _CURVE_POINTS).round().astype(int))
        for place in places if len(curve.hits) else ():
            yield name, float(curve.recall[place]), float(curve.precision[place])


def _class_rows(results: Results) -> Iterable[tuple]:
    for name, boxes, curve in zip(results.classes, results.boxes, results.curves, strict=True):
        keys = (f"voc12/ap50/{name}", f"voc07/ap50/{name}", class_key("coco/ap", name))
        measures = [results.metrics[key] for key in keys]
        yield name, boxes, *measures, *working_point([curve], results.score_threshold).values()


def _bins(calibration: Calibration) -> Iterable[tuple]:
    """Yield each bin's ends, count, mean score and share of right detections, None where it is empty."""
    for place, count in enumerate(calibration.count.tolist()):
        means = (calibration.confidence[place].item(), calibration.accuracy[place].item()) if count else (None, None)
        yield calibration.edges[place].item(), calibration.edges[place + 1].item(), count, *means
