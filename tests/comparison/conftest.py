"""A repository with Git and DVC whose revisions, trials and predictions files were evaluated on the same pictures."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from comparison.cases import CONFIG, make_voc, write_reports
from evaluation.conftest import random_split  # noqa: F401  # a fixture
from reprolens.sweeps.record import Status, Sweep, Trial, write_sweep, write_trial


@dataclass(frozen=True)
class Repository:
    """A repository with the tags `one` and `two`, the experiment `better-one`, the trials good/0 to good/2."""

    root: Path

    def git(self, *arguments: str) -> str:
        """Run Git and return what it prints."""
        done = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, name: str, paths: Sequence[str]) -> str:
        """Give `paths` to DVC, commit everything and tag it."""
        from dvc.repo import Repo

        with Repo(str(self.root)) as repo:
            repo.add([str(self.root / path) for path in paths])
        self.git("add", "-A")
        self.git("commit", "-qm", name)
        self.git("tag", name)
        return self.git("rev-parse", "HEAD")

    @contextmanager
    def without_cache(self) -> Iterator[None]:
        """Take DVC's cache away while the block runs."""
        cache = self.root / ".dvc" / "cache"
        cache.rename(cache.with_name("gone"))
        try:
            yield
        finally:
            cache.with_name("gone").rename(cache)


REPORTS = [f"reports/{name}.json" for name in ("evaluation", "export", "train", "predictions", "ground_truth")]


@pytest.fixture(scope="session")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Return the repository that all tests share; none of them changes it for good."""
    from dvc.repo import Repo

    root = tmp_path_factory.mktemp("comparison") / "repository"
    voc = make_voc(root / "data" / "voc", 40)
    own = Repository(root)
    own.git("init", "-q")
    own.git("config", "user.name", "test")
    own.git("config", "user.email", "test@localhost")
    Repo.init(str(root)).close()
    (root / ".gitignore").write_text("/multirun/\n/theirs.json\n/deep/\n/docs/\n")
    (root / "docs").mkdir()
    own.git("add", "-A", "--", ".dvc", ".gitignore")
    own.git("commit", "-qm", "before any evaluation")
    own.git("tag", "empty")
    for name, noise in (("one", 6.0), ("two", 2.0)):
        changed = {**CONFIG, "optimizer": {"lr": 1e-3 * noise}, "tracking": {"name": name}}
        write_reports(root, voc, noise, changed)
        own.commit(name, [*REPORTS, *(["data/voc"] if name == "one" else [])])
    baseline = own.git("rev-parse", "one")
    own.git("update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/better-one", "two")
    sweep = root / "multirun" / "good"
    names = ("good", ("lr=1,2",), ("coco/ap",), ("maximize",), (0, 1, 2), 3, "t", "b", "c", 0.0)
    write_sweep(sweep, Sweep(*names))
    for number, status in enumerate((Status.done, Status.done, Status.failed)):
        write_reports(sweep / str(number), voc, 4.0 + number)
        trial = Trial(number, f"{number:08}", {"lr": number}, status, experiment=f"exp-{number}")
        write_trial(sweep, replace(trial, values=(0.5,)))
    return own
