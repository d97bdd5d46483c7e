"""Scenes of digits small enough to train on in seconds, and configurations for them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from reprolens.config import Config
from reprolens.config.compose import compose
from reprolens.convert import convert
from reprolens.models.weights import random_weights, save_starting_weights
from reprolens.voc import Folder, read_folder

ROOT = Path(__file__).parents[2]
SIDE = 64
GROUPS = "data: digits,model: fcos_mobilenet_v2,pretrain: random,transfer: full,augment: light,optimizer: adamw"
REST = "schedule: cosine,trainer: default,evaluate: default,export: onnx,tracking: disabled,sweep: default"
SMALL = [
    f"data.path={ROOT}/data/digits",
    f"data.image_size={SIDE}",
    "data.train=16",
    "data.val=4",
    "data.test=4",
    "data.min_digits=1",
    "data.max_digits=3",
    "data.max_size=32",
    f"model.image_size=[{SIDE},{SIDE}]",
    "trainer.max_epochs=2",
    "trainer.batch_size=4",
    "trainer.device=cpu",
    "trainer.precision=fp32",
    "trainer.workers=0",
    "trainer.threads=1",  # small pictures gain little from more, and lose much beside another busy process
    "schedule.warmup_epochs=0.5",
]

Compose = Callable[..., Config]


@pytest.fixture(scope="session")
def configure(tmp_path_factory: pytest.TempPathFactory) -> Compose:
    """Return a composer of small configurations over conf/, whatever params.yaml holds just now."""
    root = tmp_path_factory.mktemp("params")
    (root / "conf").symlink_to(ROOT / "conf")
    choices = "\n".join(f"  - {choice}" for choice in f"{GROUPS},{REST},_self_".split(","))
    (root / "params.yaml").write_text(f"defaults:\n{choices}\nseed: 1\n", encoding="utf-8")
    return lambda *overrides: compose(root, [*SMALL, *overrides])


@pytest.fixture(scope="session")
def digits(configure: Compose, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Return a VOC folder of 16, 4 and 4 small scenes."""
    out = tmp_path_factory.mktemp("digits") / "voc"
    convert(configure().data, 1, out)
    return read_folder(out)


@pytest.fixture(scope="session")
def initial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a weights/initial.pt that holds nothing: the model begins at random values."""
    path = tmp_path_factory.mktemp("weights") / "initial.pt"
    save_starting_weights(path, random_weights())
    return path


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep to one thread, and undo the process-wide settings that training makes."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
