"""Laws of the figures' looks: colours that are read on light and on dark, and names that can be drawn."""

import warnings
from pathlib import Path

import pytest

from reprolens.colors import class_color, class_hex, on
from reprolens.evaluation.reports.figures.theme import (
    DARK,
    LIGHT,
    Theme,
    fitted,
    font,
    new_figure,
    save,
    shown_names,
    text_width,
)


def _luminance(code: str) -> float:
    """WCAG 2.1's relative luminance."""
    parts = [int(code[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, two: str) -> float:
    low, high = sorted((_luminance(one), _luminance(two)))
    return (high + 0.05) / (low + 0.05)


def test_the_colours_of_100_classes_differ_and_none_means_mean_or_truth() -> None:
    colors = [class_color(index) for index in range(100)]
    assert len(set(colors)) == 100
    assert not {(0, 0, 0), (255, 255, 255)} & set(colors)


def test_every_class_is_seen_on_light_and_on_dark() -> None:
    for index in range(365):
        assert _contrast(class_hex(index), LIGHT.background) > 2.3, index
        assert _contrast(class_hex(index), DARK.background) > 2.9, index


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_words_are_read_on_the_background(theme: Theme) -> None:
    assert _contrast(theme.foreground, theme.background) > 12
    assert _contrast(theme.muted, theme.background) > 4.5
    assert theme.cells[0] == theme.background


def test_letters_on_a_class_are_read() -> None:
    for index in range(100):
        assert _contrast(on(class_color(index)), class_hex(index)) >= 3, index


def test_names_are_cut_in_their_middle_so_that_numbered_ones_differ() -> None:
    names = shown_names([f"traffic sign of the kind {number}" for number in range(50)])
    assert len(set(names)) == 50
    for name in shown_names(["W" * 100, "i" * 100, "a name"]):
        assert text_width(name, 11) <= 180
    assert shown_names(["a name"]) == ["a name"]


def test_names_whose_letters_the_font_lacks_are_told_apart_by_their_position() -> None:
    assert shown_names(["猫", "犬", "кот", "a\nb"]) == ["□ 0", "□ 1", "кот", "a□b 3"]


def test_a_text_is_cut_to_the_pixels_that_there_are() -> None:
    assert fitted("short", 100, font(12)) == "short"
    assert font(12).getlength(fitted("a long text " * 10, 100, font(12))) <= 100
    assert fitted("not UTF-8: \udcff", 500, font(12)) == "not UTF-8: □"


def test_what_a_user_set_for_matplotlib_changes_nothing_and_is_not_changed(tmp_path: Path) -> None:
    import matplotlib

    def draw(theme: Theme):  # noqa: ANN202
        figure = new_figure(100)
        figure.add_axes((0.1, 0.1, 0.8, 0.8)).set_title("$x")
        return figure

    save(draw, tmp_path, "before")
    with matplotlib.rc_context({"font.family": "serif", "savefig.dpi": 30, "axes.facecolor": "red"}):
        save(draw, tmp_path, "after")
        assert matplotlib.rcParams["savefig.dpi"] == 30
    for end in (".png", ".svg", "-dark.png", "-dark.svg"):
        assert (tmp_path / f"before{end}").read_bytes() == (tmp_path / f"after{end}").read_bytes()


def test_no_name_makes_matplotlib_warn(tmp_path: Path) -> None:
    def draw(theme: Theme):  # noqa: ANN202
        figure = new_figure(100)
        figure.add_axes((0.1, 0.1, 0.8, 0.8)).set_title(" ".join(shown_names(["猫", r"$\frac{", "🐈", "_x", "عربي"])))
        return figure

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        save(draw, tmp_path, "names")
