"""Which experiment a run is: its configuration, the DVC hashes of what it used and made, the Git revision, its id."""

import dataclasses
import hashlib
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from reprolens.config import Config
from reprolens.errors import TrackingError

HASHED = {"data": "data/voc", "initial_weights": "weights/initial.pt", "model": "weights/model.pt"}
"""The outputs whose DVC hashes a run carries, by their name in its configuration."""

WRITTEN = ("config.yaml", "dvc.lock", "reports")
"""What the pipeline itself writes into Git's tree: a change there does not make the source dirty."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """`config` is the whole composed configuration, plus the sections `dvc` and `git` where they are known."""

    id: str
    name: str
    data: str
    config: Mapping[str, Any]
    hashes: Mapping[str, str]


def identify(root: Path, config: Config, finished: bool = True) -> Identity:
    """Return the identity of the experiment in `root`. Raises TrackingError if dvc.lock is there but damaged.

    One that is not finished has no results, so no hashes: what its dvc.lock names are another one's.
    """
    composed = json.loads(json.dumps(dataclasses.asdict(config)))  # plain dicts, lists, texts and numbers
    hashes = dvc_hashes(root / "dvc.lock") if finished else {}
    revision = git_revision(root)
    data = Path(config.data.path).name or config.data.format
    return Identity(
        id=run_id(composed, hashes),
        name=config.tracking.name or f"{config.model.name}-{data}-seed{config.seed}",
        data=data,
        config=composed | ({"dvc": dict(hashes)} if hashes else {}) | ({"git": revision} if revision else {}),
        hashes=hashes,
    )


def run_id(composed: Mapping[str, Any], hashes: Mapping[str, str]) -> str:
    """Return the same 16 hexadecimal digits for the same experiment: configuration, data, model, group.

    Of tracking only the group counts: two sweeps that share a combination have a run of it each.
    """
    experiment = {
        "group": composed["tracking"]["group"],
        "config": {key: value for key, value in composed.items() if key != "tracking"},
        "data": hashes.get("data"),
        "model": hashes.get("model"),
    }
    return hashlib.sha256(json.dumps(experiment, sort_keys=True).encode()).hexdigest()[:16]


def dvc_hashes(lock: Path) -> dict[str, str]:
    """Return the hashes that dvc.lock holds of `HASHED`; none if there is no dvc.lock."""
    if not lock.is_file():
        return {}
    try:
        stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
        outputs = {out["path"]: out.get("md5") for stage in stages.values() for out in stage.get("outs", ())}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        raise TrackingError(f"{lock.name}: cannot be read; restore it with git checkout {lock.name}") from None
    return {name: str(outputs[path]) for name, path in HASHED.items() if outputs.get(path)}


def git_revision(root: Path) -> dict[str, str | bool] | None:
    """Return the commit, and whether files other than the pipeline's own outputs differ from it; None without Git."""
    revision = _git(root, "rev-parse", "HEAD")
    if not revision:
        return None
    outputs = [f":(exclude){path}" for path in WRITTEN]
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *outputs)
    return {"revision": revision, "dirty": bool(changed)}


def artifact_name(*parts: str) -> str:
    """Return the parts joined to a name that W&B takes: letters, digits, `-`, `_` and `.`, at most 128 of them."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", "-".join(parts))[:128]


def _git(root: Path, *arguments: str) -> str | None:
    """Return what Git prints; None without Git, repository or commit. Locks nothing: trials run in parallel."""
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
