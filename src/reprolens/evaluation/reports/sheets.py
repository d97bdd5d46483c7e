"""reports/samples/: evaluated pictures with true and predicted boxes, and single mistakes, as contact sheets."""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reprolens import files
from reprolens.config import Evaluate
from reprolens.errors import DataError
from reprolens.evaluation.findings.cases import Case
from reprolens.evaluation.findings.label_errors import KINDS, Suspect
from reprolens.evaluation.findings.worst import choose_worst
from reprolens.evaluation.measures.detections import truth_of
from reprolens.evaluation.measures.evaluator import Breakdown, Results
from reprolens.evaluation.picture import Picture
from reprolens.evaluation.reports.figures import (
    Sample,
    Single,
    Tile,
    draw_sample,
    draw_single,
    write_samples_sheet,
    write_singles_sheet,
)
from reprolens.progress import track


def write_samples(pictures: Sequence[Picture], results: Results, options: Evaluate, seed: int, folder: Path) -> None:
    """Write pictures, clean, their boxes as samples.json, and contact sheets, replacing `folder`.

    `options.samples` pictures, evenly spread from a start that `seed` decides, become 0.jpg, 1.jpg, ... on sheet.png.
    With a breakdown the `options.worst` that are served worst become worst-0.jpg, ... on worst.png, each with the
    reason why, and `options.cases` mistakes of a kind are cut out on false_positives.png, misses.png and
    label_errors.png. Predictions are those with a score from the threshold up.

    Whole pictures are in memory one at a time.

    Raises DataError if a picture does not decode, or its file is not known.
    """
    classes, threshold, found = results.classes, results.score_threshold, results.breakdown
    shown: list[tuple[str, str, int, str | None]] = [
        ("sample", f"{number}.jpg", place, None)
        for number, place in enumerate(choose_samples(len(pictures), options.samples, seed))
    ]
    if found is not None:
        worst = choose_worst(found.faults, options.worst)
        shown += [
            ("worst", f"worst-{number}.jpg", place, str(found.faults[place])) for number, place in enumerate(worst)
        ]
    with files.atomic_folder(folder) as temporary:
        entries = []
        tiles: dict[str, list[Tile]] = {"sample": [], "worst": []}
        for kind, file, place, why in track(shown, "samples"):
            sample = _sample(pictures[place], results, why)
            sample.picture.save(temporary / file, quality=92)
            entries.append(_entry(file, kind, sample, classes))
            tiles[kind].append(draw_sample(sample, classes, threshold))
        files.write_json(temporary / "samples.json", entries)
        write_samples_sheet(tiles["sample"], classes, temporary / "sheet.png", threshold)
        write_samples_sheet(tiles["worst"], classes, temporary / "worst.png", threshold)
        if found is not None:
            _write_singles(pictures, found, options.cases, classes, temporary)


def _write_singles(
    pictures: Sequence[Picture], found: Breakdown, most: int, classes: Sequence[str], folder: Path
) -> None:
    """Write the sheets of single boxes, up to `most` on each; a picture that serves several tiles is decoded once."""
    sheets: dict[str, Sequence[Case | Suspect]] = {
        "false_positives": found.false_positives[:most],
        "misses": found.misses[:most],
        "label_errors": found.suspects[:most],
    }
    places = sorted((case.image, name, rank) for name, cases in sheets.items() for rank, case in enumerate(cases))
    drawn: dict[tuple[str, int], Tile] = {}
    for image, group in groupby(places, key=itemgetter(0)):
        whole = _open(pictures[image])
        for _, name, rank in group:
            drawn[name, rank] = draw_single(_single(sheets[name][rank], pictures[image], whole, classes), classes)
    for name, cases in sheets.items():
        write_singles_sheet([drawn[name, rank] for rank in range(len(cases))], classes, folder / f"{name}.png")


def choose_samples(count: int, samples: int, seed: int) -> list[int]:
    """Return the positions of up to `samples` of `count` pictures, evenly spaced, from a start that `seed` decides."""
    samples = min(samples, count)
    start = np.random.default_rng(seed).random()
    return [int((start + place) * count / samples) for place in range(samples)]


def _sample(picture: Picture, results: Results, why: str | None) -> Sample:
    truth, found = truth_of(picture.record, results.classes), picture.detections.above(results.score_threshold)
    return Sample(picture.record.id, _open(picture), truth, found, why)


def _single(case: Case | Suspect, picture: Picture, whole: Image.Image, classes: Sequence[str]) -> Single:
    id, truth = picture.record.id, truth_of(picture.record, classes)
    if isinstance(case, Case):
        return Single(id, whole, case.box, case.label, case.score, case.why, truth)
    why = f"{KINDS[case.kind]}? {case.suspicion:.2f}"
    return Single(id, whole, case.box, case.label, None, why, truth, case.suggested, case.suggested_box)


def _open(picture: Picture) -> Image.Image:
    if picture.path is None:
        raise DataError(f"{picture.record.id}: nobody knows its file, so it cannot be shown; give a VOC folder as data")
    return open_rgb(picture.path)


def _entry(file: str, kind: str, sample: Sample, classes: Sequence[str]) -> dict[str, Any]:
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


def open_rgb(path: Path) -> Image.Image:
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
