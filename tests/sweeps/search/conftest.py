"""A small repository to search in, and searches of one or two numbers."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reprolens.sweeps.search.samplers import Pruning
from reprolens.sweeps.search.settings import Settings, write_settings
from reprolens.sweeps.search.space import parse

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with copies of the repository's params.yaml and conf/."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy2(ROOT / "params.yaml", folder)
    shutil.copytree(ROOT / "conf", folder / "conf")
    return folder


@pytest.fixture
def search(tmp_path: Path) -> Callable[..., tuple[Path, Settings]]:
    """Return what writes a search of `arguments` into a folder: (*arguments, **settings) -> (folder, settings)."""

    def make(*arguments: str, **changes: Any) -> tuple[Path, Settings]:
        settings = Settings(
            space=parse(arguments or ("optimizer.lr=tag(log,interval(1e-4,1e-2))",), {}),
            metrics=("voc12/map50",),
            directions=("maximize",),
            sampler="random",
            n_trials=4,
            seed=1,
            pruner="none",
            pruning=Pruning(),
            study_name="test",
            storage=None,
            max_epochs=9,
            max_failures=2,
        )
        settings = replace(settings, **changes)
        sweep = tmp_path / "sweep"
        sweep.mkdir(exist_ok=True)
        write_settings(sweep, settings)
        return sweep, settings

    return make
