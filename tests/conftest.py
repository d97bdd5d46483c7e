"""What tests of several packages share: real data beside the repository, and a repository that a test may change."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data sets beside the repository; skip the test where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets (../shared/data) are not there")
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a copy, in `tmp_path`/repository, of the files that Git tracks or would track; not a Git repository itself.

    Run a stage there with `python -m pipelines.NAME`, cwd=repository and PYTHONPATH=src.
    """
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"not a Git checkout: {done.stderr.strip()}")
    copy = tmp_path / "repository"
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():  # a file that was deleted but not yet committed is not
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy
