"""How good a file is by the evaluator that measures the trained model, on the same pixels in the same run."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from reprolens.errors import DataError, ExportError, first_line
from reprolens.evaluation import DetectionEvaluator, Detections, truth_of
from reprolens.export.gate.numbers import check_found
from reprolens.export.gate.pictures import read, spread
from reprolens.inference.model import Model
from reprolens.progress import track
from reprolens.voc import Folder

MEASURES = ("voc12/map50", "coco/ap")
"""What decides, of all that the evaluator measures."""

Scores = dict[str, float | None]
Name = TypeVar("Name")


def measure(model: Model, folder: Folder, split: str, label: str = "gate", limit: int | None = None) -> Scores:
    """Return `voc12/map50` and `coco/ap` of a model on a split, or on `limit` pictures of it that are evenly spaced.

    They are None where the pictures show nothing. `label` is shown beside the progress. Raises ExportError if the
    model cannot be run or gives what are no detections.
    """
    measured, reasons = measure_each({"": model}, folder, split, label, limit)
    if reasons:
        raise ExportError(reasons[""])
    return measured[""]


def measure_each(
    models: Mapping[Name, Model], folder: Folder, split: str, label: str = "gate", limit: int | None = None
) -> tuple[dict[Name, Scores], dict[Name, str]]:
    """Return the scores of each model, and why those that fail on a picture have none; see `measure`.

    Each picture is read once and shown to all, so all see the same pixels and no more than one is in memory.
    """
    evaluators = {name: DetectionEvaluator(folder.classes) for name in models}
    reasons: dict[Name, str] = {}
    for id in track(spread(folder, split, limit), label):
        record, pixels = read(folder, id)
        truth = truth_of(record, folder.classes)
        for name in [name for name in models if name not in reasons]:
            try:
                [found] = models[name](pixels[None])
                check_found(found, len(folder.classes))
                detections = Detections(found.boxes.astype(np.float64), found.scores.astype(np.float64), found.labels)
                evaluators[name].update(id, detections, truth, (record.width, record.height))
            except DataError:  # of the truth
                raise
            except Exception as error:  # runtimes raise kinds of their own
                reasons[name] = f"fails on picture {id}: {first_line(error)}"
    scores = {name: evaluators[name].compute().metrics for name in models if name not in reasons}
    return {name: {key: metrics[key] for key in MEASURES} for name, metrics in scores.items()}, reasons
