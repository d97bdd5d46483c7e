"""A folder with params.yaml and conf/ that a test may change."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with copies of the repository's params.yaml and conf/."""
    shutil.copy2(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    return tmp_path
