"""`dvc repro` for real: what the stages write, and which of them an edit executes again."""

import csv
import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from reprolens.config import load
from reprolens.inference.load import load_model
from reprolens.models import load_trained
from reprolens.models.checkpoint import read_tensors
from reprolens.voc import read_folder

pytestmark = pytest.mark.slow


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_composed_file_holds_the_overrides_of_params_yaml(reproduction: Any) -> None:
    config = load(reproduction.root / "config.yaml")
    assert (config.trainer.max_epochs, config.model.image_size, config.data.train) == (2, [96, 96], 24)


def test_data_set_report_counts_what_the_voc_folder_holds(reproduction: Any) -> None:
    folder = read_folder(reproduction.root / "data" / "voc")
    report = read_json(reproduction.root / "reports" / "dataset.json")
    for split, images in (("train", 24), ("val", 8), ("test", 10)):
        records = list(folder.records(split))
        assert len(records) == report[f"images/{split}"] == images
        assert sum(len(record.objects) for record in records) == report[f"boxes/{split}"]
        for record in records:
            with Image.open(folder.image(record)) as picture:
                assert picture.size == (record.width, record.height) == (96, 96)


def test_starting_weights_are_the_published_ones_and_say_so(reproduction: Any) -> None:
    report = read_json(reproduction.root / "reports" / "pretrain.json")
    assert report["name"] == "MobileNet_V2_Weights.IMAGENET1K_V1"
    assert report["sha256"].startswith("b0353104")
    state = read_tensors(reproduction.root / "weights" / "initial.pt")["state_dict"]
    assert len(state) == report["tensors"] > 200


def test_history_has_a_row_an_epoch_and_its_best_is_the_model_kept(reproduction: Any) -> None:
    with (reproduction.root / "reports" / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    report = read_json(reproduction.root / "reports" / "train.json")
    assert [int(row["epoch"]) for row in rows] == [1, 2]
    assert [int(row["global_step"]) for row in rows] == [3, 6]
    assert float(rows[report["best/epoch"] - 1]["val/map"]) == max(float(row["val/map"]) for row in rows)
    assert float(rows[1]["train/loss"]) < float(rows[0]["train/loss"])


def test_evaluation_is_what_pycocotools_makes_of_the_predictions(reproduction: Any, tmp_path: Path) -> None:
    folder = read_folder(reproduction.root / "data" / "voc")
    images, annotations = [], []
    for number, record in enumerate(folder.records("test"), start=1):
        images.append({"id": number, "width": record.width, "height": record.height})
        for item in record.objects:
            x0, y0, x1, y1 = item.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": folder.classes.index(item.name) + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(folder.classes)]
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    coco = COCO(str(truth))
    evaluation = COCOeval(coco, coco.loadRes(str(reproduction.root / "reports" / "predictions.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    report = read_json(reproduction.root / "reports" / "evaluation.json")
    for key, expected in zip(("coco/ap", "coco/ap50", "coco/ap75"), evaluation.stats, strict=False):
        assert report[key] == pytest.approx(expected, abs=1e-9)


def test_exported_file_finds_what_the_trained_model_finds(reproduction: Any) -> None:
    root = reproduction.root
    folder, trained = read_folder(root / "data" / "voc"), load_trained(root / "weights" / "model.pt")
    assert (root / "export" / "labels.txt").read_text().splitlines() == list(trained.classes) == list(folder.classes)
    predictions = read_json(root / "reports" / "predictions.json")
    model = load_model(root / "export")
    assert model.contract.classes == trained.classes
    for number, record in enumerate(folder.records("test"), start=1):
        with Image.open(folder.image(record)) as picture:
            [seen] = model(np.asarray(picture.convert("RGB"))[None])
        found = [item for item in predictions if item["image_id"] == number]
        assert np.allclose(sorted(seen.scores), sorted(item["score"] for item in found), atol=1e-4)
        best = max(found, key=lambda item: item["score"])
        x, y, width, height = best["bbox"]
        assert np.allclose(seen.boxes[0], [x, y, x + width, y + height], atol=0.05)
        assert seen.labels[0] == best["category_id"] - 1


def test_the_export_tells_what_it_was_made_from_and_that_it_passed(reproduction: Any) -> None:
    root = reproduction.root
    report, about = read_json(root / "reports" / "export.json"), read_json(root / "export" / "model.json")
    assert (report["published"], report["rejected"]) == (["onnx"], {})
    assert about["weights"]["sha256"] == read_json(root / "reports" / "evaluation.json")["weights/sha256"]
    card = (root / "export" / "README.md").read_text(encoding="utf-8")
    lock = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
    [data] = [out["md5"] for out in lock["convert"]["outs"] if out["path"] == "data/voc"]
    assert f"git checkout {about['revision']}\n" in card and data in card
    assert about["revision"] == reproduction.run("git", "rev-parse", "HEAD").stdout.strip()


def test_run_is_one_offline_folder_that_belongs_to_the_report(reproduction: Any) -> None:
    published = read_json(reproduction.root / "reports" / "run.json")
    folders = list((reproduction.root / "wandb").glob("offline-run-*"))
    assert [folder.relative_to(reproduction.root).as_posix() for folder in folders] == [published["folder"]]
    log = folders[0] / f"run-{published['id']}.wandb"
    assert b"voc12/map50" in log.read_bytes()


def test_second_reproduction_says_that_nothing_changed(reproduction: Any) -> None:
    done = reproduction.run("dvc", "repro")
    assert "Data and pipelines are up to date." in done.stdout
    assert "Running stage" not in done.stdout


def test_git_sees_nothing_but_the_lock_the_composed_file_and_the_edit(reproduction: Any) -> None:
    changed = reproduction.run("git", "status", "--porcelain").stdout.split()[1::2]
    assert set(changed) <= {"params.yaml", "config.yaml", "dvc.lock"}


def test_editing_an_unchosen_conf_file_executes_compose_only(reproduction: Any) -> None:
    path = reproduction.root / "conf" / "model" / "ssd300_vgg16.yaml"
    path.write_text(path.read_text() + "# a remark\n")
    assert reproduction.executed() == ["compose"]


def test_changing_an_export_key_executes_export_and_track_only(reproduction: Any) -> None:
    params = reproduction.root / "params.yaml"
    params.write_text(params.read_text().replace("export: {", "export: {opset: 19, "))
    assert reproduction.executed() == ["compose", "export", "track"]
    assert read_json(reproduction.root / "reports" / "export.json")["opset"] == 19


def test_changing_a_tracking_key_executes_track_only(reproduction: Any) -> None:
    with (reproduction.root / "params.yaml").open("a") as file:
        file.write("tracking: {notes: a remark}\n")
    assert reproduction.executed() == ["compose", "track"]


def test_changing_an_optimizer_key_executes_neither_convert_nor_pretrain(reproduction: Any) -> None:
    with (reproduction.root / "params.yaml").open("a") as file:
        file.write("optimizer: {lr: 1e-3}\n")
    assert reproduction.executed() == ["compose", "train", "evaluate", "export", "track"]


def test_dvc_shows_the_experiment(reproduction: Any) -> None:
    assert "voc12/map50" in reproduction.run("dvc", "metrics", "show").stdout
    difference = reproduction.run("dvc", "params", "diff").stdout
    assert "params.yaml" in difference and "config.yaml" in difference and "trainer.max_epochs" in difference
    graph = reproduction.run("dvc", "dag").stdout
    assert all(stage in graph for stage in ("compose", "convert", "pretrain", "train", "evaluate", "export", "track"))
    plots = reproduction.run("dvc", "plots", "show", "--json")
    assert "val/map50" in plots.stdout, plots.stderr


def test_experiment_run_takes_overrides(reproduction: Any) -> None:
    done = reproduction.run("dvc", "exp", "run", "-S", "+trainer.patience=5", "-S", "seed=2", "compose")
    assert done.returncode == 0, done.stderr
    config = load(reproduction.root / "config.yaml")
    assert (config.trainer.patience, config.seed) == (5, 2)


@pytest.mark.parametrize(
    ("edit", "stage", "line"),
    [
        (
            ("export: {", "export: {opsett: 19, "),
            "compose",
            r"^error: params.yaml:\d+: export.opsett: unknown key; .*opset",
        ),
        (("train: 24", "train: many"), "compose", r"^error: params.yaml:\d+: data.train: 'many' is not a whole number"),
        (("- pretrain: published", "- pretrain: publishd"), "compose", r"^error: .*publishd.*published"),
        (("path: data/digits", "path: conf"), "convert", r"^error: conf/digits.csv.gz: not found; data.path of"),
        (("path: data/digits", "path: gone"), "convert", r"^ERROR: .*convert.*gone"),
    ],
)
def test_wrong_input_ends_in_one_line_and_leaves_earlier_results(
    reproduction: Any, edit: tuple[str, str], stage: str, line: str
) -> None:
    root = reproduction.root
    params, lock = (root / "params.yaml").read_text(), (root / "dvc.lock").read_bytes()
    pictures = {path.name: path.read_bytes() for path in (root / "data" / "voc" / "JPEGImages").iterdir()}
    assert edit[0] in params
    (root / "params.yaml").write_text(params.replace(*edit))
    try:
        done = reproduction.run("dvc", "repro", stage)
        assert done.returncode != 0
        assert re.search(line, done.stderr, flags=re.MULTILINE), done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    finally:
        (root / "params.yaml").write_text(params)
    reproduction.run("dvc", "checkout", "-q")
    assert {path.name: path.read_bytes() for path in (root / "data" / "voc" / "JPEGImages").iterdir()} == pictures
    if stage == "compose":
        assert (root / "dvc.lock").read_bytes() == lock


def test_damaged_weights_end_in_one_line_and_code_in_them_does_not_run(reproduction: Any, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    (tmp_path / "weights.pth").write_bytes(pickle.dumps({"state_dict": Trap()}))
    params = reproduction.root / "params.yaml"
    before = params.read_text()
    reproduction.choose("pretrain", "file")
    with params.open("a") as file:
        file.write(f"pretrain: {{path: {tmp_path / 'weights.pth'}}}\n")
    done = reproduction.run("dvc", "repro", "pretrain")
    params.write_text(before)
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "weights.pth" in errors[0], done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "sprung").exists()
