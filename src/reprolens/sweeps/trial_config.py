"""A trial's configuration: what the sweep composed, as it holds in a workspace elsewhere than the repository."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reprolens.config import Classify, Config, DvcWeights, FileWeights, Labelled
from reprolens.config.model import Pretrain
from reprolens.errors import SweepError
from reprolens.sweeps.git import git


def trial_config(
    root: Path,
    config: Config,
    group: str,
    parameters: Mapping[str, Any],
    commits: Mapping[str, str] = MappingProxyType({}),
) -> Config:
    """Return the configuration as it holds in a workspace.

    Sources outside of the repository are there by their absolute paths, the runs' group is the sweep's name, a run's
    own name tells its parameters, and of the sweep itself there is only what a trial returns: a knob of how it is run
    must not make its trials others. Weights of HEAD of a repository on this machine are those of one commit: of the one
    in `commits`, see `weights_commits`, else of what HEAD is now. Raises SweepError if that repository has none.
    """
    data, pretrain = replace(config.data, path=_absolute(root, config.data.path)), config.pretrain
    if isinstance(data, Labelled) and data.images is not None:
        data = replace(data, images=_absolute(root, data.images))
    if isinstance(pretrain, FileWeights):
        pretrain = replace(pretrain, path=_absolute(root, pretrain.path))
    if isinstance(pretrain, Classify) and pretrain.data is not None:
        pretrain = replace(pretrain, data=_absolute(root, pretrain.data))
    if (folder := _weights_folder(root, pretrain)) is not None and isinstance(pretrain, DvcWeights):
        rev = pretrain.rev or commits.get(str(folder)) or _head(folder, pretrain.repo)
        pretrain = replace(pretrain, repo=str(folder), rev=rev)
    words = [config.model.name, Path(config.data.path).name, *(_word(*item) for item in parameters.items())]
    name = config.tracking.name or "-".join(dict.fromkeys(words))[:128]
    tracking = replace(config.tracking, group=config.tracking.group or group, name=name)
    sweep = replace(config.sweep, name=None, max_failure_rate=1.0, retry_failed=False)
    return replace(config, data=data, pretrain=pretrain, tracking=tracking, sweep=sweep)


def _word(key: str, value: Any) -> str:
    """Return a parameter in a run's name: lr0.001, but a choice by its name alone."""
    return str(value) if isinstance(value, str) else f"{key.rpartition('.')[2]}{value}"


def source_paths(config: Config) -> list[str]:
    """Return the places that convert and pretrain read."""
    data, pretrain, paths = config.data, config.pretrain, [config.data.path]
    if isinstance(data, Labelled) and data.images is not None:
        paths.append(data.images)
    if isinstance(pretrain, FileWeights):
        paths.append(pretrain.path)
    if isinstance(pretrain, Classify) and pretrain.data is not None:
        paths.append(pretrain.data)
    return paths


def weights_commits(root: Path, configs: Iterable[Config]) -> dict[str, str]:
    """Return the commits of HEAD of the repositories on this machine that weights are taken from, by folder.

    Asked once, when a sweep starts, it lets all of its trials start with the same weights. Raises SweepError for one
    without a commit.
    """
    pretrains = (config.pretrain for config in configs)
    repos = {pretrain.repo: pretrain for pretrain in pretrains if isinstance(pretrain, DvcWeights) and not pretrain.rev}
    folders = {repo: _weights_folder(root, pretrain) for repo, pretrain in repos.items()}
    return {str(folder): _head(folder, repo) for repo, folder in folders.items() if folder is not None}


def _weights_folder(root: Path, pretrain: Pretrain) -> Path | None:
    """Return the repository that weights come from, if it lies on this machine: a workspace has no Git of its own."""
    folder = (root / pretrain.repo).resolve() if isinstance(pretrain, DvcWeights) else None
    return folder if folder is not None and folder.is_dir() else None


def _head(folder: Path, repo: str) -> str:
    try:
        return git(folder, "rev-parse", "--verify", "HEAD").strip()
    except SweepError:
        raise SweepError(f"pretrain.repo: {repo}: not a Git repository with a commit; give another, or a URL") from None


def _absolute(root: Path, path: str) -> str:
    """Return a path that holds in a workspace too: one inside the repository is the same there, any other absolute."""
    inside = os.path.normpath(path)
    return path if Path(inside).is_absolute() or not inside.startswith("..") else str((root / path).resolve())
