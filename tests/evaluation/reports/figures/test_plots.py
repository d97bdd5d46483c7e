"""Laws of the plots: 1280 pixels wide in light and dark, with any number of classes and with none of what they show."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reprolens.colors import class_color
from reprolens.evaluation.findings.confusion import confusion_matrix
from reprolens.evaluation.findings.errors import KINDS, ErrorKind
from reprolens.evaluation.measures.calibration import Calibration, calibrate
from reprolens.evaluation.measures.voc_ap import Curve, all_point_ap, curves_of, voc_matches
from reprolens.evaluation.reports.figures import (
    draw_class_ap,
    draw_confusion,
    draw_errors,
    draw_pr_curves,
    draw_reliability,
)

ODD_NAMES = ["$x", "_hidden", r"$\frac{$", "x" * 200, "日本語", "عربي", ""]
EMPTY = Curve(np.zeros(0), np.zeros(0, np.int64), 0)
Drawn = Callable[..., tuple[int, int]]


def _curve(seed: int, points: int = 50) -> Curve:
    random = np.random.default_rng(seed)
    hits = np.cumsum(random.random(points) < np.linspace(1, 0.2, points))
    return Curve(np.linspace(1, 0, points), hits, int(hits[-1]) + 3)


def _names(count: int) -> list[str]:
    return [f"a rather long name $x {number}" for number in range(count)]


# ---- precision and recall


@pytest.mark.parametrize("count", [1, 20])
def test_every_class_has_a_line_of_its_colour(count: int, tmp_path: Path, drawn: Drawn, has: Any) -> None:
    drawn(draw_pr_curves, [_curve(seed) for seed in range(count)], _names(count), name="pr")
    for index in range(count if count <= 20 else 0):
        assert has(tmp_path / "pr.png", class_color(index)), index
        assert has(tmp_path / "pr-dark.png", class_color(index)), index


def test_curves_without_objects_or_without_detections_can_be_drawn(drawn: Drawn) -> None:
    nothing_found = Curve(np.zeros(0), np.zeros(0, np.int64), 4)
    never_right = Curve(np.array([0.9, 0.8]), np.array([0, 0]), 4)
    for curves in ([], [EMPTY], [EMPTY, nothing_found, never_right]):
        assert drawn(draw_pr_curves, curves, ["a", "b", "c"][: len(curves)], name="pr") == (1280, 720)


def test_odd_names_are_drawn_as_they_are(tmp_path: Path, drawn: Drawn, has: Any) -> None:
    drawn(draw_pr_curves, [_curve(0)] * len(ODD_NAMES), ODD_NAMES, name="pr")
    assert has(tmp_path / "pr.png", class_color(1))


def test_twenty_curves_of_many_points_are_a_small_svg(tmp_path: Path, drawn: Drawn) -> None:
    drawn(draw_pr_curves, [_curve(seed, 20_000) for seed in range(20)], _names(20), name="pr")
    assert (tmp_path / "pr.svg").stat().st_size < 300_000


# ---- confusion


@pytest.mark.parametrize("count", [0, 1, 26, 365])
def test_a_matrix_of_any_size_is_drawn_1280_pixels_wide(count: int, drawn: Drawn) -> None:
    _, height = drawn(draw_confusion, np.diag(np.arange(count + 1)), _names(count), 0.5, name="confusion")
    assert 350 < height < 1500


def test_a_matrix_of_large_counts_and_odd_names_can_be_drawn(drawn: Drawn) -> None:
    size = len(ODD_NAMES) + 1
    drawn(draw_confusion, np.full((size, size), 1_234_567), ODD_NAMES, 0.123456789, name="confusion")


# ---- errors


def test_each_kind_of_error_has_a_bar_and_none_has_one_without_errors(tmp_path: Path, drawn: Drawn, has: Any) -> None:
    drawn(draw_errors, [ErrorKind(name, 10**place, place / 60) for place, name in enumerate(KINDS)], name="errors")
    assert has(tmp_path / "errors.png", (44, 160, 44), 10_000)
    drawn(draw_errors, [ErrorKind(name, 0, 0.0) for name in KINDS], name="errors")
    drawn(draw_errors, [ErrorKind(name, 1, -0.01) for name in KINDS], name="errors")
    assert not has(tmp_path / "errors.png", (44, 160, 44))


# ---- AP of each class


@pytest.mark.parametrize("count", [0, 1, 40, 365])
def test_the_bars_of_any_number_of_classes_fit(count: int, drawn: Drawn) -> None:
    values = np.linspace(0, 1, count).tolist()
    _, height = drawn(draw_class_ap, _names(count), values, values, [5] * count, name="class_ap")
    assert 200 < height < 1250


def test_bars_have_their_classes_colour_and_are_as_long_as_the_ap(tmp_path: Path, drawn: Drawn, has: Any) -> None:
    drawn(draw_class_ap, ["a", "b", "c"], [0.25, None, 1.0], [0.1, None, None], [3, 0, 4], name="class_ap")
    assert has(tmp_path / "class_ap.png", class_color(0), 2_000)
    assert not has(tmp_path / "class_ap.png", class_color(0), 4_500)
    assert has(tmp_path / "class_ap.png", class_color(2), 12_000)
    assert not has(tmp_path / "class_ap.png", class_color(1), 1)


def test_of_more_than_forty_classes_the_best_and_the_worst_are_shown(tmp_path: Path, drawn: Drawn, has: Any) -> None:
    values = np.linspace(1, 0.5, 50).tolist()
    drawn(draw_class_ap, [*"abcde"] * 10, values, [None] * 50, [1] * 50, name="class_ap")
    shown = [index for index in range(50) if has(tmp_path / "class_ap.png", class_color(index), 2_000)]
    assert shown == [*range(20), *range(30, 50)]


# ---- reliability


def _calibration(count: list[int], confidence: list[float], accuracy: list[float]) -> Calibration:
    edges = np.linspace(0, 1, len(count) + 1)
    return Calibration(0.1, 0.2, edges, np.array(count), np.array(confidence), np.array(accuracy))


def test_the_gap_says_whether_the_scores_are_too_high_or_too_low(tmp_path: Path, drawn: Drawn, has: Any) -> None:
    high, low = (242, 135, 156), (232, 184, 48)
    for accuracy, seen, other in ((0.2, high, low), (1.0, low, high)):
        drawn(draw_reliability, _calibration([0, 9], [np.nan, 0.75], [np.nan, accuracy]), name="reliability")
        assert has(tmp_path / "reliability.png", seen, 5_000)
        assert not has(tmp_path / "reliability.png", other, 5_000)


def test_a_calibration_without_detections_and_one_of_millions_can_be_drawn(drawn: Drawn) -> None:
    nan = np.full(15, np.nan)
    nothing = Calibration(None, None, np.linspace(0, 1, 16), np.zeros(15, np.int64), nan, nan)
    drawn(draw_reliability, nothing, name="reliability")
    drawn(draw_reliability, _calibration([10_000_000, 1], [0.1, 0.9], [0.0, 1.0]), name="reliability")


# ---- together


def test_real_detections_are_drawn(voc100: Any, tmp_path: Path) -> None:
    (detections, truths), _, classes = voc100
    matches = voc_matches(detections, truths, len(classes))
    curves, calibration = curves_of(matches, len(classes)), calibrate(matches)
    aps, boxes = [all_point_ap(curve) for curve in curves], [curve.positives for curve in curves]
    assert calibration is not None
    draw_pr_curves(curves, classes, tmp_path)
    draw_confusion(confusion_matrix(detections, truths, len(classes), 0.5), classes, 0.5, tmp_path)
    draw_class_ap(classes, aps, aps, boxes, tmp_path)
    draw_reliability(calibration, tmp_path)
    assert len(list(tmp_path.iterdir())) == 16
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 300_000


_ALL = """
import pathlib, sys
import numpy as np
from reprolens.evaluation.measures.calibration import Calibration
from reprolens.evaluation.findings.errors import KINDS, ErrorKind
from reprolens.evaluation.reports.figures import *
from reprolens.evaluation.measures.voc_ap import Curve
folder = pathlib.Path(sys.argv[1] if folder is None else folder)
draw_pr_curves([Curve(np.array([0.9, 0.8, 0.7]), np.array([1, 1, 2]), 3)] * 2, ["a", "b"], folder)
draw_confusion(np.array([[5, 1], [2, 0]]), ["a"], 0.5, folder)
draw_errors([ErrorKind(name, 3, 0.1) for name in KINDS], folder)
draw_class_ap(["a", "b"], [0.5, 0.7], [0.2, None], [3, 4], folder)
ones = np.array([0.5, 0.5])
draw_reliability(Calibration(0.1, 0.2, np.array([0, 0.5, 1]), np.array([3, 4]), ones, ones), folder)
"""


def test_another_process_draws_the_same_bytes(tmp_path: Path) -> None:
    exec(_ALL, {"folder": tmp_path / "here"})
    command = [sys.executable, "-c", f"folder = None\n{_ALL}", str(tmp_path / "there")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = list((tmp_path / "here").iterdir())
    assert len(files) == 20
    for path in files:
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes(), path.name
