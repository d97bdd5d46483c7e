"""A model as the train stage writes it, and as the export stage does, of the same weights."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from commands.repository import Repository
from reprolens.config import Export, ExportFormat, Gate, MaxDrop, Model, OnFailure
from reprolens.export.onnx import write_onnx
from reprolens.export.source import Source
from reprolens.models import build, load_trained, save_trained
from reprolens.voc import Folder
from untrained import wake

ROOT = Path(__file__).parents[2]
CLASSES = ("cat", "dog", "traffic light")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep to one thread: small pictures gain little from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def scene() -> Callable[[int, int], Image.Image]:
    """Return what paints a picture (width, height) with edges, colours and noise, the same one each time."""

    def paint(width: int, height: int) -> Image.Image:
        random = np.random.default_rng(3)
        coarse = Image.fromarray(random.integers(0, 255, (7, 9, 3), dtype=np.uint8)).resize((width, height))
        noise = random.integers(-20, 20, (height, width, 3))
        return Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8))

    return paint


@pytest.fixture(scope="session")
def trained_of(
    tmp_path_factory: pytest.TempPathFactory, scene: Callable[[int, int], Image.Image]
) -> Callable[[str], Repository]:
    """Return what gives a repository with the weights of an untrained model that finds things nevertheless."""

    @cache
    def make(name: str) -> Repository:
        repository = Repository(tmp_path_factory.mktemp(name))
        options = Model(**yaml.safe_load((ROOT / "conf" / "model" / f"{name}.yaml").read_text(encoding="utf-8")))
        options = replace(options, image_size=[72, 88])
        torch.manual_seed(7)
        module = build(options, len(CLASSES)).eval()
        shown = [np.array(scene(*size)) for size in ((80, 80), (131, 50))]
        with torch.no_grad():
            wake(module, options, [torch.from_numpy(pixels).permute(2, 0, 1) / 255 for pixels in shown])
        save_trained(repository.weights, module.state_dict(), options, CLASSES)
        return repository

    return make


@pytest.fixture(scope="session")
def repository_of(trained_of: Callable[[str], Repository]) -> Callable[[str], Repository]:
    """Return what gives such a repository with the exported model too."""
    gate = Gate(OnFailure.fail, 1, 0.1, 0.001, MaxDrop(0.001, 0.005, 0.02), timed_runs=2, throughput_batch=2)
    config = Export([ExportFormat.onnx], opset=20, postprocess=True, calibration_images=1, gate=gate)

    @cache
    def make(name: str) -> Repository:
        repository = trained_of(name)
        folder = Folder(repository.path, CLASSES, {})
        write_onnx(Source(load_trained(repository.weights), folder, config), repository.exported)
        return repository

    return make
