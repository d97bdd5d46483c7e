import io
import json
from typing import Any

import pytest
from rich.console import Console

from reprolens.evaluation import DetectionEvaluator
from reprolens.evaluation.reports.table import tables

CLASSES = ["zebra", "[b]old", "never", "low"]


@pytest.fixture(scope="module")
def report(random_split: Any) -> dict[str, Any]:
    """An evaluation as it is read back from its file."""
    evaluator = DetectionEvaluator(CLASSES, resamples=20, breakdown=True)
    for number, (found, truth) in enumerate(zip(*random_split(30, 2, seed=4), strict=True)):
        evaluator.update(number, found, truth, (100, 100))
    facts = {"split": "test", "data/sha256": "d" * 64, "weights/sha256": "e" * 64, "near_duplicates": 3}
    return json.loads(json.dumps({**facts, **evaluator.compute().metrics}))


def _shown(report: dict[str, Any], **more: Any) -> str:
    console = Console(width=140, file=io.StringIO(), record=True)
    for table in tables(report, **more):
        console.print(table)
    return console.export_text()


def _line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_every_headline_number_is_shown_with_its_interval_and_its_protocol_in_words(report: dict[str, Any]) -> None:
    text = _shown(report)
    for key, name, protocol in (
        ("voc12/map50", "mAP50 (VOC12)", "AP at every recall"),
        ("voc07/map50", "mAP50 (VOC07)", "AP at 11 recalls"),
        ("coco/ap", "AP (COCO)", "IoU 0.50 to 0.95"),
        ("coco/ap75", "AP75 (COCO)", "IoU 0.75"),
    ):
        line = _line(text, name)
        assert f"{report[key]:.3f} " in line
        assert f"[{report[f'{key}/low']:.3f}, {report[f'{key}/high']:.3f}]" in line
        assert protocol in line


def test_split_hashes_thresholds_sizes_and_errors_are_shown(report: dict[str, Any]) -> None:
    text = _shown(report)
    title = f"test: 30 images, {report['boxes']} boxes, {report['detections']} detections"
    assert text.startswith(f"{title} (data dddddddddddd, weights eeeeeeeeeeee, 3 pictures look like")
    assert f"{report['precision']:.3f}" in _line(text, "chosen")
    assert f"{report['best_f1']:.3f}" in _line(text[text.index("threshold  ") :], "best F1 ")
    assert f"{report['coco/ap_small']:.3f}" in _line(text, "small (under 32 x 32)")
    assert f"{report['tide/miss']:.3f}" in _line(text, "not found")


def test_the_worst_classes_come_first_and_those_without_truth_last(report: dict[str, Any]) -> None:
    rows = _shown(report).partition("class, worst first")[2].splitlines()[1:]
    first, second = sorted(("zebra", "[b]old"), key=lambda name: report[f"coco/ap/{name}"])
    assert [row.split("  ")[0].strip() for row in rows] == [first, second, "never", "low"]
    assert rows[2].split() == ["never", "undefined", "undefined", "undefined"]
    assert "... 3 more" in _shown(report, most=1)


def test_notes_and_the_pictures_served_worst_are_listed_as_they_are(report: dict[str, Any]) -> None:
    text = _shown(report, worst=[("a[1].jpg", "2 missed, 1 false")], notes=["image_id is [x]"])
    assert _line(text, "a[1].jpg").split()[1:] == ["2", "missed,", "1", "false"]
    assert "image_id is [x]" in text


def test_an_old_or_partial_report_is_shown_as_far_as_it_goes() -> None:
    text = _shown({"images": 2, "boxes": 0, "detections": 0, "voc12/map50": None})
    assert text.startswith("detections: 2 images")
    assert "undefined" in _line(text, "mAP50 (VOC12)")
    assert "TIDE" not in text
