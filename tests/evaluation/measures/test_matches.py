"""Laws of matches: they name the detections and the objects they are about, each object once, as counted."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from reprolens.evaluation.measures.detections import Joined, join
from reprolens.evaluation.measures.matches import COCO_IOU_THRESHOLDS, Matches, match_coco
from reprolens.evaluation.measures.overlaps import FOUND_IOU, box_iou
from reprolens.evaluation.measures.voc_ap import match_voc

CLASSES = 3
Judge = Callable[[Joined, int], Matches]
BOTH = pytest.mark.parametrize("judge", [match_voc, match_coco])


@BOTH
def test_matches_name_each_detection_and_object_of_the_joined_pictures(judge: Judge, random_split: Any) -> None:
    joined = join(*random_split(40, CLASSES, seed=1, crowd=0.2))
    matches = judge(joined, CLASSES)
    assert sorted(matches.detection.tolist()) == list(range(len(joined.found)))
    for column, joined_column in (
        (matches.image, joined.image),
        (matches.label, joined.found.labels),
        (matches.scores, joined.found.scores),
    ):
        assert np.array_equal(column, joined_column[matches.detection])
    assert np.array_equal(matches.truth_image, joined.truth_image[matches.truth])
    assert np.array_equal(matches.truth_label, joined.truth.labels[matches.truth])
    ignored = joined.truth.crowd | (joined.truth.difficult & (judge is match_voc))
    assert np.array_equal(np.sort(matches.truth), np.flatnonzero(~ignored))


@BOTH
def test_a_right_detection_takes_an_object_of_its_own_that_it_overlaps(judge: Judge, random_split: Any) -> None:
    joined = join(*random_split(40, CLASSES, seed=2, crowd=0.2))
    matches = judge(joined, CLASSES)
    limits = [FOUND_IOU] if judge is match_voc else COCO_IOU_THRESHOLDS
    for limit, taken, ignored in zip(limits, matches.taken, matches.ignored, strict=True):
        hits = np.flatnonzero(taken >= 0)
        objects = taken[hits]
        assert (len(hits) or limit > 0.8) and len(np.unique(objects)) == len(objects)
        assert np.isin(objects, matches.truth).all() and not ignored[hits].any()
        assert np.array_equal(joined.truth_image[objects], matches.image[hits])
        assert np.array_equal(joined.truth.labels[objects], matches.label[hits])
        boxes = joined.found.boxes[matches.detection[hits]]
        assert (box_iou(boxes, joined.truth.boxes[objects]) >= limit - 1e-12).all()


@BOTH
def test_the_missed_are_the_objects_that_nothing_kept_takes_as_many_as_are_counted(
    judge: Judge, random_split: Any
) -> None:
    joined = join(*random_split(40, CLASSES, seed=3, crowd=0.2))
    matches = judge(joined, CLASSES)
    for threshold in (0.0, 0.5, 2.0):
        missed = matches.missed(threshold)
        counts = np.bincount(joined.truth_image[missed], minlength=joined.images)
        assert np.array_equal(counts, matches.counts(joined.images, threshold)[:, 2])
        taken = matches.taken[0, matches.scores >= threshold]
        assert not np.isin(missed, taken).any() and np.isin(missed, matches.truth).all()
    assert np.array_equal(matches.missed(2.0), np.sort(matches.truth))
