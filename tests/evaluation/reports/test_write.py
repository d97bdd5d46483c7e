import contextlib
import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from reprolens.config import Evaluate
from reprolens.errors import DataError
from reprolens.evaluation import DetectionEvaluator, Detections, Picture, Truth, truth_of
from reprolens.evaluation.findings.label_errors import Suspect
from reprolens.evaluation.measures.evaluator import Breakdown, Results
from reprolens.evaluation.reports import sheets, write_reports
from reprolens.evaluation.reports.sheets import choose_samples, open_rgb, write_samples
from reprolens.voc import Object, Record

CLASSES = ("a", "b", "never")
FACTS = {"split": "test", "data/sha256": "0" * 64}


@pytest.fixture
def pictures(tmp_path: Path, random_split: Any) -> list[Picture]:
    """Twelve real pictures of 100 x 80 with objects and detections of two classes."""
    made = []
    for number, (found, truth) in enumerate(zip(*random_split(12, 2, seed=3), strict=True)):
        path = tmp_path / "pictures" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (80, 100, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        made.append(Picture(_record(f"picture_{number:02d}", path, truth), path, found))
    return made


def _record(id: str, path: Path, truth: Truth) -> Record:
    objects = (
        Object(CLASSES[label], tuple(box), difficult=bool(difficult), crowd=bool(crowd))
        for box, label, difficult, crowd in zip(
            truth.boxes.tolist(), truth.labels, truth.difficult, truth.crowd, strict=True
        )
    )
    return Record(id, path.name, 100, 80, 3, tuple(objects))


def _measured(pictures: list[Picture], breakdown: bool = True) -> Results:
    evaluator = DetectionEvaluator(CLASSES, 0.5, breakdown=breakdown)
    for picture in pictures:
        record = picture.record
        evaluator.update(record.id, picture.detections, truth_of(record, CLASSES), (record.width, record.height))
    return evaluator.compute()


def _report(
    pictures: list[Picture], reports: Path, samples: int = 4, worst: int = 0, breakdown: bool = True
) -> Results:
    results = _measured(pictures, breakdown)
    write_reports(results, pictures, reports, FACTS, _options(samples, worst), 7)
    return results


def _options(samples: int = 0, worst: int = 0, cases: int = 4, label_errors: int = 10) -> Evaluate:
    return Evaluate("test", 1, 0.5, 0, samples, worst, cases, label_errors)


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_pycocotools_measures_the_predictions_file_as_the_evaluation_says(
    pictures: list[Picture], tmp_path: Path
) -> None:
    _report(pictures, tmp_path / "reports")
    metrics = json.loads((tmp_path / "reports" / "evaluation.json").read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "reports" / "ground_truth.json"))
        found = truth.loadRes(str(tmp_path / "reports" / "predictions.json"))
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert metrics["split"] == "test"
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")
    for name, value in zip((*names, "ar_small", "ar_medium", "ar_large"), evaluation.stats, strict=True):
        assert metrics[f"coco/{name}"] == (None if value < 0 else pytest.approx(value, abs=1e-12))
    assert metrics["coco/ap/never"] is None


def test_the_class_table_repeats_the_evaluation_and_leaves_undefined_cells_empty(
    pictures: list[Picture], tmp_path: Path
) -> None:
    _report(pictures, tmp_path / "reports")
    metrics = json.loads((tmp_path / "reports" / "evaluation.json").read_text())
    rows = _table(tmp_path / "reports" / "plots" / "per_class.csv")
    assert [row["class"] for row in rows] == list(CLASSES)
    assert sum(int(row["boxes"]) for row in rows) == metrics["boxes"]
    for row in rows[:2]:
        assert float(row["ap50_voc12"]) == metrics[f"voc12/ap50/{row['class']}"]
        assert float(row["ap_coco"]) == metrics[f"coco/ap/{row['class']}"]
    assert rows[2]["ap50_voc12"] == rows[2]["recall"] == ""


def test_the_curve_table_rises_in_recall_and_is_thinned(pictures: list[Picture], tmp_path: Path) -> None:
    # Many copies of each detection: long curves.
    many = [
        Picture(
            picture.record,
            picture.path,
            Detections(*(np.repeat(getattr(picture.detections, name), 40, axis=0) for name in _COLUMNS)),
        )
        for picture in pictures
    ]
    _report(many, tmp_path / "reports")
    rows = _table(tmp_path / "reports" / "plots" / "pr.csv")
    for name in CLASSES[:2]:
        recall = [float(row["recall"]) for row in rows if row["class"] == name]
        assert len(recall) == 200
        assert recall == sorted(recall)
    assert {row["class"] for row in rows} == set(CLASSES[:2])
    assert Image.open(tmp_path / "reports" / "plots" / "pr.png").width == 1280


_COLUMNS = ("boxes", "scores", "labels")


def test_samples_are_clean_pictures_with_boxes_from_the_threshold_up(pictures: list[Picture], tmp_path: Path) -> None:
    _report(pictures, tmp_path / "reports")
    folder = tmp_path / "reports" / "samples"
    entries = json.loads((folder / "samples.json").read_text())
    assert [entry["image"] for entry in entries] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert {(entry["kind"], entry["why"]) for entry in entries} == {("sample", None)}
    by_id = {picture.record.id: picture for picture in pictures}
    for entry in entries:
        picture = by_id[entry["id"]]
        with Image.open(folder / entry["image"]) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (entry["width"], entry["height"]))
        truth = [(tuple(item["box"]), item["label"], item["difficult"]) for item in entry["truth"]]
        assert truth == [(item.box, item.name, item.difficult) for item in picture.record.objects]
        kept = picture.detections.above(0.5)
        assert [item["score"] for item in entry["predictions"]] == kept.scores.tolist()
        assert [item["box"] for item in entry["predictions"]] == kept.boxes.tolist()
    assert (folder / "sheet.png").is_file()


def test_the_worst_pictures_follow_the_samples_with_the_reason_why(pictures: list[Picture], tmp_path: Path) -> None:
    found = _report(pictures, tmp_path / "reports", samples=2, worst=3).breakdown
    folder = tmp_path / "reports" / "samples"
    entries = json.loads((folder / "samples.json").read_text())
    assert [(entry["kind"], entry["image"]) for entry in entries] == [
        *(("sample", "0.jpg"), ("sample", "1.jpg")),
        *(("worst", "worst-0.jpg"), ("worst", "worst-1.jpg"), ("worst", "worst-2.jpg")),
    ]
    assert found is not None
    faults = {picture.record.id: fault for picture, fault in zip(pictures, found.faults, strict=True)}
    weights = [faults[entry["id"]].weight for entry in entries[2:]]
    assert weights == sorted((fault.weight for fault in found.faults), reverse=True)[:3]
    assert [entry["why"] for entry in entries[2:]] == [str(faults[entry["id"]]) for entry in entries[2:]]
    for entry in entries[2:]:
        with Image.open(folder / entry["image"]) as image:
            assert (image.format, image.size) == ("JPEG", (entry["width"], entry["height"]))
        assert all(item["score"] >= 0.5 for item in entry["predictions"])
    assert Image.open(folder / "worst.png").height > Image.open(folder / "sheet.png").height / 2


@pytest.fixture
def suspected(pictures: list[Picture]) -> tuple[Results, Breakdown]:
    """Results whose breakdown has more than nine single cases of each kind, several of a picture."""
    results = _measured(pictures)
    assert results.breakdown is not None
    suspects = tuple(Suspect(place % 5, "swapped", (10, 10, 40, 40), 0, 1, 0.9) for place in range(12))
    found = replace(results.breakdown, suspects=suspects)
    assert min(len(found.false_positives), len(found.misses)) > 9
    return replace(results, breakdown=found), found


def test_no_more_single_cases_are_shown_than_asked_for(
    pictures: list[Picture], suspected: tuple[Results, Breakdown], tmp_path: Path
) -> None:
    for cases in (0, 4, 9):
        write_samples(pictures, suspected[0], _options(cases=cases), 7, tmp_path / str(cases))
    for name in ("false_positives.png", "misses.png", "label_errors.png"):
        none, few, many = (Image.open(tmp_path / cases / name).height for cases in ("0", "4", "9"))
        assert none < 100 < few
        assert 2 * 295 * 0.8 < many - few < 2.5 * 350  # three rows of four instead of one


def test_no_more_label_errors_are_listed_than_asked_for(
    pictures: list[Picture], suspected: tuple[Results, Breakdown], tmp_path: Path
) -> None:
    nowhere = [replace(picture, path=None) for picture in pictures]
    write_reports(suspected[0], nowhere, tmp_path, FACTS, _options(label_errors=2), 7)
    assert [row["image"] for row in _table(tmp_path / "label_errors.csv")] == ["0.png", "1.png"]


def test_a_picture_of_several_single_cases_is_decoded_once(
    pictures: list[Picture], suspected: tuple[Results, Breakdown], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def count(path: Path) -> Image.Image:
        opened.append(path)
        return open_rgb(path)

    monkeypatch.setattr(sheets, "open_rgb", count)
    results, found = suspected
    write_samples(pictures, results, _options(cases=9), 7, tmp_path / "samples")
    shown = [*found.false_positives[:9], *found.misses[:9], *found.suspects[:9]]
    assert len(shown) > len(opened) == len(set(opened)) == len({case.image for case in shown})


def test_pictures_whose_files_nobody_knows_leave_no_samples_of_an_earlier_evaluation(
    pictures: list[Picture], tmp_path: Path
) -> None:
    _report(pictures, tmp_path)
    assert (tmp_path / "samples" / "sheet.png").is_file()
    _report([replace(picture, path=None) for picture in pictures], tmp_path)
    assert not (tmp_path / "samples").exists()
    assert (tmp_path / "plots" / "pr.csv").is_file()


def test_a_detector_without_faults_has_no_worst_pictures(pictures: list[Picture], tmp_path: Path) -> None:
    truths = [truth_of(picture.record, CLASSES) for picture in pictures]
    perfect = [
        Picture(picture.record, picture.path, Detections(truth.boxes, [0.9] * len(truth), truth.labels))
        for picture, truth in zip(pictures, truths, strict=True)
        if not (truth.crowd | truth.difficult).any()
    ]
    _report(perfect, tmp_path / "reports", samples=1, worst=5)
    entries = json.loads((tmp_path / "reports" / "samples" / "samples.json").read_text())
    assert [entry["kind"] for entry in entries] == ["sample"]


def test_confusion_and_errors_are_tables_of_the_breakdown(pictures: list[Picture], tmp_path: Path) -> None:
    _report(pictures, tmp_path / "reports")
    plots = tmp_path / "reports" / "plots"
    pairs = {(row["truth"], row["prediction"]): int(row["count"]) for row in _table(plots / "confusion.csv")}
    assert len(pairs) == 16
    easy = [item for picture in pictures for item in picture.record.objects if not (item.crowd or item.difficult)]
    assert sum(count for (truth, _), count in pairs.items() if truth != "background") == len(easy)
    metrics = json.loads((tmp_path / "reports" / "evaluation.json").read_text())
    for row in _table(plots / "errors.csv"):
        assert float(row["cost"]) == metrics[f"tide/{row['error']}"]
        assert int(row["count"]) >= 0
    assert Image.open(plots / "confusion.png").width == Image.open(plots / "errors.png").width == 1280


def test_without_a_breakdown_the_other_reports_are_written(pictures: list[Picture], tmp_path: Path) -> None:
    _report(pictures, tmp_path / "reports", worst=3, breakdown=False)
    plots = {path.name for path in (tmp_path / "reports" / "plots").iterdir()}
    assert {name for name in plots if name.endswith(".csv")} == {
        *("pr.csv", "per_class.csv", "reliability.csv", "thresholds.csv")
    }
    assert not {"confusion.png", "errors.png"} & plots
    assert len(json.loads((tmp_path / "reports" / "samples" / "samples.json").read_text())) == 4


def test_the_same_input_gives_the_same_bytes_and_leaves_nothing_old(pictures: list[Picture], tmp_path: Path) -> None:
    _report(pictures, tmp_path / "one", samples=6, worst=3)
    _report(pictures, tmp_path / "one", samples=2, worst=1)
    _report(pictures, tmp_path / "two", samples=2, worst=1)
    one, two = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two
    assert {str(path) for path in one} == {
        *("evaluation.json", "ground_truth.json", "predictions.json", "label_errors.csv"),
        *(f"plots/{name}.csv" for name in ("pr", "per_class", "thresholds", "reliability", "confusion", "errors")),
        *(
            f"plots/{name}{theme}.{kind}"
            for name in ("pr", "class_ap", "reliability", "confusion", "errors")
            for theme in ("", "-dark")
            for kind in ("png", "svg")
        ),
        *(f"samples/{name}" for name in ("0.jpg", "1.jpg", "samples.json", "sheet.png", "worst-0.jpg", "worst.png")),
        *(f"samples/{name}.png" for name in ("false_positives", "misses", "label_errors")),
    }


def test_a_split_without_objects_and_detections_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.new("L", (20, 10)).save(path)
    _report([Picture(Record("x", "grey.png", 20, 10), path, Detections([], [], []))], tmp_path / "reports")
    assert json.loads((tmp_path / "reports" / "predictions.json").read_text()) == []
    assert (tmp_path / "reports" / "plots" / "pr.csv").read_text() == "class,recall,precision\n"
    assert json.loads((tmp_path / "reports" / "evaluation.json").read_text())["voc12/map50"] is None


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_pictures_of_any_mode_become_rgb_samples(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.tif"
    ramp = np.tile(np.linspace(0, 60_000, 64), (48, 1))
    image = Image.fromarray(ramp.astype({"I;16": np.uint16, "F": np.float32}.get(mode, np.uint16)))
    if mode not in ("I;16", "F"):
        image = Image.fromarray((ramp / 256).astype(np.uint8)).convert("RGB").convert(mode)
    image.save(path)
    assert image.mode == mode
    _report(
        [Picture(Record("x", path.name, 64, 48), path, Detections([], [], []))],
        tmp_path / "reports",
        samples=1,
        breakdown=False,
    )
    with Image.open(tmp_path / "reports" / "samples" / "0.jpg") as sample:
        assert sample.mode == "RGB"
        assert np.ptp(np.asarray(sample).astype(int)) > 100


def test_a_damaged_picture_is_named_and_the_earlier_samples_stay(pictures: list[Picture], tmp_path: Path) -> None:
    _report(pictures, tmp_path / "reports")
    before = (tmp_path / "reports" / "samples" / "samples.json").read_bytes()
    for picture in pictures:
        picture.path.write_bytes(picture.path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"\.png: cannot be decoded"):
        _report(pictures, tmp_path / "reports")
    assert (tmp_path / "reports" / "samples" / "samples.json").read_bytes() == before
    assert not list((tmp_path / "reports").glob(".*"))


@given(st.integers(0, 500), st.integers(0, 40), st.integers(0, 5))
def test_samples_are_distinct_evenly_spaced_and_in_order(count: int, samples: int, seed: int) -> None:
    places = choose_samples(count, samples, seed)
    assert len(places) == min(count, samples)
    assert all(0 <= place < count for place in places)
    gaps = np.diff(places)
    assert (gaps >= 1).all()
    assert np.ptp(gaps) <= 1 if len(gaps) else True
    assert places == choose_samples(count, samples, seed)
