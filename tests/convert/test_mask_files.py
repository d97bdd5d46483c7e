"""Masks of single objects that the source itself holds: taken over only where their numbers are still the objects'."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reprolens.config import Voc
from reprolens.convert import convert
from reprolens.loading.masks import object_numbers
from reprolens.voc import read_folder

Annotate = Callable[..., None]
WIDTH, HEIGHT = 16, 12
BOXES = [("dog", "1", "1", "4", "12"), ("cat", "6", "1", "9", "12"), ("cat", "11", "1", "14", "12")]
"""Three columns of four pixels."""
NOTHING = [("dog", "3", "1", "2", "12")]
"""A box without an area, which convert leaves out."""


def _mask(path: Path, values: list[int]) -> np.ndarray[Any, Any]:
    """Write a mask with a value each in the columns of `BOXES`, and return it."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for value, (_, x0, _, x1, _) in zip(values, BOXES, strict=True):
        pixels[:, int(x0) - 1 : int(x1)] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def converted(
    voc_config: Callable[..., Voc], annotate: Annotate, tmp_path: Path
) -> Callable[..., tuple[np.ndarray[Any, Any] | None, list[str]]]:
    """Return a converter of ten pictures: (boxes of the first, numbers in its mask of objects) -> mask, problems."""

    def run(
        boxes: list[tuple[str, ...]], numbers: list[int], outline: str = "", classes: tuple[int, ...] = (2, 1, 1)
    ) -> tuple[np.ndarray[Any, Any] | None, list[str]]:
        source = tmp_path / "source"
        for number in range(10):
            annotate(source, f"{number}", boxes if number == 0 else BOXES)
        if outline:
            path = source / "Annotations" / "0.xml"
            path.write_text(path.read_text().replace("</object>", f"<segmentation>{outline}</segmentation></object>"))
        (source / "labels.txt").write_text("cat\ndog\n")
        _mask(source / "SegmentationClass" / "0.png", list(classes))
        _mask(source / "SegmentationObject" / "0.png", numbers)
        report = convert(voc_config(source, empty_box="drop"), 1, tmp_path / "voc")
        folder = read_folder(tmp_path / "voc")
        problems = [item["reason"] for item in report["problem_list"] if item["kind"] == "unreadable_mask"]
        return object_numbers(folder, folder.record("0")), problems

    return run


def test_a_mask_of_objects_is_taken_over_as_it_is(converted: Callable[..., Any], tmp_path: Path) -> None:
    found, problems = converted(BOXES, [1, 2, 3])
    assert np.array_equal(found, _mask(tmp_path / "same.png", [1, 2, 3]))
    assert problems == []


@pytest.mark.parametrize(
    ("boxes", "numbers"),
    [
        (NOTHING + BOXES[1:], [1, 2, 3]),  # a number too many
        (NOTHING + BOXES[1:], [1, 2, 0]),  # what was the second is the first, of another class
    ],
)
def test_a_mask_of_objects_whose_numbers_are_others_since_one_was_left_out_is_not_taken_over(
    boxes: list[tuple[str, ...]], numbers: list[int], converted: Callable[..., Any]
) -> None:
    found, problems = converted(boxes, numbers)
    assert found is None
    assert len(problems) == 1
    assert "its numbers are not the places of the objects" in problems[0]


def test_where_objects_have_outlines_these_are_drawn_instead(converted: Callable[..., Any]) -> None:
    outline = json.dumps([[5, 0, 9, 0, 9, 12, 5, 12]])
    found, problems = converted([*NOTHING, BOXES[1]], [1, 2, 0], outline)
    assert problems == []
    assert set(np.unique(found)) == {0, 1}
    assert (found[:, 5:9] == 1).all()
