"""Candidates are compared one by one, whatever ranks them, and are those that detections are chosen of."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.gate.bench import Bench
from reprolens.config import ExportFormat
from reprolens.export.formats import FORMATS
from reprolens.export.gate.candidates import Candidates, Gap, compare, file_candidates, torch_candidates
from reprolens.export.gate.pictures import read_all, spread
from reprolens.export.source import Source
from reprolens.inference.suppression import suppress

LEAST = 0.1


def _some(count: int = 400, seed: int = 0) -> Candidates:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 300, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(10, 50, (count, 2))], axis=1)
    return Candidates(boxes.astype(np.float32), random.uniform(0.02, 0.9, (count, 3)).astype(np.float32))


def test_candidates_do_not_differ_from_themselves() -> None:
    assert compare(_some(), _some(), LEAST) == Gap(0.0, 0.0, 0.0, 0.0)
    nothing = Candidates(np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32))
    assert compare(nothing, nothing, LEAST) == Gap(0.0, 0.0, 0.0, 0.0)


def test_the_greatest_differences_are_found_and_what_share_they_are() -> None:
    theirs = _some()
    ours = Candidates(theirs.boxes.copy(), theirs.scores.copy())
    theirs.boxes[3] = (10, 10, 30, 20)
    ours.boxes[3] = (10, 10.5, 30, 20)
    theirs.scores[5, 1], ours.scores[5, 1] = 0.5, 0.505
    gap = compare(ours, theirs, LEAST)
    assert (gap.box, gap.box_relative) == pytest.approx((0.5, 0.5 / 20))
    assert (gap.score, gap.score_relative) == pytest.approx((0.005, 0.01), rel=1e-3)


@given(st.floats(0.2, 50), st.integers(0, 5))
def test_a_shift_of_all_boxes_is_found_however_far(shift: float, seed: int) -> None:
    theirs = _some(seed=seed)
    gap = compare(Candidates(theirs.boxes + np.float32(shift), theirs.scores), theirs, LEAST)
    assert gap.box == pytest.approx(shift, abs=1e-3)


@given(st.integers(0, 399), st.integers(0, 399))
def test_two_candidates_that_swapped_their_ranks_are_the_same(one: int, other: int) -> None:
    theirs = _some()
    order = np.arange(400)
    order[[one, other]] = order[[other, one]]
    ours = Candidates(theirs.boxes[order], theirs.scores[order])
    assert compare(ours, theirs, LEAST, is_ranked=True) == Gap(0.0, 0.0, 0.0, 0.0)
    assert one == other or compare(ours, theirs, LEAST).box > 1


def test_the_last_of_ranked_candidates_may_be_another_but_not_many_may() -> None:
    theirs = _some()
    ours = Candidates(theirs.boxes.copy(), theirs.scores.copy())
    ours.boxes[-1], ours.scores[-1] = (500, 500, 510, 510), 0.3
    assert compare(ours, theirs, LEAST, is_ranked=True) == Gap(0.0, 0.0, 0.0, 0.0)
    assert compare(ours, theirs, LEAST).box > 100
    ours.boxes[-20:] = (500, 500, 510, 510)
    assert compare(ours, theirs, LEAST, is_ranked=True).box > 100


@pytest.mark.parametrize("is_ranked", [True, False])
@pytest.mark.parametrize(("count", "detections"), [(3234, 30), (3234, 1), (300, 30), (20, 1)])
def test_a_shift_of_the_few_that_are_detections_is_found_however_far(
    count: int, detections: int, is_ranked: bool
) -> None:
    theirs = _some(count)
    theirs.scores[detections:] *= 0.05  # far below the threshold
    theirs.scores[:detections] = 0.6
    ours = Candidates(theirs.boxes.copy(), theirs.scores.copy())
    ours.boxes[:detections] += 57
    ours.scores[:detections] *= 0.6
    gap = compare(ours, theirs, LEAST, is_ranked and detections > 1)
    assert (gap.box, gap.score) == (pytest.approx(57, abs=0.01), pytest.approx(0.24))


def test_of_a_model_that_is_sure_of_nothing_the_best_are_compared() -> None:
    theirs = _some()
    theirs = replace(theirs, scores=theirs.scores * np.float32(1e-4))
    best = int(theirs.scores.max(1).argmax())
    moved, worst = theirs.boxes.copy(), theirs.boxes.copy()
    moved[best] += 5
    worst[int(theirs.scores.max(1).argmin())] += 5
    assert compare(replace(theirs, boxes=moved), theirs, LEAST).box == pytest.approx(5, abs=0.01)
    assert compare(replace(theirs, boxes=worst), theirs, LEAST) == Gap(0.0, 0.0, 0.0, 0.0)


def test_a_file_that_keeps_nothing_of_what_torch_keeps_is_as_far_as_can_be() -> None:
    theirs = _some()
    assert compare(replace(theirs, scores=theirs.scores * 0), theirs, LEAST).score == np.inf
    assert compare(theirs, replace(theirs, scores=theirs.scores * 0), LEAST).score == 0


def test_what_is_no_detection_or_one_side_dropped_is_left_to_the_detections() -> None:
    theirs = _some()
    ours = Candidates(theirs.boxes.copy(), theirs.scores.copy())
    theirs.scores[200:], ours.scores[200:] = 0.05, 0.05
    ours.boxes[200:] += 5
    assert compare(ours, theirs, LEAST) == Gap(0.0, 0.0, 0.0, 0.0)
    dropped = np.where(theirs.scores < 0.2, 0, theirs.scores)
    assert compare(replace(theirs, scores=dropped), theirs, LEAST).score == 0


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_never_near(number: float) -> None:
    broken = _some()
    broken.scores[0, 0] = number
    assert np.isnan(compare(broken, _some(), LEAST).box)
    assert np.isnan((Gap() | compare(broken, _some(), LEAST)).box)
    assert np.isnan((compare(broken, _some(), LEAST) | Gap()).score)


def test_other_shapes_are_as_far_as_can_be() -> None:
    assert compare(_some(399), _some(), LEAST).box == np.inf


def test_torchs_candidates_become_torchs_detections_and_the_files_are_the_same(bench: Bench) -> None:
    source = bench.source
    mine = torch_candidates(source)
    contract = source.contract("onnx", None)
    theirs = file_candidates(bench.write(bench.good()), contract)
    assert mine is not None
    assert theirs is not None
    for picture in read_all(source.folder, spread(source.folder, "test", 3)):
        candidates = mine(picture)
        found = suppress(candidates.boxes, candidates.scores, contract)
        assert len(found) == 20
        assert found.boxes[:, 2:].max() > 60  # in pixels of the picture, which is 80 wide
        gap = compare(theirs(picture), candidates, source.trained.options.score_threshold)
        assert 0 < gap.box < 0.01


@pytest.mark.parametrize("format", [ExportFormat.torch_export, ExportFormat.openvino])
def test_a_file_that_gives_candidates_gives_torchs(format: ExportFormat, bench: Bench, tmp_path: Path) -> None:
    if FORMATS[format].package is not None:
        pytest.importorskip(str(FORMATS[format].package))
    source = replace(bench.source, config=replace(bench.source.config, postprocess=False))
    path = tmp_path / FORMATS[format].file
    FORMATS[format].write(source, path)
    mine, theirs = torch_candidates(source), file_candidates(path, source.contract(format, None))
    assert mine is not None
    assert theirs is not None
    [picture] = read_all(source.folder, spread(source.folder, "test", 1))
    gap = compare(theirs(picture), mine(picture), source.trained.options.score_threshold)
    assert 0 < gap.box < 0.01


def test_an_openvino_file_that_gives_detections_shows_torchs_candidates(bench: Bench, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    source, path = bench.source, tmp_path / "model.xml"
    FORMATS[ExportFormat.openvino].write(source, path)
    mine, theirs = torch_candidates(source), file_candidates(path, source.contract("openvino", None))
    assert mine is not None
    assert theirs is not None
    for picture in read_all(source.folder, spread(source.folder, "test", 2)):
        gap = compare(theirs(picture), mine(picture), source.trained.options.score_threshold)
        assert 0 < gap.box < 0.01
        assert 0 < gap.score < 1e-4


def test_a_detector_of_two_stages_shows_no_candidates(source_of: Callable[..., Source]) -> None:
    assert torch_candidates(source_of("fasterrcnn_mobilenet_v3_large_fpn")) is None
