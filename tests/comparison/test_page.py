"""The page, the table and the charts of a comparison."""

import io
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from lxml import etree, html
from rich.console import Console
from rich.table import Table

from reprolens.comparison import Comparison, Options, compare
from reprolens.comparison.charts import Line, forest
from reprolens.comparison.page import render_page
from reprolens.comparison.table import tables, to_json

NAMES = ("one", "two")


@pytest.fixture(scope="module")
def found(experiments: Any) -> Comparison:
    return compare(experiments.root, NAMES, Options(resamples=200))


@pytest.fixture(scope="module")
def page(found: Comparison) -> str:
    return render_page(found)


def printed(parts: Iterable[Any], width: int = 140) -> str:
    console = Console(width=width, file=io.StringIO())
    for part in parts:
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_verdict_is_the_first_thing_printed(found: Comparison) -> None:
    assert printed(tables(found)).splitlines()[0] == found.pairs[0].verdict


def test_table_has_settings_numbers_classes_and_pictures(found: Comparison) -> None:
    text = printed(tables(found))
    for part in ("optimizer.lr", "voc07/map50", "small", "<b>&cow", found.pairs[0].changed[0].id):
        assert part in text


def test_json_holds_every_number_and_no_pictures(found: Comparison) -> None:
    values = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert values["against"][0]["differences"]["coco/ap"]["difference"] > 0
    assert values["settings"] == [{"name": "optimizer.lr", "values": {"one": 0.006, "two": 0.002}}]
    assert values["data/sha256"] == found.sha256


def test_verdict_stands_on_top_of_the_page(found: Comparison, page: str) -> None:
    tree = html.fromstring(page)
    assert tree.xpath("string(//p[starts-with(@class, 'verdict')])") == found.pairs[0].verdict
    assert page.index(found.pairs[0].verdict) < page.index("<svg")


def test_the_verdicts_edge_says_whether_the_other_is_better_or_worse(experiments: Any) -> None:
    several = compare(experiments.root, ["good/0", "one", "two", "."], Options(resamples=100, images=1))
    page = render_page(several)
    assert re.findall(r'class="verdict (\w+)"', page) == ["worse", "better", "better"]
    css = dict(re.findall(r"\.verdict\.(\w+) { border-color: var\(--(\w+)\)", page))
    assert css == {"better": "good", "worse": "bad"}


def test_that_no_picture_changed_is_said(experiments: Any) -> None:
    same = compare(experiments.root, ["two", "."], Options(resamples=100))
    assert "None changed: the detections are the same." in render_page(same)


def test_numbers_below_zero_have_one_minus_sign_everywhere(experiments: Any) -> None:
    worse = compare(experiments.root, ["two", "one"], Options(resamples=100, metric="voc07/map50"))
    for text in (html.fromstring(render_page(worse)).xpath("string(//main)"), printed(tables(worse))):
        assert "\N{MINUS SIGN}0." in text and not re.search(r"(?<![\w-])-0\.\d", text)


def test_tables_of_long_names_fit_into_80_columns(experiments: Any, tmp_path: Path) -> None:
    names = [
        str(shutil.copy(experiments.root / "reports/predictions.json", tmp_path / f"car_predictions_{n}.json"))
        for n in "ab"
    ]
    found = compare(experiments.root, ["one", *names], Options(resamples=100))
    text = printed([part for part in tables(found) if isinstance(part, Table)], 80)
    assert "car_pred" not in text
    assert "AP A" in text and "B against A" in text and "C against A" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    said = " ".join(printed(tables(found)).split())
    assert "A: one, commit" in said and "B: the predictions" in said


def test_page_needs_no_network(page: str) -> None:
    assert not re.search(r"""(?:src|href)=["'](?!data:image/jpeg;base64,|#)""", page)
    assert "@import" not in page and "url(" not in page


def test_names_from_outside_are_escaped(page: str) -> None:
    assert "<b>&cow" not in page and "&lt;b&gt;&amp;cow" in page


def test_charts_are_well_formed(page: str) -> None:
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(charts) > 2
    for chart in charts:
        etree.fromstring(chart)


def test_a_picture_is_embedded_once_for_both_sides(found: Comparison, page: str) -> None:
    count = len(found.pairs[0].changed)
    assert page.count("<image ") == page.count("<use ") == count
    assert page.count('<figure class="shot">') == 2 * count


def test_same_comparison_gives_the_same_bytes(experiments: Any, page: str) -> None:
    assert render_page(compare(experiments.root, NAMES, Options(resamples=200))) == page


def test_several_have_one_plot_of_all(experiments: Any) -> None:
    page = render_page(compare(experiments.root, ["one", "two", "good/0"], Options(resamples=100, images=1)))
    assert "coco/ap against one" in page and page.count('class="verdict') == 2


def test_interval_that_holds_zero_is_neither_good_nor_bad() -> None:
    lines = [Line("a", "", 0.1, 0.05, 0.2), Line("b", "", -0.1, -0.2, -0.05), Line("c", "", 0.1, 0.0, 0.2)]
    assert [line.tone for line in lines] == ["good", "bad", "open"]


def test_differences_lie_on_their_side_of_zero_and_within_the_plot() -> None:
    lines = [Line("a", "", 0.37, 0.3, 0.41), Line("b", "", -0.002, -0.3, 0.1)]
    drawn = etree.fromstring(str(forest(lines, ("x", "y"), "label")))
    zero = float(drawn.xpath("//line[@class='zero']/@x1")[0])
    rules = [float(x) for x in drawn.xpath("//line/@x1")]
    better, worse = (float(x) for x in drawn.xpath("//circle/@cx"))
    assert worse < zero < better
    assert min(rules) <= worse and better <= max(rules)


def test_nothing_to_draw_is_no_chart() -> None:
    assert not forest([], ("x", "y"), "label")
