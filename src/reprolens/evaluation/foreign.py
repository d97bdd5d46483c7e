"""Any detector's detections measured on a split, with the numbers that the evaluate stage gives its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reprolens import files
from reprolens.errors import ConfigError, DataError
from reprolens.evaluation.fingerprint import check_leaks, fingerprint
from reprolens.evaluation.measures.detections import Detections, Truth, truth_of
from reprolens.evaluation.measures.evaluator import DetectionEvaluator, Results
from reprolens.evaluation.picture import Picture
from reprolens.evaluation.predictions import Form, read_predictions
from reprolens.evaluation.predictions.coco_files import GroundTruth, read_truth
from reprolens.evaluation.predictions.read import check_form
from reprolens.voc import Folder, Record, read_folder


@dataclass(frozen=True)
class Options:
    """How detections are measured. `split` is one of a VOC folder (None: test); a COCO file is a split as it is.

    ignore_difficult: VOC's measures neither demand nor punish finding difficult objects; False counts them as others.
    score_threshold: detections from here up count for precision, recall, F1, the confusion and what is shown.
    resamples, seed: of the pictures, behind the 95 % intervals of the headline numbers; 0 for none.
    breakdown: whether the errors are sorted too, as the figures and samples need it.
    form: what is said about the form of the predictions.
    """

    split: str | None = None
    ignore_difficult: bool = True
    score_threshold: float = 0.5
    resamples: int = 300
    seed: int = 0
    breakdown: bool = True
    form: Form = field(default_factory=Form)

    def __post_init__(self) -> None:
        if not math.isfinite(self.score_threshold):
            raise ConfigError(f"--score-threshold {self.score_threshold}: must be a number")
        if self.resamples and not 100 <= self.resamples <= 100_000:
            raise ConfigError(f"--resamples {self.resamples}: must be from 100 to 100000, or 0 (no intervals)")
        if self.seed < 0:
            raise ConfigError(f"--seed {self.seed}: must be at least 0")


@dataclass(frozen=True)
class Evaluated:
    """Detections measured: the results, the pictures in the split's order, and what stands before the numbers.

    facts: `split` and `data/sha256`, the split's fingerprint, or, of a COCO file that does not say it, the file's hash.
    notes: in words, how the predictions were understood and measured.
    truths: of each picture, in the pictures' order; a COCO file's areas are in no record.
    """

    results: Results
    pictures: list[Picture]
    facts: dict[str, str | int]
    notes: tuple[str, ...]
    truths: list[Truth]


@dataclass(frozen=True)
class _Split:
    classes: Sequence[str]
    records: Sequence[Record]
    paths: Sequence[Path | None]
    facts: dict[str, str | int]
    coco: GroundTruth | None = None

    def truth(self, place: int, masks: bool) -> Truth:
        if self.coco is not None:
            return self.coco.truth(place, masks)
        return truth_of(self.records[place], self.classes, masks)


def evaluate_file(
    predictions: Path,
    data: Path,
    options: Options = Options(),
) -> Evaluated:
    """Measure predictions that lie in a file or folder (`predictions.read_predictions`) on a split.

    `data` is a VOC folder that the convert stage wrote, or a COCO file of annotations, whose pictures nobody looks for.
    COCO's numbers for masks are there if every detection and every object has an outline.

    Raises DataError if the data is neither, if a picture of the split is one that training or model selection saw, and
    as `read_predictions` does; ConfigError if something is said about the predictions' form that it has no place for.
    """
    check_form(predictions, options.form)
    split = _open_file(data, options) if data.is_file() else _open_folder(data, options)
    if not split.records:
        raise DataError(f"{data}: its split {split.facts['split']} has no picture; give another --split")
    detections, notes = read_predictions(predictions, split.records, split.classes, options.form, split.coco)
    truths, more = _truths(split, detections)
    evaluator = DetectionEvaluator(
        split.classes,
        options.score_threshold,
        options.resamples,
        options.seed,
        options.breakdown,
        ignore_difficult=options.ignore_difficult,
    )
    for record, found, truth in zip(split.records, detections, truths, strict=True):
        evaluator.update(record.id, found, truth, (record.width, record.height))
    pictures = [
        Picture(record, path, found) for record, path, found in zip(split.records, split.paths, detections, strict=True)
    ]
    if not options.ignore_difficult and any(truth.difficult.any() for truth in truths):
        notes = (*notes, "difficult objects count as any other")
    return Evaluated(evaluator.compute(), pictures, split.facts, (*notes, *more), truths)


def _open_folder(data: Path, options: Options) -> _Split:
    if not (data / "labels.txt").is_file():
        what = "not a VOC folder that the convert stage wrote (no labels.txt in it)" if data.exists() else "not found"
        raise DataError(
            f"{data}: {what}; set data.path to your data set and run dvc repro convert, which writes data/voc, or give "
            "a COCO file of annotations"
        )
    folder: Folder = read_folder(data)
    split = options.split or "test"
    if split not in folder.splits:
        raise DataError(f"{data}: has no split {split!r}; it has {', '.join(folder.splits)}")
    check_leaks(folder, split)
    records = list(folder.records(split))
    facts: dict[str, str | int] = {"split": split, "data/sha256": fingerprint(folder, split)}
    return _Split(folder.classes, records, [folder.image(record) for record in records], facts)


def check_split(data: Path, split: str | None) -> None:
    """Raise ConfigError if a split is asked of a COCO file, which is one."""
    if split is not None:
        raise ConfigError(f"--split {split}: {data} is a COCO file, and so a split as it is; leave --split out")


def _open_file(data: Path, options: Options) -> _Split:
    check_split(data, options.split)
    truth = read_truth(data)
    facts: dict[str, str | int] = {
        "split": truth.split or data.stem,
        "data/sha256": truth.sha256 or files.sha256(data),
    }
    return _Split(truth.classes, truth.records, [None] * len(truth.records), facts, truth)


def _truths(split: _Split, detections: Sequence[Detections]) -> tuple[list[Truth], list[str]]:
    """Return the truth of every picture, with masks if every detection and every object has an outline, and a note."""
    notes: list[str] = []
    masks = any(len(found) for found in detections) and all(
        found.masks is not None for found in detections if len(found)
    )
    if masks:
        bare = sum(not item.segmentation for record in split.records for item in record.objects)
        if bare:
            notes.append(f"{bare} objects of the data set have no outline, so boxes alone are measured")
            masks = False
    return [split.truth(place, masks) for place in range(len(split.records))], notes
