"""Weights that DVC tracks, here or in another repository, at any revision: real repositories of Git and DVC."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from dvc.repo import Repo

from models.saying import NOTHING, equal, names
from reprolens.config import DvcWeights, Model
from reprolens.errors import WeightsError
from reprolens.files import sha256
from reprolens.models import build, save_trained
from reprolens.models.weights import dvc_weights

DEFAULT = "fcos_mobilenet_v2"
HERE = DvcWeights("dvc", "weights/model.pt", ".", None, NOTHING)


def _git(folder: Path, *arguments: str) -> str:
    names = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(["git", *names, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _commit(root: Path, repository: Repo, classes: tuple[str, ...], options: Model) -> None:
    """Commit a weights/model.pt of these classes, which DVC tracks."""
    torch.manual_seed(len(classes))
    path = root / "weights" / "model.pt"
    save_trained(path, build(options, len(classes)).state_dict(), options, classes)
    repository.add(str(path))
    _git(root, "add", "-A")
    _git(root, "commit", "-qm", " ".join(classes))


@pytest.fixture(scope="module")
def repository(options: Callable[..., Model], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with models of two classes (tag old), of three (HEAD), and of one that is not committed."""
    root, small = tmp_path_factory.mktemp("dvc") / "repository", options(DEFAULT)
    root.mkdir()
    _git(root, "init", "-qb", "main")
    Repo.init(str(root)).close()
    (root / ".dvc" / "config").write_text(
        f"[core]\n    remote = store\n['remote \"store\"']\n    url = {root.parent / 'store'}\n"
    )
    with Repo(str(root)) as tracked:
        _commit(root, tracked, ("x", "y"), small)
        _git(root, "tag", "old")
        _commit(root, tracked, ("x", "y", "z"), small)
        tracked.push(all_commits=True)
    (root / "weights" / "model.pt").unlink()
    save_trained(root / "weights" / "model.pt", build(small, 1).state_dict(), small, ("w",))
    return root


@pytest.mark.parametrize(
    ("rev", "classes"),
    [("old", ("x", "y")), ("HEAD~1", ("x", "y")), ("main", ("x", "y", "z")), (None, ("x", "y", "z"))],
)
def test_a_revision_of_this_repository_is_what_was_committed_then(
    rev: str | None,
    classes: tuple[str, ...],
    repository: Path,
    options: Callable[..., Model],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(repository)
    weights = dvc_weights(replace(HERE, rev=rev), options(DEFAULT))
    assert weights.classes == classes
    torch.manual_seed(len(classes))
    assert equal(weights.state, build(options(DEFAULT), len(classes)).state_dict())
    commit = _git(repository, "rev-parse", rev or "HEAD")
    origin = weights.origin
    assert (origin["source"], origin["rev"], origin["repo"]) == ("dvc", commit, ".")
    assert origin["file"] == "weights/model.pt"


@pytest.mark.parametrize("kind", ["path", "file://"])
def test_another_repository_is_read_by_its_path_or_address(
    kind: str, repository: Path, options: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    repo = str(repository) if kind == "path" else f"file://{repository}"
    weights = dvc_weights(replace(HERE, repo=repo, rev="old"), options(DEFAULT))
    assert weights.classes == ("x", "y")
    assert dvc_weights(replace(HERE, repo=repo), options(DEFAULT)).classes == ("x", "y", "z")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_only_git_tracks_is_read_too(
    repository: Path, options: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "clone"
    _git(tmp_path, "clone", "-q", str(repository), str(clone))
    torch.save(build(options(DEFAULT), 1).state_dict(), clone / "plain.pth")
    _git(clone, "add", "plain.pth")
    _git(clone, "commit", "-qm", "plain")
    weights = dvc_weights(replace(HERE, path="plain.pth", repo=str(clone)), options(DEFAULT))
    assert weights.origin["sha256"] == sha256(clone / "plain.pth")


def test_it_does_not_wait_for_dvc_which_runs_the_stage(
    repository: Path, options: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC locks a repository while it runs a stage; the stage itself then reads another revision of it."""
    root = tmp_path / "repository"
    _git(tmp_path, "clone", "-q", str(repository), str(root))
    command = "touch started; while [ ! -e over ]; do sleep 0.02; done; touch out.txt"
    (root / "dvc.yaml").write_text(f"stages:\n  long:\n    cmd: '{command}'\n    outs: [out.txt]\n")
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    with subprocess.Popen([sys.executable, "-m", "dvc", "repro", "-q", "long"], cwd=root, env=environment) as process:
        try:
            deadline = time.monotonic() + 60
            while not (root / "started").exists():
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            monkeypatch.chdir(root)
            assert dvc_weights(replace(HERE, rev="old"), options(DEFAULT)).classes == ("x", "y")
            assert process.poll() is None
        finally:
            (root / "over").touch()
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"path": "weights/absent.pt"}, ("pretrain.path: weights/absent.pt of this repository", "cannot be had")),
        ({"rev": "no-such-branch"}, ("weights/model.pt of this repository at no-such-branch", "cannot be had")),
        ({"repo": "/no/such/folder"}, ("pretrain.repo: /no/such/folder: there is no such folder",)),
        ({"repo": "file:///no/such/folder"}, ("weights/model.pt of file:///no/such/folder", "cannot be had")),
        ({"path": "weights"}, ("pretrain.path: weights of this repository is a folder; name a file in it",)),
        ({"path": "weights/initial.pt"}, ("weights/initial.pt is a pretrain stage's own output", "weights/model.pt")),
        ({"path": "../../outside.pt"}, ("outside.pt of this repository", "cannot be had")),
    ],
)
def test_what_is_not_there_is_named_in_one_line(
    change: dict[str, str],
    parts: tuple[str, ...],
    repository: Path,
    options: Callable[..., Model],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(repository)
    with pytest.raises(WeightsError) as caught:
        dvc_weights(replace(HERE, **change), options(DEFAULT))
    names(str(caught.value), *parts)


def test_a_file_that_nobody_fetched_is_told_from_one_that_is_not_tracked(
    options: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _git(tmp_path, "init", "-qb", "main")
    Repo.init(str(tmp_path)).close()
    with Repo(str(tmp_path)) as tracked:
        _commit(tmp_path, tracked, ("x", "y"), options(DEFAULT))
    shutil.rmtree(tmp_path / ".dvc" / "cache")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError) as caught:
        dvc_weights(HERE, options(DEFAULT))
    names(str(caught.value), "weights/model.pt of this repository: not in DVC's cache there", "dvc fetch", "dvc pull")


def test_a_folder_without_git_has_no_revisions(
    options: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Repo.init(str(tmp_path), no_scm=True).close()
    (tmp_path / "weights").mkdir()
    torch.save(build(options(DEFAULT), 1).state_dict(), tmp_path / "weights" / "model.pt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError) as caught:
        dvc_weights(replace(HERE, rev="old"), options(DEFAULT))
    names(str(caught.value), "pretrain.path: weights/model.pt of this repository at old", "not a git repository")
