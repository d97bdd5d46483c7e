"""A trial's workspace: the repository's files, the trial's own params.yaml, and the repository's DVC cache.

A plain copy, not a Git worktree: DVC's experiments would collide on the refs that worktrees share.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from reprolens.config import Classify, Config, Data, DvcWeights, FileWeights, Labelled
from reprolens.config.compose import to_yaml
from reprolens.config.model import Pretrain
from reprolens.errors import SweepError
from reprolens.files import write_text
from reprolens.sweeps.estimate import in_cache
from reprolens.sweeps.experiment import RECORDED
from reprolens.sweeps.git import Snapshot, changes, checkout, exists, git, has_all, write_patch
from reprolens.tracking.identity import PATCH, SNAPSHOT

OWN = ("config.yaml", "dvc.lock", "params.yaml")
"""What a workspace has of its own as soon as it has run; a later snapshot of the sources leaves it alone."""


SCRATCH = (".dvc/tmp/site", "data/.voc.index")
"""What DVC and the loader remember of files, for speed: megabytes that nobody needs when the trial is done."""


def make_workspace(
    root: Path, workspace: Path, snapshot: Snapshot, config: Config, cache: str, checkpoints: Path
) -> None:
    """Fill `workspace` with what a reproduction of `config` needs, or bring one of an earlier start up to date.

    `cache` is the repository's DVC cache, `checkpoints` the folder that a training here uses: the same one wherever the
    same training is gone on with. The Weights & Biases folder is the repository's, so that one has all trials' runs.
    """
    mark = workspace / SNAPSHOT
    old = mark.read_text(encoding="utf-8") if mark.is_file() else ""
    if old != f"{snapshot.tree} {snapshot.baseline}":
        tree = old.partition(" ")[0]
        newer, gone = changes(root, tree if tree and exists(root, tree) else None, snapshot.tree)
        for name in gone:
            _remove(workspace, name)
        kept = [name for name in OWN if (workspace / name).exists()]
        names = [name for name in newer if name not in kept and not _linked_parent(workspace, name)]
        checkout(root, snapshot.tree, workspace, names)
        if not kept:  # its own are not there yet, and the repository's are of another experiment
            (workspace / "dvc.lock").unlink(missing_ok=True)
        write_patch(root, snapshot, workspace / PATCH)
        write_text(mark, f"{snapshot.tree} {snapshot.baseline}")
    for source in sorted(map(os.path.normpath, source_paths(config))):
        if not Path(source).is_absolute() and not has_all(root, snapshot.tree, source):
            _link_source(root, workspace, source)
    for place, target in (("wandb", root / "wandb"), (".checkpoints", checkpoints)):
        target.mkdir(parents=True, exist_ok=True)
        _link(workspace / place, target)
    settings = {
        "core": {"no_scm": "true", "site_cache_dir": f'"{(workspace / SCRATCH[0]).resolve()}"'},
        "cache": {"dir": f'"{cache}"', "type": "reflink,hardlink,symlink,copy"},
    }
    sections = (f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for name, keys in settings.items())
    write_text(workspace / ".dvc" / "config.local", "".join(sections))
    write_text(workspace / "params.yaml", to_yaml(config))


def dvc_environment(folder: Path) -> dict[str, str]:
    """Return the environment in which DVC runs stages in `folder`: its own sources, this interpreter's programs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # Of a single command bash makes itself that command, so that the stage is DVC's own child and dies with it.
    shell = shutil.which("bash") or "/bin/sh"
    return dict(os.environ) | {"PATH": path, "PYTHONPATH": str(folder.resolve() / "src"), "SHELL": shell}


def tidy_workspace(workspace: Path) -> None:
    """Remove what a finished trial needs no more."""
    for name in SCRATCH:
        shutil.rmtree(workspace / name, ignore_errors=True)


def is_whole(workspace: Path, cache: Path) -> bool:
    """Return whether a finished trial's outputs are there, and in the cache, as its dvc.lock names them."""
    try:
        stages = yaml.safe_load((workspace / "dvc.lock").read_text(encoding="utf-8"))["stages"].values()
        outputs = {output["path"]: output["md5"] for stage in stages for output in stage.get("outs", ())}
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return False
    kept = all(in_cache(cache, name) for path, name in outputs.items() if path not in RECORDED)
    return kept and all((workspace / path).exists() for path in outputs)


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


def data_paths(data: Data) -> list[str]:
    """Return the places that convert reads."""
    return [data.path, *([data.images] if isinstance(data, Labelled) and data.images is not None else [])]


def source_paths(config: Config) -> list[str]:
    """Return the places that convert and pretrain read."""
    pretrain, paths = config.pretrain, data_paths(config.data)
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


def _linked_parent(workspace: Path, name: str) -> Path | None:
    """Return the outermost folder above `name` in a workspace that is a symbolic link. What is below is not ours."""
    folders = [workspace / folder for folder in reversed(Path(name).parents[:-1])]
    return next((folder for folder in folders if folder.is_symlink()), None)


def _link_source(root: Path, workspace: Path, source: str) -> None:
    """Let a workspace have a source of the repository that Git does not have, or not whole."""
    link = _linked_parent(workspace, source)
    if link is None:
        _link(workspace / source, root / source)
    elif not (workspace / source).exists():  # a relative link of the repository's, which leads elsewhere from here
        _link(link, root / link.relative_to(workspace))


def _link(place: Path, target: Path) -> None:
    """Make `place` a symbolic link to `target`, in place of another link or of a copy."""
    if place.is_symlink() and place.readlink() == target:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def _remove(workspace: Path, name: str) -> None:
    """Remove a file, and the folders that it leaves empty: a file may come in their place."""
    if _linked_parent(workspace, name):
        return
    path = workspace / name
    with suppress(OSError):
        path.unlink()
        for folder in path.relative_to(workspace).parents[:-1]:
            (workspace / folder).rmdir()
