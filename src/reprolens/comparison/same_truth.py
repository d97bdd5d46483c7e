"""Whether subjects were measured on the same test set, by the hash they claim and by the truth itself."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from reprolens.comparison.subjects import Subject
from reprolens.errors import DataError
from reprolens.evaluation.predictions.coco_files import GroundTruth
from reprolens.voc import Object, Record

_TOLERANCE = 1e-6
"""Pixels. COCO's widths do not give corners back exactly."""


def check_same(subjects: Sequence[Subject]) -> list[Subject]:
    """Return the subjects with the truth and the order of pictures of the first; raise DataError for another test set.

    It is the same if the truths are and, where both have one, the hashes over pictures and truth. That the hashes agree
    is not enough: they are only written in the file, whose boxes can be changed afterwards.
    """
    first, *others = subjects
    return [first, *(_checked(first, other) for other in others)]


def _checked(first: Subject, other: Subject) -> Subject:
    one, two = first.truth, other.truth
    alike = one is two or same_truth(one, two)
    hashed = one.sha256 is not None and two.sha256 is not None
    if hashed and one.sha256 == two.sha256:
        if not (alike and _same_areas(one, two)):
            raise DataError(
                f"{first.name} and {other.name}: both claim the test set {_identity(one)[:12]}, but their objects "
                "differ, so that the truth of one was changed afterwards; write it anew (dvc repro -f evaluate)"
            )
    elif hashed or not alike:
        but = "; their boxes are the same, the hashes of their data are not" if alike else ""
        raise DataError(
            f"{first.name} and {other.name} were measured on different test sets ({_test_set(one)} and "
            f"{_test_set(two)}{but}); compare needs the same"
        )
    return _in_order(other, one)


def same_truth(one: GroundTruth, two: GroundTruth) -> bool:
    """Return whether two truths say the same of the same pictures, in whatever order: sizes, classes, boxes, flags."""
    if one.classes != two.classes or len(one.records) != len(two.records):
        return False
    return all(_same_picture(one.records[here], two.records[there]) for here, there in _places(one, two))


def _same_picture(one: Record, two: Record) -> bool:
    if (one.file, one.width, one.height, len(one.objects)) != (two.file, two.width, two.height, len(two.objects)):
        return False
    left = list(two.objects)
    for item in one.objects:  # mostly the first of those left
        place = next((place for place, other in enumerate(left) if _same_object(item, other)), None)
        if place is None:
            return False
        del left[place]
    return True


def _same_object(one: Object, two: Object) -> bool:
    if (one.name, one.difficult, one.crowd) != (two.name, two.difficult, two.crowd):
        return False
    return all(abs(here - there) <= _TOLERANCE for here, there in zip(one.box, two.box, strict=True))


def _same_areas(one: GroundTruth, two: GroundTruth) -> bool:
    """Return whether the objects' areas, by which COCO tells sizes, agree where both truths give them."""
    for here, there in _places(one, two):
        areas = np.sort(one.areas[here]), np.sort(two.areas[there])
        if not np.isnan(areas).any() and not np.allclose(*areas, rtol=1e-9, atol=_TOLERANCE):
            return False
    return True


def _places(one: GroundTruth, two: GroundTruth) -> Iterator[tuple[int, int]]:
    """Return the places of the same pictures, by the names of their files."""
    orders = (sorted(range(len(truth.records)), key=lambda place: truth.records[place].file) for truth in (one, two))
    return zip(*orders, strict=True)


def _in_order(subject: Subject, truth: GroundTruth) -> Subject:
    """Return a subject with the detections in the order of `truth`: image sets may list the same pictures differently.

    Class indices are the same, as the names and their order are. Raises DataError if pictures share a name, as those of
    a COCO file without file_name do, so that it cannot be told which is which.
    """
    if subject.truth is truth:
        return subject
    names = [record.file for record in truth.records]
    found = {record.file: own for record, own in zip(subject.truth.records, subject.detections, strict=True)}
    if len({*names}) < len(names) or found.keys() != {*names}:
        raise DataError(
            f"{subject.name}: its pictures cannot be told apart by file_name; write the names into its truth"
        )
    return replace(subject, truth=truth, detections=tuple(found[name] for name in names))


def _test_set(truth: GroundTruth) -> str:
    """Say which test set a truth is: `test, 150 pictures, 3f2a81c09b7d`."""
    return f"{truth.split or 'a split without a name'}, {len(truth.records)} pictures, {_identity(truth)[:12]}"


def _identity(truth: GroundTruth) -> str:
    """Return the hash that a truth claims, or one of the truth alone, to a millionth of a pixel."""
    if truth.sha256 is not None:
        return truth.sha256
    rows = []
    for record in sorted(truth.records, key=lambda record: record.file):
        objects = sorted(
            [item.name, *(round(x, 6) + 0.0 for x in item.box), item.difficult, item.crowd] for item in record.objects
        )
        rows.append([record.file, record.width, record.height, objects])
    return hashlib.sha256(json.dumps([truth.classes, rows]).encode()).hexdigest()
