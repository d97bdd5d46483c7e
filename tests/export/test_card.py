"""The model card tells the numbers of the reports, of the published files and of no others."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.reports import PRETRAIN, TRAIN, exported, write_reports
from reprolens.export.card import write_card
from reprolens.export.provenance import Provenance
from reprolens.export.source import Source
from reprolens.voc import Folder

UNKNOWN = Provenance(None, False, {}, None, None, "")
ORIGIN = Provenance(
    revision="f" * 40,
    dirty=True,
    hashes={"data/voc": "a" * 32 + ".dir", "weights/model.pt": "b" * 32},
    weights="c" * 64,
    data="d" * 64,
    config="seed: 1\noptimizer: {lr: 0.002}\n",
)
Tell = Callable[..., str]


@pytest.fixture(scope="module")
def source(source_of: Callable[..., Source]) -> Source:
    return source_of("fcos_mobilenet_v2", detections_per_image=20)


@pytest.fixture(scope="module")
def earlier(
    source: Source, converted: tuple[Folder, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    root = write_reports(tmp_path_factory.mktemp("reports"), source.trained, *converted)
    return {path.stem: json.loads(path.read_text()) for path in root.iterdir()}


@pytest.fixture
def tell(source: Source, earlier: dict[str, Any], tmp_path: Path) -> Tell:
    """Return what writes a card of an export's report, and gives its text; names are other reports' changes."""

    def make(export: dict[str, Any], origin: Provenance = UNKNOWN, **changes: dict[str, Any]) -> str:
        reports = {name: report | changes.get(name, {}) for name, report in earlier.items()}
        write_card(tmp_path, source, {**reports, "export": export}, origin)
        return (tmp_path / "README.md").read_text(encoding="utf-8")

    return make


def test_it_tells_what_the_model_is_and_what_it_was_made_from(tell: Tell) -> None:
    text = tell(exported(["onnx"]))
    for part in (
        "# fcos_mobilenet_v2, 10 classes",
        "sees 72 x 88 pixels",
        "MobileNet_V2_Weights.IMAGENET1K_V1 (BSD-3-Clause)",
        "2.11 M parameters",
        "best of 3 epochs",
        "On the test split, 6 pictures with",
        "that training never saw",
        "all but the best 20 of a picture",
    ):
        assert part in text, part
    assert re.search(r"[{}]|None|nan", text) is None


def test_it_gives_the_interval_beside_each_number_and_each_class(tell: Tell, earlier: dict[str, Any]) -> None:
    text, evaluation = tell(exported(["onnx"])), earlier["evaluation"]
    for key in ("voc12/map50", "voc07/map50", "coco/ap", "coco/ap75"):
        value, low, high = (evaluation[name] for name in (key, f"{key}/low", f"{key}/high"))
        assert f" | {value:.3f} | {low:.3f} to {high:.3f} |\n" in text
    for item in earlier["dataset"]["classes"]:
        ap = evaluation[f"voc12/ap50/{item['name']}"]
        assert f"| {item['name']} | {'undefined' if ap is None else f'{ap:.3f}'} |\n" in text
        assert f"| {item['name']} | {item['train']} | {item['val']} | {item['test']} |\n" in text


def test_it_gives_the_data_sets_licence_if_the_data_set_states_one(tell: Tell) -> None:
    assert "Licence: CC BY 4.0. Format: digits." in tell(exported(["onnx"]))
    silent = {"source": [{"format": "coco", "licence": None}]}
    assert "Licence: not stated. Format: coco." in tell(exported(["onnx"]), dataset=silent)


def test_each_published_file_stands_in_a_row_with_what_it_was_measured_to_be(tell: Tell) -> None:
    text = tell(exported(["onnx", "onnx_int8"]))
    assert "on A \\| processor, threads: 2." in text
    assert "| the trained model in torch | float32 |  | 0.900 | 0.600 | 10.0 (20.0) | 100.0 | 123 | 1 |\n" in text
    row = "8.5 | 0.900 (0.0010) | 0.600 (0.0000) | 5.0 (10.0) | 200.0 | 123 | 2.00 |\n"
    assert f"| `model.onnx` | float32 | {row}" in text
    assert f"| `model-int8.onnx` | int8 | {row}" in text
    assert "reprolens predict model.onnx pictures/" in text


def test_a_file_without_its_post_processing_is_said_to_be_so(tell: Tell) -> None:
    assert "`model.pt2` gives candidates" in tell(exported(["onnx", "torch_export"]))
    assert "candidates" not in tell(exported(["onnx"], rejected=["torch_export"]))


def test_a_rejected_file_is_not_mentioned(tell: Tell) -> None:
    text = tell(exported(["onnx"], rejected=["onnx_int8", "onnx_float16"]))
    assert re.search("int8|float16|reject|falls", text) is None


def test_a_file_of_smaller_numbers_that_is_not_faster_is_said_to_be_so(tell: Tell) -> None:
    both = ["onnx", "onnx_float16", "onnx_int8"]
    times = ("onnx_float16/latency_ms/p50", "onnx_int8/latency_ms/p50")
    assert "not faster" not in tell(exported(both, **dict.fromkeys(times, 4.5)))
    text = tell(exported(both, **dict(zip(times, (6.0, 4.9), strict=True))))
    assert "`model-float16.onnx` is smaller, but was not faster here: 6.0 ms a picture, 5.0 ms in float32." in text
    assert "`model-int8.onnx` is smaller, but was not faster here: 4.9 ms a picture, 5.0 ms in float32." in text


def test_it_says_how_to_reproduce_the_model(tell: Tell) -> None:
    text = tell(exported(["onnx"]), ORIGIN)
    assert f"```\ngit checkout {'f' * 40}\ndvc repro\n```\n\nThe sources held changes" in text
    assert all(value in text for value in (*ORIGIN.hashes.values(), "c" * 64, "d" * 64))
    assert f"```yaml\n{ORIGIN.config}```" in text
    assert "```\ndvc repro\n```\n" in tell(exported(["onnx"]))


def test_numbers_that_are_undefined_are_called_so(tell: Tell, source: Source) -> None:
    classes = source.trained.classes
    undefined = dict.fromkeys(
        ("voc12/map50", "voc07/map50", "coco/ap", "coco/ap75", *(f"voc12/ap50/{name}" for name in classes))
    )
    export = exported(["onnx"], **dict.fromkeys(("torch/coco/ap", "onnx/coco/ap", "onnx/drop/coco/ap")))
    text = tell(export, evaluation=undefined | {"split": "train"}, pretrain={"source": "random", "name": None})
    assert text.count("undefined") == 4 + len(classes) + 2
    assert "none: trained from random values" in text
    assert "never saw" not in text  # the train split is what it saw


def test_the_same_reports_give_the_same_card(tell: Tell) -> None:
    assert tell(exported(["onnx"]), ORIGIN) == tell(exported(["onnx"]), ORIGIN)


def test_names_of_classes_cannot_break_a_table(source_of: Callable[..., Source], tmp_path: Path) -> None:
    plain = source_of("fcos_mobilenet_v2")
    evil = ("a|b", "<b>", "c\nd", *plain.trained.classes[3:])
    source = replace(plain, trained=replace(plain.trained, classes=evil))
    measures = dict.fromkeys(("voc12/map50", "voc07/map50", "coco/ap", "coco/ap75"), 0.5)
    evaluation = {"split": "test", "images": 1, "boxes": 1, **measures, **{f"voc12/ap50/{name}": 0.5 for name in evil}}
    dataset = {"images/train": 1, "classes": [{"name": name, "train": 1} for name in evil]}
    reports = {"dataset": dataset, "pretrain": PRETRAIN, "train": TRAIN, "evaluation": evaluation}
    write_card(tmp_path, source, {**reports, "export": exported(["onnx"])}, UNKNOWN)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| a\\|b | 1 |\n| &lt;b> | 1 |\n| c d | 1 |\n" in text
