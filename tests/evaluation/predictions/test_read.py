"""The same detections in every form give the same, published numbers."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reprolens.config import Voc
from reprolens.config.compose import compose
from reprolens.convert import convert
from reprolens.errors import ConfigError, DataError
from reprolens.evaluation import Detections, truth_of
from reprolens.evaluation.measures.evaluator import DetectionEvaluator
from reprolens.evaluation.measures.intervals import class_key
from reprolens.evaluation.predictions import Form, read_predictions
from reprolens.evaluation.predictions.read import check_form
from reprolens.voc import Folder, Record, read_folder

ROOT = Path(__file__).parents[3]
GOLDEN = {
    "voc12/map50": 0.610913,
    "voc07/map50": 0.604126,
    "coco/ap": 0.346958,
    "coco/ap50": 0.610030,
    "coco/ap75": 0.353714,
}
TOY = {"voc12/map50": 0.895833, "voc07/map50": 0.886364}


@pytest.fixture(scope="module")
def converted(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Folder]:
    """Return a maker of a set of voc100_multiformat, all pictures its test split, as convert writes it."""
    shipped = compose(ROOT, ["data=voc"]).data
    assert isinstance(shipped, Voc)

    def make(annotations: str, images: str, first_pixel: int) -> Folder:
        base = shared_data / "voc100_multiformat"
        paths = {"path": str(base / annotations), "images": str(base / images)}
        out = tmp_path_factory.mktemp("converted") / "voc"
        convert(replace(shipped, **paths, first_pixel=first_pixel, ratios=[0.98, 0.01, 0.01]), 0, out)
        ids = sorted(id for part in read_folder(out).splits.values() for id in part)
        for split in ("train", "val", "test"):
            text = "".join(f"{id}\n" for id in ids) if split == "test" else ""
            (out / "ImageSets" / "Main" / f"{split}.txt").write_text(text)
        return read_folder(out)

    return make


@pytest.fixture(scope="module")
def photographs(converted: Callable[..., Folder]) -> Folder:
    return converted("data/database/gts/pascalvoc_format", "data/database/images", first_pixel=0)


@pytest.fixture(scope="module")
def devkit_photographs(converted: Callable[..., Folder]) -> Folder:
    return converted("data/database/gts/pascalvoc_format", "data/database/images", first_pixel=1)


@pytest.fixture(scope="module")
def toy_folder(converted: Callable[..., Folder]) -> Folder:
    return converted("toyexample/gts_vocpascal_format", "toyexample/images", first_pixel=0)


@pytest.fixture(scope="module")
def dets(shared_data: Path) -> Path:
    return shared_data / "voc100_multiformat" / "data" / "database" / "dets"


def _numbers(folder: Folder, found: list[Detections]) -> dict[str, Any]:
    evaluator = DetectionEvaluator(folder.classes, ignore_difficult=False)
    for record, one in zip(folder.records("test"), found, strict=True):
        evaluator.update(record.id, one, truth_of(record, folder.classes), (record.width, record.height))
    return evaluator.compute().metrics


def _read(folder: Folder, path: Path, first_pixel: int | None = 0) -> list[Detections]:
    return read_predictions(path, list(folder.records("test")), folder.classes, Form(first_pixel=first_pixel))[0]


@pytest.mark.parametrize("form", ["abs_xywh", "abs_xyx2y2", "rel_xywh", "coco_format/coco_dets.json"])
def test_every_form_of_the_real_detections_gives_the_published_numbers(
    photographs: Folder, dets: Path, form: str
) -> None:
    metrics = _numbers(photographs, _read(photographs, dets / form))
    assert (metrics["images"], metrics["boxes"], metrics["detections"]) == (100, 273, 452)
    for key, value in GOLDEN.items():
        assert metrics[key] == pytest.approx(value, abs=5e-7), key


def test_all_forms_have_the_same_boxes_up_to_the_digits_they_print(photographs: Folder, dets: Path) -> None:
    forms = [_read(photographs, dets / form) for form in ("abs_xywh", "abs_xyx2y2", "rel_xywh")]
    for corners, *others in zip(forms[1], forms[0], forms[2], strict=True):
        for other in others:
            np.testing.assert_allclose(other.boxes, corners.boxes, rtol=0, atol=1e-3)  # 1e-6 of 500 pixels, twice
            assert other.labels.tolist() == corners.labels.tolist()


def test_the_development_kits_files_are_in_its_own_frame(
    photographs: Folder, devkit_photographs: Folder, dets: Path, tmp_path: Path
) -> None:
    lines: dict[str, list[str]] = {}
    for path in sorted((dets / "abs_xyx2y2").glob("*.txt")):
        for line in path.read_text().splitlines():
            label, score, *box = line.split()
            name = (dets.parent / "voc.names").read_text().split()[int(label)]
            lines.setdefault(name, []).append(" ".join([path.stem, score, *box]))
    for name, rows in lines.items():
        (tmp_path / f"comp3_det_test_{name}.txt").write_text("\n".join(rows))
    texts = _read(devkit_photographs, dets / "abs_xyx2y2", first_pixel=None)
    devkit = _read(devkit_photographs, tmp_path, first_pixel=None)
    assert _numbers(devkit_photographs, devkit) == _numbers(devkit_photographs, texts)
    as_written = _numbers(photographs, _read(photographs, tmp_path))
    assert {key: as_written[key] for key in GOLDEN} == pytest.approx(GOLDEN, abs=5e-7)
    # VOC's pixels are one wider than the distance of their numbers, in the truth as in the detections.
    assert _numbers(devkit_photographs, devkit)["coco/ap"] == pytest.approx(0.348982, abs=5e-7)


@pytest.mark.parametrize("boxes", ["abs_xywh", "abs_xyx2y2", "rel_xcycwh"])
@pytest.mark.parametrize("classes", ["classid", "classname"])
def test_every_form_of_the_toy_example_gives_the_published_numbers(
    toy_folder: Folder, shared_data: Path, tmp_path: Path, classes: str, boxes: str
) -> None:
    base = shared_data / "voc100_multiformat" / "toyexample"
    found = shutil.copytree(base / f"dets_{classes}_{boxes}", tmp_path / "found")
    if classes == "classid":  # the numbers are places in its own list of 20 names; the data set has one of them
        shutil.copy(base / "voc.names", found / "classes.txt")
    metrics = _numbers(toy_folder, _read(toy_folder, found))
    for key, value in TOY.items():
        assert metrics[key] == pytest.approx(value, abs=5e-7), key
    assert metrics[class_key("coco/ap", "cat")] == metrics["coco/ap"]


def test_the_toy_examples_coco_results_give_the_published_numbers(toy_folder: Folder, shared_data: Path) -> None:
    path = shared_data / "voc100_multiformat" / "toyexample" / "dets_coco_format" / "coco_dets.json"
    metrics = _numbers(toy_folder, _read(toy_folder, path))
    assert {key: metrics[key] for key in TOY} == pytest.approx(TOY, abs=5e-7)


def test_what_is_no_predictions_says_what_would_be(tmp_path: Path) -> None:
    records = [Record("a", "a.jpg", 9, 9)]
    (tmp_path / "a.txt").write_text("cat 0.5 1 2 3 4")
    (tmp_path / "empty").mkdir()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "found.json").write_text("[]")
    for path, said in (
        ("missing.json", "not found; give COCO results"),
        ("a.txt", "one text file is no split's predictions; give the folder"),
        ("empty", "holds no text files; give COCO results"),
        ("one", r"holds no text files; give the file, .*found.json"),
    ):
        with pytest.raises(DataError, match=said):
            read_predictions(tmp_path / path, records, ["cat"])
    with pytest.raises(DataError, match="boxes 'ltrb': must be auto or xyxy or"):
        read_predictions(tmp_path, records, ["cat"], Form("ltrb"))
    with pytest.raises(DataError, match="first pixel 2: must be 0 or 1"):
        read_predictions(tmp_path, records, ["cat"], Form(first_pixel=2))


def test_what_has_no_meaning_for_the_form_of_predictions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text("[]")
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "comp3_det_test_cat.txt").touch()
    for name in ("found.json", "kit"):
        with pytest.raises(ConfigError, match=r"--boxes xywh: .* whose boxes have one form; leave --boxes out"):
            check_form(tmp_path / name, Form("xywh"))
    with pytest.raises(ConfigError, match=r"--annotations a.json: .*kit.* leave --annotations out"):
        check_form(tmp_path / "kit", Form(annotations=Path("a.json")))
    check_form(tmp_path / "found.json", Form(annotations=Path("a.json")))
    check_form(tmp_path, Form("xywh", annotations=Path("a.json")))
