"""The run of a trial that failed: one folder with what there is of it, marked failed; gone when it is tried again."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reprolens.config.schema import Mode
from reprolens.errors import DataError, StoppedError
from reprolens.tracking.failure import (
    MARK,
    is_published,
    note_training,
    publish_failure,
    record_failure,
    retract_failure,
)
from reprolens.tracking.identity import identify, identify_unfinished
from reprolens.tracking.publish import publish

HEADER = "epoch,global_step,lr,train/loss,val/map50\n"
ERROR = "loss is not finite at step 7; lower optimizer.lr, or größer: gradient_clip"


@pytest.fixture
def failed(repository: Any) -> Any:
    """Return a repository whose training failed in its third epoch: no reports but a history that stops."""
    for path in (repository.root / "reports").glob("*.json"):
        path.unlink()
    note_training(repository.root, "f" * 16)
    rows = "1,10,0.1,2.5,\n2,20,0.1,1.5,0.25\n3,30,0.1,nan"
    (repository.root / "reports" / "history.csv").write_text(HEADER + rows)
    return repository


def folders(root: Path) -> list[Path]:
    return sorted((root / "wandb").glob("offline-run-*"))


def test_failed_run_is_an_offline_folder_marked_failed(failed: Any, read_run: Callable[[Path], Any]) -> None:
    publish_failure(failed.root, failed.tracking(group="a-sweep", tags=["night"]), "train", ERROR)
    (folder,) = folders(failed.root)
    written = read_run(folder)
    assert written.exit_code == 1
    assert (written.run.run_group, list(written.run.tags), written.run.project) == ("a-sweep", ["night"], "reprolens")


def test_failed_run_has_the_error_the_configuration_and_the_history_so_far(
    failed: Any, read_run: Callable[[Path], Any]
) -> None:
    publish_failure(failed.root, failed.config, "train", ERROR)
    written = read_run(folders(failed.root)[0])
    assert (written.summary["error"], written.summary["error/stage"]) == (ERROR, "train")
    composed = json.loads(json.dumps(dataclasses.asdict(failed.config)))
    assert {name: written.config[name] for name in composed} == composed
    assert [(row["epoch"], row["global_step"]) for row in written.history] == [(1, 10), (2, 20)]  # no half row
    assert [row.get("val/map50") for row in written.history] == [None, 0.25]
    assert written.metrics["val/map50"].step_metric == "epoch"
    assert written.artifacts == {}


@pytest.mark.parametrize(
    "text", [None, "", HEADER, HEADER + "1,1", HEADER + "x,y,z,a,b\n", "\0\0", HEADER + "1,2,3,4,5,6\n"]
)
def test_any_history_will_do(failed: Any, read_run: Callable[[Path], Any], text: str | None) -> None:
    path = failed.root / "reports" / "history.csv"
    path.unlink() if text is None else path.write_text(text)
    publish_failure(failed.root, failed.config, "train", ERROR)
    written = read_run(folders(failed.root)[0])
    assert (written.exit_code, written.summary["error"]) == (1, ERROR)


def test_trial_that_failed_before_there_was_anything_has_its_run(failed: Any, read_run: Callable[[Path], Any]) -> None:
    (failed.root / "dvc.lock").unlink()
    (failed.root / MARK).unlink()
    publish_failure(failed.root, failed.config, "convert", ERROR)
    written = read_run(folders(failed.root)[0])
    assert (written.summary["error"], written.summary["error/stage"]) == (ERROR, "convert")


def test_online_without_a_key_is_written_offline(failed: Any, read_run: Callable[[Path], Any]) -> None:
    publish_failure(failed.root, failed.tracking(mode=Mode.online), "train", ERROR)
    assert read_run(folders(failed.root)[0]).exit_code == 1


def test_retracted_failure_leaves_nothing_and_other_runs_alone(failed: Any) -> None:
    other = failed.root / "wandb" / "offline-run-20200101_000000-other"
    other.mkdir(parents=True)
    (other / "file").touch()
    before = {path.name for path in failed.root.iterdir()}
    assert not is_published(failed.root)
    publish_failure(failed.root, failed.config, "train", ERROR)
    assert len(folders(failed.root)) == 2 and is_published(failed.root)
    retract_failure(failed.root)
    assert not is_published(failed.root)
    assert folders(failed.root) == [other]
    assert {path.name for path in failed.root.iterdir()} == before
    retract_failure(failed.root)
    assert (other / "file").exists()


def test_trial_that_fails_again_has_one_run(failed: Any) -> None:
    for _ in range(2):
        retract_failure(failed.root)
        publish_failure(failed.root, failed.config, "train", ERROR)
    assert len(folders(failed.root)) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"failed": ""}', '{"failed": ".."}', '{"failed": null}', "null"])
def test_damaged_mark_removes_no_run(failed: Any, text: str) -> None:
    other = failed.root / "wandb" / "offline-run-20200101_000000-other"
    other.mkdir(parents=True)
    (failed.root / MARK).write_text(text)
    retract_failure(failed.root)
    assert other.is_dir() and (failed.root / "config.yaml").is_file()
    publish_failure(failed.root, failed.config, "train", ERROR)
    assert len(folders(failed.root)) == 2


def test_the_failure_s_run_is_the_one_that_a_second_attempt_at_its_training_goes_on_with(failed: Any) -> None:
    publish_failure(failed.root, failed.config, "train", ERROR)
    (folder,) = folders(failed.root)
    assert folder.name.endswith(identify_unfinished(failed.root, failed.config, "f" * 16).id)


def test_the_run_of_a_failed_evaluation_is_its_training_s_and_has_its_history(
    repository: Any, read_run: Callable[[Path], Any]
) -> None:
    note_training(repository.root, "e" * 16)  # another one, begun and stopped since
    publish_failure(repository.root, repository.config, "evaluate", ERROR)
    written = read_run(folders(repository.root)[0])
    assert written.run.run_id == identify(repository.root, repository.config).id
    assert [row["epoch"] for row in written.history] == [1, 2, 3, 4, 5]
    assert written.summary["error/stage"] == "evaluate"


@pytest.mark.parametrize("stage", ["convert", "pretrain"])
def test_a_stage_before_the_training_has_no_history_of_an_earlier_one(
    repository: Any, read_run: Callable[[Path], Any], stage: str
) -> None:
    publish_failure(repository.root, repository.config, stage, ERROR)
    written = read_run(folders(repository.root)[0])
    assert written.history == [] and "training" not in written.config
    assert written.run.run_id == identify_unfinished(repository.root, repository.config, None).id


def test_a_run_that_is_published_takes_the_failure_s_place(repository: Any) -> None:
    for stage in ("convert", "evaluate"):  # which are runs of two ids
        publish_failure(repository.root, repository.config, stage, ERROR)
        result = publish(repository.root, repository.config)
        assert folders(repository.root) == [repository.root / result["folder"]]
        assert not is_published(repository.root)


@pytest.mark.parametrize(
    ("stage", "error"), [("compose", DataError("x")), ("track", DataError("x")), ("train", StoppedError("x"))]
)
def test_stages_without_a_run_and_trainings_told_to_stop_record_nothing(
    failed: Any, stage: str, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    record_failure(failed.root, stage, error)
    assert folders(failed.root) == [] and capsys.readouterr().err == ""


def test_an_error_without_words_is_recorded_by_its_kind(failed: Any, read_run: Callable[[Path], Any]) -> None:
    record_failure(failed.root, "train", MemoryError())
    assert read_run(folders(failed.root)[0]).summary["error"] == "MemoryError"


def test_a_failure_that_cannot_be_recorded_is_one_line(failed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (failed.root / "config.yaml").write_text("seed: [")
    record_failure(failed.root, "convert", DataError("x"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tracking: no run was written for this failure (")
    assert folders(failed.root) == []


def test_disabled_writes_nothing_and_does_not_import_wandb(failed: Any) -> None:
    script = """
import sys
from pathlib import Path
from reprolens.config import load
from reprolens.tracking.failure import publish_failure
publish_failure(Path(), load(Path("config.yaml")), "train", "an error")
print("wandb" in sys.modules)
"""
    text = (failed.root / "config.yaml").read_text()
    (failed.root / "config.yaml").write_text(text.replace("mode: offline", "mode: disabled"))
    before = sorted(failed.root.rglob("*"))
    done = subprocess.run([sys.executable, "-c", script], cwd=failed.root, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    assert sorted(failed.root.rglob("*")) == before


def test_a_training_that_fails_before_it_begins_leaves_an_earlier_one_s_run_alone(
    repository: Any, read_run: Callable[[Path], Any]
) -> None:
    note_training(repository.root, "f" * 16)
    published = publish(repository.root, repository.config)
    publish_failure(repository.root, repository.config, "train", ERROR)  # the same configuration, but no weights, say
    kept, failure = sorted(map(read_run, folders(repository.root)), key=lambda written: written.exit_code or 0)
    assert kept.run.run_id == published["id"] != failure.run.run_id
    assert (len(kept.history), failure.history) == (6, [])
