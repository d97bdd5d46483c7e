"""A trial by any of its names."""

from pathlib import Path

from reprolens.errors import SweepError, suggest
from reprolens.sweeps.plan import MULTIRUN
from reprolens.sweeps.record import read_trials, trial_folder


def find_trial(root: Path, name: str) -> Path:
    """Return the workspace of the trial `name`: SWEEP/NUMBER, its folder, or the name of its DVC experiment.

    Raises SweepError where no sweep in the repository `root` has such a trial.
    """
    for folder in (Path(name), root / name, root / MULTIRUN / name):
        if (folder / "trial.json").is_file():
            return folder.resolve()
    trials = trial_names(root)
    if name not in trials:
        raise SweepError(f"{name}: no trial in {MULTIRUN}/; {suggest(name, trials)}")
    return trials[name]


def trial_names(root: Path) -> dict[str, Path]:
    """Return the workspaces of all trials in the repository `root` by SWEEP/NUMBER and by their experiments' names."""
    return {
        key: trial_folder(path.parent, trial.number).resolve()
        for path in sorted((root / MULTIRUN).glob("*/sweep.json"))
        for trial in read_trials(path.parent)
        for key in (f"{path.parent.name}/{trial.number}", trial.experiment)
        if key
    }
