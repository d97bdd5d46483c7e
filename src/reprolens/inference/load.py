"""An exported file, or the folder that it lies in, to a model that runs; only what runs it is imported."""

import importlib
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from reprolens.errors import ExportError
from reprolens.inference.model import Model


@dataclass(frozen=True)
class Runtime:
    """What runs files of a suffix: `model`, as module:class, which stands on an installed `package`.

    has_devices: whether it can run on anything but the CPU.
    """

    model: str
    package: str
    has_devices: bool = False


RUNTIMES = {
    ".onnx": Runtime("reprolens.inference.onnx_model:OnnxModel", "onnxruntime", has_devices=True),
    ".xml": Runtime("reprolens.inference.openvino_model:OpenVinoModel", "openvino"),
    ".pt2": Runtime("reprolens.inference.torch_model:TorchExportModel", "torch"),
}
"""By suffix; in a folder of several files that does not say which is meant, the first counts."""

ABOUT = "model.json"
"""The file of an exported folder that says, under `files`, what it holds."""


def load_model(path: Path, threads: int | None = None, device: str | None = None) -> Model:
    """Load an exported file, or the preferred one of an exported folder, to run on `threads` (None: as its runtime
    likes) and on `device`: cpu, or None for the best that its runtime has.

    Raises ExportError if it is missing, damaged, of another kind, or what runs it is not installed.
    """
    path = Path(path)
    file = preferred_file(path) if path.is_dir() else path
    runtime = RUNTIMES.get(file.suffix.lower())
    if runtime is None:
        raise ExportError(f"{file}: is no exported model; taken are {', '.join(RUNTIMES)} files and their folder")
    if not file.is_file():
        raise ExportError(f"{file}: there is no such file")
    if find_spec(runtime.package) is None:
        raise ExportError(f"{file}: needs {runtime.package}: pip install {runtime.package}")
    module, _, name = runtime.model.partition(":")
    options = {"device": device} if runtime.has_devices else {}
    model: Model = getattr(importlib.import_module(module), name)(file, threads, **options)
    return model


def preferred_file(folder: Path) -> Path:
    """Return the file that the folder's model.json names first, its float32 ONNX file before others; without one
    the only model file in it, or model.onnx.
    """
    about = folder / ABOUT
    if about.is_file():
        return _named(about)
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in RUNTIMES and file.is_file())
    if len(files) == 1:
        return files[0]
    if folder / "model.onnx" in files:
        return folder / "model.onnx"
    if files:
        raise ExportError(f"{folder}: holds {len(files)} models and no {ABOUT}; name the file")
    raise ExportError(f"{folder}: holds no exported model ({', '.join(RUNTIMES)})")


def _named(about: Path) -> Path:
    try:
        files = dict(json.loads(about.read_text(encoding="utf-8"))["files"])
        name = (files.get("onnx") or next(iter(files.values())))["file"]
        if not isinstance(name, str) or Path(name).name != name:  # a name within the folder, no way out of it
            raise ValueError
    except (OSError, ValueError, TypeError, KeyError, StopIteration):
        raise ExportError(f"{about}: does not say which file is the model; name the file itself") from None
    return about.parent / name
