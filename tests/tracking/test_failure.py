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
from reprolens.tracking import publish_failure, retract_failure

HEADER = "epoch,global_step,lr,train/loss,val/map50\n"
ERROR = "loss is not finite at step 7; lower optimizer.lr, or größer: gradient_clip"


@pytest.fixture
def failed(repository: Any) -> Any:
    """Return a repository whose training failed in its third epoch: no reports but a history that stops."""
    for path in (repository.root / "reports").glob("*.json"):
        path.unlink()
    rows = "1,10,0.1,2.5,\n2,20,0.1,1.5,0.25\n3,30,0.1,nan"
    (repository.root / "reports" / "history.csv").write_text(HEADER + rows)
    return repository


def folders(root: Path) -> list[Path]:
    return sorted((root / "wandb").glob("offline-run-*"))


def test_failed_run_is_an_offline_folder_marked_failed(failed: Any, read_run: Callable[[Path], Any]) -> None:
    publish_failure(failed.root, failed.tracking(group="a-sweep", tags=["night"]), ERROR)
    (folder,) = folders(failed.root)
    written = read_run(folder)
    assert written.exit_code == 1
    assert (written.run.run_group, list(written.run.tags), written.run.project) == ("a-sweep", ["night"], "reprolens")


def test_failed_run_has_the_error_the_configuration_and_the_history_so_far(
    failed: Any, read_run: Callable[[Path], Any]
) -> None:
    publish_failure(failed.root, failed.config, ERROR)
    written = read_run(folders(failed.root)[0])
    assert written.summary["error"] == ERROR
    composed = json.loads(json.dumps(dataclasses.asdict(failed.config)))
    assert {name: written.config[name] for name in composed} == composed
    assert [(row["epoch"], row["global_step"]) for row in written.history] == [(1, 10), (2, 20), (3, 30)]
    assert [row.get("val/map50") for row in written.history] == [None, 0.25, None]
    assert written.metrics["val/map50"].step_metric == "epoch"
    assert written.artifacts == {}


@pytest.mark.parametrize(
    "text", [None, "", HEADER, HEADER + "1,1", HEADER + "x,y,z,a,b\n", "\0\0", HEADER + "1,2,3,4,5,6\n"]
)
def test_any_history_will_do(failed: Any, read_run: Callable[[Path], Any], text: str | None) -> None:
    path = failed.root / "reports" / "history.csv"
    path.unlink() if text is None else path.write_text(text)
    publish_failure(failed.root, failed.config, ERROR)
    written = read_run(folders(failed.root)[0])
    assert (written.exit_code, written.summary["error"]) == (1, ERROR)


def test_trial_that_failed_before_there_was_anything_has_its_run(failed: Any, read_run: Callable[[Path], Any]) -> None:
    (failed.root / "dvc.lock").unlink()
    publish_failure(failed.root, failed.config, ERROR)
    assert read_run(folders(failed.root)[0]).summary["error"] == ERROR


def test_online_without_a_key_is_written_offline(failed: Any, read_run: Callable[[Path], Any]) -> None:
    publish_failure(failed.root, failed.tracking(mode=Mode.online), ERROR)
    assert read_run(folders(failed.root)[0]).exit_code == 1


def test_retracted_failure_leaves_nothing_and_other_runs_alone(failed: Any) -> None:
    other = failed.root / "wandb" / "offline-run-20200101_000000-other"
    other.mkdir(parents=True)
    (other / "file").touch()
    before = {path.name for path in failed.root.iterdir()}
    publish_failure(failed.root, failed.config, ERROR)
    assert len(folders(failed.root)) == 2
    retract_failure(failed.root)
    assert folders(failed.root) == [other]
    assert {path.name for path in failed.root.iterdir()} == before
    retract_failure(failed.root)
    assert (other / "file").exists()


def test_trial_that_fails_again_has_one_run(failed: Any) -> None:
    for _ in range(2):
        retract_failure(failed.root)
        publish_failure(failed.root, failed.config, ERROR)
    assert len(folders(failed.root)) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"folder": ""}', '{"folder": ".."}', '{"folder": null}', "null"])
def test_damaged_mark_removes_no_run(failed: Any, text: str) -> None:
    other = failed.root / "wandb" / "offline-run-20200101_000000-other"
    other.mkdir(parents=True)
    (failed.root / "failed-run.json").write_text(text)
    retract_failure(failed.root)
    assert other.is_dir() and (failed.root / "config.yaml").is_file()


def test_disabled_writes_nothing_and_does_not_import_wandb(failed: Any) -> None:
    script = """
import sys
from pathlib import Path
from reprolens.config import load
from reprolens.tracking import publish_failure
publish_failure(Path(), load(Path("config.yaml")), "an error")
print("wandb" in sys.modules)
"""
    text = (failed.root / "config.yaml").read_text()
    (failed.root / "config.yaml").write_text(text.replace("mode: offline", "mode: disabled"))
    before = sorted(failed.root.rglob("*"))
    done = subprocess.run([sys.executable, "-c", script], cwd=failed.root, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    assert sorted(failed.root.rglob("*")) == before
