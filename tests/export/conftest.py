"""One exported file of every model, at a small size that is no multiple of any stride, and pictures to show it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image

from reprolens.config import Digits, Export, ExportFormat, Gate, MaxDrop, Model, OnFailure
from reprolens.convert import convert
from reprolens.export.onnx import write_onnx
from reprolens.export.source import Source
from reprolens.inference import model as inference
from reprolens.inference.load import load_model
from reprolens.loading import open_rgb
from reprolens.models import TrainedModel, build
from reprolens.models.registry import get
from reprolens.voc import Folder, read_folder
from untrained import wake

ROOT = Path(__file__).parents[2]
CLASSES = tuple(str(number) for number in range(10))
"""The classes of the digits, so that what is found can be measured on them."""
GATE = Gate(OnFailure.fail, 4, 0.1, 0.001, MaxDrop(0.001, 0.005, 0.02), timed_runs=2, throughput_batch=2)
OPTIONS = Export([ExportFormat.onnx], opset=20, postprocess=True, calibration_images=8, gate=GATE)
SIZES = [(80, 80), (50, 131), (240, 200)]

KEPT = ("fcos_mobilenet_v2", "fasterrcnn_mobilenet_v3_large_fpn")
"""Models that many tests look at, one for each of torch's exporters."""
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Exported:
    """A model, the ONNX file made of it, and the file loaded, on one thread."""

    source: Source
    path: Path
    model: inference.Model

    @property
    def trained(self) -> TrainedModel:
        return self.source.trained


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep to one thread: small pictures gain little from more, and lose much beside another busy process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, dict[str, Any]]:
    """Return a VOC folder of a few small scenes of digits, and convert's report about it."""
    config = Digits("digits", str(ROOT / "data" / "digits"), 80, 4, 2, 6, 1, 3, 16, 40, 50, 0.0)
    out = tmp_path_factory.mktemp("digits") / "voc"
    report = convert(config, 1, out)
    return read_folder(out), report


@pytest.fixture(scope="session")
def digits(converted: tuple[Folder, dict[str, Any]]) -> Folder:
    return converted[0]


@pytest.fixture(scope="session")
def pictures(digits: Folder) -> list[Pixels]:
    """Return pictures `(H, W, 3)` of the sizes in `SIZES`."""
    scenes = [open_rgb(digits, record) for record in digits.records("test")]
    return [
        np.asarray(scene.resize((width, height), Image.Resampling.BICUBIC))
        for scene, (height, width) in zip(scenes, SIZES, strict=False)
    ]


@pytest.fixture(scope="session")
def lively(pictures: list[Pixels]) -> Callable[..., TrainedModel]:
    """Return a builder of models that find many things with scores that differ, though untrained.

    As they are built, BatchNorm's statistics fit nothing and all scores are about the same.
    """

    def make(name: str, **changes: Any) -> TrainedModel:
        options = Model(**yaml.safe_load((ROOT / "conf" / "model" / f"{name}.yaml").read_text(encoding="utf-8")))
        if not get(name).fixed_size:
            options = replace(options, image_size=[72, 88])
        options = replace(options, **changes)
        torch.manual_seed(7)
        module = build(options, len(CLASSES)).eval()
        with torch.no_grad():
            wake(module, options, [torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255 for pixels in pictures])
        return TrainedModel(module, options, CLASSES)

    return make


@pytest.fixture(scope="session")
def options() -> Export:
    """Return the export's options as conf/export/onnx.yaml has them, but for fewer pictures and timed runs."""
    return OPTIONS


@pytest.fixture(scope="session")
def source_of(lively: Callable[..., TrainedModel], digits: Folder, options: Export) -> Callable[..., Source]:
    """Return what makes a source of a lively model; `config` stands for other options of the export."""

    def make(name: str, config: Export = options, **changes: Any) -> Source:
        return Source(lively(name, **changes), digits, config)

    return make


@pytest.fixture(scope="session")
def exported(source_of: Callable[..., Source], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Return what gives a model's ONNX file; of those that few tests look at only the last one is kept."""
    made: dict[str, Exported] = {}

    def give(name: str) -> Exported:
        if name not in made:
            for other in made.keys() - KEPT:
                made.pop(other).path.unlink()
            source, path = source_of(name), tmp_path_factory.mktemp("onnx") / "model.onnx"
            write_onnx(source, path)
            made[name] = Exported(source, path, load_model(path, threads=1))
        return made[name]

    return give
