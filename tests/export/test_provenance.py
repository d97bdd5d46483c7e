"""What a model was made from is told only where it is of this model."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from reprolens.errors import ExportError
from reprolens.export.provenance import Provenance, read_provenance

WEIGHTS = b"weights"
MD5, SHA256 = hashlib.md5(WEIGHTS).hexdigest(), hashlib.sha256(WEIGHTS).hexdigest()
EVALUATION = {"weights/sha256": SHA256, "data/sha256": "d" * 64}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository in which a model was trained."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.pt").write_bytes(WEIGHTS)
    _lock(tmp_path, MD5)
    config = {"seed": 3, "pretrain": {"repo": "https://me:secret@example.com/x.git?token=1"}, "tracking": {"mode": "x"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | {"sweep": {"name": "s"}}))
    return tmp_path


def _lock(root: Path, md5: str) -> None:
    train = {
        "deps": [{"path": "data/voc", "md5": "a" * 32 + ".dir"}, {"path": "weights/initial.pt", "md5": "b" * 32}],
        "outs": [{"path": "weights/model.pt", "md5": md5}],
    }
    (root / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": {"train": train}}))


def test_it_is_the_training_that_dvc_noted_of_these_weights(root: Path) -> None:
    found = read_provenance(root, EVALUATION)
    assert found.hashes == {"data/voc": "a" * 32 + ".dir", "weights/model.pt": MD5}
    assert (found.weights, found.data) == (SHA256, "d" * 64)


def test_hashes_of_another_training_are_not_told(root: Path) -> None:
    _lock(root, "e" * 32)
    assert read_provenance(root, EVALUATION).hashes == {}


@pytest.mark.parametrize("lock", ["", "stages: []", "stages: {train: {deps: [1]}}", "\x00", "{"])
def test_a_lock_that_is_damaged_tells_nothing(lock: str, root: Path) -> None:
    (root / "dvc.lock").write_text(lock)
    assert read_provenance(root, EVALUATION).hashes == {}


def test_the_configuration_is_what_decides_the_model_without_keys_and_tokens(root: Path) -> None:
    text = read_provenance(root, EVALUATION).config
    assert yaml.safe_load(text) == {"seed": 3, "pretrain": {"repo": "https://example.com/x.git"}}


def test_an_evaluation_of_other_weights_is_refused(root: Path) -> None:
    with pytest.raises(ExportError, match=r"measured other weights than weights/model\.pt; run dvc repro evaluate"):
        read_provenance(root, EVALUATION | {"weights/sha256": "0" * 64})


def test_where_nothing_is_known_nothing_is_told(tmp_path: Path) -> None:
    unknown: dict[str, Any] = {}
    assert read_provenance(tmp_path, unknown) == Provenance(None, False, {}, None, None, "")


def test_the_revision_is_gits(root: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (root / "source.py").write_text("")
    git("add", "source.py")
    git("commit", "-q", "-m", "start")
    found = read_provenance(root, EVALUATION)
    assert (found.revision, found.dirty) == (git("rev-parse", "HEAD"), False)
    (root / "source.py").write_text("changed")
    assert read_provenance(root, EVALUATION).dirty
