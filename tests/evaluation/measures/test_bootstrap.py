"""Intervals by bootstrap over pictures; the oracle is the evaluator itself on pictures that really are repeated."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprolens.config import Evaluate
from reprolens.errors import ConfigError
from reprolens.evaluation import DetectionEvaluator, Detections, Truth
from reprolens.evaluation.measures.bootstrap import HEADLINE, Measured, draw, intervals, measured, numbers
from reprolens.evaluation.measures.evaluator import working_point
from reprolens.evaluation.measures.matches import coco_matches
from reprolens.evaluation.measures.voc_ap import voc_curves, voc_matches
from reprolens.evaluation.reports import shown

Split = tuple[list[Detections], list[Truth]]
NOTHING, NO_TRUTH = Detections([], [], []), Truth([], [], [], [])


def _measured(split: Split, classes: int) -> Measured:
    return measured(voc_matches(*split, classes), coco_matches(*split, classes), len(split[0]), classes, 0.5)


def _repeated(split: Split, classes: int, weights: np.ndarray) -> dict[str, float | None]:
    """Measure the split with each picture there as often as `weights` says, every copy under a name of its own."""
    evaluator = DetectionEvaluator([str(number) for number in range(classes)], 0.5)
    for image, (found, truth) in enumerate(zip(*split, strict=True)):
        for copy in range(weights[image]):
            evaluator.update(f"{image}, copy {copy}", found, truth, (500, 500))
    copies = np.repeat(np.arange(len(weights)), weights)
    curves = voc_curves([split[0][image] for image in copies], [split[1][image] for image in copies], classes)
    return evaluator.compute().metrics | {"best_f1": working_point(curves, _best_threshold(split, classes))["f1"]}


def _best_threshold(split: Split, classes: int) -> float:
    """Return the highest of the score thresholds with the largest F1 of the split itself, by trying each."""
    curves = voc_curves(*split, classes)
    scores = sorted({score for curve in curves for score in curve.scores.tolist()}, reverse=True)
    return max(scores, key=lambda score: working_point(curves, score)["f1"], default=1.0)


def _compare(split: Split, classes: int, weights: np.ndarray, tolerance: float) -> None:
    found = numbers(_measured(split, classes), weights)
    assert tuple(found.headline) == HEADLINE
    per_class = {f"voc12/ap50/{label}": found.voc12[:, label] for label in range(classes)}
    per_class |= {f"coco/ap/{label}": found.coco[:, label] for label in range(classes)}
    for number, row in enumerate(weights):
        repeated = _repeated(split, classes, row)
        for key, values in (found.headline | per_class).items():
            expected = np.nan if repeated[key] is None else repeated[key]
            assert values[number] == pytest.approx(expected, abs=tolerance, nan_ok=True), (key, number)


def _without_ties(split: Split) -> Split:
    """Make the scores of each picture differ; pictures still share scores with each other."""
    return [replace(found, scores=found.scores + np.arange(len(found)) * 1e-6) for found in split[0]], split[1]


@pytest.mark.parametrize("seed", range(4))
def test_weights_give_what_repeated_pictures_give_with_crowds_and_difficult_objects(
    seed: int, random_split: Any
) -> None:
    split = _without_ties(random_split(40, 5, seed=seed, crowd=0.2, difficult=0.2))
    _compare(split, 6, draw(40, range(5), seed), 1e-9)  # the sixth class has no truth


def test_a_class_that_was_not_drawn_is_left_out(random_split: Any) -> None:
    split = _without_ties(random_split(12, 9, seed=5, crowd=0.2))
    weights = draw(12, range(12), 5)
    labels = [set(truth.labels[~truth.crowd]) for truth in split[1]]
    drawn = [set().union(*(labels[image] for image in np.flatnonzero(row))) for row in weights]
    assert len({len(some) for some in drawn}) > 1
    _compare(split, 9, weights, 1e-9)


def test_weights_give_what_repeated_photographs_give(voc100: Any) -> None:
    split, _, classes = voc100
    _compare(split, len(classes), draw(len(split[0]), range(5), 0), 1e-9)
    # Difficult objects and a crowd among them; the published annotations have none.
    chance = np.random.default_rng(0)
    truths = [
        replace(truth, difficult=chance.random(len(truth)) < 0.2, crowd=chance.random(len(truth)) < 0.1)
        for truth in split[1]
    ]
    _compare((split[0], truths), len(classes), draw(len(truths), range(5), 1), 1e-9)


def test_equal_scores_in_one_picture_and_class_move_a_number_by_less_than_a_thousandth(random_split: Any) -> None:
    split = random_split(100, 2, seed=2)
    assert any(len(np.unique(found.scores)) < len(found) for found in split[0])  # the scores have two decimals
    _compare(split, 2, draw(100, range(5), 2), 1e-3)


@st.composite
def _pictures(draw: st.DrawFn) -> Split:
    """Draw pictures whose boxes lie on a coarse grid and whose scores are few: equal IoUs and scores are common."""
    corner, side = st.integers(0, 4), st.integers(0, 5)
    box = st.builds(lambda x, y, w, h: [x, y, x + w, y + h], corner, corner, side, side)
    label = st.integers(0, 1)
    found = st.lists(st.tuples(box, st.sampled_from([0.1, 0.5, 0.75, 0.9]), label), max_size=12)
    true = st.lists(st.tuples(box, label, st.booleans(), st.booleans()), max_size=6)
    pictures = draw(st.lists(st.tuples(found, true), max_size=4))
    return (
        [Detections(*_columns(rows, 3)) for rows, _ in pictures],
        [Truth(*_columns(rows, 4)) for _, rows in pictures],
    )


def _columns(rows: Sequence[tuple], width: int) -> list[Any]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


@settings(max_examples=60, deadline=None)
@given(_pictures())
def test_every_picture_drawn_once_gives_the_measures_themselves(split: Split) -> None:
    _compare(split, 2, np.ones((1, len(split[0])), np.int64), 1e-9)


def test_of_more_than_a_hundred_detections_of_a_picture_the_same_count(random_split: Any) -> None:
    detections, truths = random_split(150, 1)
    one = Detections(*(np.concatenate([getattr(d, n) for d in detections]) for n in ("boxes", "scores", "labels")))
    split = _without_ties(([one, one], [truths[0], truths[1]]))
    _compare(split, 1, np.array([[1, 1], [2, 0], [0, 3]]), 1e-9)


def test_the_interval_covers_the_known_number_about_nineteen_times_in_twenty() -> None:
    population = _population(2000)
    known = _repeated(population, 1, np.ones(2000, np.int64))  # what draws from it estimate
    inside = dict.fromkeys(HEADLINE, 0)
    for seed in range(100):
        drawn = np.random.default_rng(seed).integers(2000, size=150)
        split = [population[0][image] for image in drawn], [population[1][image] for image in drawn]
        ends = intervals(_measured(split, 1), 100, seed)
        for key in HEADLINE:
            inside[key] += ends[f"{key}/low"] <= known[key] <= ends[f"{key}/high"]
    # Chance moves each count by about 2.2, and 150 pictures are few; the eleven levels of VOC07 make it jump.
    assert inside.pop("voc07/map50") >= 75
    assert all(86 <= count <= 100 for count in inside.values()), inside


def test_the_interval_covers_the_known_number_of_a_weak_detector_of_many_classes() -> None:
    chance, count, classes = np.random.default_rng(0), 2000, 10
    detections, truths = [], []
    for _ in range(count):
        objects, wrong = chance.integers(1, 8), chance.poisson(12)
        boxes = np.array([[40.0 * place, 0, 40 * place + 30, 30] for place in range(objects)])
        labels = chance.integers(0, classes, objects)
        found = np.concatenate([boxes, np.tile([0.0, 100, 30, 130], (wrong, 1))])
        scores, guessed = chance.random(len(found)), np.append(labels, chance.integers(0, classes, wrong))
        detections.append(Detections(found, scores, guessed))
        truths.append(Truth(boxes, labels, *np.zeros((2, objects))))
    known = _repeated((detections, truths), classes, np.ones(count, np.int64))
    inside = dict.fromkeys(("voc12/map50", "coco/ap", "coco/ap50"), 0)
    for seed in range(30):
        drawn = np.random.default_rng(seed).integers(count, size=150)
        split = [detections[image] for image in drawn], [truths[image] for image in drawn]
        ends = intervals(_measured(split, classes), 100, seed)
        for key in inside:
            inside[key] += ends[f"{key}/low"] <= known[key] <= ends[f"{key}/high"]
    assert all(inside[key] >= 23 for key in inside), inside  # the quantiles themselves would be at about 4


def _population(count: int) -> Split:
    """Make pictures of one to four objects; of each picture a share of its own is found, beside what is wrong."""
    chance = np.random.default_rng(0)
    detections, truths = [], []
    for _ in range(count):
        objects, wrong = chance.integers(1, 5), chance.poisson(1.5)
        boxes = np.array([[40.0 * place, 0, 40 * place + 30, 30] for place in range(objects)])
        seen = chance.random(objects) < chance.beta(4, 2)
        found = np.concatenate(
            [(boxes + chance.normal(0, 1.5, boxes.shape))[seen], np.tile([0.0, 100, 30, 130], (wrong, 1))]
        )
        scores = np.concatenate([chance.beta(4, 2, seen.sum()), chance.beta(2, 4, wrong)])
        detections.append(Detections(found, scores, np.zeros(len(found))))
        truths.append(Truth(boxes, *np.zeros((3, objects))))
    return detections, truths


def test_the_same_seed_gives_the_same_intervals_whatever_is_done_at_once(
    monkeypatch: pytest.MonkeyPatch, random_split: Any
) -> None:
    split = _measured(random_split(30, 3), 3)
    whole = intervals(split, 100, 7)
    assert whole == intervals(split, 100, 7) != intervals(split, 100, 8)
    for cells in (1, 5000):
        monkeypatch.setattr("reprolens.evaluation.measures.bootstrap._CELLS_AT_ONCE", cells)
        assert intervals(split, 100, 7) == whole
    assert draw(30, range(5), 7).tolist() == draw(30, range(50), 7)[:5].tolist()
    assert (draw(30, range(50), 7).sum(axis=1) == 30).all()


def test_the_memory_bound_on_pairs_does_not_change_what_is_right(
    monkeypatch: pytest.MonkeyPatch, random_split: Any
) -> None:
    split = random_split(30, 3)
    whole = coco_matches(*split, 3)
    monkeypatch.setattr("reprolens.evaluation.measures.overlaps._PAIRS_AT_ONCE", 5)
    parts = coco_matches(*split, 3)
    assert (whole.right == parts.right).all() and (whole.ignored == parts.ignored).all()


def test_an_interval_lies_about_its_number_and_narrows_with_more_pictures(random_split: Any) -> None:
    def widths(images: int) -> dict[str, float]:
        split = _measured(random_split(images, 3, seed=1), 3)
        point, ends = numbers(split, np.ones((1, images), np.int64)).headline, intervals(split, 200, 1)
        for key in HEADLINE:
            assert ends[f"{key}/low"] < point[key][0] < ends[f"{key}/high"], key
        return {key: ends[f"{key}/high"] - ends[f"{key}/low"] for key in HEADLINE}

    few, many = widths(50), widths(800)
    assert all(2.5 < few[key] / many[key] < 6.5 for key in HEADLINE)  # 4, by the root of 16


def test_where_nothing_is_defined_there_is_no_interval() -> None:
    for split in (([], []), ([NOTHING], [NO_TRUTH])):
        assert set(intervals(_measured(split, 2), 100, 0).values()) == {None}


def test_a_resample_that_does_not_define_a_number_is_left_out_of_its_interval() -> None:
    box = [[0.0, 0.0, 9.0, 9.0]]
    split = [Detections(box, [0.9], [0]), *[NOTHING] * 5], [Truth(box, [0], [False], [False]), *[NO_TRUTH] * 5]
    ends = intervals(_measured(split, 1), 100, 0)  # in a third of the resamples there is no object
    assert set(ends.values()) == {1.0}


def test_too_few_pictures_have_no_interval(random_split: Any) -> None:
    for images, defined in ((5, False), (6, True)):
        ends = intervals(_measured(random_split(images, 2, seed=1), 2), 100, 0)
        assert [value is not None for value in ends.values()] == [defined] * len(ends)


def test_the_evaluation_has_the_ends_behind_each_headline_number_and_none_without_resamples(random_split: Any) -> None:
    keys = []
    for resamples in (100, 0):
        evaluator = DetectionEvaluator(["a", "b"], 0.5, resamples, 3)
        for number, (found, truth) in enumerate(zip(*random_split(10, 2), strict=True)):
            evaluator.update(number, found, truth, (100, 100))
        metrics = evaluator.compute().metrics
        keys.append(list(metrics))
        for key in HEADLINE if resamples else ():
            place = keys[0].index(key)
            assert keys[0][place + 1 : place + 3] == [f"{key}/low", f"{key}/high"]
            assert 0 <= metrics[f"{key}/low"] <= metrics[f"{key}/high"] <= 1
    assert [key for key in keys[0] if not key.endswith(("/low", "/high"))] == keys[1]


def test_classes_called_low_and_high_do_not_take_the_place_of_an_interval(random_split: Any) -> None:
    results = []
    for names in (["a", "b"], ["low", "high"]):
        evaluator = DetectionEvaluator(names, 0.5, 100, 3)
        for number, (found, truth) in enumerate(zip(*random_split(10, 2), strict=True)):
            evaluator.update(number, found, truth, (100, 100))
        results.append(evaluator.compute().metrics)
    plain, odd = results
    assert {key: odd[key] for key in plain if not key.endswith(("/a", "/b"))} == {
        key: value for key, value in plain.items() if not key.endswith(("/a", "/b"))
    }
    assert (odd["coco/ap/class/low"], odd["coco/ap/class/high"]) == (plain["coco/ap/a"], plain["coco/ap/b"])
    assert odd["voc12/ap50/low"] == plain["voc12/ap50/a"]


def test_a_number_is_shown_with_its_interval_where_it_has_one() -> None:
    metrics = {"a": 0.61, "a/low": 0.5524, "a/high": 0.671, "b": 0.25, "c": None, "c/low": None, "c/high": None}
    assert [shown(metrics, key) for key in "abc"] == ["0.610 [0.552, 0.671]", "0.250", "undefined"]


@pytest.mark.parametrize("resamples", [-1, 1, 99, 100_001])
def test_so_few_resamples_that_they_show_nothing_are_refused_as_are_too_many(resamples: int) -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.bootstrap"):
        Evaluate("test", 1, 0.5, resamples, 0, 0, 0, 0)
    assert Evaluate("test", 1, 0.5, 0, 0, 0, 0, 0).bootstrap == 0


def test_a_hundred_resamples_of_ten_thousand_detections_take_less_than_a_second(random_split: Any) -> None:
    split = random_split(1200, 20)
    assert sum(map(len, split[0])) > 10_000
    start = time.process_time()
    intervals(_measured(split, 20), 100, 0)
    assert time.process_time() - start < 1
