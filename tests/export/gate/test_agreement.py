"""A file's numbers are torch's for each picture, alone and in a batch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.gate.bench import Bench
from reprolens.config import ExportFormat
from reprolens.export.gate.agreement import Agreement, compare_each
from reprolens.export.gate.candidates import Gap
from reprolens.export.gate.numbers import Difference, difference
from reprolens.export.gate.pictures import read_all, spread
from reprolens.inference.load import load_model
from reprolens.inference.model import Found, Model, Pixels

ONNX = ExportFormat.onnx


class _Changed(Model):
    """A file's model; what it finds in a batch is in the wrong order, or it fails at pictures of a size."""

    def __init__(self, path: Path, mixed: bool = False, height: int = 0) -> None:
        self.model = load_model(path, threads=1)
        self.contract, self.mixed, self.height = self.model.contract, mixed, height

    def __call__(self, images: Pixels) -> list[Found]:
        if images.shape[1] == self.height:
            raise RuntimeError("wrong size")
        found = self.model(images)
        return found[::-1] if self.mixed else found


def _pictures(bench: Bench) -> list[Pixels]:
    folder = bench.source.folder
    return list(read_all(folder, spread(folder, "test", 3)))


def test_a_good_file_agrees_alone_and_in_a_batch(bench: Bench) -> None:
    path = bench.write(bench.good())
    agreements, failed = compare_each(bench.source, {ONNX: (path, load_model(path, 1))}, _pictures(bench))
    agreement = agreements[ONNX]
    assert failed == {}
    assert (agreement.detections.matched, agreement.detections.unmatched) == (60, 0)
    assert (agreement.batch.matched, agreement.batch.unmatched) == (40, 0)  # two pairs of neighbours
    assert agreement.reasons(bench.source.config.gate, is_exact=True) == []


def test_a_file_that_mixes_up_the_pictures_of_a_batch_does_not_pass(bench: Bench) -> None:
    path = bench.write(bench.good())
    agreements, _ = compare_each(bench.source, {ONNX: (path, _Changed(path, mixed=True))}, _pictures(bench))
    reasons = agreements[ONNX].reasons(bench.source.config.gate, is_exact=True)
    assert reasons
    assert all(reason.startswith("detections in a batch differ from those one by one: ") for reason in reasons)


def test_a_file_that_fails_on_one_picture_does_not_agree(bench: Bench) -> None:
    path = bench.write(bench.good())
    pictures = [*_pictures(bench), np.zeros((30, 40, 3), np.uint8)]
    agreements, failed = compare_each(bench.source, {ONNX: (path, _Changed(path, height=30))}, pictures)
    assert (agreements, failed) == ({}, {ONNX: "fails on a picture: wrong size"})


@pytest.mark.parametrize("is_exact", [True, False])
def test_tolerances_are_for_files_that_promise_torchs_numbers(is_exact: bool, bench: Bench) -> None:
    gate = replace(bench.source.config.gate, box_tolerance=0.1, score_tolerance=0.001)
    agreement = Agreement(Difference(0.2, 0.1, 0.002, 0.1, 290, 3), Gap(3.2, 0.1, 0.0005, 0.1))
    reasons = [
        "candidates differ from torch's: box 3.2 px, allowed is 0.1 (export.gate.box_tolerance)",
        "detections differ from torch's: box 0.2 px, allowed is 0.1 (export.gate.box_tolerance)",
        "detections differ from torch's: score 0.002, allowed is 0.001 (export.gate.score_tolerance)",
        "detections differ from torch's: 3 have no partner, 290 have, allowed is 2",
    ]
    assert agreement.reasons(gate, is_exact) == (reasons if is_exact else [])


@pytest.mark.parametrize(
    ("matched", "unmatched", "passes"),
    [(0, 1, False), (49, 1, False), (50, 1, True), (50, 2, False), (300, 3, True), (300, 4, False)],
)
def test_rounding_may_suppress_one_in_a_hundred_otherwise(
    matched: int, unmatched: int, passes: bool, bench: Bench
) -> None:
    agreement = Agreement(Difference(matched=matched, unmatched=unmatched))
    reasons = agreement.reasons(bench.source.config.gate, is_exact=True)
    assert (reasons == []) is passes
    allowed = {0: "none", 49: "none", 50: "1", 300: "3"}[matched]
    assert all(reason.endswith(f"{matched} have, allowed is {allowed}") for reason in reasons)


def test_a_file_that_does_not_find_what_torch_is_sure_of_does_not_pass(bench: Bench) -> None:
    sure = Found(np.array([[5, 5, 30, 40]], np.float32), np.array([0.99], np.float32), np.zeros(1, np.int64))
    nothing = Found(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    agreement = Agreement(difference(nothing, sure, 0.05, 100, 0.001))
    reasons = agreement.reasons(bench.source.config.gate, is_exact=True)
    assert reasons == ["detections differ from torch's: 1 have no partner, 0 have, allowed is none"]


def test_anything_to_compare_is_candidates_or_pairs_of_detections() -> None:
    assert Agreement(candidates=Gap()).is_shown
    assert Agreement(Difference(matched=1)).is_shown
    assert not Agreement(Difference(unmatched=1)).is_shown


def test_numbers_that_are_not_finite_pass_nowhere(bench: Bench) -> None:
    broken = Agreement(candidates=Gap(*[np.nan] * 4))
    for is_exact in (True, False):
        reasons = (Agreement(candidates=Gap()) | broken | Agreement()).reasons(bench.source.config.gate, is_exact)
        assert reasons == ["candidates have numbers that are not finite"]


def test_what_shows_no_candidates_says_nothing_of_them() -> None:
    keys = {"box", "box_relative", "score", "score_relative", "matched", "unmatched"}
    assert set(Agreement().facts()) == {f"difference/{key}" for key in keys}
    shown = {f"candidate_{key}" for key in ("box", "box_relative", "score", "score_relative")}
    assert set(Agreement(candidates=Gap()).facts()) == {f"difference/{key}" for key in keys | shown}
