"""What an exported model was made from: the sources' revision, the configuration, the hashes of data and weights."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reprolens.errors import ExportError
from reprolens.files import sha256
from reprolens.revision import git_revision
from reprolens.secrets import without_secrets

WEIGHTS, DATA = "weights/model.pt", "data/voc"

_NO_RESULT = ("sweep", "tracking")
"""The sections of config.yaml that decide nothing of the model."""


@dataclass(frozen=True)
class Provenance:
    """What is not known is None or empty.

    revision: the Git commit; `dirty`, whether files differed from it.
    hashes: DVC's MD5 of the data set and of the weights, by their paths.
    weights, data: SHA-256 of the weights, and of the evaluated split (`evaluation.fingerprint`).
    config: the sections of config.yaml that decide the model, as YAML.
    """

    revision: str | None
    dirty: bool
    hashes: Mapping[str, str]
    weights: str | None
    data: str | None
    config: str


def read_provenance(root: Path, evaluation: Mapping[str, Any]) -> Provenance:
    """Return what the repository `root` and reports/evaluation.json know.

    Raises ExportError if the evaluation is one of other weights than `root` holds: a card would tell wrong numbers.
    """
    git = git_revision(root) or {}
    weights = sha256(root / WEIGHTS) if (root / WEIGHTS).is_file() else None
    evaluated = evaluation.get("weights/sha256")
    if weights and evaluated and weights != evaluated:
        raise ExportError(f"reports/evaluation.json: measured other weights than {WEIGHTS}; run dvc repro evaluate")
    return Provenance(
        revision=str(git["revision"]) if "revision" in git else None,
        dirty=bool(git.get("dirty")),
        hashes=_hashes(root),
        weights=weights or evaluated,
        data=evaluation.get("data/sha256"),
        config=_config(root / "config.yaml"),
    )


def _hashes(root: Path) -> dict[str, str]:
    """Return DVC's hashes of the training that made the weights; none where dvc.lock knows another one.

    DVC notes each stage when it is done, so during the export the training's entry is of these weights.
    """
    with suppress(OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        train = yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))["stages"]["train"]
        known = {item["path"]: item["md5"] for part in ("deps", "outs") for item in train[part]}
        with (root / WEIGHTS).open("rb") as file:
            if known[WEIGHTS] == hashlib.file_digest(file, "md5").hexdigest():
                return {path: str(known[path]) for path in (DATA, WEIGHTS)}
    return {}


def _config(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError):
        sections = yaml.safe_load(path.read_text(encoding="utf-8"))
        decide = {name: value for name, value in sections.items() if name not in _NO_RESULT}
        return without_secrets(yaml.safe_dump(decide, sort_keys=False, allow_unicode=True, default_flow_style=None))
    return ""
