"""Git's plumbing, as far as sweeps need it. Nothing here touches the user's index, branch or files."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from reprolens.errors import SweepError
from reprolens.files import atomic


@dataclass(frozen=True)
class Snapshot:
    """The repository at one moment: `tree` is the Git tree of its files, committed or not, `baseline` its HEAD."""

    tree: str
    baseline: str


def git(
    root: Path,
    *arguments: str,
    text: str | None = None,
    index: Path | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Run Git in `root`, `text` its input, and return what it prints. Raises SweepError in one line if it fails."""
    environment = dict(os.environ) | ({"GIT_INDEX_FILE": str(index)} if index else {})
    own = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    command = ["git", "--no-optional-locks", "-C", str(root), *own, *arguments]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, env=environment, errors="surrogateescape"
        )
    except OSError as error:
        raise SweepError(f"git: cannot be run ({error.strerror}); a sweep needs Git") from None
    if done.returncode:
        verb = next(argument for argument in arguments if not argument.startswith("-"))
        lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("hint:")]
        raise SweepError(f"{root}: git {verb}: {(lines or [f'exit status {done.returncode}'])[-1]}")
    return done.stdout


def take_snapshot(root: Path, without: Sequence[Path] = ()) -> Snapshot:
    """Write the tracked files and the untracked ones that Git does not ignore into Git's store, as they are now.

    `without` are folders, relative to `root`, of which untracked files are left out. Raises SweepError where `root` is
    not the top of a Git repository with a commit.
    """
    hint = "a sweep records its trials in Git: run git init, then commit"
    try:
        top = git(root, "rev-parse", "--show-toplevel").strip()
        baseline = git(root, "rev-parse", "--verify", "HEAD").strip()
    except SweepError as error:
        raise SweepError(f"{error}; {hint}") from None
    if Path(top).resolve() != root.resolve():
        raise SweepError(f"{root}: is inside the Git repository {top}; {hint} in this folder")
    with _own_index(root) as index:
        git(root, "add", "--update", index=index)
        listing = "".join(
            f"{name}\0"
            for name in git(root, "ls-files", "--others", "--exclude-standard", "-z", index=index).split("\0")
            if name and not any(Path(name).is_relative_to(folder) for folder in without)
        )
        git(
            root,
            "--literal-pathspecs",
            "add",
            "--pathspec-from-file=-",
            "--pathspec-file-nul",
            text=listing,
            index=index,
        )
        return Snapshot(git(root, "write-tree", index=index).strip(), baseline)


def checkout(root: Path, tree: str, folder: Path, names: Sequence[str]) -> None:
    """Write the files `names` of a tree into `folder`, but for those that .gitattributes calls export-ignore."""
    asked = "".join(f"{name}\0" for name in names)
    answers = git(root, "check-attr", "-z", "--stdin", "export-ignore", text=asked).split("\0")
    names = [name for name, value in zip(answers[:-1:3], answers[2::3], strict=True) if value != "set"]
    with _own_index(root) as index:
        git(root, "read-tree", tree, index=index)
        listing = "".join(f"{name}\0" for name in names)
        prefix = f"--prefix={folder.resolve()}/"
        git(root, "checkout-index", "--force", "--quiet", "-z", "--stdin", prefix, text=listing, index=index)


def changes(root: Path, old: str | None, new: str) -> tuple[list[str], list[str]]:
    """Return the files that are new or other in `new` than in `old`, and those that are gone. None: an empty tree."""
    old = old or git(root, "hash-object", "-t", "tree", "--stdin", text="").strip()
    fields = git(root, "diff-tree", "-r", "-z", "--no-renames", "--name-status", old, new).split("\0")[:-1]
    pairs = list(zip(fields[::2], fields[1::2], strict=True))
    return [name for kind, name in pairs if kind != "D"], [name for kind, name in pairs if kind == "D"]


def write_patch(root: Path, snapshot: Snapshot, path: Path) -> None:
    """Write how the snapshot differs from its baseline, for git apply; an empty file where all was committed."""
    with atomic(path) as temporary:  # by Git itself: a patch may hold bytes that are no text
        options = ("-r", "-p", "--binary", "--full-index", f"--output={temporary.resolve()}")
        git(root, "diff-tree", *options, snapshot.baseline, snapshot.tree)


def exists(root: Path, name: str) -> bool:
    """Return whether Git still has an object."""
    try:
        git(root, "cat-file", "-e", name)
    except SweepError:
        return False
    return True


def files_in(root: Path, tree: str, path: str) -> list[str]:
    """Return the files of a tree below `path`, or `path` itself where it is a file."""
    return git(root, "ls-tree", "-r", "-z", "--name-only", tree, "--", path).split("\0")[:-1]


def has_all(root: Path, tree: str, source: str) -> bool:
    """Return whether a tree has all of a file or folder of the repository, so that a copy of the tree has it too."""
    known = set(files_in(root, tree, source))
    files = [path for path in (root / source).rglob("*") if not path.is_dir()] or [root / source]
    return all(path.relative_to(root).as_posix() in known for path in files)


def digests(root: Path, tree: str, paths: Sequence[str]) -> dict[str, str | None]:
    """Return the object name of each path in a tree, None for those that are not in it."""
    asked = "".join(f"{tree}:{path}\n" for path in paths)
    lines = git(root, "cat-file", "--batch-check=%(objectname)", text=asked).splitlines()
    return {path: None if line.endswith(" missing") else line for path, line in zip(paths, lines, strict=True)}


def tree_with(root: Path, tree: str, files: Mapping[str, Path]) -> str:
    """Return the tree that `tree` becomes when `files` take the places that they are named by."""
    with _own_index(root) as index:
        git(root, "read-tree", tree, index=index)
        names = git(root, "hash-object", "-w", "--no-filters", "--", *(str(path.resolve()) for path in files.values()))
        entries = zip(names.split(), files, strict=True)
        listing = "".join(f"100644 {name}\t{place}\n" for name, place in entries)
        git(root, "update-index", "--add", "--index-info", text=listing, index=index)
        return git(root, "write-tree", index=index).strip()


@contextmanager
def _own_index(root: Path) -> Iterator[Path]:
    """Yield an index of our own, a copy of the repository's where there is one, because that knows unchanged files."""
    with tempfile.TemporaryDirectory(prefix="reprolens-index-") as folder:
        index = Path(folder) / "index"
        own = Path(git(root, "rev-parse", "--absolute-git-dir").strip()) / "index"
        if own.is_file():
            shutil.copyfile(own, index)
        yield index
