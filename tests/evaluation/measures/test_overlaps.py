"""Laws of overlaps: every pair of one picture that overlaps enough is there, whatever is looked at together."""

import numpy as np
import pytest

from reprolens.evaluation.measures import overlaps as module
from reprolens.evaluation.measures.overlaps import all_pairs, best_overlaps, box_iou, most_of, nearest, overlaps


def _split(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    corners = random.integers(0, 8, (70, 2))
    boxes = np.concatenate([corners, corners + random.integers(0, 12, (70, 2))], axis=1).astype(float)
    return boxes[:40], random.integers(0, 6, 40), boxes[40:], np.sort(random.integers(0, 6, 30))


@pytest.mark.parametrize("at_once", [1, 7, 2_000_000])
@pytest.mark.parametrize("least", [0.0, 0.1, 0.5])
def test_the_pairs_are_those_of_a_double_loop(least: float, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", at_once)
    boxes, image, others, other_image = _split(0)
    expected = [
        (one, two, iou)
        for one in range(40)
        for two in range(30)
        if image[one] == other_image[two]
        and (iou := float(box_iou(boxes[one][None], others[two][None])[0])) > 0
        and iou >= least
    ]
    pairs = overlaps(boxes, image, others, other_image, least)
    found = zip(pairs.detection.tolist(), pairs.truth.tolist(), pairs.iou.tolist(), strict=True)
    assert expected and list(found) == expected


def test_the_best_is_the_largest_and_of_equals_the_first_and_none_is_minus_one() -> None:
    pairs = overlaps(*_split(1), 0.0)
    best, whose = best_overlaps(pairs, 40)
    assert (best == 0).any() and np.array_equal(best == 0, whose == -1)
    for one in range(40):
        own = pairs.keep(pairs.detection == one)
        if len(own.iou):
            assert (best[one], whose[one]) == (own.iou.max(), own.truth[own.iou.argmax()])
    assert most_of(pairs, np.zeros(len(pairs.iou)), 40)[1].tolist() == [
        min(pairs.truth[pairs.detection == one], default=-1) for one in range(40)
    ]


@pytest.mark.parametrize("at_once", [1, 7, 2_000_000])
def test_the_nearest_is_the_same_whatever_is_looked_at_together(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, image, others, other_image = _split(2)
    whole = best_overlaps(overlaps(boxes, image, others, other_image, 0.0), 40)
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", at_once)
    chunks = list(all_pairs(image, other_image, lambda one, other: box_iou(boxes[one], others[other])))
    assert len(chunks) > 1 or at_once > 7
    best, whose = nearest(chunks, 40)
    assert np.array_equal(best, whole[0]) and np.array_equal(whose[best > 0], whole[1][best > 0])
    assert np.array_equal(whose >= 0, np.isin(image, other_image))
