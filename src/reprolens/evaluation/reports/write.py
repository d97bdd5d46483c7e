"""The files of the evaluate stage: numbers, truth and predictions, likely label errors, plots/ and samples/."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reprolens import files
from reprolens.config import Evaluate
from reprolens.evaluation.findings.label_errors import Suspect
from reprolens.evaluation.measures.detections import Truth
from reprolens.evaluation.measures.evaluator import Metrics, Results
from reprolens.evaluation.picture import Picture
from reprolens.evaluation.predictions.coco_files import write_predictions, write_truth
from reprolens.evaluation.reports.plots import write_plots, write_table
from reprolens.evaluation.reports.sheets import write_samples

Facts = Mapping[str, str | int]
"""What stands before the numbers in evaluation.json: `split`, `data/sha256`, and what else is known of the model and
the data: `weights/sha256`, `near_duplicates`."""


def write_reports(
    results: Results,
    pictures: Sequence[Picture],
    reports: Path,
    facts: Facts,
    options: Evaluate,
    seed: int,
    truths: Sequence[Truth] | None = None,
) -> None:
    """Write every file of the evaluate stage into `reports`.

    `pictures` is the whole split in the order of its image set, `truths` what is in them if their records do not say
    all of it. What an earlier evaluation left there is replaced; samples/ only goes where a picture's file is not
    known. `seed` decides which pictures are shown. Raises DataError if one of these does not decode.
    """
    if all(picture.path is not None for picture in pictures):
        # First, because a picture may not decode: then nothing of this evaluation is written.
        write_samples(pictures, results, options, seed, reports / "samples")
    elif (reports / "samples").is_dir():  # pictures of other numbers
        shutil.rmtree(reports / "samples")
    split, data = str(facts["split"]), str(facts["data/sha256"])
    files.write_json(reports / "evaluation.json", {**facts, **results.metrics})
    write_truth(pictures, results.classes, split, data, reports / "ground_truth.json", truths)
    write_predictions(pictures, reports / "predictions.json")
    suspects = results.breakdown.suspects[: options.label_errors] if results.breakdown else ()
    with files.atomic(reports / "label_errors.csv") as temporary:
        header = ("image", "kind", "class", "suggested", "x0", "y0", "x1", "y1", "suspicion")
        write_table(temporary, header, _suspect_rows(suspects, pictures, results.classes))
    write_plots(results, reports / "plots")


def shown(metrics: Metrics, key: str) -> str:
    """Return a number with its 95 % interval where it has one: `0.610 [0.552, 0.671]`, or `undefined`."""
    value, low, high = metrics[key], metrics.get(f"{key}/low"), metrics.get(f"{key}/high")
    if value is None:
        return "undefined"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _suspect_rows(
    suspects: Sequence[Suspect], pictures: Sequence[Picture], classes: Sequence[str]
) -> Iterable[tuple[str | float | None, ...]]:
    for suspect in suspects:
        names = (None if index is None else classes[index] for index in (suspect.label, suspect.suggested))
        yield pictures[suspect.image].record.file, suspect.kind, *names, *suspect.box, suspect.suspicion
