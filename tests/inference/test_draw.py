"""What was found is seen on any picture, of any size, and words stay inside it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprolens.colors import class_color
from reprolens.inference.draw import draw
from reprolens.inference.model import Found

CLASSES = ("cat", "a name that is much longer than small pictures are wide", "Übergang", "猫")


def picture(height: int, width: int, gray: int = 0) -> np.ndarray:
    return np.full((height, width, 3), gray, dtype=np.uint8)


def found(*rows: tuple[float, float, float, float, float, int]) -> Found:
    table = np.array(rows, dtype=np.float32).reshape(-1, 6)
    return Found(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def is_color(drawn: np.ndarray, label: int) -> np.ndarray:
    return (drawn == class_color(label)).all(axis=-1)


_edge = st.floats(-50, 400, width=32)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 300), st.integers(1, 300), st.lists(st.tuples(*[_edge] * 4, st.floats(0, 1), st.integers(0, 3))))
def test_every_picture_can_be_drawn_on_and_keeps_its_size(height: int, width: int, rows: list) -> None:
    assert draw(picture(height, width), found(*rows), CLASSES).size == (width, height)


def test_the_given_pixels_are_left_alone() -> None:
    pixels = picture(50, 50)
    draw(pixels, found((5, 5, 40, 40, 0.9, 0)), CLASSES)
    assert not pixels.any()


@pytest.mark.parametrize("gray", [0, 128, 255])
@pytest.mark.parametrize(("height", "width"), [(60, 90), (480, 640), (3000, 4000)])
def test_the_box_is_drawn_where_it_is_in_its_class_colour(height: int, width: int, gray: int) -> None:
    x0, y0, x1, y1 = width // 3, height // 2, width * 2 // 3, height * 3 // 4
    drawn = np.asarray(draw(picture(height, width, gray), found((x0, y0, x1, y1, 0.9, 0)), CLASSES))
    colored = is_color(drawn, 0)
    assert colored[y1, x0 : x1 + 1].all() and colored[y0 : y1 + 1, x1].all()
    assert not colored[y1 + 1 :].any() and (drawn[y1 - (y1 - y0) // 3, (x0 + x1) // 2] == gray).all()


def test_lines_grow_with_the_picture() -> None:
    widths = []
    for scale in (1, 8):
        rows = found((40 * scale, 40 * scale, 200 * scale, 200 * scale, 0.9, 0))
        drawn = np.asarray(draw(picture(240 * scale, 320 * scale), rows, CLASSES))
        widths.append(int(is_color(drawn, 0)[150 * scale, : 100 * scale].sum()))
    assert widths[1] > 3 * widths[0]


def test_words_are_inside_the_picture_whatever_the_box() -> None:
    for box in [(0, 0, 30, 30), (170, 0, 200, 20), (150, 90, 200, 100), (-40, -40, 300, 300)]:
        drawn = np.asarray(draw(picture(100, 200), found((*box, 0.5, 0)), CLASSES))
        white = (drawn > 200).all(axis=-1)
        assert white.sum() > 20, box  # letters, none of which touch the edge
        assert not (white[0].any() or white[-1].any() or white[:, 0].any() or white[:, -1].any()), box


def test_the_highest_score_is_on_top() -> None:
    rows = [(10, 10, 90, 90, 0.3, 0), (10, 10, 90, 90, 0.8, 2)]
    for order in (rows, rows[::-1]):
        drawn = np.asarray(draw(picture(100, 100), found(*order), CLASSES))
        assert is_color(drawn, 2)[90, 10:90].all() and not is_color(drawn, 0)[90, 10:90].any()


def test_names_that_the_font_lacks_are_told_apart_by_their_place() -> None:
    classes = ("猫", "犬")
    one, other = (
        np.asarray(draw(picture(60, 120), found((5, 30, 100, 55, 0.5, label)), classes))[:30] for label in (0, 1)
    )
    white = [(drawn > 200).all(axis=-1) for drawn in (one, other)]
    assert (white[0] != white[1]).any()
