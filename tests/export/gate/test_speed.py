"""Speeds are those of the models, in turns and after a warm-up, whatever else is measured."""

import time
from dataclasses import replace

import numpy as np

from export.gate.bench import Bench
from reprolens.export.gate.speed import measure_speed
from reprolens.inference.model import Found, Model, Pixels

PICTURES = [np.zeros((20, 30, 3), np.uint8), np.zeros((30, 20, 3), np.uint8), np.ones((20, 30, 3), np.uint8)]


class _Sleeper(Model):
    """Takes so many milliseconds for a picture, ten times as many at the first; says what it was shown, to `log`."""

    def __init__(self, bench: Bench, milliseconds: float, log: list[tuple[str, int]], batch: int | None = None) -> None:
        self.contract = replace(bench.source.contract("onnx", batch))
        self.milliseconds, self.log, self.name = milliseconds, log, str(milliseconds)

    def __call__(self, images: Pixels) -> list[Found]:
        first = not any(name == self.name for name, _ in self.log)
        self.log.append((self.name, len(images)))
        time.sleep(self.milliseconds * len(images) * (10 if first else 1) / 1000)
        return []


def test_each_is_as_fast_as_it_is_and_the_first_runs_do_not_count(bench: Bench) -> None:
    log: list[tuple[str, int]] = []
    speeds, failed = measure_speed({"a": _Sleeper(bench, 3, log), "b": _Sleeper(bench, 6, log)}, PICTURES, 12, 4)
    assert failed == {}
    for name, milliseconds in (("a", 3), ("b", 6)):
        speed = speeds[name]
        assert milliseconds <= speed.p50 < milliseconds * 3  # the machine may be busy
        assert speed.p50 <= speed.p95 < milliseconds * 8
        assert 1000 / milliseconds / 3 < speed.images_per_second <= 1000 / milliseconds


def test_turns_alternate_and_begin_with_each_in_its_turn(bench: Bench) -> None:
    log: list[tuple[str, int]] = []
    measure_speed({"a": _Sleeper(bench, 0.1, log), "b": _Sleeper(bench, 0.2, log)}, PICTURES, 20, 4)
    turns = [name for place, (name, _) in enumerate(log) if place == 0 or log[place - 1] != log[place]]
    assert turns == ["0.1", "0.2", "0.1", "0.1", "0.2"]  # a b, b a (the two of b are one), then the batches
    assert sum(name == "0.1" and size == 1 for name, size in log) == 20 + 2 * 2


def test_one_that_takes_a_picture_at_a_time_is_given_as_many_as_the_others(bench: Bench) -> None:
    log: list[tuple[str, int]] = []
    speeds, _ = measure_speed({"one": _Sleeper(bench, 1, log, batch=1)}, PICTURES, 4, 8)
    assert {size for _, size in log} == {1, 8}
    assert 200 < speeds["one"].images_per_second <= 1000


def test_one_that_fails_in_a_batch_fails_alone(bench: Bench) -> None:
    log: list[tuple[str, int]] = []

    class Single(_Sleeper):
        def __call__(self, images: Pixels) -> list[Found]:
            if len(images) > 1:
                raise RuntimeError("takes one picture")
            return super().__call__(images)

    speeds, failed = measure_speed({"a": _Sleeper(bench, 1, log), "b": Single(bench, 1, log)}, PICTURES, 2, 4)
    assert list(speeds) == ["a"]
    assert failed == {"b": "fails on 4 pictures at once: takes one picture"}
