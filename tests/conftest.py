"""What tests of several packages share: real data beside the repository, and a repository that a test may change."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as pipelines/stage.py does, before torch is loaded


FORKING = ("test_checkpoint.py", "test_watch.py", "test_processes.py")
"""They fork trainings off and come first: threads of autograd, which torch's exporter starts, outlive no fork."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that fork before all others; the sort is stable, so the rest keep their order."""
    items.sort(key=lambda item: item.path.name not in FORKING)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data sets beside the repository; skip the test where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets (../shared/data) are not there")
    return folder


def copy_repository(target: Path) -> Path:
    """Copy the files that Git tracks or would track to `target`, which is then no Git repository itself."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"not a Git checkout: {done.stderr.strip()}")
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():  # a file that was deleted but not yet committed is not
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a copy of the repository in `tmp_path`/repository.

    Run a stage there with `python -m pipelines.NAME`, cwd=repository and PYTHONPATH=src.
    """
    return copy_repository(tmp_path / "repository")


@pytest.fixture(scope="session")
def fresh_clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a committed copy of the repository, for tests of whole reproductions that share its results."""
    clone = copy_repository(tmp_path_factory.mktemp("clone") / "repository")
    (clone / "dvc.lock").unlink(missing_ok=True)
    for command in (
        ["init", "-q"],
        ["config", "user.name", "test"],
        ["config", "user.email", "test@localhost"],
        ["add", "-A"],
        ["commit", "-qm", "start"],
    ):
        subprocess.run(["git", *command], cwd=clone, check=True)
    return clone
