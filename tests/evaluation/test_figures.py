from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reprolens.evaluation import Detections, Truth
from reprolens.evaluation.figures import Sample, class_color, draw_pr_curves, draw_samples
from reprolens.evaluation.voc_ap import Curve

EMPTY = Curve(np.zeros(0), np.zeros(0, np.int64), 0)


def _curve(seed: int) -> Curve:
    random = np.random.default_rng(seed)
    hits = np.cumsum(random.random(50) < np.linspace(1, 0.2, 50))
    return Curve(np.linspace(1, 0, 50), hits, int(hits[-1]) + 3)


def _has(path: Path, color: tuple[int, int, int], least: int = 20) -> bool:
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return int((pixels == color).all(axis=-1).sum()) >= least


def test_the_colours_of_a_hundred_classes_differ_and_none_means_mean_or_truth() -> None:
    colors = [class_color(index) for index in range(100)]
    assert len(set(colors)) == 100
    assert not {(0, 0, 0), (255, 255, 255)} & set(colors)


@pytest.mark.parametrize("count", [1, 3, 20, 60])
def test_every_class_has_a_line_of_its_colour(count: int, tmp_path: Path) -> None:
    path = tmp_path / "pr.png"
    draw_pr_curves([_curve(seed) for seed in range(count)], [f"class {n}" for n in range(count)], path)
    assert Image.open(path).width == 1280
    for index in range(count if count <= 20 else 0):
        assert _has(path, class_color(index)), index


def test_curves_without_objects_or_without_detections_can_be_drawn(tmp_path: Path) -> None:
    nothing_found = Curve(np.zeros(0), np.zeros(0, np.int64), 4)
    never_right = Curve(np.array([0.9, 0.8]), np.array([0, 0]), 4)
    for number, curves in enumerate(([], [EMPTY], [EMPTY, nothing_found, never_right])):
        draw_pr_curves(curves, ["a", "b", "c"][: len(curves)], tmp_path / f"{number}.png")
        assert Image.open(tmp_path / f"{number}.png").size == (1280, 720)


def test_names_that_look_like_markup_are_drawn_as_they_are(tmp_path: Path) -> None:
    draw_pr_curves([_curve(0)] * 4, ["$x", "_hidden", r"$\frac{$", "x" * 200], tmp_path / "pr.png")
    assert _has(tmp_path / "pr.png", class_color(1))


def test_the_same_curves_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_pr_curves([_curve(0), _curve(1)], ["a", "b"], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def _sample(size: tuple[int, int], found: Detections, truth: Truth) -> Sample:
    return Sample("some id", Image.new("RGB", size, (90, 140, 30)), truth, found)


def test_small_pictures_are_enlarged_and_large_ones_reduced(tmp_path: Path) -> None:
    nothing = Detections([], [], []), Truth([], [], [], [])
    draw_samples([_sample((16, 16), *nothing), _sample((4000, 2000), *nothing)], ["a"], tmp_path / "sheet.png")
    pixels = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    assert (pixels == (90, 140, 30)).all(axis=-1).sum() == 480 * 480 + 480 * 240


def test_predictions_have_their_classes_colour_and_missed_objects_are_named_on_black(tmp_path: Path) -> None:
    found = Detections([[2, 2, 30, 30]], [0.9], [1])
    truth = Truth([[60, 60, 90, 80]], [0], [False], [False])
    draw_samples([_sample((100, 100), found, truth)], ["a", "b"], tmp_path / "sheet.png", 0.5)
    assert _has(tmp_path / "sheet.png", class_color(1), 400)
    black = (np.asarray(Image.open(tmp_path / "sheet.png"))[30:] == 0).all(axis=-1).sum()
    draw_samples([_sample((100, 100), Detections(truth.boxes, [0.9], [0]), truth)], ["a"], tmp_path / "found.png", 0.5)
    assert (np.asarray(Image.open(tmp_path / "found.png"))[30:] == 0).all(axis=-1).sum() < black


def test_predictions_below_the_threshold_are_not_shown(tmp_path: Path) -> None:
    found = Detections([[2, 2, 30, 30]], [0.4], [1])
    draw_samples([_sample((100, 100), found, Truth([], [], [], []))], ["a", "b"], tmp_path / "sheet.png", 0.5)
    assert not _has(tmp_path / "sheet.png", class_color(1), 1)


def test_boxes_that_are_inverted_outside_or_huge_do_not_stop_the_sheet(tmp_path: Path) -> None:
    boxes = [[30, 30, 2, 2], [-500, -500, -400, -400], [1e4, 1e4, 1e5, 1e5], [-1e4, 5, 1e4, 50], [5, 5, 5, 5]]
    flags = [False] * len(boxes)
    sample = _sample((100, 80), Detections(boxes, [0.9] * 5, [0] * 5), Truth(boxes, [0] * 5, flags, flags))
    draw_samples([sample], ["a very long name " * 20], tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").width >= 480


def test_no_samples_give_a_sheet_with_the_legend_alone(tmp_path: Path) -> None:
    draw_samples([], ["a"], tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").height < 100
