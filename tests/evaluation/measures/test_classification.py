"""Laws of the classification measure: it equals a plain loop, ties are decided one way, and little is kept."""

import sys
from typing import Any

import numpy as np
import pytest

from reprolens.errors import DataError
from reprolens.evaluation.measures.classification import ClassificationEvaluator, ClassificationResults

NAMES = tuple("abcdefgh")


def _measured(scores: Any, labels: Any, classes: int = 8, **options: Any) -> ClassificationResults:
    evaluator = ClassificationEvaluator(NAMES[:classes], **options)
    evaluator.update(list(range(len(labels))), scores, labels)
    return evaluator.compute()


def _random(count: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    scores = random.normal(0, 1, (count, classes)).round(1)  # rounded: there are ties
    scores[np.arange(count), labels] += 1
    return scores, labels


def _plain(scores: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """Measure by sorting each picture's classes: the higher score first, of equal ones the lower index."""
    classes = scores.shape[1]
    orders = [sorted(range(classes), key=lambda index: (-row[index], index)) for row in scores]
    first = [order[0] for order in orders]
    right = [one == label for one, label in zip(first, labels, strict=True)]
    expected: dict[str, float | None] = {
        "top1": sum(right) / len(right),
        "top5": np.mean([label in order[:5] for order, label in zip(orders, labels, strict=True)]),
    }
    recalls = []
    for index in range(classes):
        own = [hit for hit, label in zip(right, labels, strict=True) if label == index]
        said = [hit for hit, one in zip(right, first, strict=True) if one == index]
        expected[f"top1/{NAMES[index]}"] = sum(own) / len(own) if own else None
        expected[f"precision/{NAMES[index]}"] = sum(said) / len(said) if said else None
        recalls += [sum(own) / len(own)] if own else []
    return expected | {"balanced_accuracy": sum(recalls) / len(recalls)}


@pytest.mark.parametrize("seed", range(4))
def test_every_number_is_that_of_a_plain_loop(seed: int) -> None:
    scores, labels = _random(60, 8, seed)
    labels[labels == 5] = 4  # a class without pictures
    scores[:, 6] = -9  # a class never predicted
    results = _measured(scores, labels)
    expected = _plain(scores, labels)
    assert {key: results.metrics[key] for key in expected} == pytest.approx(expected, abs=1e-12)
    assert results.metrics["top1/f"] is None and results.metrics["precision/g"] is None
    assert results.metrics["images"] == 60
    predicted = [min(range(8), key=lambda index: (-row[index], index)) for row in scores]
    pairs = list(zip(labels.tolist(), predicted, strict=True))
    assert results.confusion.tolist() == [[pairs.count((row, column)) for column in range(8)] for row in range(8)]


def test_one_by_one_in_batches_and_at_once_are_the_same() -> None:
    scores, labels = _random(30, 6)
    single, batches = ClassificationEvaluator(NAMES[:6], 50), ClassificationEvaluator(NAMES[:6], 50)
    for number, (row, label) in enumerate(zip(scores, labels, strict=True)):
        single.update(number, row, label)
    for first in (0, 7, 14, 21, 28):
        rows = slice(first, first + 7)
        batches.update(list(range(30))[rows], scores[rows], labels[rows])
    batches.update([], np.zeros((0, 6)), [])
    expected = _measured(scores, labels, 6, resamples=50).metrics
    assert single.compute().metrics == batches.compute().metrics == expected


def test_of_equal_scores_the_lower_index_is_ranked_first() -> None:
    flat = np.zeros((8, 8))
    metrics = _measured(flat, range(8)).metrics
    assert (metrics["top1"], metrics["top5"]) == (1 / 8, 5 / 8)
    assert [metrics[f"top1/{name}"] for name in NAMES] == [1, *[0] * 7]


def test_top5_is_undefined_with_fewer_than_six_classes() -> None:
    for classes, defined in ((5, False), (6, True)):
        metrics = _measured(*_random(20, classes), classes=classes, resamples=20).metrics
        assert [metrics[key] is not None for key in ("top5", "top5/low", "top5/high")] == [defined] * 3


def test_probabilities_are_calibrated_and_other_scores_are_not() -> None:
    scores, labels = _random(200, 8)
    results = _measured(scores, labels)
    assert results.calibration is None and "calibration/ece" not in results.metrics
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    results = _measured(shares, labels)
    confidence, right = shares.max(axis=1), shares.argmax(axis=1) == labels
    place = np.minimum((confidence * 15).astype(int), 14)
    gaps = [
        abs(right[place == one].mean() - confidence[place == one].mean()) * (place == one).mean() for one in set(place)
    ]
    assert results.metrics["calibration/ece"] == pytest.approx(sum(gaps))
    assert results.calibration is not None and results.calibration.count.sum() == 200


def test_intervals_hold_the_number_lie_behind_it_and_come_from_the_seed() -> None:
    scores, labels = _random(80, 8)
    results = [_measured(scores, labels, resamples=200, seed=seed).metrics for seed in (0, 0, 1)]
    assert results[0] == results[1] != results[2]
    keys = list(results[0])
    for name in ("top1", "top5", "balanced_accuracy"):
        low, value, high = (results[0][key] for key in (f"{name}/low", name, f"{name}/high"))
        assert low is not None and value is not None and high is not None and 0 <= low < value < high <= 1
        assert keys[keys.index(name) + 1 :][:2] == [f"{name}/low", f"{name}/high"]
    assert not [key for key in _measured(scores, labels).metrics if key.endswith(("/low", "/high"))]


def test_the_interval_of_top1_is_as_wide_as_the_binomial_one() -> None:
    scores, labels = _random(400, 8)
    metrics = _measured(scores, labels, resamples=2000).metrics
    value, low, high = (metrics[key] or 0.0 for key in ("top1", "top1/low", "top1/high"))
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(value * (1 - value) / 400), rel=0.1)


def test_classes_called_low_and_high_do_not_hide_an_interval() -> None:
    evaluator = ClassificationEvaluator(["low", "high"], resamples=20)
    for round in range(2):
        names = [f"{name}{round}" for name in "xyz"]
        evaluator.update(names, [[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]], [0, 1, 1])
    metrics = evaluator.compute().metrics
    assert metrics["top1"] == pytest.approx(2 / 3)
    assert (metrics["top1/class/low"], metrics["top1/class/high"]) == (1, 0.5)
    assert metrics["top1/low"] is not None


def test_without_pictures_everything_is_undefined() -> None:
    evaluator = ClassificationEvaluator(NAMES, resamples=10)
    evaluator.update("x", np.eye(8)[0], 0)
    evaluator.reset()
    metrics = evaluator.compute().metrics
    assert metrics.pop("images") == 0
    assert set(metrics.values()) == {None}


@pytest.mark.parametrize(
    ("ids", "scores", "labels", "words"),
    [
        (["x"], [[1.0, 0]], [0], "x: evaluated twice"),
        (["y", "y"], [[1.0, 0]] * 2, [0, 0], "y: evaluated twice"),
        (["y"], [[np.nan, 0]], [0], "y: a class's score is not a finite number"),
        (["y", "z"], [[1.0, 0], [np.inf, 0]], [0, 0], "z: a class's score"),
        (["y"], [[1.0, 0]], [2], "y: its class has the index 2, outside 0 to 1"),
        (["y"], [[1.0, 0]], [-1], "y: its class has the index -1"),
    ],
)
def test_bad_input_names_the_picture_and_adds_nothing(ids: list, scores: list, labels: list, words: str) -> None:
    evaluator = ClassificationEvaluator(["a", "b"])
    evaluator.update("x", [1.0, 0], 0)
    before = evaluator.compute().metrics
    with pytest.raises(DataError, match=words):
        evaluator.update(ids, scores, labels)
    assert evaluator.compute().metrics == before


def test_shapes_that_do_not_fit_are_refused() -> None:
    evaluator = ClassificationEvaluator(["a", "b"])
    for scores, labels in (([1.0, 0, 0], 0), ([[1.0, 0]] * 2, [0]), ([1.0, 0], [0, 1])):
        with pytest.raises(ValueError, match="scores and labels must be"):
            evaluator.update("x", scores, labels)


def test_what_is_kept_of_a_picture_does_not_grow_with_the_classes() -> None:
    sizes = []
    for classes in (10, 1000):
        evaluator = ClassificationEvaluator([str(index) for index in range(classes)])
        evaluator.update(list(range(200)), np.zeros((200, classes)), np.zeros(200, int))
        sizes.append(sum(sys.getsizeof(value) for key, value in vars(evaluator).items() if key != "_classes"))
    assert sizes[0] == sizes[1]
