"""Differences of two detectors with paired intervals: what they hold in simulation, and what is said of them."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reprolens.comparison.paired import Difference, changed_most, differences, verdict
from reprolens.evaluation.findings.worst import Faults
from reprolens.evaluation.measures.bootstrap import HEADLINE, Measured, draw, intervals, measured, numbers
from reprolens.evaluation.measures.detections import Detections, Truth
from reprolens.evaluation.measures.matches import coco_matches
from reprolens.evaluation.measures.voc_ap import voc_matches

Both = list[tuple[Detections, Detections, Truth]]
NOTHING, NO_TRUTH = Detections([], [], []), Truth([], [], [], [])
NAMES = ("A", "B")


def true_minus(text: str) -> str:
    return text.replace("[-", "[\N{MINUS SIGN}")


def _measured(detections: Sequence[Detections], truths: Sequence[Truth], classes: int) -> Measured:
    judged = voc_matches(detections, truths, classes), coco_matches(detections, truths, classes)
    return measured(*judged, len(truths), classes, 0.5)


def _pair(pictures: Both) -> tuple[Measured, Measured]:
    truths = [truth for _, _, truth in pictures]
    return tuple(_measured([picture[side] for picture in pictures], truths, 1) for side in (0, 1))


def _pictures(count: int, better: float, seed: int = 0) -> Both:
    """Make pictures of one to four objects, hard or easy for both; the second detector sees `better` more of them."""
    chance = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        objects, ease = chance.integers(1, 5), chance.normal(0.5, 0.8)
        boxes = np.array([[40.0 * place, 0, 40 * place + 30, 30] for place in range(objects)])
        visible = chance.normal(0, 0.7, objects)
        sides = []
        for skill in (0, better):
            sure = ease + visible + skill + chance.normal(0, 0.7, objects)
            wrong = chance.poisson(1.2)
            found = np.concatenate([boxes[sure > 0], np.tile([0.0, 100, 30, 130], (wrong, 1))])
            found += chance.normal(0, 1.5, found.shape)
            scores = np.append(1 / (1 + np.exp(0.5 - sure[sure > 0])), chance.beta(2, 3, wrong))
            sides.append(Detections(found, scores, np.zeros(len(found))))
        pictures.append((*sides, Truth(boxes, *np.zeros((3, objects)))))
    return pictures


def test_the_interval_holds_the_known_difference_about_nineteen_times_in_twenty() -> None:
    population, trials, keys = _pictures(4000, 0.5), 60, ("coco/ap", "voc12/map50", "f1", "best_f1")
    known = differences(*_pair(population), ["a"], 0, 0)
    inside, found = dict.fromkeys(keys, 0), 0
    for seed in range(trials):
        drawn = [population[place] for place in np.random.default_rng(seed).integers(len(population), size=100)]
        found_here = differences(*_pair(drawn), ["a"], 150, seed)
        for key in keys:
            inside[key] += found_here[key].low <= known[key].difference <= found_here[key].high
        found += found_here["coco/ap"].shown
    # 57, which chance moves by 1.7.
    assert all(52 <= count <= 60 for count in inside.values()), inside
    assert known["coco/ap"].difference > 0.05 and found > 20


@pytest.mark.parametrize("images", [6, 100])
def test_of_equally_good_detectors_one_is_called_better_about_once_in_twenty(images: int) -> None:
    population, trials, keys = _pictures(2000, 0.5), 60, ("coco/ap", "voc12/map50", "f1", "best_f1")
    wrongly = dict.fromkeys(keys, 0)
    for seed in range(trials):
        chance = np.random.default_rng(seed)
        drawn = [population[place] for place in chance.integers(len(population), size=images)]
        # Which detector is which is thrown for each picture, so neither is better.
        tossed = [(two, one, truth) if chance.random() < 0.5 else (one, two, truth) for one, two, truth in drawn]
        found = differences(*_pair(tossed), ["a"], 150, seed)
        for key in keys:
            wrongly[key] += found[key].shown
    assert all(count <= 8 for count in wrongly.values()), wrongly  # 3, which chance moves by 1.7


def test_so_many_images_as_are_needed_show_the_difference_four_times_in_five() -> None:
    population = _pictures(2000, 0.25)
    known = differences(*_pair(population), ["a"], 300, 0)["coco/ap"]
    assert 50 < known.images_needed < 1000
    shown = 0
    for seed in range(40):
        chance = np.random.default_rng(seed)
        drawn = [population[place] for place in chance.integers(len(population), size=known.images_needed)]
        shown += differences(*_pair(drawn), ["a"], 150, seed)["coco/ap"].shown
    assert 25 <= shown <= 39  # 32, which chance moves by 2.5


def test_the_same_detections_differ_by_exactly_nothing(random_split: Any) -> None:
    split = _measured(*random_split(40, 3), 3)
    for found in differences(split, _measured(*random_split(40, 3), 3), ["a", "b", "c"], 100, 0).values():
        assert (found.difference, found.low, found.high, found.images_needed, found.shown) == (0, 0, 0, None, False)
        assert found.first == found.second
    found = differences(split, split, ["a", "b", "c"], 100, 0)["coco/ap"]
    assert verdict(found, NAMES, 40, same=True) == "no difference: the same detections"
    assert verdict(found, NAMES, 40) == f"no difference in mAP (coco/ap): both {found.first:.3f}"


@pytest.mark.parametrize(
    ("numbers", "same", "said"),
    [
        ((0.02, 0.01, 0.03), False, "B is better than A: +0.020 recall, 95 % CI [+0.010, +0.030]"),
        ((-0.02, -0.03, -0.01), False, "A is better than B: +0.020 recall, 95 % CI [+0.010, +0.030]"),
        ((0.02, 0.0, 0.03), False, "no difference shown between A and B: +0.020 recall, 95 % CI [+0.000, +0.030]"),
        ((0.0, 0.0, 0.0), False, "no difference in recall between A and B: both 0.500"),
        ((0.0, 0.0, 0.0), True, "no difference between A and B: the same detections"),
        ((None, None, None), True, "A and B cannot be compared: recall is undefined for B"),
    ],
)
def test_of_several_the_verdict_names_both(numbers: tuple, same: bool, said: str) -> None:
    difference = numbers[0]
    second = None if difference is None else 0.5 + difference
    found = Difference("recall", 0.5, second, *numbers, None)
    assert verdict(found, NAMES, 100, same=same, both=True) == said


def test_both_are_measured_on_the_same_drawn_pictures(random_split: Any) -> None:
    detections, truths = random_split(60, 2)
    chance = np.random.default_rng(0)
    noisy = [replace(some, scores=some.scores + chance.normal(0, 0.3, len(some))) for some in detections]
    first, second = _measured(detections, truths, 2), _measured(noisy, truths, 2)
    one, two = (numbers(split, draw(60, range(199), 5)) for split in (first, second))
    tail = 0.025 - 0.0012  # of 60 pictures somewhat less than of many
    columns = {key: (one.headline[key], two.headline[key]) for key in HEADLINE}
    columns |= {"voc12/ap50/b": (one.voc12[:, 1], two.voc12[:, 1]), "coco/ap/a": (one.coco[:, 0], two.coco[:, 0])}
    found = differences(first, second, ["a", "b"], 199, 5)
    for key, (before, after) in columns.items():
        low, high = np.quantile(after - before, [tail, 1 - tail], method="weibull")
        assert found[key].low == pytest.approx(low, abs=0.004), key
        assert found[key].high == pytest.approx(high, abs=0.004), key
        assert found[key].difference == found[key].second - found[key].first
        assert found[key].low <= found[key].difference <= found[key].high


def test_a_paired_interval_is_narrower_than_those_of_the_two_numbers() -> None:
    first, second = _pair(_pictures(200, 0.3))
    found = differences(first, second, ["a"], 200, 0)
    for key in ("coco/ap", "best_f1"):
        alone = [intervals(split, 200, 0) for split in (first, second)]
        unpaired = np.hypot(*(ends[f"{key}/high"] - ends[f"{key}/low"] for ends in alone))
        assert found[key].high - found[key].low < 0.8 * unpaired


def test_the_other_way_round_everything_has_the_other_sign() -> None:
    first, second = _pair(_pictures(100, 0.6))
    one, other = differences(first, second, ["a"], 150, 3), differences(second, first, ["a"], 150, 3)
    for key, found in one.items():
        back = other[key]
        assert (found.difference, found.images_needed) == (-back.difference, back.images_needed)
        assert (found.low, found.high) == pytest.approx((-back.high, -back.low))
    assert one["coco/ap"].shown
    said = [verdict(found["coco/ap"], names, 100) for found, names in ((one, ("A", "B")), (other, ("B", "A")))]
    assert said[0] == said[1] and said[0].startswith("B is better: +0.")


def test_the_same_seed_gives_the_same_differences_whatever_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = _pair(_pictures(40, 0.3))
    whole = differences(*pair, ["a"], 150, 7)
    assert whole == differences(*pair, ["a"], 150, 7) != differences(*pair, ["a"], 150, 8)
    monkeypatch.setattr("reprolens.evaluation.measures.bootstrap._CELLS_AT_ONCE", 1)
    assert differences(*pair, ["a"], 150, 7) == whole


def test_every_class_has_its_differences_and_one_without_truth_has_none(random_split: Any) -> None:
    detections, truths = random_split(40, 2)
    fewer = [Detections(some.boxes[1:], some.scores[1:], some.labels[1:]) for some in detections]
    first, second = _measured(detections, truths, 3), _measured(fewer, truths, 3)
    found = differences(first, second, ["low", "cat", "none"], 100, 0)
    classes = [
        "voc12/ap50/low",
        "voc12/ap50/cat",
        "voc12/ap50/none",
        "coco/ap/class/low",
        "coco/ap/cat",
        "coco/ap/none",
    ]
    assert list(found) == [*HEADLINE, *classes]
    assert all(item.key == key for key, item in found.items())
    nothing = found["coco/ap/none"]
    assert nothing == Difference("coco/ap/none", None, None, None, None, None, None)
    assert verdict(nothing, NAMES, 40) == "cannot be compared: AP (coco/ap/none) is undefined for A and B"
    means = np.mean([found[key].difference for key in classes[:2]])
    assert found["voc12/map50"].difference == pytest.approx(means)


def test_a_number_that_only_one_of_them_has_is_not_compared() -> None:
    box = [[0.0, 0.0, 9.0, 9.0]]
    truths = [Truth(box, [0], [False], [False])] * 8
    first, second = _measured([Detections(box, [0.9], [0])] * 8, truths, 1), _measured([NOTHING] * 8, truths, 1)
    found = differences(first, second, ["a"], 100, 0)
    assert (found["precision"].first, found["precision"].second, found["precision"].difference) == (1, None, None)
    assert verdict(found["precision"], NAMES, 8) == "cannot be compared: precision is undefined for B"
    assert verdict(found["recall"], NAMES, 8) == "A is better: +1.000 recall, 95 % CI [+1.000, +1.000]"


@pytest.mark.parametrize("images", [0, 1, 5])
def test_a_handful_of_pictures_shows_nothing(images: int) -> None:
    box = [[0.0, 0.0, 9.0, 9.0]]
    truths = [Truth(box, [0], [False], [False])] * images
    first, second = (_measured([some] * images, truths, 1) for some in (NOTHING, Detections(box, [0.9], [0])))
    found = differences(first, second, ["a"], 100, 0)
    assert not any(item.shown for item in found.values())
    assert {(item.low, item.high, item.images_needed) for item in found.values()} == {(None, None, None)}
    if images:
        said = "no difference shown: +1.000 mAP (coco/ap); an interval takes 6 images at least"
        assert verdict(found["coco/ap"], NAMES, images) == said


def test_splits_of_other_pictures_or_classes_are_refused(random_split: Any) -> None:
    split = _measured(*random_split(10, 2), 2)
    others = (_measured(*random_split(9, 2), 2), ["a", "b"]), (_measured(*random_split(10, 2), 3), ["a", "b"])
    for other, classes in (*others, (split, ["a"])):
        with pytest.raises(ValueError, match="do not fit"):
            differences(split, other, classes, 100, 0)


@pytest.mark.parametrize(
    ("key", "numbers", "said"),
    [
        ("coco/ap", (0.021, 0.004, 0.038, 90), "B is better: +0.021 mAP (coco/ap), 95 % CI [+0.004, +0.038]"),
        ("coco/ap50", (-0.021, -0.038, -0.004, 90), "A is better: +0.021 mAP50 (coco/ap50), 95 % CI [+0.004, +0.038]"),
        (
            "coco/ap",
            (0.003, -0.01, 0.016, 4300),
            "no difference shown: +0.003 mAP (coco/ap), 95 % CI [-0.010, +0.016]; "
            "about 4,200 more images would be needed",
        ),
        # An end at 0 shows nothing; one that only looks like 0 is written so that it does not.
        ("f1", (0.02, 0.0, 0.04, 230), "no difference shown: +0.020 F1, 95 % CI [+0.000, +0.040]; "
         "about 130 more images would be needed"),
        ("f1", (0.02, 0.0002, 0.04, 99), "B is better: +0.0200 F1, 95 % CI [+0.0002, +0.0400]"),
        ("recall", (0.02, -0.01, 0.04, 101), "no difference shown: +0.020 recall, 95 % CI [-0.010, +0.040]; "
         "about 1 more image would be needed"),
        ("recall", (0.02, -0.01, 0.04, 99), "no difference shown: +0.020 recall, 95 % CI [-0.010, +0.040]; "
         "a few more images would be needed"),
        ("coco/ap/dog", (-0.0001, -0.01, 0.01, 10_001), "no difference shown: +0.000 AP (coco/ap/dog), 95 % CI "
         "[-0.010, +0.010]; far more images than these 100 would be needed"),
        ("voc12/ap50/dog", (0.0, -0.01, 0.01, None), "no difference shown: +0.000 AP50 (voc12/ap50/dog), 95 % CI "
         "[-0.010, +0.010]"),
    ],
)  # fmt: skip
def test_the_verdict_says_who_is_better_and_by_how_much(key: str, numbers: tuple, said: str) -> None:
    difference, low, high, needed = numbers
    assert verdict(Difference(key, 0.5, 0.5 + difference, difference, low, high, needed), NAMES, 100) == true_minus(
        said
    )


def test_the_pictures_whose_faults_changed_most_come_first_with_the_way_they_changed() -> None:
    weights = [(1.0, 1.0), (0.0, 2.0), (3.5, 1.0), (2.0, 0.0), (0.2, 0.3)]
    first, second = ([Faults(0, 0, pair[side]) for pair in weights] for side in (0, 1))
    assert changed_most(first, second, 3) == [(2, -2.5), (1, 2.0), (3, -2.0)]
    assert [place for place, _ in changed_most(first, second, 9)] == [2, 1, 3, 4]
    assert changed_most(first, first, 9) == []


def test_three_hundred_resamples_of_ten_thousand_detections_of_both_take_less_than_three_seconds(
    random_split: Any,
) -> None:
    split = _measured(*random_split(1200, 20), 20)
    start = time.process_time()
    differences(split, split, [str(number) for number in range(20)], 300, 0)
    assert time.process_time() - start < 3
