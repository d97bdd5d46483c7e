"""Which sources an experiment ran: the Git commit, and whether files differ from it."""

import subprocess
from contextlib import suppress
from pathlib import Path

WRITTEN = ("config.yaml", "dvc.lock", "reports")
"""What the pipeline itself writes into Git's tree: a change there does not make the source dirty."""

SNAPSHOT, PATCH = Path(".dvc/tmp/snapshot"), Path("changes.patch")
"""Where a trial's workspace says which tree and commit its sources are, and how the two differ."""


def git_revision(root: Path) -> dict[str, str | bool] | None:
    """Return the commit, and whether files other than the pipeline's own outputs differ from it; None without Git.

    A sweep's trial runs the sources as they were when the sweep began, which its workspace names.
    """
    with suppress(OSError, ValueError):
        _, baseline = (root / SNAPSHOT).read_text(encoding="utf-8").split()
        return {"revision": baseline, "dirty": (root / PATCH).stat().st_size > 0}
    revision = _git(root, "rev-parse", "HEAD")
    if not revision:
        return None
    outputs = [f":(exclude){path}" for path in WRITTEN]
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *outputs)
    return {"revision": revision, "dirty": bool(changed)}


def _git(root: Path, *arguments: str) -> str | None:
    """Return what Git prints; None without Git, repository or commit. Locks nothing: trials run in parallel."""
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
