"""A Git repository of a few files, with DVC's folder."""

import subprocess
from pathlib import Path


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def commit(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-qm", "state")


def make_root(root: Path) -> Path:
    (root / "src").mkdir(parents=True)
    (root / "data" / "digits").mkdir(parents=True)
    (root / ".dvc").mkdir()
    git(root, "init", "-q")
    for key, value in (("user.name", "test"), ("user.email", "test@localhost"), ("core.autocrlf", "false")):
        git(root, "config", key, value)
    for name in ("src/kept.py", "src/edited.py", "src/removed.py", "dvc.lock", "config.yaml", "params.yaml"):
        (root / name).write_text(f"{name} of the repository\n")
    (root / "data" / "digits" / "scans").write_text("scans\n")
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    (root / ".gitignore").write_text("/multirun/\n/wandb/\n/.checkpoints/\n/data/ignored\n*.jpg\n")
    commit(root)
    return root
