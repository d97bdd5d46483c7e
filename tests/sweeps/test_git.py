"""Snapshots of a repository: exactly the files that a user has, while nothing of the user's is touched."""

import shutil
import subprocess
from pathlib import Path

import pytest

from reprolens.errors import SweepError
from reprolens.sweeps.git import Snapshot, changes, checkout, digests, take_snapshot, tree_with, write_patch

ODD = ("a name with spaces.txt", "Größe ß.txt", "tab\there.txt", 'quote"d.txt', "line\nbreak.txt", "-dash", "*.txt")


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def commit(root: Path) -> str:
    git(root, "add", "-A")
    git(root, "commit", "-qm", "state")
    return git(root, "rev-parse", "HEAD").strip()


def files(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Return kind and content of everything in a folder but for Git's own."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] == ".git" or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()).encode())
        else:
            found[name] = ("program" if path.stat().st_mode & 0o100 else "file", path.read_bytes())
    return found


def restored(root: Path, tree: str, folder: Path) -> dict[str, tuple[str, bytes]]:
    """Check a whole tree out into a new folder and return what is there."""
    folder.mkdir()
    checkout(root, tree, folder, changes(root, None, tree)[0])
    return files(folder)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with one commit."""
    root = tmp_path / "a repository"
    (root / "data" / "mine").mkdir(parents=True)
    git(root, "init", "-q")
    git(root, "config", "user.name", "test")
    git(root, "config", "user.email", "test@localhost")
    for name in ("kept", "modified", "staged", "both", "deleted", "removed", "tool", "data/mine/tracked"):
        (root / name).write_text(f"{name}\n")
    (root / ".gitignore").write_text("ignored*\n")
    commit(root)
    return root


@pytest.fixture
def edited(root: Path) -> Path:
    """Return the repository with every kind of edit that a user makes between two commits."""
    for name in ("modified", "data/mine/tracked"):
        (root / name).write_text("now other\n")
    (root / "staged").write_text("staged\n")
    (root / "both").write_text("first\n")
    (root / "added").write_text("added\n")
    git(root, "add", "staged", "both", "added")
    (root / "both").write_text("then again\n")
    (root / "deleted").unlink()
    git(root, "rm", "-q", "removed")
    (root / "tool").chmod(0o755)
    (root / "new folder").mkdir()
    (root / "new folder" / "binary").write_bytes(bytes(range(256)))
    (root / "new folder" / "empty").touch()
    (root / "link").symlink_to("kept")
    (root / "dangling").symlink_to("../no such place")
    for name in ODD:
        (root / name).write_text(name)
    (root / "data" / "mine" / "untracked").write_text("picture\n")
    (root / "ignored").write_text("ignored\n")
    return root


def test_snapshot_is_what_the_user_has_but_for_ignored_files(edited: Path, tmp_path: Path) -> None:
    snapshot = take_snapshot(edited)
    expected = files(edited)
    del expected["ignored"]
    assert restored(edited, snapshot.tree, tmp_path / "out") == expected
    assert snapshot.baseline == git(edited, "rev-parse", "HEAD").strip()


def test_ignored_file_that_is_tracked_is_part_of_the_snapshot(root: Path, tmp_path: Path) -> None:
    (root / "ignored-but-staged").write_text("first")
    git(root, "add", "-f", "ignored-but-staged")
    (root / "ignored-but-staged").write_text("second")
    (root / "ignored-only").write_text("no")
    assert restored(root, take_snapshot(root).tree, tmp_path / "out") == {
        name: entry for name, entry in files(root).items() if name != "ignored-only"
    }


def test_untracked_files_of_an_excluded_folder_are_left_out_and_tracked_ones_are_not(
    edited: Path, tmp_path: Path
) -> None:
    found = restored(edited, take_snapshot(edited, ["data/mine"]).tree, tmp_path / "out")
    assert found["data/mine/tracked"] == ("file", b"now other\n")
    assert "data/mine/untracked" not in found
    assert set(found) == set(files(edited)) - {"data/mine/untracked", "ignored"}


@pytest.mark.parametrize("name", ["data/mine/", "./data/mine", "no/such/folder", "ignored-folder"])
def test_folder_to_leave_out_may_be_written_in_any_way_and_need_not_exist(root: Path, name: str) -> None:
    (root / "data" / "mine" / "untracked").write_text("picture")
    (root / "ignored-folder").mkdir()  # as a data set often is
    (root / "ignored-folder" / "file").touch()
    names = changes(root, None, take_snapshot(root, [name]).tree)[0]
    assert ("data/mine/untracked" in names) is ("mine" not in name)


def test_nothing_of_the_users_is_touched(edited: Path, tmp_path: Path) -> None:
    def state() -> tuple[object, ...]:
        stamps = {path: path.lstat().st_mtime_ns for path in edited.rglob("*") if ".git" not in path.parts}
        return git(edited, "status", "--porcelain"), own.read_bytes(), git(edited, "for-each-ref"), stamps

    own = edited / ".git" / "index"
    git(edited, "status")  # refreshes the index
    before = state()
    head = (edited / ".git" / "HEAD").read_bytes()
    snapshot = take_snapshot(edited, ["data/mine"])
    restored(edited, snapshot.tree, tmp_path / "out")
    tree_with(edited, snapshot.tree, {"kept": edited / "modified"})
    write_patch(edited, snapshot, tmp_path / "changes.patch")
    assert own.read_bytes() == before[1]
    assert (edited / ".git" / "HEAD").read_bytes() == head
    assert state() == before
    assert not list((edited / ".git").glob("*.lock"))


def test_snapshot_can_be_taken_while_the_user_holds_the_index(root: Path) -> None:
    (root / ".git" / "index.lock").touch()
    (root / "modified").write_text("other")
    assert take_snapshot(root).tree != git(root, "rev-parse", "HEAD^{tree}").strip()


def test_snapshot_of_a_clean_repository_is_the_commits_tree_and_has_no_patch(root: Path, tmp_path: Path) -> None:
    snapshot = take_snapshot(root)
    assert snapshot.tree == git(root, "rev-parse", "HEAD^{tree}").strip()
    write_patch(root, snapshot, tmp_path / "changes.patch")
    assert (tmp_path / "changes.patch").read_bytes() == b""


def test_same_files_make_the_same_snapshot(edited: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(edited, copy, symlinks=True)
    assert take_snapshot(copy) == take_snapshot(edited)


def test_unmerged_files_are_as_they_lie_in_the_folder(root: Path, tmp_path: Path) -> None:
    branch = git(root, "branch", "--show-current").strip()
    git(root, "checkout", "-qb", "other")
    (root / "kept").write_text("theirs\n")
    commit(root)
    git(root, "checkout", "-q", branch)
    (root / "kept").write_text("ours\n")
    commit(root)
    assert subprocess.run(["git", "merge", "-q", "other"], cwd=root, capture_output=True).returncode == 1
    found = restored(root, take_snapshot(root).tree, tmp_path / "out")
    assert b"<<<<<<<" in found["kept"][1]
    assert found == files(root)


def test_changes_name_what_is_new_or_other_and_what_is_gone(root: Path) -> None:
    before = take_snapshot(root).tree
    (root / "modified").write_text("other")
    (root / "tool").chmod(0o755)
    (root / "Größe ß.txt").write_text("new")
    (root / "deleted").rename(root / "moved")
    after = take_snapshot(root).tree
    newer, gone = changes(root, before, after)
    assert sorted(newer) == ["Größe ß.txt", "modified", "moved", "tool"]
    assert gone == ["deleted"]
    assert changes(root, after, after) == ([], [])
    assert changes(root, None, before)[1] == []


def test_checkout_writes_the_named_files_over_what_is_there_and_no_others(root: Path, tmp_path: Path) -> None:
    tree = take_snapshot(root).tree
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("old")
    checkout(root, tree, tmp_path / "out", ["kept", "data/mine/tracked"])
    assert files(tmp_path / "out") == {
        "kept": ("file", b"kept\n"),
        "data/mine/tracked": ("file", b"data/mine/tracked\n"),
    }


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("text", b"one\ntwo\n", b"one\n2\n"),
        ("no-newline", b"one", b"two"),
        ("binary", bytes(range(256)), bytes(range(255, -1, -1))),
        ("windows", b"one\r\ntwo\r\n", b"one\r\n2\r\n"),
        ("latin-1", b"Gr\xf6\xdfe\n", b"Gr\xf6\xdfer\n"),
        ("Größe ß.txt", "größe\n".encode(), "größer\n".encode()),
        ("born", None, b"born\n"),
        ("died", b"died\n", None),
    ],
)
def test_patch_makes_the_snapshot_of_its_baseline(
    root: Path, tmp_path: Path, name: str, before: bytes | None, after: bytes | None
) -> None:
    git(root, "config", "core.autocrlf", "false")
    if before is not None:
        (root / name).write_bytes(before)
        commit(root)
    if after is None:
        (root / name).unlink()
    else:
        (root / name).write_bytes(after)
    snapshot = take_snapshot(root)
    assert applied(root, snapshot, tmp_path) == snapshot.tree


def test_patch_of_every_kind_of_edit_makes_the_snapshot(edited: Path, tmp_path: Path) -> None:
    snapshot = take_snapshot(edited)
    assert applied(edited, snapshot, tmp_path) == snapshot.tree


def applied(root: Path, snapshot: Snapshot, folder: Path) -> str:
    """Apply a snapshot's patch to a clone of the baseline; return the tree that comes out."""
    clone = folder / "clone"
    git(root, "clone", "-q", str(root), str(clone))
    file = folder / "changes.patch"
    write_patch(root, snapshot, file)
    git(clone, "-c", "core.autocrlf=false", "apply", "--index", "--whitespace=nowarn", str(file))
    return git(clone, "write-tree").strip()


def test_patch_does_not_depend_on_how_the_user_likes_diffs(edited: Path, tmp_path: Path) -> None:
    for key, value in (("diff.noprefix", "true"), ("color.ui", "always"), ("diff.external", "true")):
        git(edited, "config", key, value)
    snapshot = take_snapshot(edited)
    assert applied(edited, snapshot, tmp_path) == snapshot.tree


def test_tree_with_puts_files_in_their_places_and_keeps_the_rest(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"one\r\ntwo\r\n")
    git(root, "config", "core.autocrlf", "true")  # filters do not apply: what DVC hashed is what is stored
    tree = take_snapshot(root).tree
    made = tree_with(root, tree, {"kept": tmp_path / "outside", "reports/new.json": tmp_path / "outside"})
    newer, gone = changes(root, tree, made)
    assert (sorted(newer), gone) == (["kept", "reports/new.json"], [])
    for name in newer:
        done = subprocess.run(["git", "cat-file", "blob", f"{made}:{name}"], cwd=root, capture_output=True, check=True)
        assert done.stdout == b"one\r\ntwo\r\n"
    assert tree_with(root, tree, {"kept": tmp_path / "outside", "reports/new.json": tmp_path / "outside"}) == made


def test_digests_name_files_and_folders_by_content_and_what_is_missing_by_none(root: Path) -> None:
    tree = take_snapshot(root).tree
    found = digests(root, tree, ["kept", "data", "no such"])
    assert found == {
        "kept": git(root, "rev-parse", f"{tree}:kept").strip(),
        "data": git(root, "rev-parse", f"{tree}:data").strip(),
        "no such": None,
    }
    (root / "data" / "mine" / "tracked").write_text("other")
    assert digests(root, take_snapshot(root).tree, ["data"]) != {"data": found["data"]}


def test_folder_without_repository_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"not a git repository.*git init, then commit") as caught:
        take_snapshot(tmp_path)
    assert "\n" not in str(caught.value)


def test_repository_without_commit_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "file").touch()
    with pytest.raises(SweepError, match=r"git init, then commit") as caught:
        take_snapshot(tmp_path)
    assert "\n" not in str(caught.value)


def test_subfolder_of_a_repository_is_refused_by_name(root: Path) -> None:
    with pytest.raises(SweepError, match=r"mine: is inside the Git repository .*a repository; ") as caught:
        take_snapshot(root / "data" / "mine")
    assert "\n" not in str(caught.value)


def test_repository_may_be_reached_through_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert take_snapshot(tmp_path / "link") == take_snapshot(root)
