"""Laws of intervals that stand beside their numbers."""

from itertools import product

from reprolens.evaluation.measures.intervals import class_key, with_intervals


def test_no_two_classes_share_a_key_and_none_has_that_of_an_intervals_end() -> None:
    parts = ("low", "high", "class", "a")
    labels = [*parts, *("/".join(pair) for pair in product(parts, repeat=2)), "class/class/low", "a/class/high"]
    keys = [class_key("coco/ap", label) for label in labels]
    assert len({*keys}) == len(keys)
    ends = {f"{key}/{end}" for key in ("coco/ap", *keys) for end in ("low", "high")}
    plain = {key for label, key in zip(labels, keys, strict=True) if not label.startswith("class")}
    assert not {f"coco/ap/{end}" for end in ("low", "high")} & {*keys}
    assert not plain & {end for end in ends if not end.startswith("coco/ap/class/")}


def test_an_interval_holds_its_number_to_the_last_digit() -> None:
    metrics = with_intervals({"ap": 0.9999999999999998}, {"ap/low": 1.0, "ap/high": 1.0})
    assert metrics == {"ap": 0.9999999999999998, "ap/low": 0.9999999999999998, "ap/high": 1.0}
    assert list(metrics) == ["ap", "ap/low", "ap/high"]
