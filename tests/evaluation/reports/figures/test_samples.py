"""Laws of the contact sheets: what is drawn of a picture, of a single box, and what is not."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reprolens.colors import class_color
from reprolens.evaluation import Detections, Truth
from reprolens.evaluation.reports.figures import (
    Sample,
    Single,
    draw_sample,
    draw_single,
    write_samples_sheet,
    write_singles_sheet,
)

GRASS = (90, 140, 30)
NOTHING = Truth([], [], [], [])


def _sample(size: tuple[int, int], found: Detections, truth: Truth) -> Sample:
    return Sample("some id", Image.new("RGB", size, GRASS), truth, found)


def _draw_samples(samples: Iterable[Sample], classes: Sequence[str], path: Path, threshold: float = 0.0) -> None:
    write_samples_sheet([draw_sample(sample, classes, threshold) for sample in samples], classes, path, threshold)


def _draw_singles(singles: Iterable[Single], classes: Sequence[str], path: Path) -> None:
    write_singles_sheet([draw_single(single, classes) for single in singles], classes, path)


def _count(path: Path, color: tuple[int, int, int], below: int = 60) -> int:
    """Return how many pixels below the legend have the colour."""
    return int((np.asarray(Image.open(path).convert("RGB"))[below:] == color).all(axis=-1).sum())


def test_small_pictures_are_enlarged_and_large_ones_reduced(tmp_path: Path) -> None:
    samples = [_sample(size, Detections([], [], []), NOTHING) for size in ((16, 16), (4000, 2000), (1, 3000))]
    _draw_samples(samples, ["a"], tmp_path / "sheet.png")
    assert _count(tmp_path / "sheet.png", GRASS, 0) == 400 * 400 + 400 * 200 + 400
    assert Image.open(tmp_path / "sheet.png").width == 1280


def test_predictions_have_their_classes_colour_and_missed_objects_are_named_on_black(tmp_path: Path) -> None:
    found = Detections([[2, 2, 30, 30]], [0.9], [1])
    truth = Truth([[60, 60, 90, 80]], [0], [False], [False])
    _draw_samples([_sample((100, 100), found, truth)], ["a", "b"], tmp_path / "sheet.png", 0.5)
    assert _count(tmp_path / "sheet.png", class_color(1)) > 400
    missed = replace(found, boxes=truth.boxes + 30, labels=np.array([0]))
    for name, detections in (("missed.png", missed), ("found.png", replace(missed, boxes=truth.boxes))):
        _draw_samples([_sample((100, 100), detections, truth)], ["a"], tmp_path / name, 0.5)
    # On its patch the name of the missed object; else the dashes' black and the letters on orange are the same.
    assert _count(tmp_path / "missed.png", (0, 0, 0)) > _count(tmp_path / "found.png", (0, 0, 0)) + 50


def test_predictions_below_the_threshold_are_not_shown(tmp_path: Path) -> None:
    found = Detections([[2, 2, 30, 30]], [0.4], [1])
    _draw_samples([_sample((100, 100), found, NOTHING)], ["a", "b"], tmp_path / "sheet.png", 0.5)
    assert not _count(tmp_path / "sheet.png", class_color(1), 0)


def test_boxes_that_are_inverted_outside_or_huge_do_not_stop_the_sheets(tmp_path: Path) -> None:
    boxes = [[30, 30, 2, 2], [-500, -500, -400, -400], [1e4, 1e4, 1e15, 1e15], [-1e9, 5, 1e9, 50], [5, 5, 5, 5]]
    flags = [False] * len(boxes)
    truth = Truth(boxes, [0] * 5, flags, flags)
    names = ["a very long name " * 20]
    sample = _sample((100, 80), Detections(boxes, [0.9] * 5, [0] * 5), truth)
    _draw_samples([sample], names, tmp_path / "sheet.png")
    singles = [
        Single("id " * 99, sample.picture, (*box,), 0, score, "why " * 99, truth, *suggested)
        for box in boxes
        for score, suggested in ((0.5, ()), (None, ()), (None, (0, (1e9, 1.0, -1e9, 3.0))))
    ]
    _draw_singles(singles, names, tmp_path / "singles.png")


def test_nothing_to_show_gives_a_sheet_that_says_so(tmp_path: Path) -> None:
    _draw_samples([], ["a"], tmp_path / "sheet.png")
    _draw_singles([], ["a"], tmp_path / "singles.png")
    for name in ("sheet.png", "singles.png"):
        width, height = Image.open(tmp_path / name).size
        assert width == 1280 and height < 100


def test_ids_that_are_not_utf8_and_names_without_letters_in_the_font_are_drawn(tmp_path: Path) -> None:
    sample = replace(_sample((50, 50), Detections([[1, 1, 9, 9]], [0.9], [0]), NOTHING), id="\udcff猫\n")
    _draw_samples([sample], ["猫"], tmp_path / "sheet.png")


def test_the_same_pictures_give_the_same_bytes(tmp_path: Path, voc100: Any) -> None:
    (detections, truths), records, classes = voc100
    samples = [
        Sample(record.id, Image.new("RGB", (record.width, record.height), GRASS), truth, found, "why")
        for record, truth, found in zip(records[:4], truths, detections, strict=False)
    ]
    singles = [_single(sample.picture, tuple(sample.truth.boxes[0]), truth=sample.truth) for sample in samples]
    for place in ("a", "b"):
        _draw_samples(samples, classes, tmp_path / place / "sheet.png", 0.5)
        _draw_singles(singles, classes, tmp_path / place / "singles.png")
    for name in ("sheet.png", "singles.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


# ---- single boxes


def _single(picture: Image.Image, box: tuple, **values: Any) -> Single:
    return Single(
        **{"id": "id", "label": 0, "score": None, "why": "why", "truth": NOTHING, **values}, picture=picture, box=box
    )


def _marked(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """Return a picture, red within the box."""
    picture = Image.new("RGB", size, GRASS)
    picture.paste((200, 0, 0), box)
    return picture


def test_a_box_is_shown_with_two_and_a_half_times_its_size_around_it(tmp_path: Path) -> None:
    _draw_singles(
        [_single(_marked((2000, 2000), (900, 900, 1100, 1100)), (900, 900, 1100, 1100))], ["a"], tmp_path / "c.png"
    )
    inside, around = _count(tmp_path / "c.png", (200, 0, 0)), _count(tmp_path / "c.png", GRASS)
    assert inside + around > 0.9 * 295**2
    assert 0.8 / 2.5**2 < inside / (inside + around) < 1.1 / 2.5**2


def test_a_small_box_is_shown_with_96_pixels_of_its_picture(tmp_path: Path) -> None:
    _draw_singles([_single(_marked((500, 500), (300, 300, 332, 332)), (310, 310, 312, 312))], ["a"], tmp_path / "c.png")
    side = np.sqrt(_count(tmp_path / "c.png", (200, 0, 0)))
    assert abs(side - 32 * 295 / 96) < 10


def test_a_box_in_a_corner_keeps_the_full_surroundings_within_the_picture(tmp_path: Path) -> None:
    _draw_singles([_single(_marked((500, 500), (0, 0, 100, 100)), (0, 0, 100, 100))], ["a"], tmp_path / "c.png")
    inside, around = _count(tmp_path / "c.png", (200, 0, 0)), _count(tmp_path / "c.png", GRASS)
    assert 0.75 / 2.5**2 < inside / (inside + around) < 1.1 / 2.5**2


def test_a_false_alarm_is_solid_in_its_colour_and_a_miss_is_dashed_white(tmp_path: Path) -> None:
    picture = Image.new("RGB", (300, 300), GRASS)
    for name, score in (("alarm.png", 0.9), ("miss.png", None)):
        _draw_singles([_single(picture, (100, 100, 200, 200), score=score)], ["a"], tmp_path / name)
    assert _count(tmp_path / "alarm.png", class_color(0)) > 1000
    assert _count(tmp_path / "alarm.png", (255, 255, 255)) < 100  # letters
    assert not _count(tmp_path / "miss.png", class_color(0))
    assert _count(tmp_path / "miss.png", (255, 255, 255)) > 400


def test_other_true_boxes_are_thin_and_the_own_one_is_not_drawn_twice(tmp_path: Path) -> None:
    picture, box = Image.new("RGB", (300, 300), GRASS), (100, 100, 200, 200)
    own, other = [100, 100, 200, 200], [120, 120, 180, 180]
    for name, boxes in (("none", []), ("own", [own]), ("both", [own, other])):
        truth = Truth(boxes, [0] * len(boxes), [False] * len(boxes), [False] * len(boxes))
        _draw_singles([_single(picture, box, truth=truth)], ["a"], tmp_path / f"{name}.png")
    assert (tmp_path / "none.png").read_bytes() == (tmp_path / "own.png").read_bytes()
    more = _count(tmp_path / "both.png", (255, 255, 255)) - _count(tmp_path / "own.png", (255, 255, 255))
    assert 200 < more < 4 * 60 * 295 / 250 + 20


def test_a_doubtful_label_shows_what_is_given_and_what_the_model_says(tmp_path: Path) -> None:
    picture, box = Image.new("RGB", (300, 300), GRASS), (100, 100, 200, 200)
    for name, values, solid, dashed in (
        ("overlooked", {"label": None, "suggested": 1}, 1, False),
        ("swapped", {"label": 0, "suggested": 1}, 1, True),
        ("moved", {"label": 0, "suggested": 0, "suggested_box": (120.0, 120.0, 220.0, 220.0)}, 0, True),
        ("badly located", {"label": 0, "suggested": 0}, None, True),
        ("spurious", {"label": 0}, None, True),
    ):
        path = tmp_path / f"{name}.png"
        _draw_singles([_single(picture, box, **values)], ["a", "b"], path)
        assert (_count(path, (255, 255, 255)) > 400) == dashed, name
        assert [index for index in (0, 1) if _count(path, class_color(index)) > 400] == (
            [] if solid is None else [solid]
        )
