"""Laws of relative numbers: whole pixels come back, and what was read prints as its source again."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprolens.convert.formats.relative import corners_of, pixels, printed, relative_corners
from reprolens.convert.source import NotANumberError

SIDE = st.integers(1, 10_000)


@st.composite
def whole_boxes(draw: st.DrawFn) -> tuple[int, int, tuple[int, int, int, int]]:
    width, height = draw(SIDE), draw(SIDE)
    x0, x1 = sorted(draw(st.integers(0, width)) for _ in range(2))
    y0, y1 = sorted(draw(st.integers(0, height)) for _ in range(2))
    return width, height, (x0, y0, x1, y1)


def quotients(width: int, height: int, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Return YOLO's numbers as most scripts compute them."""
    x0, y0, x1, y1 = box
    return (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height


@settings(max_examples=200, deadline=None)
@given(whole_boxes(), st.integers(6, 12))
def test_a_box_on_whole_pixels_comes_back_from_what_any_script_prints(
    case: tuple[int, int, tuple[int, int, int, int]], decimals: int
) -> None:
    width, height, box = case
    texts = [f"{number:.{decimals}f}" for number in quotients(width, height, box)]
    assert corners_of(texts, width, height) == box
    assert corners_of([repr(number) for number in quotients(width, height, box)], width, height) == box


@settings(max_examples=200, deadline=None)
@given(SIDE, SIDE, st.data(), st.integers(0, 14))
def test_numbers_print_again_as_they_were_read(width: int, height: int, data: st.DataObject, decimals: int) -> None:
    unit = 10**decimals
    numbers = [data.draw(st.integers(0, unit)) for _ in range(4)]
    texts = tuple(f"{n // unit}.{n % unit:0{decimals}d}" if decimals else str(n) for n in numbers)
    assert printed(corners_of(texts, width, height), width, height, decimals) == texts


@settings(max_examples=200, deadline=None)
@given(SIDE, SIDE, st.data(), st.integers(1, 12))
def test_what_was_inside_a_picture_is_read_inside_it(
    width: int, height: int, data: st.DataObject, decimals: int
) -> None:
    x0, x1 = sorted(data.draw(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))) * width for _ in range(2))
    y0, y1 = sorted(data.draw(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))) * height for _ in range(2))
    exact = [Decimal(edge) for edge in (x0, y0, x1, y1)]
    texts = printed(exact, width, height, decimals)
    corners = corners_of(texts, width, height)
    assert min(corners[:2]) >= 0 and corners[2] <= width and corners[3] <= height
    assert printed(corners, width, height, decimals) == texts


def test_a_box_between_pixels_is_exact() -> None:
    assert corners_of(("0.123456", "0.5", "0.1", "0.25"), 1000, 777) == (
        Decimal("73.456"),
        Decimal("291.375"),
        Decimal("173.456"),
        Decimal("485.625"),
    )


def test_a_box_far_outside_stays_as_it_is() -> None:
    assert corners_of(("0.1", "0.5", "0.4", "0.5"), 100, 100) == (-10, 25, 30, 75)


def test_an_edge_that_rounding_moved_out_is_put_back() -> None:
    # 0.333333 wide around 0.166666 begins 0.0000005 of the width outside.
    corners = corners_of(("0.166666", "0.5", "0.333333", "1"), 10, 10)
    assert corners[0] == 0
    assert printed(corners, 10, 10, 6) == ("0.166666", "0.500000", "0.333333", "1.000000")


@pytest.mark.parametrize("bad", ["nan", "inf", "", "x", "1e999", "1" * 500, "0x1", "²"])
def test_what_is_no_number_is_refused(bad: str) -> None:
    with pytest.raises(NotANumberError):
        corners_of((bad, "0.5", "0.5", "0.5"), 10, 10)


def test_numbers_with_exponents_are_exact() -> None:
    assert relative_corners(("5e-1", "0.5", "1.2e-05", "1")) == (
        Decimal("0.499994"),
        Decimal(0),
        Decimal("0.500006"),
        Decimal(1),
    )


def test_edges_become_whole_pixels_each_alone_or_all_together() -> None:
    assert pixels(("0.333333", "0.123456"), (3, 1000)) == [1, Decimal("123.456")]
    assert pixels(("0.333333", "0.123456"), (3, 1000), together=True) == [Decimal("0.999999"), Decimal("123.456")]
