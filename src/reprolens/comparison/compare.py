"""Two or more experiments on the same test set: in what they differ, and whether that is more than chance."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from reprolens.comparison.paired import Difference, changed_most, differences, verdict
from reprolens.comparison.places import find_places
from reprolens.comparison.same_truth import check_same
from reprolens.comparison.settings import Setting, different, facts
from reprolens.comparison.subjects import Subject, read_subjects, small_picture
from reprolens.errors import ConfigError, suggest
from reprolens.evaluation.findings.worst import Faults, count_faults
from reprolens.evaluation.measures.bootstrap import Measured, measured
from reprolens.evaluation.measures.detections import Detections, Truth
from reprolens.evaluation.measures.evaluator import DetectionEvaluator, Metrics
from reprolens.evaluation.measures.matches import coco_matches
from reprolens.evaluation.measures.voc_ap import voc_matches
from reprolens.evaluation.predictions import Form
from reprolens.progress import track
from reprolens.tracking.partial import read_number
from reprolens.voc import Record

SIZES = ("small", "medium", "large")
_SIDE = 640
_THRESHOLD = 0.5
_UNLIKE = 1e-6


@dataclass(frozen=True)
class Options:
    """How to compare. `metric` is the one number, named beforehand, that the verdict is on.

    data, split, form: by which VOC folder and split (None: test), or which COCO file, predictions files are judged, and
        how they are written. Without `data`, `split` is the one that all must have been measured on.
    score_threshold: from which score up detections count for precision, recall and F1, and are shown; None: the one
        that each was evaluated with, else 0.5.
    ignore_difficult: whether VOC's measures leave difficult objects out.
    images: how many pictures that changed are kept.
    """

    metric: str = "coco/ap"
    data: Path | None = None
    split: str | None = None
    form: Form = field(default_factory=Form)
    ignore_difficult: bool = True
    score_threshold: float | None = None
    resamples: int = 1000
    seed: int = 0
    images: int = 12

    def __post_init__(self) -> None:
        if self.score_threshold is not None and not math.isfinite(self.score_threshold):
            raise ConfigError(f"--score-threshold {self.score_threshold}: must be a number")
        if not 100 <= self.resamples <= 100_000:
            raise ConfigError(f"--resamples {self.resamples}: must be from 100 to 100000")
        if self.seed < 0:
            raise ConfigError(f"--seed {self.seed}: must be at least 0")
        if self.images < 0:
            raise ConfigError(f"--images {self.images}: must be at least 0")


@dataclass(frozen=True)
class Judged:
    """A subject's numbers, all measured here, in the same way for each; `said` tells what its name stands for."""

    name: str
    said: str
    score_threshold: float
    metrics: Metrics


@dataclass(frozen=True)
class Changed:
    """A picture whose result changed: by how much its faults weigh less now (`gain`), what is true, what each found.

    `before` and `after` say the faults in words; `picture` is a JPEG, None where the picture is not to be had.
    """

    id: str
    size: tuple[int, int]
    gain: float
    before: str
    after: str
    truth: Truth
    first: Detections
    second: Detections
    picture: bytes | None


@dataclass(frozen=True)
class Pair:
    """The baseline against one other subject.

    outcome: `better` or `worse` (the other, by the comparison's metric), `same` for the same detections, else `open`,
        also where other detections give the same number.
    differences: by key, other minus baseline.
    sizes: AP and AR by COCO's sizes, `(baseline, other)`; they have no intervals.
    changed, changes: the pictures whose faults changed most, and how many there are in all.
    """

    name: str
    verdict: str
    outcome: str
    differences: Mapping[str, Difference]
    sizes: Mapping[str, tuple[float | None, float | None]]
    changed: tuple[Changed, ...]
    changes: int


@dataclass(frozen=True)
class Comparison:
    """What `compare` found: the first of `subjects` is the baseline, and each of `pairs` another one against it."""

    metric: str
    split: str | None
    sha256: str | None
    classes: tuple[str, ...]
    images: int
    resamples: int
    seed: int
    subjects: tuple[Judged, ...]
    settings: tuple[Setting, ...]
    facts: tuple[Setting, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]


def compare(root: Path, names: Sequence[str], options: Options) -> Comparison:
    """Compare what `names` stand for in the repository `root`, the first being the baseline.

    A name is `.` (the repository as it lies) or a folder like it, a folder that an evaluation was written into, a
    predictions file (or folder of them), a trial (SWEEP/NUMBER) or a Git revision or DVC experiment, tried in this
    order.

    Raises ConfigError for a wrong name or option, DataError for results that are missing or damaged and where not all
    were measured on the same test set.
    """
    subjects = check_same(read_subjects(find_places(root, names), options.data, options.split, options.form))
    truth = subjects[0].truth
    truths = [truth.truth(place) for place in range(len(truth.records))]
    judged = [_judge(subject, truths, options) for subject in track(subjects, "measure")]
    pairs = tuple(_pair(judged[0], other, subjects, truths, options) for other in judged[1:])
    return Comparison(
        metric=options.metric,
        split=truth.split,
        sha256=subjects[0].sha256,
        classes=tuple(truth.classes),
        images=len(truths),
        resamples=options.resamples,
        seed=options.seed,
        subjects=tuple(one.shown for one in judged),
        settings=different([subject.settings for subject in subjects]),
        facts=facts([subject.reports for subject in subjects]),
        pairs=pairs,
        notes=tuple(note for one in judged for note in _notes(one, options)),
    )


@dataclass(frozen=True)
class _Judgement:
    subject: Subject
    shown: Judged
    measured: Measured
    faults: tuple[Faults, ...]


def _judge(subject: Subject, truths: Sequence[Truth], options: Options) -> _Judgement:
    classes, records = subject.truth.classes, subject.truth.records
    threshold = options.score_threshold
    if threshold is None:
        threshold = read_number(subject.reports.get("evaluation", {}).get("score_threshold"))
    if threshold is None:
        threshold = read_number(subject.settings.get("evaluate.score_threshold"))
    threshold = _THRESHOLD if threshold is None else threshold
    evaluator = DetectionEvaluator(classes, threshold, ignore_difficult=options.ignore_difficult)
    for record, found, truth in zip(records, subject.detections, truths, strict=True):
        evaluator.update(record.id, found, truth, (record.width, record.height))
    voc = voc_matches(subject.detections, truths, len(classes), ignore_difficult=options.ignore_difficult)
    coco = coco_matches(subject.detections, truths, len(classes))
    return _Judgement(
        subject,
        Judged(subject.name, subject.place.said, threshold, evaluator.compute().metrics),
        measured(voc, coco, len(truths), len(classes), threshold),
        count_faults(voc, len(truths), threshold),
    )


def _pair(
    first: _Judgement, second: _Judgement, subjects: Sequence[Subject], truths: Sequence[Truth], options: Options
) -> Pair:
    classes = first.subject.truth.classes
    found = differences(first.measured, second.measured, classes, options.resamples, options.seed)
    if options.metric not in found:
        valid = [key for key in found if "/ap50/" not in key and "/ap/" not in key]
        raise ConfigError(f"--metric {options.metric}: {suggest(options.metric, valid)}")
    decisive, same = found[options.metric], _same(first.subject.detections, second.subject.detections)
    names = (first.shown.name, second.shown.name)
    changes = changed_most(first.faults, second.faults, len(truths))
    most = changes[: options.images]
    return Pair(
        name=second.shown.name,
        verdict=verdict(decisive, names, len(truths), same=same, both=len(subjects) > 2),
        outcome=_outcome(decisive, same),
        differences=found,
        sizes={
            key: (first.shown.metrics.get(key), second.shown.metrics.get(key))
            for key in (f"coco/{measure}_{size}" for measure in ("ap", "ar") for size in SIZES)
            if key in first.shown.metrics
        },
        changed=tuple(_changed(place, change, first, second, subjects, truths) for place, change in most),
        changes=len(changes),
    )


def _same(first: Sequence[Detections], second: Sequence[Detections]) -> bool:
    """Return whether both are the same detections picture by picture, in whatever order those of a picture are."""
    for pair in zip(first, second, strict=True):
        one, two = (np.column_stack((own.boxes, own.scores, own.labels)) for own in pair)
        if one.shape != two.shape or not np.array_equal(one[np.lexsort(one.T)], two[np.lexsort(two.T)]):
            return False
    return True


def _outcome(found: Difference, same: bool) -> str:
    if same and found.difference == 0:
        return "same"
    if not found.shown:
        return "open"
    return "better" if (found.difference or 0) > 0 else "worse"


def _changed(
    place: int,
    change: float,
    first: _Judgement,
    second: _Judgement,
    subjects: Sequence[Subject],
    truths: Sequence[Truth],
) -> Changed:
    record = first.subject.truth.records[place]
    files = (subject.picture(record) for subject in subjects)
    found = next((data for data in files if data is not None), None)
    shown = [one.subject.detections[place].above(one.shown.score_threshold) for one in (first, second)]
    return Changed(
        id=record.id,
        size=_size(record, truths[place]),
        gain=-change,
        before=str(first.faults[place]),
        after=str(second.faults[place]),
        truth=truths[place],
        first=shown[0],
        second=shown[1],
        picture=None if found is None else small_picture(found, _SIDE),
    )


def _size(record: Record, truth: Truth) -> tuple[int, int]:
    """Return a picture's size; where a foreign file does not say it, how far its true boxes reach."""
    reach = np.ceil(truth.boxes[:, 2:].max(axis=0, initial=1)).astype(int).tolist()
    return record.width or reach[0], record.height or reach[1]


def _notes(one: _Judgement, options: Options) -> list[str]:
    """Return what a reader should know of a subject, also that its report is not of the predictions beside it."""
    name, metrics = one.shown.name, one.shown.metrics
    notes = [f"{name}: {note}" for note in one.subject.notes]
    told = one.subject.reports.get("evaluation", {})
    for key in ("voc12/map50", "coco/ap") if options.ignore_difficult else ("coco/ap",):
        said, own = read_number(told.get(key)), metrics[key]
        if said is not None and (own is None or abs(said - own) > _UNLIKE):
            here = "undefined" if own is None else f"{own:.4f}"
            notes.append(f"{name}: reports/evaluation.json says {key} {said:.4f}, its predictions give {here}")
    return notes
