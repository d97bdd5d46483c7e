"""What tests of several packages share: real data beside the repository, and a repository that a test may change."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # for tests side by side: see pipelines/stage.py
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # tests side by side share the cores
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))


FORKING = ("test_checkpoint.py", "test_watch.py", "test_processes.py")
"""They fork trainings off and come first: threads of autograd, which torch's exporter starts, outlive no fork."""


LONG = ("pipeline", "test_selftest.py", "test_driver.py", "test_kills.py", "test_concurrency.py", "test_launchers.py")
"""Files and folders that take minutes: early, so that none of them is what all wait for at the end."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that fork before all others, then the long ones; what shares costly fixtures stays in one process.

    The sort is stable, so the rest keep their order.
    """
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(folder if folder in ("export", "pipeline") else item.path.as_posix()))
    items.sort(key=lambda item: (item.path.name not in FORKING, not {item.path.name, item.path.parent.name} & {*LONG}))


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
