"""Detectors as conf/model/ describes them, at a small size, and a few pictures of digits to show them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from reprolens.config import Digits, Model
from reprolens.convert import convert
from reprolens.models import build
from reprolens.models.registry import get
from reprolens.voc import Folder, read_folder
from untrained import wake

ROOT = Path(__file__).parents[2]
SIDE = 64


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep to one thread: small pictures gain little from more, and lose much beside another busy process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def options() -> Callable[..., Model]:
    """Return a reader of conf/model/NAME.yaml as a small model: 64 x 64 where the model allows it."""

    def read(name: str, **changes: Any) -> Model:
        model = Model(**yaml.safe_load((ROOT / "conf" / "model" / f"{name}.yaml").read_text(encoding="utf-8")))
        small = model if get(name).fixed_size else replace(model, image_size=[SIDE, SIDE])
        return replace(small, **changes)

    return read


@pytest.fixture(scope="session")
def lively(options: Callable[..., Model]) -> Callable[[str], nn.Module]:
    """Return a builder of models of ten classes that find many things with scores that differ, though untrained.

    As they are built, BatchNorm's statistics fit nothing and all scores are about the same.
    """

    def make(name: str) -> nn.Module:
        torch.manual_seed(7)
        choice = options(name)
        model = build(choice, 10).eval()
        with torch.no_grad():
            wake(model, choice, [torch.rand(3, SIDE, SIDE) for _ in range(4)])
        return model

    return make


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Return a VOC folder of a few small scenes."""
    config = Digits(
        format="digits",
        path=str(ROOT / "data" / "digits"),
        image_size=SIDE,
        train=6,
        val=2,
        test=2,
        min_digits=1,
        max_digits=3,
        min_size=18,
        max_size=30,
        min_contrast=60,
        max_overlap=0.0,
    )
    out = tmp_path_factory.mktemp("digits") / "voc"
    convert(config, 1, out)
    return read_folder(out)
