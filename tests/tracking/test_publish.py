"""Laws of a published run: it holds what the reports say, once, and nothing else changes."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reprolens.config.schema import Mode
from reprolens.errors import TrackingError
from reprolens.tracking.publish import publish
from reprolens.tracking.reports import read_reports


@pytest.fixture(scope="module")
def repository(build: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One repository for the tests that only read its run."""
    return build(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def result(repository: Any) -> dict[str, str]:
    return publish(repository.root, repository.config)


@pytest.fixture(scope="module")
def written(repository: Any, result: dict[str, str], read_run: Callable[[Path], Any]) -> Any:
    return read_run(repository.root / result["folder"])


@pytest.fixture
def fresh(build: Callable[..., Any], tmp_path: Path) -> Any:
    """A repository of the test's own."""
    return build(tmp_path / "repository")


def run_folders(root: Path) -> list[Path]:
    return sorted((root / "wandb").glob("*run-*"))


def test_result_says_where_the_run_lies(repository: Any, result: dict[str, str], written: Any) -> None:
    assert result == {
        "id": written.run.run_id,
        "name": "fcos_mobilenet_v2-digits-seed1",
        "mode": "offline",
        "project": "reprolens",
        "folder": run_folders(repository.root)[0].relative_to(repository.root).as_posix(),
    }
    assert (written.run.display_name, written.run.job_type) == (result["name"], "trial")
    assert written.run.project == "reprolens"
    assert written.exit_code == 0


def test_config_is_the_whole_composed_configuration_and_the_dvc_hashes(repository: Any, written: Any) -> None:
    config = {key: value for key, value in written.config.items() if key != "_wandb"}
    dvc = config.pop("dvc")
    assert set(config) == {
        *("seed", "data", "model", "pretrain", "transfer", "augment", "optimizer", "schedule", "trainer"),
        *("evaluate", "export", "tracking", "sweep", "environment", "training"),
    }
    assert config["training"] == "f" * 16
    assert config["optimizer"]["lr"] == repository.config.optimizer.lr
    assert config["tracking"]["mode"] == "offline"
    assert config["trainer"]["patience"] is None
    assert dvc.pop("stages").keys() == {"all"}
    assert dvc == {"data": "a" * 32 + ".dir", "initial_weights": "b" * 32, "model": "c" * 32}


def test_history_has_the_rows_of_history_csv_and_no_value_where_a_cell_is_empty(written: Any) -> None:
    rows = [row for row in written.history if "epoch" in row]
    assert [(row["epoch"], row["global_step"]) for row in rows] == [(n, n * 32) for n in range(1, 6)]
    assert [row["train/loss"] for row in rows] == pytest.approx([1 / n for n in range(1, 6)], abs=1e-15)
    assert [row.get("val/map50") for row in rows] == [None, 0.6, None, 0.5, None]


def test_the_pictures_lie_in_a_row_of_their_own_behind_the_history(written: Any) -> None:
    assert [row["_step"] for row in written.history] == list(range(6))
    assert ["samples/boxes" in row for row in written.history] == [False] * 5 + [True]
    assert {"epoch", "global_step"}.isdisjoint(written.history[-1])


def test_curves_are_drawn_over_epochs_and_steps_not_over_calls_of_log(written: Any) -> None:
    axes = {name: metric.step_metric for name, metric in written.metrics.items() if metric.step_metric}
    assert axes == {
        **dict.fromkeys(("lr", "train/loss", "train/box"), "global_step"),
        **dict.fromkeys(("val/map50", "val/map", "images_per_second"), "epoch"),
    }


def test_summary_keeps_the_best_of_validation_and_the_last_of_the_rest(written: Any) -> None:
    assert written.summary["val/map50"] == {"max": 0.6}
    assert written.summary["epoch"] == 5


def test_summary_has_the_final_metrics_of_every_report_under_one_name_each(written: Any) -> None:
    expected = {
        "images": 100,
        "boxes": 400,
        "precision": 0.9,
        "voc12/map50": 0.925,
        "voc12/map50/low": 0.9,
        "precision/high": 0.92,
        "voc12/ap50/3": 0.87,
        "split": "test",
        "best_f1/threshold": 0.42,
        "calibration/ece": 0.0625,
        "boxes/small": 300,
        "data/sha256": "1" * 64,
        "weights/sha256": "2" * 64,
        "near_duplicates": 2,
        "dataset/images": 700,
        "images/train": 500,
        "pretrain/sha256": "d" * 64,
        "train/precision": "bf16",
        "train/seconds": 61.5,
        "train/val/map50": 0.59,
        "export/opset": 18,
        "onnx/latency_ms/p50": 7.5,
        "onnx_int8/passed": False,
    }
    assert {name: written.summary.get(name) for name in expected} == expected
    assert "coco/ar_large" not in written.summary  # undefined: null in the report


def test_pictures_are_the_reports_jpegs_with_true_and_predicted_boxes_in_pixels(repository: Any, written: Any) -> None:
    samples = written.media("samples/boxes")
    assert samples["captions"] == ["test_0000", "test_0001", "test_0002"]
    for index, name in enumerate(samples["filenames"]):
        copy, original = written.folder / "files" / name, repository.root / "reports" / "samples" / f"{index}.jpg"
        assert copy.suffix == ".jpg"
        assert copy.read_bytes() == original.read_bytes()
    boxes = [
        {kind: json.loads((written.folder / "files" / item["path"]).read_text()) for kind, item in entry.items()}
        for entry in samples["all_boxes"]
    ]
    seen = json.loads((repository.root / "reports" / "samples" / "samples.json").read_text())[0]["predictions"][0]
    (truth,) = boxes[0]["ground_truth"]["box_data"]
    (prediction,) = boxes[0]["predictions"]["box_data"]
    assert truth == {
        "position": {"minX": 20.0, "minY": 20.5, "maxX": 60.0, "maxY": 60.25},
        "domain": "pixel",
        "class_id": 4,
        "box_caption": "3",
    }
    assert prediction["position"] == {"minX": 21.0, "minY": 19.5, "maxX": 61.0, "maxY": 62.0}
    assert (prediction["domain"], prediction["scores"]) == ("pixel", {"score": seen["score"]})
    assert boxes[0]["predictions"]["class_labels"]["4"] == "3"
    assert boxes[1]["ground_truth"]["box_data"][0]["box_caption"] == "3 (difficult)"
    assert boxes[2]["predictions"]["box_data"] == []


def test_curves_and_tables_are_the_reports(repository: Any, written: Any) -> None:
    def table(name: str) -> Any:
        return json.loads((written.folder / "files" / written.media(name)["path"]).read_text())

    points = table("curves/precision_recall_table")
    assert points["columns"] == ["class", "recall", "precision"]
    assert len(points["data"]) == 10 * 101
    assert points["data"][50] == ["0", 0.5, 0.75]
    per_class = table("tables/per_class")
    assert per_class["columns"] == ["class", "boxes", "ap50_voc12", "ap_coco"]
    assert per_class["data"][8:] == [["8", 40, 0.9, 0.6], ["9", 40, 0.9, None]]


def test_artifacts_are_whole_files_in_the_run_folder_and_the_data_set_is_a_reference(
    repository: Any, written: Any
) -> None:
    def staged(name: str) -> dict[str, bytes]:
        entries = written.artifacts[name].manifest.contents
        assert all(Path(entry.local_path).is_relative_to(written.folder) for entry in entries)
        return {entry.path: Path(entry.local_path).read_bytes() for entry in entries}

    assert staged("fcos_mobilenet_v2-digits") == {"model.pt": (repository.root / "weights/model.pt").read_bytes()}
    exported = [path for path in (repository.root / "export").iterdir() if path.is_file()]  # rejected/ is a folder
    assert staged("fcos_mobilenet_v2-digits-export") == {path.name: path.read_bytes() for path in exported}
    data = written.artifacts["digits"]
    (entry,) = data.manifest.contents
    assert (data.type, entry.local_path, entry.ref) == ("dataset", "", f"dvc:data/voc?md5={'a' * 32}.dir")
    metadata = json.loads(data.metadata)
    assert (metadata["dvc_md5"], metadata["boxes/train"], metadata["path"]) == ("a" * 32 + ".dir", 2000, "data/voc")


def test_what_the_gate_rejected_is_in_no_artifact_and_none_tells_of_it(written: Any) -> None:
    for artifact in written.artifacts.values():
        assert not [entry.path for entry in artifact.manifest.contents if "int8" in entry.path]
        assert "int8" not in artifact.metadata
    assert json.loads(written.artifacts["fcos_mobilenet_v2-digits-export"].metadata)["published"] == ["onnx"]


def test_a_published_file_that_is_gone_is_named_and_where_nothing_was_published_none_is_asked_for(fresh: Any) -> None:
    (fresh.root / "export" / "model.onnx").unlink()
    with pytest.raises(TrackingError, match=r"export/model\.onnx: not found; run dvc repro export"):
        publish(fresh.root, fresh.config)
    shutil.rmtree(fresh.root / "export")
    path = fresh.root / "reports" / "export.json"
    rejected = {"published": [], "rejected": {"onnx": "why", "onnx_int8": "why"}, "onnx/passed": False}
    path.write_text(json.dumps(json.loads(path.read_text()) | rejected))
    assert publish(fresh.root, fresh.config)["mode"] == "offline"


def test_as_many_numbers_as_five_formats_have_are_told(fresh: Any) -> None:
    path = fresh.root / "reports" / "export.json"
    many = {f"onnx/number/{count}": float(count) for count in range(150)}
    path.write_text(json.dumps(json.loads(path.read_text()) | many))
    assert publish(fresh.root, fresh.config)["mode"] == "offline"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"published": "onnx"}, "does not say which files were published"),
        ({"rejected": []}, "does not say which files were published"),
        ({"onnx/file": "../secret"}, "names a file outside export/"),
    ],
)
def test_a_report_that_names_no_files_of_the_export_is_damaged(
    change: dict[str, Any], message: str, repository: Any, tmp_path: Path
) -> None:
    shutil.copytree(repository.root / "reports", tmp_path / "reports")
    path = tmp_path / "reports" / "export.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(TrackingError, match=rf"reports/export\.json: {message}; write it again with dvc repro -f exp"):
        read_reports(tmp_path / "reports")


def test_the_model_carries_what_is_said_of_all_classes_together_with_its_intervals(written: Any) -> None:
    metrics = json.loads(written.artifacts["fcos_mobilenet_v2-digits"].metadata)["metrics"]
    expected = {"voc12/map50": 0.925, "voc12/map50/low": 0.9, "voc12/map50/high": 0.95, "coco/ap": 0.61}
    expected |= {"precision": 0.9, "precision/low": 0.85, "best_f1": 0.88, "best_f1/threshold": 0.42}
    expected |= {"split": "test", "data/sha256": "1" * 64, "weights/sha256": "2" * 64, "calibration/ece": 0.0625}
    assert {name: metrics.get(name) for name in expected} == expected
    assert not [name for name in metrics if name.startswith("voc12/ap50")]


@pytest.mark.parametrize(("metric", "data"), [("val/map", "a" * 32 + ".dir"), ("voc12/map50", "1" * 64)])
def test_models_compete_on_the_split_on_which_they_were_measured(
    fresh: Any, read_run: Callable[[Path], Any], metric: str, data: str
) -> None:
    config = dataclasses.replace(
        fresh.config,
        evaluate=dataclasses.replace(fresh.config.evaluate, split="val"),
        sweep=dataclasses.replace(fresh.config.sweep, metric=[metric]),
    )
    artifact = read_run(fresh.root / publish(fresh.root, config)["folder"]).artifacts["fcos_mobilenet_v2-digits"]
    objective = json.loads(artifact.metadata)["objective"]
    assert (objective["name"], objective["data"]) == (metric, data)


def test_publishing_again_replaces_the_run(fresh: Any) -> None:
    results = [publish(fresh.root, fresh.config) for _ in range(2)]
    assert results[0]["id"] == results[1]["id"]
    assert run_folders(fresh.root) == [fresh.root / results[1]["folder"]]


def test_other_experiments_keep_their_runs(fresh: Any) -> None:
    first = publish(fresh.root, fresh.tracking(artifacts=False))
    report = fresh.root / "reports" / "train.json"
    report.write_text(report.read_text().replace("f" * 16, "e" * 16))
    second = publish(fresh.root, fresh.tracking(artifacts=False))
    assert first["id"] != second["id"]
    assert run_folders(fresh.root) == sorted(fresh.root / result["folder"] for result in (first, second))


def test_without_artifacts_the_models_are_not_needed(fresh: Any, read_run: Callable[[Path], Any]) -> None:
    (fresh.root / "weights/model.pt").unlink()
    result = publish(fresh.root, fresh.tracking(artifacts=False))
    kinds = {artifact.type for artifact in read_run(fresh.root / result["folder"]).artifacts.values()}
    assert kinds == {"run_table"}  # wandb keeps the tables of the charts so


def test_configuration_wins_over_wandb_variables_which_are_left_as_they_were(
    fresh: Any, read_run: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {
        "WANDB_MODE": "disabled",
        "WANDB_PROJECT": "other",
        "WANDB_NAME": "other",
        "WANDB_TAGS": "other",
        "WANDB_RUN_GROUP": "other",
        "WANDB_RUN_ID": "other",
        "WANDB_DIR": str(tmp_path / "elsewhere"),
        "WANDB_NOTES": "other",
        "WANDB_ENTITY": "other",
    }.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    config = fresh.tracking(artifacts=False, name="mine", group="study", tags=["a", "b"], notes="text")
    result = publish(fresh.root, config)
    assert dict(os.environ) == before
    run = read_run(fresh.root / result["folder"]).run
    assert (run.display_name, run.run_group, list(run.tags), run.notes) == ("mine", "study", ["a", "b"], "text")
    assert (run.project, run.entity, run.run_id) == ("reprolens", "", result["id"])
    assert not (tmp_path / "elsewhere").exists()


def test_nothing_is_written_outside_the_wandb_folder_and_nothing_is_printed(
    fresh: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("WANDB_CONFIG_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    before = set(fresh.root.iterdir())
    publish(fresh.root, fresh.config)
    assert set(fresh.root.iterdir()) - before == {fresh.root / "wandb"}
    assert list(home.rglob("*")) == []
    assert capfd.readouterr() == ("", "")


def test_online_without_a_key_falls_back_to_offline_with_one_line(
    fresh: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    result = publish(fresh.root, fresh.tracking(mode=Mode.online, artifacts=False))
    assert result["mode"] == "offline"
    assert run_folders(fresh.root) == [fresh.root / result["folder"]]
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "WANDB_API_KEY" in err


def test_disabled_imports_no_wandb_and_the_package_imports_neither_wandb_nor_torch(fresh: Any) -> None:
    code = (
        "import sys; from pathlib import Path; from reprolens.config import load\n"
        "from reprolens.tracking.publish import publish\n"
        "print(publish(Path(), load(Path('config.yaml'))))\n"
        "print(sorted({'wandb', 'torch', 'matplotlib'} & set(sys.modules)))"
    )
    config = fresh.root / "config.yaml"
    config.write_text(config.read_text().replace("mode: offline", "mode: disabled"))
    done = subprocess.run([sys.executable, "-c", code], cwd=fresh.root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["{'mode': 'disabled'}", "[]"]
    assert not (fresh.root / "wandb").exists()


DAMAGES = {
    "reports/train.json": "{",
    "reports/evaluation.json": "[]",
    "reports/dataset.json": "{}",
    "reports/export.json": None,
    "reports/history.csv": "epoch,global_step,val/map50\n1,32,high\n",
    "reports/plots/pr.csv": "class,recall\n",
    "reports/plots/per_class.csv": "class,boxes\na\n",
    "reports/plots/pr.png": None,
    "reports/plots/reliability.csv": "confidence,accuracy\n",
    "reports/plots/thresholds.csv": "threshold,precision,recall,f1\nlow,1,1,1\n",
    "reports/label_errors.csv": "image\n",
    "reports/samples/samples.json": '[{"image": "0.jpg"}]',
    "reports/samples/0.jpg": "not a picture",
    "dvc.lock": "stages: [",
    "weights/model.pt": None,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_missing_or_damaged_file_is_named_in_one_line_and_leaves_no_run(fresh: Any, name: str) -> None:
    fresh.damage(name, DAMAGES[name])
    with pytest.raises(TrackingError) as raised:
        publish(fresh.root, fresh.config)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)
    assert run_folders(fresh.root) == []


def test_a_run_that_fails_midway_is_removed_and_the_earlier_one_stays(
    fresh: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    earlier = publish(fresh.root, fresh.config)
    (fresh.root / "export" / "lost").symlink_to(fresh.root / "nowhere")
    with pytest.raises(TrackingError, match="lost"):
        publish(fresh.root, fresh.config)
    assert run_folders(fresh.root) == [fresh.root / earlier["folder"]]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "value"), [("project", "a/b"), ("tags", ["x" * 100])])
def test_what_wandb_refuses_is_a_clear_line(fresh: Any, name: str, value: Any) -> None:
    with pytest.raises(TrackingError, match=rf"(?i){name[:3]}") as raised:
        publish(fresh.root, fresh.tracking(**{name: value}))
    assert "pydantic" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert run_folders(fresh.root) == []
