"""Laws of what a page says of exported files: each with its numbers, and of a rejected one why."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lxml import html

from reprolens.tracking.page import render_page
from reprolens.tracking.page.exported import MODEL, read_exported
from tracking.pages import RUN, composed, page_of, texts
from tracking.repository import REASON

EXPORT = "//section[h2='Export']"


@pytest.fixture
def root(build: Callable[..., Any], tmp_path: Path) -> Path:
    return Path(build(tmp_path).root)


def test_each_file_stands_in_a_row_under_the_trained_model(root: Path) -> None:
    assert texts(page_of(root), f"{EXPORT}//tr") == [
        "file MB mAP50 drop AP drop ms, median 95 % pictures/s MiB, peak x torch",
        f"{MODEL} 0.9250 0.6100 12.50 18.75 88.0 120",
        "model.onnx 8.5 0.9250 0.0000 0.6098 0.0002 7.50 11.25 146.7 120 1.67",
        "model-int8.onnx 8.5 0.8000 0.1250 0.5100 0.1000 4.25 6.38 258.8 120 2.94",
    ]


def test_a_rejected_file_is_marked_and_its_reason_told(root: Path) -> None:
    page = page_of(root)
    assert texts(page, f"{EXPORT}//tr[@class='rejected']/th") == ["model-int8.onnx"]
    assert texts(page, f"{EXPORT}//p[@class='warning']") == [f"model-int8.onnx was not published: {REASON}"]


def test_it_is_said_where_and_on_what_the_files_were_measured(root: Path) -> None:
    (note,) = texts(page_of(root), f"{EXPORT}//p[@class='note']")
    assert "over the 100 pictures of the test split, times on A processor, 2 threads, pictures a second 8 at a" in note


def test_a_reason_is_text_whatever_is_in_it(root: Path) -> None:
    path = root / "reports" / "export.json"
    evil = "<script>alert(1)</script>"
    report = json.loads(path.read_text()) | {"rejected": {evil: evil}, f"{evil}/file": evil, "cpu": evil}
    path.write_text(json.dumps(report))
    page = html.fromstring(render_page(root, composed(root), RUN))
    assert f"{evil} was not published: {evil}" in texts(page, f"{EXPORT}//p[@class='warning']")
    assert not page.xpath(f"{EXPORT}//script")


@pytest.mark.parametrize("report", [{}, {"published": "onnx"}, {"published": [], "rejected": []}, {"size_mb": 8.0}])
def test_a_report_that_tells_of_no_files_shows_none(report: dict[str, Any]) -> None:
    assert read_exported(report) is None


def test_what_a_report_lacks_is_left_out() -> None:
    found = read_exported({"published": ["onnx"], "onnx/size_mb": 8.0, "onnx/coco/ap": None, "images": "many"})
    assert found is not None
    assert (found.columns, [line.cells for line in found.lines], found.note) == (("MB",), [("8.0",)], "")
