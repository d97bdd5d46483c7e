"""Trials as DVC experiments: DVC's own commands see them, and writing one needs no lock."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reprolens.config.schema import Direction, Sweep
from reprolens.errors import ConfigError, SweepError
from reprolens.sweeps.experiment import RECORDED, record_experiment
from reprolens.sweeps.git import Snapshot, take_snapshot

PIPELINE = """\
stages:
  train:
    cmd: python train.py
    deps: [train.py]
    params: [config.yaml: [lr]]
    metrics: [reports/evaluation.json: {cache: false}]
"""

LOCK = """\
schema: '2.0'
stages:
  train:
    cmd: python train.py
"""

RECORD = """
import sys
from pathlib import Path
from reprolens.sweeps.experiment import record_experiment
from reprolens.sweeps.git import Snapshot
root = Path(sys.argv[1])
for name in sys.argv[4:]:
    record_experiment(root, root / "multirun" / "s" / name, Snapshot(sys.argv[2], sys.argv[3]), name)
"""


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a small repository of Git and DVC, with a pipeline, a commit and an edit after it."""
    root = tmp_path / "repository"
    (root / ".dvc").mkdir(parents=True)
    git(root, "init", "-q")
    git(root, "config", "user.name", "A User")
    git(root, "config", "user.email", "user@localhost")
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    (root / ".gitignore").write_text("/multirun/\n/reports/run.json\n")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "dvc.lock").write_text(LOCK)
    (root / "train.py").write_text("pass\n")
    for name in ("params.yaml", "config.yaml"):
        (root / name).write_text("lr: 0.1\n")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "start")
    (root / "train.py").write_text("print('not committed')\n")
    return root


@pytest.fixture
def workspace(root: Path) -> Callable[..., Path]:
    """Return what makes a workspace as a finished trial leaves it: (name, learning rate) -> workspace."""

    def make(name: str, lr: float = 0.2) -> Path:
        folder = root / "multirun" / "s" / name
        (folder / "reports").mkdir(parents=True, exist_ok=True)
        for file in ("params.yaml", "config.yaml"):
            (folder / file).write_text(f"lr: {lr}\n")
        (folder / "dvc.lock").write_text(LOCK)
        (folder / "reports" / "run.json").write_text("{}\n")
        return folder

    return make


def experiments(root: Path) -> dict[str, str]:
    """Return the commit of each experiment by the end of its ref."""
    lines = git(root, "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps").splitlines()
    return {line.split()[0].rpartition("/")[2]: line.split()[1] for line in lines}


def test_dvc_shows_the_experiments_of_a_commit_with_their_parameters(
    root: Path, workspace: Callable[..., Path]
) -> None:
    snapshot = take_snapshot(root)
    for name, lr in (("sweep-0a", 0.2), ("größer_b+c=1.5-0b", 0.3)):
        record_experiment(root, workspace(name, lr), snapshot, name)
    command = [sys.executable, "-m", "dvc", "exp", "show", "--json"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (baseline,) = [entry for entry in json.loads(done.stdout) if entry["rev"] == snapshot.baseline]
    shown = {found["name"]: found["revs"][0]["data"] for found in baseline["experiments"]}
    learning_rates = {name: data["params"]["config.yaml"]["data"]["lr"] for name, data in shown.items()}
    assert learning_rates == {"sweep-0a": 0.2, "größer_b+c=1.5-0b": 0.3}


def test_experiment_is_a_commit_on_the_baseline_with_the_trials_sources_and_records(
    root: Path, workspace: Callable[..., Path]
) -> None:
    snapshot, folder = take_snapshot(root), workspace("a")
    record_experiment(root, folder, snapshot, "a")
    commit = experiments(root)["a"]
    assert git(root, "rev-parse", f"{commit}^@") == snapshot.baseline
    assert git(root, "cat-file", "blob", f"{commit}:train.py") == "print('not committed')"
    for name in RECORDED:
        assert git(root, "cat-file", "blob", f"{commit}:{name}") == (folder / name).read_text().strip()
    changed = git(root, "diff", "--name-only", snapshot.baseline, commit).splitlines()
    assert set(changed) == {"config.yaml", "params.yaml", "train.py", "reports/run.json"}
    assert git(root, "log", "-1", "--format=%an %ae", commit) == "A User user@localhost"


def test_same_trial_recorded_again_is_the_same_commit(root: Path, workspace: Callable[..., Path]) -> None:
    snapshot = take_snapshot(root)
    record_experiment(root, workspace("a"), snapshot, "a")
    before = experiments(root)
    git(root, "config", "user.name", "Another")  # a new commit would be another one
    record_experiment(root, workspace("a"), snapshot, "a")
    assert experiments(root) == before


def test_changed_trial_replaces_its_experiment_and_no_other(root: Path, workspace: Callable[..., Path]) -> None:
    snapshot = take_snapshot(root)
    for name in ("a", "a-b"):
        record_experiment(root, workspace(name), snapshot, name)
    before = experiments(root)
    record_experiment(root, workspace("a", 0.5), snapshot, "a")
    after = experiments(root)
    assert after["a-b"] == before["a-b"]
    assert after["a"] != before["a"]
    assert git(root, "rev-parse", f"{after['a']}^@") == snapshot.baseline
    assert git(root, "cat-file", "blob", f"{after['a']}:config.yaml") == "lr: 0.5"


def test_recording_touches_neither_branch_nor_index_nor_files(root: Path, workspace: Callable[..., Path]) -> None:
    def state() -> tuple[str, bytes]:
        return git(root, "for-each-ref", "refs/heads", "refs/tags", "refs/stash"), (root / ".git/index").read_bytes()

    folder = workspace("a")
    status, before = git(root, "status", "--porcelain"), state()
    record_experiment(root, folder, take_snapshot(root), "a")
    assert state() == before
    assert git(root, "status", "--porcelain") == status


def test_several_processes_record_at_once_and_lose_none(root: Path, workspace: Callable[..., Path]) -> None:
    snapshot = take_snapshot(root)
    names = [f"t{number}" for number in range(12)]
    for number, name in enumerate(names):
        workspace(name, number / 10)
    groups = [names[start::4] for start in range(4)]
    command = [sys.executable, "-c", RECORD, str(root), snapshot.tree, snapshot.baseline]
    processes = [subprocess.Popen([*command, *group], stderr=subprocess.PIPE, text=True) for group in groups]
    for process in processes:
        error = process.communicate(timeout=60)[1]
        assert process.returncode == 0, error
    found = experiments(root)
    assert sorted(found) == sorted(names)
    for number, name in enumerate(names):
        assert git(root, "cat-file", "blob", f"{found[name]}:config.yaml") == f"lr: {number / 10}"


def test_repository_without_an_author_records_all_the_same(
    root: Path, workspace: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    git(root, "config", "--unset", "user.name")
    git(root, "config", "--unset", "user.email")
    git(root, "config", "user.useConfigOnly", "true")
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    record_experiment(root, workspace("a"), take_snapshot(root), "a")
    assert git(root, "log", "-1", "--format=%an", experiments(root)["a"]) == "reprolens"


def test_author_with_an_address_but_no_name_records_all_the_same(
    root: Path, workspace: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    git(root, "config", "--unset", "user.name")
    git(root, "config", "user.useConfigOnly", "true")
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    record_experiment(root, workspace("a"), take_snapshot(root), "a")
    assert experiments(root).keys() == {"a"}


@pytest.mark.parametrize("name", ["plain", "größer", "a+b=1.5-c", "a..b", ".hidden", "..a", "a.lock", "-dash", "a."])
def test_every_name_that_a_sweep_can_have_names_an_experiment(
    root: Path, workspace: Callable[..., Path], name: str
) -> None:
    values: dict[str, Any] = {"metric": ["m"], "direction": [Direction.maximize]}
    try:
        Sweep(name=name, max_failure_rate=0.5, retry_failed=False, **values)
    except ConfigError:
        return  # refused before anything runs, which is as well
    record_experiment(root, workspace("a"), take_snapshot(root), f"{name}-0123abcd")
    assert experiments(root).keys() == {f"{name}-0123abcd"}


def test_commit_that_is_not_there_is_one_line(root: Path, workspace: Callable[..., Path]) -> None:
    with pytest.raises(SweepError) as caught:
        record_experiment(root, workspace("a"), Snapshot(take_snapshot(root).tree, "0" * 39 + "1"), "a")
    assert "\n" not in str(caught.value)
    assert experiments(root) == {}
