"""What a page says of an evaluation: what was measured, how far scores hold, which cases and labels to look at."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lxml import html
from PIL import Image

from reprolens.tracking.dashboard.subject import INTERVALS
from reprolens.tracking.page import render_page
from reprolens.tracking.page.sections import ERRORS
from tracking.pages import RUN, analyse, composed, page_of, texts, write_table

SECTIONS = ("Scores", "Sizes", "Single cases", "Likely label errors")
NEW = [
    *("plots/reliability.csv", "plots/thresholds.csv", "label_errors.csv", "ground_truth.json"),
    *("plots/class_ap.png", "plots/reliability.png"),
    *(f"samples/{name}.png" for name in ("false_positives", "misses", "label_errors")),
]


@pytest.fixture
def root(build: Callable[..., Any], tmp_path: Path) -> Path:
    root = build(tmp_path).root
    analyse(root)
    return root


def test_reports_of_an_evaluation_of_before_have_a_page_without_what_they_lack(root: Path) -> None:
    whole = page_of(root)
    for name in NEW:
        (root / "reports" / name).unlink()
    path = root / "reports" / "evaluation.json"
    lacking = ("sha256", "near", "calibration", "best_f1", "boxes/", "coco/ap_", "coco/ar_", "detections")
    evaluation = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in evaluation.items() if not any(x in key for x in lacking)}))
    page = page_of(root)
    assert set(texts(whole, "//h2")) - set(texts(page, "//h2")) == set(SECTIONS)
    assert texts(page, "//p[@class='about']") == [
        "Measured on the test split: 100 images, 400 true boxes. Intervals are 95 %, from resampling the images."
    ]
    assert not _near_duplicates(page)


def _near_duplicates(page: Any) -> list[str]:
    return [text for text in texts(page, "//p[@class='warning']") if "look like" in text]


def test_what_was_measured_is_said_beside_the_numbers(root: Path) -> None:
    page = page_of(root)
    assert texts(page, "//p[@class='about']") == [
        "Measured on the test split: 100 images, 400 true boxes, 950 detections. Weights 22222222 , data 11111111 . "
        "Intervals are 95 %, from resampling the images."
    ]
    assert page.xpath("//p[@class='about']//@title") == [f"SHA-256 {'2' * 64}", f"SHA-256 {'1' * 64}"]
    (warning,) = _near_duplicates(page)
    assert warning.startswith("2 pictures look like one of another split")


def test_thresholds_are_marked_where_they_lie_and_valued_at_the_chosen_one(root: Path) -> None:
    (figure,) = page_of(root).xpath("//figure[figcaption='By score threshold']")
    # The chart is 376 units wide from 52: 0.42 and 0.5 of it.
    assert figure.xpath(".//line[@class='mark']/@x1") == ["209.9", "240"]
    assert [text for text in texts(figure, ".//*[local-name()='text']") if text[0].isalpha()] == [
        *["best F1 0.42", "chosen 0.50"]
    ]
    assert texts(figure, ".//ul/li") == ["precision 0.9000", "recall", "F1"]  # as evaluation.json has them
    hover = json.loads(figure.get("data-hover"))
    assert (hover["title"][10], hover["values"][10]) == ("threshold 0.5", ["0.7500", "0.5000", "0.5000"])


def test_reliability_has_a_bar_and_a_dot_a_bin_that_holds_detections(root: Path) -> None:
    (figure,) = page_of(root).xpath("//figure[@class='reliability']")
    assert texts(figure, ".//rect[@class='share']/title") == [
        "score 0.25 to 0.50: 10 detections, mean score 0.375, 25 % right",
        "score 0.50 to 0.75: 20 detections, mean score 0.625, 50 % right",
        "score 0.75 to 1.00: 30 detections, mean score 0.875, 75 % right",
    ]
    assert figure.xpath(".//circle/@cx") == ["193", "287", "381"]
    heights = [float(value) for value in figure.xpath(".//rect[@class='count']/@height")]
    assert heights == sorted(heights) and heights[0] < heights[-1]
    assert "Expected calibration error 0.0625 , largest of a bin 0.2500." in texts(figure, ".//p")[0]


def test_sizes_have_their_boxes_and_an_undefined_measure_stays_empty(root: Path) -> None:
    assert texts(page_of(root), "//section[h2='Sizes']//tr") == [
        "objects boxes AP AR",
        "small, under 32\u00b2 px 300 0.450 0.500",
        "medium 100 0.650",
        "large, over 96\u00b2 px 0 0.750",
    ]


def test_the_classes_with_the_lowest_precision_are_named_but_never_more_than_half_of_them(root: Path) -> None:
    rows = [("a", 40, 0.9, 0.5), ("b", 40, 0.9, 0.25), ("c", 40, 0.9, ""), ("d", 40, 0.9, 0.75), ("e", 9, 0.9, 0.5)]
    write_table(root / "reports/plots/per_class.csv", ["class", "boxes", "ap50_voc12", "ap_coco"], rows)
    (note,) = texts(page_of(root), "//section[h2='Classes']/p")
    assert note == "Worst served by AP (COCO): b 0.250 , a 0.500 ."


@pytest.mark.parametrize(("best", "bar"), [(0.04, ["width:100.0%"]), (-0.01, [])])
def test_a_kind_of_error_whose_mending_costs_has_no_bar(root: Path, best: float, bar: list[str]) -> None:
    write_table(root / "reports/plots/errors.csv", ["error", "count", "cost"], [("cls", 2, best), ("loc", 1, -0.02)])
    page = page_of(root)
    assert texts(page, "//section[h2='Errors']//tbody/tr") == [
        f"right place, wrong class 2 {best:.4f}",
        "right class, wrong place 1 -0.0200",
    ]
    assert page.xpath("//section[h2='Errors']//span[@class='bar']/i/@style") == bar


def test_likely_label_errors_are_listed_in_words(root: Path) -> None:
    assert texts(page_of(root), "//section[h2='Likely label errors']//tbody/tr") == [
        "test_0001 0.88 not labelled - 8 1, 2, 30, 40",
        "test_0002 0.50 other class 3 8 20, 20, 60, 60",
        "test_0002 0.25 nothing there 7 - 5, 5, 9, 9",
    ]


def test_sheets_of_single_cases_keep_the_page_small_and_their_words_readable(root: Path) -> None:
    noise = Image.effect_noise((1280, 1440), 8).convert("RGB")
    for name in ("false_positives", "misses", "label_errors"):
        noise.save(root / "reports" / "samples" / f"{name}.png")
    assert (root / "reports/samples/misses.png").stat().st_size > 1_000_000
    page = render_page(root, composed(root), RUN)
    assert len(page) < 1_500_000
    for source in html.fromstring(page).xpath("//section[h2='Single cases']//img/@src"):
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as picture:
            assert picture.width > 800


def test_kinds_of_error_and_measures_are_called_as_in_the_evaluation() -> None:
    from reprolens.evaluation.findings.errors import KINDS
    from reprolens.evaluation.measures.bootstrap import HEADLINE, MASKS

    assert ERRORS == KINDS
    assert set(INTERVALS) == {*HEADLINE, *MASKS}
