"""The results of another revision of the repository, out of Git and DVC's cache, without checking it out."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from reprolens.errors import ConfigError, DataError, SweepError, first_line
from reprolens.files import atomic
from reprolens.sweeps.git import git

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem

_EXPERIMENTS = "refs/exps"
_SHORT = 8


@dataclass(frozen=True)
class Revision:
    """A commit of the repository in `root` and what it holds; `name` is how the user called it."""

    root: Path
    name: str
    commit: str

    @property
    def short(self) -> str:
        """The first digits of the commit's name."""
        return self.commit[:_SHORT]

    def read(self, path: str) -> bytes | None:
        """Return a file's content, from Git, DVC's cache or its remote; None if the revision has no such file.

        Raises DataError for one that DVC knows of but cannot get.
        """
        files = self._files
        try:
            if not files.exists(path):
                return None
            return files.read_bytes(path)
        except Exception as error:  # whatever a remote's client raises: no network, no rights, no such object
            raise DataError(
                f"{self.name}: {path} is not in DVC's cache, nor to be had from a remote ({first_line(error)}); "
                "dvc fetch, or dvc repro there"
            ) from None

    def write(self, paths: Iterable[str], folder: Path) -> None:
        """Write those of the files `paths` that the revision has into `folder`, under the same names."""
        for path in paths:
            data = self.read(path)
            if data is not None:
                with atomic(folder / path) as temporary:
                    temporary.write_bytes(data)

    @cached_property
    def _files(self) -> "DVCFileSystem":
        from dvc.api import DVCFileSystem  # here: it takes a second
        from dvc.exceptions import DvcException

        try:
            files = DVCFileSystem(os.fspath(self.root), rev=self.commit)
            files.exists("dvc.yaml")  # it opens the repository only now
        except DvcException as error:
            raise DataError(f"{self.name}: DVC cannot open the revision ({first_line(error)})") from None
        return files


def find_revision(root: Path, name: str) -> Revision | None:
    """Return the commit that Git, or DVC as an experiment's name, calls `name`; None if neither knows it.

    Raises ConfigError for an experiment's name that several commits have.
    """
    try:
        return Revision(
            root, name, git(root, "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").strip()
        )
    except SweepError:
        pass
    commits = {commit for commit, own in _experiments(root) if own == name}
    if len(commits) > 1:
        some = ", ".join(sorted(commit[:_SHORT] for commit in commits))
        raise ConfigError(f"{name}: several experiments are called so; name one by its commit: {some}")
    return Revision(root, name, commits.pop()) if commits else None


def revision_names(root: Path) -> list[str]:
    """Return the branches, tags and experiments of a repository; none where there is no repository."""
    try:
        listed = git(root, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags").splitlines()
    except SweepError:
        return []
    return listed + [own for _, own in _experiments(root)]


def _experiments(root: Path) -> list[tuple[str, str]]:
    """Return commit and name of each DVC experiment: refs/exps/ab/cdef.../NAME."""
    try:
        lines = git(root, "for-each-ref", "--format=%(objectname) %(refname)", _EXPERIMENTS).splitlines()
    except SweepError:
        return []
    parts = [(line.partition(" ")[0], line.partition(" ")[2].split("/")) for line in lines]
    return [(commit, "/".join(ref[4:])) for commit, ref in parts if len(ref) > 4 and len(ref[2]) == 2]
