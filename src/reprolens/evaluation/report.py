"""The files of the evaluate stage: evaluation.json, predictions.json, plots/ and samples/."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reprolens import files
from reprolens.errors import DataError
from reprolens.evaluation.coco import class_key, xywh
from reprolens.evaluation.confusion import confusion_rows, draw_confusion
from reprolens.evaluation.detections import Detections, truth_of
from reprolens.evaluation.errors import draw_errors
from reprolens.evaluation.evaluator import Metrics, Results, working_point
from reprolens.evaluation.figures import Sample, draw_pr_curves, draw_samples
from reprolens.evaluation.worst import choose_worst
from reprolens.voc import Record

_CURVE_POINTS = 200


@dataclass(frozen=True)
class Picture:
    """An evaluated picture: its record, the file it lies in, and what the model found, in pixels of the picture."""

    record: Record
    path: Path
    detections: Detections


def write_reports(
    results: Results, pictures: Sequence[Picture], reports: Path, *, split: str, samples: int, worst: int, seed: int
) -> None:
    """Write every file of the evaluate stage into `reports`.

    `pictures` is the whole split in the order of its image set. `samples` of them are shown, chosen by `seed`, and the
    `worst` of those with errors, if the results have a breakdown. Raises DataError if one of these does not decode.
    """
    write_evaluation(results, split, reports / "evaluation.json")
    write_predictions(pictures, reports / "predictions.json")
    write_plots(results, reports / "plots")
    chosen = [pictures[place] for place in choose_samples(len(pictures), samples, seed)]
    faults = results.breakdown.faults if results.breakdown else ()
    shown_worst = [(pictures[place], str(faults[place])) for place in choose_worst(faults, worst)]
    write_samples(chosen, shown_worst, results.classes, results.score_threshold, reports / "samples")


def write_evaluation(results: Results, split: str, path: Path) -> None:
    """Write the flat metrics and the split's name; an undefined number is null."""
    files.write_json(path, {"split": split, **results.metrics})


def shown(metrics: Metrics, key: str) -> str:
    """Return a number with its 95 % interval where it has one: `0.610 [0.552, 0.671]`, or `undefined`."""
    value, low, high = metrics[key], metrics.get(f"{key}/low"), metrics.get(f"{key}/high")
    if value is None:
        return "undefined"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def write_predictions(pictures: Sequence[Picture], path: Path) -> None:
    """Write COCO results, one detection a line.

    `image_id` is the picture's 1-based position among `pictures`, `category_id` the class's 1-based position in
    labels.txt, `bbox` left, top, width and height in pixels. Numbers are written in full, so that COCO's measure of
    this file is the one in evaluation.json.
    """
    rows = (
        {"image_id": number, "category_id": int(label) + 1, "bbox": box.tolist(), "score": float(score)}
        for number, picture in enumerate(pictures, start=1)
        for box, score, label in zip(
            xywh(picture.detections.boxes), picture.detections.scores, picture.detections.labels, strict=True
        )
    )
    lines = ",\n".join(json.dumps(row, allow_nan=False) for row in rows)
    files.write_text(path, f"[\n{lines}\n]\n" if lines else "[]\n")


def write_plots(results: Results, folder: Path) -> None:
    """Write the tables and figures into `folder`, replacing what was there.

    That is pr.csv, pr.png and per_class.csv; with a breakdown confusion.csv, confusion.png, errors.csv and errors.png.
    """
    with files.atomic_folder(folder) as temporary:
        _write_table(temporary / "pr.csv", ("class", "recall", "precision"), _curve_rows(results))
        header = ("class", "boxes", "ap50_voc12", "ap50_voc07", "ap_coco", "precision", "recall", "f1")
        _write_table(temporary / "per_class.csv", header, _class_rows(results))
        draw_pr_curves(results.curves, results.classes, temporary / "pr.png")
        if (found := results.breakdown) is not None:
            rows = confusion_rows(found.confusion, results.classes)
            _write_table(temporary / "confusion.csv", ("truth", "prediction", "count"), rows)
            draw_confusion(found.confusion, results.classes, results.score_threshold, temporary / "confusion.png")
            kinds = ((error.name, error.count, error.cost) for error in found.errors)
            _write_table(temporary / "errors.csv", ("error", "count", "cost"), kinds)
            draw_errors(found.errors, temporary / "errors.png")


def choose_samples(count: int, samples: int, seed: int) -> list[int]:
    """Return the positions of up to `samples` of `count` pictures, evenly spaced, from a start that `seed` decides."""
    samples = min(samples, count)
    start = np.random.default_rng(seed).random()
    return [int((start + place) * count / samples) for place in range(samples)]


def write_samples(
    pictures: Sequence[Picture],
    worst: Sequence[tuple[Picture, str]],
    classes: Sequence[str],
    score_threshold: float,
    folder: Path,
) -> None:
    """Write the clean pictures, their boxes as samples.json, and their contact sheets, replacing `folder`.

    `pictures` become 0.jpg, 1.jpg, ... on sheet.png; `worst`, each with the reason why, worst-0.jpg, ... on worst.png.
    Predictions are those with a score from `score_threshold` up. Raises DataError if a picture does not decode.
    """

    def sample(picture: Picture, why: str | None) -> Sample:
        truth, found = truth_of(picture.record, classes), picture.detections.above(score_threshold)
        return Sample(picture.record.id, _open_rgb(picture.path), truth, found, why)

    with files.atomic_folder(folder) as temporary:
        entries = []
        for kind, prefix, sheet, items in (
            ("sample", "", "sheet.png", [sample(picture, None) for picture in pictures]),
            ("worst", "worst-", "worst.png", [sample(picture, why) for picture, why in worst]),
        ):
            for number, item in enumerate(items):
                item.picture.save(temporary / f"{prefix}{number}.jpg", quality=92)
                entries.append(_sample_entry(f"{prefix}{number}.jpg", kind, item, classes))
            draw_samples(items, classes, temporary / sheet, score_threshold)
        files.write_json(temporary / "samples.json", entries)


def _sample_entry(file: str, kind: str, sample: Sample, classes: Sequence[str]) -> dict[str, Any]:
    truth, found = sample.truth, sample.detections
    return {
        "image": file,
        "kind": kind,
        "why": sample.why,
        "id": sample.id,
        "width": sample.picture.width,
        "height": sample.picture.height,
        "truth": [
            {"box": box.tolist(), "label": classes[label], "difficult": bool(difficult)}
            for box, label, difficult in zip(truth.boxes, truth.labels, truth.difficult, strict=True)
        ],
        "predictions": [
            {"box": box.tolist(), "label": classes[label], "score": float(score)}
            for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True)
        ],
    }


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
        measures = [results.metrics[key] for key in (f"voc12/ap50/{name}", f"voc07/ap50/{name}", class_key(name))]
        yield name, boxes, *measures, *working_point([curve], results.score_threshold).values()


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a CSV file whose header is there even without rows; None is an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _open_rgb(path: Path) -> Image.Image:
    """Decode a picture to 8-bit RGB; one of 16 or 32 bits is stretched from its darkest to its brightest value."""
    try:
        with Image.open(path) as image:
            if not image.mode.startswith("I") and image.mode != "F":
                return image.convert("RGB")
            values = np.asarray(image, dtype=np.float64)
            low, high = values.min(), values.max()
            return Image.fromarray(((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be decoded ({error}); run the convert stage again") from None
