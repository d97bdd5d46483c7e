"""How fast exported files are beside torch on this machine's CPU: `python tests/benchmarks/export.py [--models all]`.

    python tests/benchmarks/export.py --models all                        # float32 ONNX against torch eager
    python tests/benchmarks/export.py --models yolov3 ssd300_vgg16 --formats onnx onnx_int8
    python tests/benchmarks/export.py --models yolox_nano --size 160 --threads 1

Asked are a float32 ONNX file that is not slower than torch for any detector, and an 8-bit one at least 1.5 times as
fast as that where convolutions are ordinary and the CPU has VNNI or AMX. The detectors have random weights, awakened
so that they find something (tests/untrained.py), at the size that conf/model/ has for them. Each takes pictures one by
one, in turns as the gate has them; medians.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from reprolens.config import Digits, Export, ExportFormat, Gate, MaxDrop, Model, OnFailure
from reprolens.convert import convert
from reprolens.errors import ReprolensError
from reprolens.export.eager import TorchModel
from reprolens.export.formats import FORMATS
from reprolens.export.gate.pictures import read_all, spread
from reprolens.export.gate.speed import time_in_turns
from reprolens.export.source import Source
from reprolens.inference import model as inference
from reprolens.inference.load import load_model
from reprolens.models import TrainedModel, build, names
from reprolens.models.registry import get
from reprolens.voc import Folder, read_folder

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from untrained import wake  # noqa: E402

DEFAULT = ("fcos_mobilenet_v2", "yolox_nano", "ssdlite320_mobilenet_v3_large", "ssd300_vgg16", "yolov3_tiny")
GATE = Gate(OnFailure.warn, 4, 0.1, 0.001, MaxDrop(0.001, 0.005, 0.02), timed_runs=2, throughput_batch=2)
COLUMNS = "{:36} {:>11} {:>10} {:>10} {:>8} {:>10} {:>8}  {}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(DEFAULT), metavar="NAME", help="names, or all")
    formats = [item.value for item in ExportFormat]
    parser.add_argument(
        "--formats", nargs="+", default=["onnx"], choices=formats, metavar="FORMAT", help=" ".join(formats)
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--size", type=int, help="side of what the detectors see, of those that take any")
    parser.add_argument("--runs", type=int, default=30, help="timed, of each")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    chosen = names() if options.models == ["all"] else options.models
    print(f"{options.threads} threads, one picture at a time, medians of {options.runs} runs")
    print(COLUMNS.format("detector", "size", "torch ms", "file ms", "ratio", "to onnx", "MB", "file"), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        voc = _digits(Path(folder) / "voc")
        for name in chosen:
            try:
                for line in _measured(name, voc, Path(folder) / "files", options):
                    print(line, flush=True)
            except ReprolensError as error:
                print(f"{name:36} {error}", flush=True)
            except Exception:  # the next one may do
                print(f"{name:36} {traceback.format_exc(limit=-1).strip().splitlines()[-1]}", flush=True)


def _measured(name: str, voc: Folder, folder: Path, options: argparse.Namespace) -> Iterator[str]:
    """Yield a line for each file of a detector."""
    wanted = [ExportFormat(item) for item in options.formats]
    source = _source(name, voc, wanted, options.size)
    models: dict[str, inference.Model] = {"torch": TorchModel(source.trained)}
    sizes: dict[str, float] = {}
    for item in wanted:
        path = folder / item / FORMATS[item].file
        path.parent.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        try:
            FORMATS[item].write(source, path)
            models[item] = load_model(path, options.threads, device="cpu")
        except ReprolensError as error:
            yield f"{name:36} {item}: {error}"
            continue
        sizes[item] = sum(file.stat().st_size for file in path.parent.iterdir()) / 1e6
        print(f"{name}: {item} written in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    batches = [picture[None] for picture in read_all(voc, spread(voc, "test", 4))]
    seconds, failed = time_in_turns(dict.fromkeys(models, batches), models, options.runs, name)
    medians = {key: float(np.median(values)) * 1000 for key, values in seconds.items()}
    height, width = source.trained.options.image_size
    for item in sizes:
        if item in failed:
            yield f"{name:36} {item}: {failed[item]}"
            continue
        to_onnx = f"{medians['onnx'] / medians[item]:.2f}" if "onnx" in medians and item != "onnx" else ""
        ratio = f"{medians['torch'] / medians[item]:.2f}"
        times = f"{medians['torch']:.1f}", f"{medians[item]:.1f}"
        yield COLUMNS.format(name, f"{width} x {height}", *times, ratio, to_onnx, f"{sizes[item]:.1f}", item)


def _source(name: str, voc: Folder, formats: list[ExportFormat], side: int | None) -> Source:
    is_fixed = get(name).fixed_size
    options = Model(**yaml.safe_load((ROOT / "conf" / "model" / f"{name}.yaml").read_text(encoding="utf-8")))
    if side is not None and not is_fixed:
        options = replace(options, image_size=[side, side])
    torch.manual_seed(7)
    module = build(options, len(voc.classes)).eval()
    pictures = [_tensor(picture) for picture in read_all(voc, spread(voc, "test", 2))]
    with torch.no_grad():
        wake(module, options, pictures)
    config = Export(formats, opset=20, postprocess=True, calibration_images=16, gate=GATE)
    return Source(TrainedModel(module, options, voc.classes), voc, config)


def _tensor(picture: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1) / 255


def _digits(path: Path) -> Folder:
    """Return a VOC folder of a few scenes of digits: pictures to time and to calibrate on."""
    config = Digits("digits", str(ROOT / "data" / "digits"), 320, 16, 4, 4, 1, 3, 64, 160, 50, 0.0)
    convert(config, 1, path)
    return read_folder(path)


if __name__ == "__main__":
    main()
