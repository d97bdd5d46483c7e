"""The export stage: a folder that is whole and understood without this repository, or as it was before."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reprolens import files
from reprolens.config import Evaluate
from reprolens.errors import ExportError
from reprolens.evaluation.predict import evaluate_split
from reprolens.export import export_model
from reprolens.export.card import write_card
from reprolens.models import TrainedModel
from reprolens.voc import Folder

PRETRAIN = {"source": "published", "name": "MobileNet_V2_Weights.IMAGENET1K_V1", "licence": "BSD-3-Clause"}


@pytest.fixture(scope="module")
def trained(lively: Callable[..., TrainedModel], digits: Folder) -> TrainedModel:
    return replace(lively("fcos_mobilenet_v2", detections_per_image=20), classes=digits.classes)


@pytest.fixture(scope="module")
def reports(
    trained: TrainedModel, source: tuple[Folder, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the reports of the stages before."""
    folder, dataset = source
    root = tmp_path_factory.mktemp("reports")
    files.write_json(root / "dataset.json", dataset)
    files.write_json(root / "pretrain.json", PRETRAIN)
    files.write_json(root / "train.json", {"epochs": 3, "parameters": 2_108_816})
    results, _ = evaluate_split(trained, folder, Evaluate("test", 4, 0.5, 100, 4, 2, 4, 4), 7)
    files.write_json(root / "evaluation.json", {"split": "test", **results.metrics})
    return root


@pytest.fixture(scope="module")
def out(
    trained: TrainedModel, digits: Folder, options: Any, reports: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Return the exported folder and the stage's report."""
    folder = tmp_path_factory.mktemp("exported") / "export"
    return folder, export_model(trained, digits, options, reports, folder)


def test_the_folder_holds_the_model_its_labels_and_its_card(
    out: tuple[Path, dict[str, Any]], digits: Folder, options: Any
) -> None:
    folder, report = out
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "labels.txt", "model.onnx"]
    assert (folder / "labels.txt").read_text().splitlines() == list(digits.classes)
    assert report["opset"] == options.opset
    assert report["size_mb"] == pytest.approx((folder / "model.onnx").stat().st_size / 1e6, abs=0.01)
    assert report["parity/unmatched"] == 0
    assert all(isinstance(value, int | float) for value in report.values())


def test_the_example_of_the_card_runs_as_it_stands(out: tuple[Path, dict[str, Any]], digits: Folder) -> None:
    folder, _ = out
    [example] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    picture = folder.parent / "elsewhere"
    picture.mkdir()
    for name in ("model.onnx", "labels.txt"):
        (picture / name).symlink_to(folder / name)
    record = next(digits.records("test"))
    Image.open(digits.image(record)).save(picture / "picture.jpg")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=picture, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 20
    assert all(re.fullmatch(r"\d 0\.\d+ \[.*\]", line) for line in lines), lines


def test_the_card_gives_the_numbers_of_the_reports(out: tuple[Path, dict[str, Any]], digits: Folder) -> None:
    folder, report = out
    text = (folder / "README.md").read_text()
    for part in (
        "# fcos_mobilenet_v2, 10 classes",
        "sees 72 x 88 pixels",
        "MobileNet_V2_Weights.IMAGENET1K_V1 (BSD-3-Clause)",
        "2.11 M parameters",
        "On the test split, 6 pictures with",
        "that training never saw",
        "best of 3 epochs",
        f"{report['parity/detections']}\ndetections agree",
    ):
        assert part in text, part
    assert all(f"| {name} | " in text for name in digits.classes)
    assert re.search(r"[{}]|None|nan", text.partition("## How to run it")[0]) is None


def test_the_card_gives_the_interval_beside_each_number(out: tuple[Path, dict[str, Any]], reports: Path) -> None:
    text = (out[0] / "README.md").read_text()
    evaluation = json.loads((reports / "evaluation.json").read_text())
    for key in ("voc12/map50", "voc07/map50", "coco/ap", "coco/ap75"):
        value, low, high = (evaluation[name] for name in (key, f"{key}/low", f"{key}/high"))
        assert f" | {value:.3f} | {low:.3f} to {high:.3f} |\n" in text


def test_numbers_that_are_undefined_are_called_so(trained: TrainedModel, tmp_path: Path) -> None:
    measures = dict.fromkeys(("voc12/map50", "voc07/map50", "coco/ap", "coco/ap75"), None)
    per_class = {f"voc12/ap50/{name}": None for name in trained.classes}
    reports = {
        "dataset": {
            "classes": [{"name": name, "train": 0} for name in trained.classes],
            "images/train": 1,
            "images/val": 1,
        },
        "pretrain": {"source": "random"},
        "train": {"epochs": 1, "parameters": 1},
        "evaluation": {"split": "train", "images": 1, "boxes": 0, **measures, **per_class},
        "export": {
            "opset": 20,
            "size_mb": 1.0,
            "parity/images": 1,
            "parity/detections": 0,
            "parity/max_box_difference": 0.0,
            "parity/max_score_difference": 0.0,
            "latency_ms/onnxruntime": 1.0,
            "latency_ms/torch": 1.0,
        },
    }
    write_card(tmp_path, trained, reports)
    text = (tmp_path / "README.md").read_text()
    assert text.count("undefined") == 4 + len(trained.classes)
    assert "none: trained from random values" in text
    assert "never saw" not in text  # the train split is what it saw


def test_what_does_not_agree_leaves_the_earlier_export_as_it_was(
    trained: TrainedModel, digits: Folder, options: Any, reports: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"of yesterday")
    with pytest.raises(ExportError, match="differs from the torch model"):
        export_model(trained, digits, replace(options, score_tolerance=1e-12), reports, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert (folder / "model.onnx").read_bytes() == b"of yesterday"


@pytest.mark.parametrize("content", [None, "{", "\x00"])
def test_a_report_that_is_missing_or_damaged_is_named_before_anything_is_made(
    content: str | None, trained: TrainedModel, digits: Folder, options: Any, reports: Path, tmp_path: Path
) -> None:
    for path in reports.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "train.json").unlink()
    if content is not None:
        (tmp_path / "train.json").write_text(content)
    with pytest.raises(ExportError, match=r"train\.json: missing or damaged; run dvc repro"):
        export_model(trained, digits, options, tmp_path, tmp_path / "export")
    assert not (tmp_path / "export").exists()
