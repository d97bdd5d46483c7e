"""A trial's workspace: the repository's files, the trial's own params.yaml, and the repository's DVC cache.

A plain copy, not a Git worktree: DVC's experiments would collide on the refs that worktrees share.
"""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import yaml

from reprolens.config import Config
from reprolens.config.compose import to_yaml
from reprolens.files import write_text
from reprolens.revision import PATCH, SNAPSHOT
from reprolens.sweeps.estimate import in_cache
from reprolens.sweeps.experiment import RECORDED
from reprolens.sweeps.git import Snapshot, changes, checkout, exists, has_all, write_patch
from reprolens.sweeps.trial_config import source_paths

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
