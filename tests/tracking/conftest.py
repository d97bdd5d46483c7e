"""What tests of tracking share: a repository, a reader of runs, a server, and nobody's account."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tracking import written
from tracking.repository import Repository, build_repository


@pytest.fixture(scope="session")
def read_run() -> Callable[[Path], written.Written]:
    return written.read_run


@pytest.fixture(scope="session")
def build() -> Callable[..., Repository]:
    return build_repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return build_repository(tmp_path)


@pytest.fixture(autouse=True)
def _own_wandb(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's account and WANDB_* variables out of the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path_factory.mktemp("wandb-config")))
    monkeypatch.setenv("NETRC", str(tmp_path_factory.mktemp("netrc") / "netrc"))


@pytest.fixture
def server(
    _own_wandb: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Start a W&B server (`tracking.server.Server`) that the real client then uses; it must know all it was asked."""
    import wandb

    from tracking.server import Server

    folder = tmp_path_factory.mktemp("wandb")
    for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR"):
        (folder / name).mkdir()
        monkeypatch.setenv(f"WANDB_{name}", str(folder / name))
    others = {"API_KEY": "0" * 40, "ERROR_REPORTING": "false", "SILENT": "true", "INIT_TIMEOUT": "20"}
    for name, value in others.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setattr("reprolens.tracking.sync.SETTLED", 1.0)  # this server shows at once what it has
    wandb.teardown()
    with Server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server
        wandb.teardown()  # before the server goes
    assert not server.unknown, server.unknown
