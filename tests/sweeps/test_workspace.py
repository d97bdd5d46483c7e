"""A trial's workspace: the repository's files and nothing more, brought up to date without losing the trial's own."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from reprolens.config import Classify, Config, Expected, FileWeights
from reprolens.config.compose import compose, to_yaml
from reprolens.sweeps.git import take_snapshot
from reprolens.sweeps.workspace import make_workspace
from sweeps.small_repository import commit, git, make_root

ROOT = Path(__file__).parents[2]
CONFIG = compose(ROOT, ["data=digits", "pretrain=random"])
NOTHING_SAID = Expected(None, None, None, None)
ADDED = {"changes.patch", ".dvc/config.local", ".dvc/tmp/snapshot"}
"""What a new workspace has beside the repository's files."""


def names(folder: Path) -> set[str]:
    """Return the files and links in a folder but for Git's own; what lies behind a link to a folder is not listed."""
    paths = {path.relative_to(folder) for path in folder.rglob("*") if path.is_symlink() or path.is_file()}
    return {path.as_posix() for path in paths if path.parts[0] != ".git"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a small repository with a commit."""
    return make_root(tmp_path / "repository")


Make = Callable[..., Path]


@pytest.fixture
def make(root: Path) -> Make:
    """Return what makes or updates a workspace of the repository as it is now: (**arguments) -> workspace."""

    def update(config: Config = CONFIG, checkpoints: str = "key", number: int = 0) -> Path:
        workspace = root / "multirun" / "s" / str(number)
        snapshot = take_snapshot(root, [config.data.path])
        make_workspace(root, workspace, snapshot, config, str(root / ".dvc/cache"), root / ".checkpoints" / checkpoints)
        return workspace

    return update


def with_data(path: str) -> Config:
    return replace(CONFIG, data=replace(CONFIG.data, path=path))


def with_classes(path: str) -> Config:
    """Return a configuration that learns to classify before."""
    pretrain = Classify("classify", path, None, max_epochs=1, batch_size=4, crop_size=32, lr=1e-3)
    return replace(CONFIG, pretrain=pretrain)


def test_new_workspace_has_the_files_of_the_snapshot_its_own_params_and_no_more(root: Path, make: Make) -> None:
    (root / "src" / "new.py").write_text("not committed\n")
    (root / "src" / "edited.py").write_text("edited\n")
    (root / "src" / "removed.py").unlink()
    (root / "picture.jpg").write_text("ignored\n")
    expected = names(root) - {"picture.jpg"}
    workspace = make()
    assert names(workspace) == (expected | ADDED | {"wandb", ".checkpoints"}) - {"dvc.lock"}
    for name in expected - {"dvc.lock", "params.yaml"}:
        assert (workspace / name).read_bytes() == (root / name).read_bytes()
    assert (workspace / "params.yaml").read_text() == to_yaml(CONFIG)


def test_dvc_in_a_workspace_uses_the_repositorys_cache_and_no_git(tmp_path: Path) -> None:
    root = make_root(tmp_path / "a repo, of #1 [größer]")
    workspace = root / "multirun" / "s" / "0"
    cache, checkpoints = str(root / ".dvc" / "cache"), root / ".checkpoints" / "key"
    make_workspace(root, workspace, take_snapshot(root), CONFIG, cache, checkpoints)
    script = (
        "from dvc.repo import Repo; repo = Repo(); "
        "config = repo.config; "
        "print(repo.cache.local.path, config['core']['no_scm'], repo.root_dir, config['cache']['type'], sep='|')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=workspace, capture_output=True, text=True)
    cache = root / ".dvc" / "cache" / "files" / "md5"
    expected = f"{cache}|True|{workspace}|['reflink', 'hardlink', 'symlink', 'copy']\n"
    assert (done.returncode, done.stdout) == (0, expected), done.stderr


def test_update_brings_changed_and_new_sources_and_removes_those_that_are_gone(root: Path, make: Make) -> None:
    workspace = make()
    (root / "src" / "edited.py").write_text("edited\n")
    (root / "src" / "removed.py").unlink()
    (root / "src" / "new folder").mkdir()
    (root / "src" / "new folder" / "größer.py").write_text("new\n")
    assert make() == workspace
    expected = {name for name in names(root) if not name.startswith("multirun/")}
    assert names(workspace) == (expected | ADDED | {"wandb", ".checkpoints"}) - {"dvc.lock"}
    assert (workspace / "src" / "edited.py").read_text() == "edited\n"
    assert "edited.py" in (workspace / "changes.patch").read_text()


def test_update_keeps_what_the_trial_made(root: Path, make: Make) -> None:
    workspace = make()
    own = {"config.yaml": "composed\n", "dvc.lock": "locked\n", "reports/train.json": "{}\n", "dvc.log": "log\n"}
    for name, text in own.items():
        (workspace / name).parent.mkdir(exist_ok=True)
        (workspace / name).write_text(text)
    for name in ("config.yaml", "dvc.lock", "params.yaml", "src/edited.py"):
        (root / name).write_text("edited\n")
    make()
    assert {name: (workspace / name).read_text() for name in own} == own
    assert (workspace / "params.yaml").read_text() == to_yaml(CONFIG)
    assert (workspace / "src" / "edited.py").read_text() == "edited\n"


def test_update_with_nothing_new_writes_no_source(make: Make) -> None:
    def stamps() -> dict[str, int]:
        return {name: (workspace / name).lstat().st_mtime_ns for name in names(workspace) - written}

    written = {"params.yaml", ".dvc/config.local"}
    workspace = make()
    before = stamps()
    make()
    assert stamps() == before


def test_workspace_that_was_left_half_made_is_made_whole(root: Path, make: Make) -> None:
    workspace = make()
    (workspace / ".dvc" / "tmp" / "snapshot").unlink()  # written last
    (workspace / "src" / "kept.py").unlink()
    (workspace / "src" / "edited.py").write_text("hal")
    make()
    assert {(workspace / "src" / name).read_text() for name in ("kept.py", "edited.py")} == {
        "src/kept.py of the repository\n",
        "src/edited.py of the repository\n",
    }


def test_file_that_became_a_folder_is_one_after_the_update(root: Path, make: Make) -> None:
    workspace = make()
    (root / "src" / "edited.py").unlink()
    (root / "src" / "edited.py").mkdir()
    (root / "src" / "edited.py" / "part.py").write_text("part\n")
    make()
    assert (workspace / "src" / "edited.py" / "part.py").read_text() == "part\n"


def test_folder_that_became_a_file_is_one_after_the_update(root: Path, make: Make) -> None:
    (root / "src" / "place").mkdir()
    (root / "src" / "place" / "part.py").write_text("part\n")
    workspace = make()
    (root / "src" / "place" / "part.py").unlink()
    (root / "src" / "place").rmdir()
    (root / "src" / "place").write_text("file\n")
    make()
    assert (workspace / "src" / "place").read_text() == "file\n"


def test_workspace_can_be_updated_after_git_threw_its_old_snapshot_away(root: Path, make: Make) -> None:
    (root / "src" / "edited.py").write_text("never committed\n")
    workspace = make()
    (root / "src" / "edited.py").write_text("edited since\n")
    (root / "src" / "removed.py").unlink()
    git(root, "gc", "-q", "--prune=now")
    make()
    assert (workspace / "src" / "edited.py").read_text() == "edited since\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"one\ntwo\n", b"one\n2\n"),
        (b"one\r\ntwo\r\n", b"one\r\n2\r\n"),
        (b"Gr\xf6\xdfe\n", b"Gr\xf6\xdfer\n"),
        (bytes(range(256)), b"\0"),
    ],
    ids=["unix", "windows", "latin-1", "binary"],
)
def test_patch_in_the_workspace_makes_the_trials_sources_of_the_commit(
    root: Path, make: Make, tmp_path: Path, before: bytes, after: bytes
) -> None:
    (root / "notes").write_bytes(before)
    commit(root)
    (root / "notes").write_bytes(after)
    workspace = make()
    git(root, "clone", "-q", str(root), str(tmp_path / "clone"))
    git(tmp_path / "clone", "apply", "--whitespace=nowarn", str(workspace / "changes.patch"))
    assert (tmp_path / "clone" / "notes").read_bytes() == after


@pytest.mark.parametrize("path", ["data/ignored", "data/mine"])
def test_data_that_is_not_copied_is_linked(root: Path, make: Make, path: str) -> None:
    (root / path).mkdir()
    (root / path / "picture.jpg").write_text("a picture")
    workspace = make(with_data(path))
    for _ in range(2):
        assert (workspace / path).readlink() == root / path
        assert (workspace / path / "picture.jpg").read_text() == "a picture"
        (root / "src" / "edited.py").write_text("edited\n")
        make(with_data(path))


def test_data_that_git_has_is_copied(make: Make) -> None:
    assert not (make() / "data" / "digits").is_symlink()


def test_data_folder_of_which_git_has_a_part_is_whole_in_the_workspace(root: Path, make: Make) -> None:
    (root / "data" / "mine").mkdir()
    (root / "data" / "mine" / "labels.txt").write_text("labels\n")
    commit(root)
    (root / "data" / "mine" / "picture.jpg").write_text("a picture")  # ignored
    workspace = make(with_data("data/mine"))
    assert names(workspace / "data" / "mine") == {"labels.txt", "picture.jpg"}


def test_data_that_git_no_longer_has_is_linked(root: Path, make: Make) -> None:
    (root / "data" / "mine").mkdir()
    (root / "data" / "mine" / "picture").write_text("a picture")
    git(root, "add", "data/mine")
    commit(root)
    make(with_data("data/mine"))
    git(root, "rm", "-rq", "--cached", "data/mine")
    (root / ".gitignore").write_text((root / ".gitignore").read_text() + "/data/mine\n")
    commit(root)
    workspace = make(with_data("data/mine"))
    assert (workspace / "data" / "mine" / "picture").read_text() == "a picture"


def test_starting_weights_that_git_ignores_are_linked(root: Path, make: Make) -> None:
    (root / "data" / "ignored").mkdir()
    (root / "data" / "ignored" / "start.pt").write_text("weights")
    workspace = make(replace(CONFIG, pretrain=FileWeights("file", "data/ignored/start.pt", NOTHING_SAID)))
    assert (workspace / "data" / "ignored" / "start.pt").read_text() == "weights"


@pytest.mark.parametrize("path", ["data/ignored", "data/classes"])
def test_pictures_to_learn_from_before_that_git_lacks_are_linked(root: Path, make: Make, path: str) -> None:
    (root / path / "cat").mkdir(parents=True)
    (root / path / "cat" / "picture.jpg").write_text("a picture")
    workspace = make(with_classes(path))
    assert (workspace / path).readlink() == root / path
    assert (workspace / path / "cat" / "picture.jpg").read_text() == "a picture"


def test_pictures_to_learn_from_before_that_git_has_are_copied(make: Make) -> None:
    assert not (make(with_classes("data/digits")) / "data" / "digits").is_symlink()


def test_runs_of_all_trials_lie_in_the_repositorys_folder(root: Path, make: Make) -> None:
    for number in (0, 1):
        workspace = make(number=number)
        (workspace / "wandb" / f"run-{number}").mkdir()
    assert sorted(path.name for path in (root / "wandb").iterdir()) == ["run-0", "run-1"]


def test_checkpoints_are_shared_by_the_same_training_and_by_no_other(root: Path, make: Make) -> None:
    workspaces = [make(number=0, checkpoints="a"), make(number=1, checkpoints="a"), make(number=2, checkpoints="b")]
    for number, workspace in enumerate(workspaces):
        (workspace / ".checkpoints" / f"state-{number}").touch()
    assert names(root / ".checkpoints") == {"a/state-0", "a/state-1", "b/state-2"}
    assert make(number=0, checkpoints="b") == workspaces[0]
    assert (workspaces[0] / ".checkpoints" / "state-2").exists()


def test_git_sees_nothing_of_a_workspace(root: Path, make: Make) -> None:
    make()
    assert git(root, "status", "--porcelain") == ""


def test_link_of_the_repository_to_the_data_is_never_followed_into(root: Path, make: Make, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    (disk / "coco").mkdir(parents=True)
    (disk / "coco" / "picture.png").write_text("mine")
    (root / "datasets").symlink_to(disk)
    config = replace(CONFIG, data=replace(CONFIG.data, path="datasets/coco"))
    workspace = make(config)
    assert (workspace / "datasets" / "coco" / "picture.png").read_text() == "mine"
    (root / "datasets").unlink()
    (root / "datasets").symlink_to("../disk")  # leads elsewhere from a workspace
    assert (make(config) / "datasets" / "coco" / "picture.png").read_text() == "mine"
    assert [path.name for path in (disk / "coco").iterdir()] == ["picture.png"]
    assert not (disk / "coco").is_symlink()


def test_weights_inside_the_linked_data_are_left_where_they_are(root: Path, make: Make) -> None:
    (root / "data" / "ignored").mkdir(parents=True, exist_ok=True)
    (root / "data" / "ignored" / "w.pt").write_bytes(b"mine")
    weights = FileWeights(source="file", path="data/ignored/w.pt", expects=NOTHING_SAID)
    config = replace(CONFIG, data=replace(CONFIG.data, path="data/ignored"), pretrain=weights)
    for _ in range(2):
        assert (make(config) / "data" / "ignored" / "w.pt").read_bytes() == b"mine"
    assert not (root / "data" / "ignored" / "w.pt").is_symlink()


def test_file_that_git_forgets_stays_in_the_linked_data(root: Path, make: Make) -> None:
    data = root / "data" / "raw"
    data.mkdir(parents=True)
    (data / "labels.csv").write_text("mine")
    (data / "picture.jpg").write_text("ignored")
    git(root, "add", "data/raw/labels.csv")
    config = replace(CONFIG, data=replace(CONFIG.data, path="data/raw"))
    make(config)
    git(root, "rm", "-q", "--cached", "data/raw/labels.csv")
    (root / ".git" / "info" / "exclude").write_text("labels.csv\n")
    make(config)
    assert (data / "labels.csv").read_text() == "mine"


def test_params_of_a_workspace_compose_to_the_trial(root: Path, make: Make, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "params.yaml").write_text((make() / "params.yaml").read_text())
    assert compose(tmp_path / "alone") == CONFIG
    assert yaml.safe_load((tmp_path / "alone" / "params.yaml").read_text())["seed"] == CONFIG.seed
