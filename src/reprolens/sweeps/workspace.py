"""A trial's workspace: the repository's files, the trial's own params.yaml, and the repository's DVC cache.

A plain copy, not a Git worktree: DVC's experiments would collide on the refs that worktrees share.
"""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from reprolens.config import Config
from reprolens.config.compose import to_yaml
from reprolens.errors import ConfigError
from reprolens.files import write_text


def make_workspace(root: Path, workspace: Path, config: Config) -> Config:
    """Fill `workspace` with what a reproduction of `config` needs and return the configuration as it holds there.

    The data set's path becomes absolute where the data set is not among the files copied. The Weights & Biases folder
    is the repository's, so that one folder holds the runs of all trials. Raises ConfigError outside a Git repository.
    """
    for name in _files(root):
        target = workspace / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, target)
    if not (workspace / config.data.path).exists():
        config = replace(config, data=replace(config.data, path=str((root / config.data.path).resolve())))
    write_text(workspace / "params.yaml", to_yaml(config))
    write_text(
        workspace / ".dvc" / "config.local",
        "[core]\n    no_scm = true\n"
        f"[cache]\n    dir = {cache_folder(root)}\n    type = reflink,hardlink,symlink,copy\n",
    )
    runs = root / "wandb"
    runs.mkdir(exist_ok=True)
    if not (workspace / "wandb").exists():
        (workspace / "wandb").symlink_to(runs)
    return config


def cache_folder(root: Path) -> Path:
    """Return where the repository keeps its DVC cache: as configured, else .dvc/cache."""
    command = ["dvc", "cache", "dir"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    return Path(done.stdout.strip()) if done.returncode == 0 and done.stdout.strip() else root / ".dvc" / "cache"


def _files(root: Path) -> list[str]:
    """Return the tracked files and the untracked ones that Git does not ignore, relative to `root`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise ConfigError(
            f"{root}: a sweep copies the files that Git knows, but this is no Git repository; run git init"
        )
    return [name for name in done.stdout.split("\0") if name and (root / name).is_file()]
