"""Which experiment a run is: its configuration, the DVC hashes of what it used and made, the Git revision, its id."""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from reprolens.config import Config
from reprolens.errors import TrackingError
from reprolens.revision import git_revision
from reprolens.secrets import without_secrets
from reprolens.tracking.partial import read_object

HASHED = {"data": "data/voc", "initial_weights": "weights/initial.pt", "model": "weights/model.pt"}
"""The outputs whose DVC hashes a run carries, by their name in its configuration."""

LIBRARIES = ("accelerate", "dvc", "hydra-core", "onnxruntime", "timm", "torch", "torchvision", "wandb")
"""The libraries whose versions a run carries."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """`config` is the whole composed configuration, plus the sections `environment`, and `dvc` and `git` if known."""

    id: str
    name: str
    data: str
    config: Mapping[str, Any]
    hashes: Mapping[str, str]


def identify(root: Path, config: Config) -> Identity:
    """Return the identity of the experiment whose results lie in `root`.

    Raises TrackingError if dvc.lock is there but damaged.
    """
    training = read_object(root / "reports" / "train.json").get("fingerprint")
    hashes, stages = dvc_hashes(root / "dvc.lock")
    return _identity(root, config, str(training) if training else None, hashes, stages)


def identify_unfinished(root: Path, config: Config, training: str | None) -> Identity:
    """Return the identity of an experiment without results, so without hashes: those in dvc.lock are another one's.

    `training` is the fingerprint of its training, None if it did not come so far.
    """
    return _identity(root, config, training, {}, {})


def _identity(
    root: Path, config: Config, training: str | None, hashes: Mapping[str, str], stages: Mapping[str, str]
) -> Identity:
    # Plain dicts, lists, texts and numbers.
    composed = json.loads(without_secrets(json.dumps(dataclasses.asdict(config), ensure_ascii=False)))
    data = Path(config.data.path).name or config.data.format
    known = {
        "dvc": {**hashes, **({"stages": dict(stages)} if stages else {})},
        "git": git_revision(root),
        "training": training,
        "environment": environment(),
    }
    return Identity(
        id=run_id(composed, training),
        name=config.tracking.name or f"{config.model.name}-{data}-seed{config.seed}",
        data=data,
        config=composed | {name: value for name, value in known.items() if value},
        hashes=hashes,
    )


def run_id(composed: Mapping[str, Any], training: str | None) -> str:
    """Return the same 16 hexadecimal digits for the same experiment: configuration, training, group.

    The training's fingerprint is over its data, starting weights, code and libraries too, and is known before its
    first step, so a run that is written live and one that is written from the results of the same training are one.
    Of tracking only the group counts: two sweeps that share a combination have a run of it each.
    """
    experiment = {
        "group": composed["tracking"]["group"],
        "config": {key: value for key, value in composed.items() if key not in ("tracking", "sweep")},
        "training": training,
    }
    return hashlib.sha256(json.dumps(experiment, sort_keys=True).encode()).hexdigest()[:16]


def dvc_hashes(lock: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the hashes that dvc.lock holds of `HASHED`, and one of each stage: of all that DVC noted of it.

    Two runs in which a stage has the same hash had the same command, inputs, parameters and results of it. Both are
    empty if there is no dvc.lock.
    """
    if not lock.is_file():
        return {}, {}
    try:
        stages = dict(yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"])
        outputs = {out["path"]: out.get("md5") for stage in stages.values() for out in stage.get("outs", ())}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
        raise TrackingError(f"{lock.name}: cannot be read; restore it with git checkout {lock.name}") from None
    hashes = {name: str(outputs[path]) for name, path in HASHED.items() if outputs.get(path)}
    return hashes, {
        name: hashlib.md5(json.dumps(stage, sort_keys=True, default=str).encode()).hexdigest()
        for name, stage in sorted(stages.items())
        if name != "track"  # it is this one
    }


def environment() -> dict[str, Any]:
    """Return what the experiment runs on, without anything of the machine's name or its variables."""
    versions = {}
    for name in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "libraries": versions,
    }


def artifact_name(*parts: str) -> str:
    """Return the parts joined to a name that W&B takes: letters, digits, `-`, `_` and `.`, at most 128 of them."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", "-".join(parts))[:128]
