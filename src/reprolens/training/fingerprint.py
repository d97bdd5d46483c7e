"""What a run's fingerprint is made of. Two runs with the same one end in the same bits, so one may go on for the other.

The parts are kept apart, so that a run that starts fresh can say why the interrupted one beside it did not fit:

- `data`: the annotations, splits, classes, and every picture's name, size and last bytes (loading/index.py)
- `weights`: the bytes of weights/initial.pt
- `seed`, `model`, `transfer`, `augment`, `optimizer`, `schedule`, `trainer`: those parts of the configuration; of the
  trainer not what only decides where and how often things are kept (`IRRELEVANT`)
- `code`: the sources of the packages that training runs
- `machine`: the kind of processor, how many processes, and the versions of the libraries that compute

What a machine leaves open (precision, memory order, threads, an automatic batch size) is chosen once, and then kept in
the run's checkpoints.
"""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch

import reprolens
from reprolens.config import Config
from reprolens.errors import TrainingError
from reprolens.files import sha256, write_json
from reprolens.models.registry import get

IRRELEVANT = ("cache", "cache_mb", "checkpoint_minutes", "checkpoint_steps", "workers")
_SECTIONS = ("model", "transfer", "augment", "optimizer", "schedule", "trainer")
_SOURCES = ("voc", "loading", "models", "training", "evaluation/measures", "evaluation/predict.py", "pixels.py")
_LIBRARIES = ("accelerate", "hotcoco", "numpy", "pillow", "timm", "torch", "torchvision")
_EXTRAS = {"transformers": ("scipy", "transformers")}
"""The libraries of an extra that compute in the models that need it."""


def fingerprint(config: Config, data: str, initial: Path, device: torch.device, processes: int) -> dict[str, str]:
    """Return the parts by name, each a short digest. `data` is the data set's own digest."""
    sections = {name: asdict(getattr(config, name)) for name in _SECTIONS}
    for name in IRRELEVANT:
        del sections["trainer"][name]
    versions = _versions(config.model.name)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    values = {
        "data": data,
        "weights": sha256(initial),
        "seed": config.seed,
        **sections,
        "code": _sources(),
        "machine": [platform.machine(), torch.backends.cpu.get_cpu_capability(), gpu, processes, versions],
    }
    return {name: _digest(value) for name, value in values.items()}


def run_folder(root: Path, parts: Mapping[str, str]) -> tuple[Path, str]:
    """Return a run's checkpoint folder, made if need be, and why another unfinished run is not gone on with.

    The reason names the parts in which the latest of them differs; it is empty where there is nothing to explain.
    Raises TrainingError if the folder cannot be written.
    """
    folder = root / _digest(dict(parts))
    path = folder / "fingerprint.json"
    if path.is_file():
        return folder, ""
    others = sorted(root.glob("*/fingerprint.json"), key=lambda other: other.stat().st_mtime)
    try:
        write_json(path, dict(parts))
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be written ({error.strerror}); checkpoints need the place") from None
    if not others:
        return folder, ""
    try:
        before = json.loads(others[-1].read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return folder, ""
    differing = [name for name, value in parts.items() if before.get(name) != value]
    return folder, f"the unfinished run {others[-1].parent} differs in {', '.join(differing)}"


def _versions(model: str) -> dict[str, str]:
    """Return the versions of the libraries that compute in the training of a model; of its extra's, those installed."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    for name in _EXTRAS.get(get(model).extra or "", ()):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _sources() -> str:
    """Return a digest over the files that decide a training's result."""
    root = Path(reprolens.__file__).parent
    places = [root / source for source in _SOURCES]
    paths = [path for place in places for path in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
