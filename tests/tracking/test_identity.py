"""Laws of a run's identity: the same for the same experiment, another for another one."""

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

from reprolens.tracking.identity import artifact_name, git_revision, identify


def test_the_id_follows_from_the_experiment_and_not_from_how_it_is_tracked(repository: Any) -> None:
    id = identify(repository.root, repository.config).id
    assert identify(repository.root, repository.tracking(name="x", project="y", tags=["z"])).id == id
    assert identify(repository.root, dataclasses.replace(repository.config, seed=2)).id != id


def test_the_id_changes_with_the_data_and_with_the_model(repository: Any) -> None:
    lock = repository.root / "dvc.lock"
    text = lock.read_text()
    ids = set()
    for old in ("nothing", "a" * 32, "c" * 32):
        lock.write_text(text.replace(old, "f" * 32))
        ids.add(identify(repository.root, repository.config).id)
    assert len(ids) == 3


def test_without_dvc_lock_and_git_the_configuration_has_no_such_section(repository: Any) -> None:
    (repository.root / "dvc.lock").unlink()
    identity = identify(repository.root, repository.config)
    assert {"dvc", "git"}.isdisjoint(identity.config)


def test_the_tree_is_dirty_when_source_changed_but_not_when_the_pipeline_wrote_its_outputs(repository: Any) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        command = ["git", "-C", str(repository.root), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (repository.root / "params.yaml").write_text("seed: 1\n")
    git("init", "-q")
    assert git_revision(repository.root) is None  # no commit yet
    git("add", "-A")
    git("commit", "-q", "-m", "start")
    revision = git("rev-parse", "HEAD")
    for path in ("config.yaml", "dvc.lock", "reports/train.json"):
        (repository.root / path).write_text("changed")
    assert git_revision(repository.root) == {"revision": revision, "dirty": False}
    (repository.root / "params.yaml").write_text("seed: 2\n")
    assert git_revision(repository.root) == {"revision": revision, "dirty": True}


def test_the_name_tells_model_data_and_seed_unless_given(repository: Any) -> None:
    data = dataclasses.replace(repository.config.data, path="../my data/bccd_voc/")
    config = dataclasses.replace(repository.config, data=data, seed=7)
    assert identify(repository.root, config).name == "fcos_mobilenet_v2-bccd_voc-seed7"
    assert identify(repository.root, repository.tracking(name="mine")).name == "mine"


def test_artifact_names_hold_only_what_wandb_takes() -> None:
    assert artifact_name("Ünï/x", "a b") == "-n--x-a-b"
    assert len(artifact_name("x" * 200)) == 128


def test_paths_without_a_name_fall_back_to_the_format(repository: Any) -> None:
    data = dataclasses.replace(repository.config.data, path=".")
    assert identify(Path(repository.root), dataclasses.replace(repository.config, data=data)).data == "digits"
