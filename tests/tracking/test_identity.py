"""Laws of a run's identity: the same for the same experiment, another for another one."""

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

from reprolens.revision import git_revision
from reprolens.tracking.identity import artifact_name, dvc_hashes, identify, identify_unfinished


def test_the_id_follows_from_the_experiment_and_not_from_how_it_is_tracked(repository: Any) -> None:
    id = identify(repository.root, repository.config).id
    assert identify(repository.root, repository.tracking(name="x", project="y", tags=["z"])).id == id
    assert identify(repository.root, dataclasses.replace(repository.config, seed=2)).id != id


def test_the_id_changes_with_the_training_and_the_group(repository: Any) -> None:
    ids = {identify(repository.root, repository.config).id}
    ids.add(identify(repository.root, repository.tracking(group="a-sweep")).id)
    report = repository.root / "reports" / "train.json"
    report.write_text(json.dumps(json.loads(report.read_text()) | {"fingerprint": "e" * 16}))
    ids.add(identify(repository.root, repository.config).id)
    assert len(ids) == 3


def test_a_run_has_its_id_from_the_first_step_of_its_training_on(repository: Any) -> None:
    finished = identify(repository.root, repository.config)
    (repository.root / "reports" / "train.json").unlink()
    unfinished = identify_unfinished(repository.root, repository.config, "f" * 16)
    assert (unfinished.id, unfinished.name) == (finished.id, finished.name)
    assert identify_unfinished(repository.root, repository.config, None).id != finished.id


def test_an_unfinished_run_has_no_hashes_of_results_that_are_an_earlier_one_s(repository: Any) -> None:
    assert "dvc" in identify(repository.root, repository.config).config
    unfinished = identify_unfinished(repository.root, repository.config, "f" * 16)
    assert "dvc" not in unfinished.config and unfinished.hashes == {}


def test_the_configuration_says_which_training_and_on_what_it_runs(repository: Any) -> None:
    config = identify(repository.root, repository.config).config
    assert config["training"] == "f" * 16
    assert {"python", "platform", "cpus", "libraries"} == config["environment"].keys()
    assert "training" not in identify_unfinished(repository.root, repository.config, None).config


def test_a_stage_has_another_hash_where_dvc_noted_anything_else_of_it(repository: Any) -> None:
    lock = repository.root / "dvc.lock"
    before = dvc_hashes(lock)
    lock.write_text(lock.read_text().replace("c" * 32, "e" * 32))
    after = dvc_hashes(lock)
    assert (before[0]["model"], after[0]["model"]) == ("c" * 32, "e" * 32)
    assert before[1].keys() == after[1].keys() and before[1] != after[1]


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
