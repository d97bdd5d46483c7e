"""A subject of a comparison with all that is known of it: what it found, what is true, how it was made."""

import io
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reprolens.comparison.places import PREDICTIONS, REPORTS, TRUTH, Kind, Place
from reprolens.comparison.revisions import Revision
from reprolens.comparison.settings import read_settings
from reprolens.errors import ConfigError, DataError
from reprolens.evaluation.fingerprint import check_leaks, fingerprint
from reprolens.evaluation.foreign import check_split
from reprolens.evaluation.measures.detections import Detections
from reprolens.evaluation.predictions import Form, read_predictions
from reprolens.evaluation.predictions.coco_files import GroundTruth, read_truth
from reprolens.files import sha256
from reprolens.tracking.partial import REPORTS as READ
from reprolens.tracking.partial import read_object
from reprolens.voc import Folder, Record, read_folder

CONFIG = "config.yaml"
VOC = "data/voc"
_ADVICE = {
    Kind.workspace: "dvc repro evaluate writes it (dvc pull, if it was made elsewhere)",
    Kind.evaluation: "reprolens evaluate --out writes it",
    Kind.trial: "start its sweep again to bring the trial back",
    Kind.revision: "it was not evaluated there, or by an older version; check it out and run dvc repro evaluate",
}

Picture = Callable[[Record], bytes | None]
"""Return the file of a record's picture, None where it is not to be had."""


@dataclass(frozen=True)
class Subject:
    """What is compared: a place, the truth it was measured on, and what it found in each of the truth's records.

    sha256: by which the test set is known: the hash of its data or, of a COCO file that does not say it, the file's;
        None for a VOC folder without its pictures.
    settings: config.yaml by dotted names, empty where there is none.
    reports: the JSON reports by name, empty where missing.
    notes: what a reader of its predictions should know.
    """

    place: Place
    truth: GroundTruth
    sha256: str | None
    detections: tuple[Detections, ...]
    settings: Mapping[str, Any]
    reports: Mapping[str, Mapping[str, Any]]
    picture: Picture
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name that the user gave."""
        return self.place.name


def read_subjects(places: Sequence[Place], data: Path | None, split: str | None, form: Form) -> list[Subject]:
    """Read what lies at `places`, in their order.

    A predictions file, in the form `form`, is judged by `data` if that is given, a VOC folder and its `split` or a COCO
    file; else by the ground_truth.json beside it; else by the truth of the first subject that has one.

    Raises DataError for what is missing or damaged, ConfigError for a `data`, `split` or `form` that applies to none.
    """
    predictions = [place for place in places if place.kind == Kind.predictions]
    if not predictions:
        _check_unused(places, data, form)
    subjects = {place: _read(place) for place in places if place.kind != Kind.predictions}
    given = None if data is None else _given(data, split)
    truths: dict[Path, _Given] = {}
    for place in predictions:
        if (own := given or _beside(place, truths)) is not None:
            subjects[place] = _read_predictions(place, own, form)
    known = next((subjects[place] for place in places if place in subjects), None)
    for place in predictions:
        if place in subjects:
            continue
        if known is None:
            raise DataError(f"{place.name}: no ground_truth.json beside it; give the data set with --data")
        # Classes of text files may be numbers: a repository's truth has labels.txt's, another has no such order.
        ids = place.path.is_file() or known.place.kind in (Kind.evaluation, Kind.predictions)
        others = _Given(known.truth, known.sha256, known.picture, ids, f"judged by the truth of {known.name}")
        subjects[place] = _read_predictions(place, others, form)
    found = [subjects[place] for place in places]
    if data is None and split is not None:
        _check_split(found, split)
    return found


def _check_unused(places: Sequence[Place], data: Path | None, form: Form) -> None:
    why = f"{' and '.join(place.name for place in places)} bring their own truth and predictions"
    if data is not None:
        raise ConfigError(f"--data {data}: nothing is judged by it, {why}; leave --data out")
    if form != Form():
        raise ConfigError(f"--boxes, --first-pixel, --annotations: nothing is read by them, {why}; leave them out")


def _check_split(subjects: Sequence[Subject], split: str) -> None:
    """Raise ConfigError if `split` is not the one that the subjects were measured on anyway."""
    for subject in subjects:
        if subject.truth.split != split:
            own = subject.truth.split or "a split without a name"
            raise ConfigError(f"--split {split}: {subject.name} was measured on {own}; leave --split out")


def _read(place: Place) -> Subject:
    """Read a workspace, an evaluation, a trial or a revision."""
    if place.kind == Kind.evaluation:
        return _read_folder(place, place.path, place.path, _pictures_in(place.path.parent / VOC))
    if place.revision is None:
        return _read_folder(place, place.path, place.path / REPORTS, _pictures_in(place.path / VOC))
    with tempfile.TemporaryDirectory(prefix="reprolens-") as copy:
        names = (TRUTH, PREDICTIONS, *(f"{name}.json" for name in READ))
        place.revision.write((CONFIG, *(f"{REPORTS}/{name}" for name in names)), Path(copy))
        return _read_folder(place, Path(copy), Path(copy, REPORTS), _pictures_of(place.revision))


def _read_folder(place: Place, folder: Path, reports: Path, picture: Picture) -> Subject:
    for path in (reports / PREDICTIONS, reports / TRUTH):
        if not path.is_file():
            raise DataError(f"{place.name}: {path.relative_to(folder).as_posix()} not found; {_ADVICE[place.kind]}")
    try:
        truth = read_truth(reports / TRUTH)
        found, _ = read_predictions(reports / PREDICTIONS, truth.records, truth.classes, truth=truth)
        settings = read_settings(folder / CONFIG)
    except DataError as error:  # told by the user's name: a revision's files lie in a folder that is gone afterwards
        raise DataError(f"{place.name}: {str(error).replace(f'{folder}{os.sep}', '')}") from None
    told = {name: read_object(reports / f"{name}.json") for name in READ}
    return Subject(place, truth, truth.sha256 or sha256(reports / TRUTH), tuple(found), settings, told, picture)


@dataclass(frozen=True)
class _Given:
    """The truth that predictions are judged by; `ids`: whether theirs may be its own, as of a COCO file."""

    truth: GroundTruth
    sha256: str | None
    picture: Picture
    ids: bool
    note: str = ""


def _given(data: Path, split: str | None) -> _Given:
    if data.is_file():
        check_split(data, split)
        truth = read_truth(data)
        named = replace(truth, split=truth.split or data.stem)
        return _Given(named, truth.sha256 or sha256(data), lambda _: None, ids=True)
    folder = read_folder(data)
    split = split or "test"
    if split not in folder.splits:
        raise DataError(f"{data}: has no split {split!r}; it has {', '.join(folder.splits)}")
    records = tuple(folder.records(split))
    hashed: str | None = None
    if all(folder.image(record).is_file() for record in records):
        check_leaks(folder, split)
        hashed = fingerprint(folder, split)
    ids, categories = range(1, len(records) + 1), range(1, len(folder.classes) + 1)
    areas = tuple(np.full(len(record.objects), np.nan) for record in records)  # as the outlines and boxes say
    truth = GroundTruth(folder.classes, split, hashed, records, tuple(ids), tuple(categories), areas)
    note = "" if hashed else f"{data} lacks pictures, so whether its {split} split overlaps others was not checked"
    return _Given(truth, hashed, _pictures_in(data), ids=False, note=note)


def _beside(place: Place, read: dict[Path, _Given]) -> _Given | None:
    """Return the truth beside predictions, None if there is none; files of one folder have the same one in `read`."""
    path = (place.path if place.path.is_dir() else place.path.parent) / TRUTH
    if path not in read and path.is_file():
        truth = read_truth(path)
        pictures = _pictures_in(path.parent.parent / VOC)
        read[path] = _Given(truth, truth.sha256 or sha256(path), pictures, ids=True)
    return read.get(path)


def _read_predictions(place: Place, given: _Given, form: Form) -> Subject:
    truth = given.truth
    own = truth if given.ids else None
    found, notes = read_predictions(place.path, truth.records, truth.classes, form, own)
    said = (given.note, *notes) if given.note else notes
    return Subject(place, truth, given.sha256, tuple(found), {}, {}, given.picture, said)


def _pictures_in(voc: Path) -> Picture:
    folder = Folder(voc, (), {})

    def read(record: Record) -> bytes | None:
        try:
            return folder.image(record).read_bytes()
        except (OSError, ValueError, DataError):
            return None

    return read


def _pictures_of(revision: Revision) -> Picture:
    folder = Folder(Path(VOC), (), {})

    def read(record: Record) -> bytes | None:
        try:
            return revision.read(folder.image(record).as_posix())
        except DataError:
            return None

    return read


def small_picture(data: bytes, side: int) -> bytes | None:
    """Return a picture as a JPEG of at most `side` pixels a side; None if it does not decode."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.draft("RGB", (side, side))
            picture = opened.convert("RGB")
        picture.thumbnail((side, side))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=82)
        return buffer.getvalue()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
