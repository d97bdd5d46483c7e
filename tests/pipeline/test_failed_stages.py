"""Laws of a stage that fails: it leaves a run marked as failed, with what there is, until the experiment succeeds."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.conftest import Reproduction
from reprolens.tracking.transaction_log import RunLog, _records, find_log, read_log

HOPELESS = """\
seed: 1
data: {path: data/digits, image_size: 96, train: 24, val: 8, test: 10, max_digits: 4, max_size: 40}
model: {image_size: [96, 96]}
optimizer: {lr: 1e30}
schedule: {warmup_epochs: 0}
trainer: {max_epochs: 3, batch_size: 24, evaluate_every: 3, gradient_clip: 0}
evaluate: {samples: 4}
export: {gate: {images: 4, timed_runs: 4}}
"""
"""A step an epoch, of which the first makes the weights so large that the second's loss is not finite."""


def folders(root: Path) -> list[Path]:
    return sorted((root / "wandb").glob("*run-*"))


def read_only_run(root: Path) -> tuple[RunLog, dict[str, Any]]:
    """Return the one run there is, and its configuration."""
    (folder,) = folders(root)
    log = read_log(find_log(folder))
    (run,) = [record.run for record in _records(log.path) if record.WhichOneof("record_type") == "run"]
    return log, {item.key: json.loads(item.value_json) for item in run.config.update}


def stage(root: Path, name: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "DVC_ROOT"} | {"PYTHONPATH": "src"}
    command = [sys.executable, "-m", f"pipelines.{name}"]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def test_a_conversion_without_its_data_leaves_a_failed_run_with_the_error(repository: Path) -> None:
    params = (repository / "params.yaml").read_text()
    (repository / "params.yaml").write_text(f"{params.partition('seed:')[0]}seed: 1\ndata: {{path: nowhere}}\n")
    assert stage(repository, "compose").returncode == 0
    done = stage(repository, "convert")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    log, config = read_only_run(repository)
    assert line == f"error: {log.summary['error']}" and "nowhere" in line
    assert (log.summary["error/stage"], log.exit_code, log.rows) == ("convert", 1, ())
    assert config["data"]["path"] == "nowhere" and "training" not in config
    assert stage(repository, "convert").returncode == 2
    assert len(folders(repository)) == 1


def test_a_source_with_problems_leaves_the_last_good_data_set_as_it_is(untouched: Reproduction, tmp_path: Path) -> None:
    tried = Reproduction(tmp_path / "tried")
    shutil.copytree(untouched.root, tried.root)
    tried.set_overrides("seed: 1\ndata: {path: data/digits, image_size: 96, max_size: 40, train: 4, val: 2, test: 2}\n")
    good = (tried.root / "params.yaml").read_text()
    assert tried.executed("convert") == ["compose", "convert"]
    before = contents(tried.root)
    assert len(before) > 20

    (tried.root / "data" / "broken").mkdir()
    (tried.root / "data" / "broken" / "instances.json").write_text('{"images": [{"id": 1, "file_name": "a.jpg"}]}')
    tried.choose("data", "coco")
    tried.set_overrides("seed: 1\ndata: {path: data/broken}\n")
    done = tried.run("dvc", "repro", "convert")
    assert done.returncode != 0 and "a.jpg" in done.stderr and "are in their place" in done.stderr
    assert contents(tried.root) == before

    (tried.root / "params.yaml").write_text(good)
    tried.choose("data", "digits")
    assert "convert" not in tried.executed("convert")
    assert contents(tried.root) == before


def contents(root: Path) -> dict[str, bytes]:
    """Return every file of the data set and its report."""
    files = [root / "reports" / "dataset.json", *(root / "data" / "voc").rglob("*")]
    return {str(file): file.read_bytes() for file in files if file.is_file()}


@pytest.mark.slow
def test_a_failed_training_leaves_its_history_and_the_next_success_takes_it_away(
    reproduction: Reproduction, tmp_path: Path
) -> None:
    tried = Reproduction(tmp_path / "tried")
    shutil.copytree(reproduction.root, tried.root, symlinks=True)
    shutil.rmtree(tried.root / "wandb")  # as if nothing had been tracked yet
    (tried.root / "reports" / "run.json").unlink()
    params = (tried.root / "params.yaml").read_text()
    tried.choose("optimizer", "sgd")
    tried.set_overrides(HOPELESS)
    done = tried.run("dvc", "repro", "track")
    assert done.returncode != 0
    log, config = read_only_run(tried.root)
    assert "the loss is not finite at step 2" in log.summary["error"] and log.summary["error"] in done.stderr
    assert (log.summary["error/stage"], log.exit_code) == ("train", 1)
    assert (len(log.rows), log.summary["epoch"]) == (1, 1)
    assert config["optimizer"]["lr"] == 1e30 and len(config["training"]) == 16
    (tried.root / "params.yaml").write_text(params)
    assert tried.run("dvc", "repro", "track").returncode == 0
    log, config = read_only_run(tried.root)
    assert log.exit_code == 0 and "error" not in log.summary
    assert log.id == json.loads((tried.root / "reports" / "run.json").read_text())["id"]


@pytest.mark.slow
def test_a_file_that_does_not_pass_the_gate_ends_the_export_in_one_line_or_is_let_go_by(
    reproduction: Reproduction, tmp_path: Path
) -> None:
    tried = Reproduction(tmp_path / "tried")
    shutil.copytree(reproduction.root, tried.root, symlinks=True)
    shutil.rmtree(tried.root / "wandb")  # as if nothing had been tracked yet
    params = tried.root / "params.yaml"
    params.write_text(params.read_text().replace("gate: {", "gate: {score_tolerance: 1e-12, "))
    done = tried.run("dvc", "repro", "track")
    assert done.returncode != 0
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: export: 1 of 1 files is not as good as the model and not published: model.onnx: ")
    assert "dvc checkout" not in done.stderr  # which would put away what was rejected
    assert "(export.gate.score_tolerance)" in line and line.endswith("; it is kept in export/rejected/onnx")
    kept = {path.relative_to(tried.root / "export").as_posix() for path in (tried.root / "export").rglob("*.*")}
    assert kept == {"rejected/onnx/model.onnx", "rejected/onnx/reason.txt"}
    assert json.loads((tried.root / "reports" / "export.json").read_text())["published"] == []

    params.write_text(params.read_text().replace("gate: {", "gate: {on_failure: warn, "))
    done = tried.run("dvc", "repro", "track")
    assert done.returncode == 0, done.stderr
    assert "export: rejected: model.onnx: " in done.stdout
    log, _ = read_only_run(tried.root)
    assert log.exit_code == 0 and log.summary["onnx/passed"] is False
    assert {"model", "export"} & {artifact.type for artifact in log.artifacts} == {"model"}
