"""A finished trial as a DVC experiment: a commit on the baseline, under the ref where `dvc exp` looks for it.

DVC's own commands for this lose their locks when they run side by side. Git's plumbing needs none. DVC's layout of refs
is not documented as an interface; tests/sweeps/test_driver.py holds it to `dvc exp show`, `apply`, `branch` and `gc`.
"""

from pathlib import Path

from reprolens.sweeps.git import Snapshot, git, tree_with

RECORDED = ("params.yaml", "config.yaml", "dvc.lock", "reports/run.json")
"""What the commit has from the workspace: what DVC does not keep itself. Outputs lie in its cache, by dvc.lock."""

AUTHOR = {"user.name": "reprolens", "user.email": "reprolens@localhost"}
"""Who records a trial where the user has not told Git a name or an address."""


def record_experiment(root: Path, workspace: Path, snapshot: Snapshot, name: str) -> None:
    """Write the trial in `workspace` as the experiment `name`, replacing an older one. Safe beside other trials.

    Raises SweepError if Git refuses.
    """
    tree = tree_with(root, snapshot.tree, {file: workspace / file for file in RECORDED})
    ref = f"refs/exps/{snapshot.baseline[:2]}/{snapshot.baseline[2:]}/{name}"
    message = f"dvc: commit experiment {name}"
    if git(root, "for-each-ref", "--format=%(tree)", ref).strip() == tree:
        return
    unset = {key: value for key, value in AUTHOR.items() if not git(root, "config", "--default", "", key).strip()}
    commit = git(root, "commit-tree", tree, "-p", snapshot.baseline, "-m", message, settings=unset)
    git(root, "update-ref", ref, commit.strip())
