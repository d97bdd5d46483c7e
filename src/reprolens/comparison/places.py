"""What a name on the command line stands for: this repository, predictions, a sweep's trial, a revision."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from reprolens.comparison.revisions import Revision, find_revision, revision_names
from reprolens.errors import ConfigError, SweepError, suggest
from reprolens.sweeps.find import find_trial, trial_names
from reprolens.sweeps.record import Status, read_trial

REPORTS = "reports"
PREDICTIONS = "predictions.json"
TRUTH = "ground_truth.json"
WORKSPACE = (".", "workspace")
"""The names of this repository as it lies."""


class Kind(StrEnum):
    """What can be compared."""

    workspace = "workspace"
    evaluation = "evaluation"
    predictions = "predictions"
    trial = "trial"
    revision = "revision"


@dataclass(frozen=True)
class Place:
    """Where a subject's results lie: a repository's folder, one of an evaluation, predictions, or a revision.

    `name` is the user's, but `workspace` for this repository. `said` tells in words what the name was taken for; two
    places with the same `identity` hold the same results.
    """

    name: str
    kind: Kind
    said: str
    identity: str
    path: Path
    revision: Revision | None = None


def find_places(root: Path, names: Sequence[str]) -> list[Place]:
    """Return what each of `names` stands for in the repository `root`, tried in the order of `Kind`.

    Raises ConfigError for fewer than two, a name that nothing has, and two names of the same thing.
    """
    if len(names) < 2:
        raise ConfigError("compare needs at least two: revisions, trials (SWEEP/NUMBER), predictions files, or .")
    places = [_find(root, name) for name in names]
    known: dict[str, Place] = {}
    for place in places:
        if (same := known.setdefault(place.identity, place)) is not place:
            both = place.name if same.name == place.name else f"{same.name} and {place.name}"
            raise ConfigError(f"{both}: given twice ({place.said}); compare needs different ones")
    return places


def _find(root: Path, name: str) -> Place:
    """Return what `name` stands for.

    A folder that holds reports/predictions.json is a workspace too; one that holds predictions and their truth is what
    `reprolens evaluate --out` or the evaluate stage wrote.
    """
    if not name.strip():  # an empty variable of a shell script
        raise ConfigError("compare: an empty name; give a revision, a trial, a predictions file, or .")
    if name in WORKSPACE or (root / name).resolve() == root.resolve():
        return _folder(root, WORKSPACE[1], "the repository as it lies")
    path = next((path for path in (Path(name), root / name) if path.exists()), None)
    if path is not None and not (path / "trial.json").is_file():
        if (path / REPORTS / PREDICTIONS).is_file():
            return _folder(path, name, f"the folder {name} as it lies")
        if all((path / file).is_file() for file in (PREDICTIONS, TRUTH)):
            return Place(name, Kind.evaluation, f"the evaluation in {name}", str(path.resolve()), path)
        if path.is_file() or any(path.glob("*.txt")):
            return Place(name, Kind.predictions, f"the predictions {name}", str(path.resolve()), path)
    if (trial := _find_trial(root, name)) is not None:
        return trial
    if (revision := find_revision(root, name)) is not None:
        said = f"commit {revision.short}" if revision.commit.startswith(name) else f"{name}, commit {revision.short}"
        return Place(name, Kind.revision, said, revision.commit, root, revision)
    if path is not None:
        raise ConfigError(
            f"{name}: not a folder of predictions: it holds no reports/predictions.json, no text files, and no "
            "predictions.json with its ground_truth.json"
        )
    known = [*WORKSPACE, *trial_names(root), *revision_names(root)]
    raise ConfigError(f"{name}: no such file, trial (SWEEP/NUMBER) or Git revision; {suggest(name, known)}")


def _folder(path: Path, name: str, said: str) -> Place:
    return Place(name, Kind.workspace, said, str((path / REPORTS).resolve()), path)


def _find_trial(root: Path, name: str) -> Place | None:
    try:
        folder = find_trial(root, name)
    except SweepError:
        return None
    trial = read_trial(folder)
    own = f"{folder.parent.name}/{folder.name}"
    if trial is not None and trial.status != Status.done:
        raise SweepError(f"{name}: the trial is {trial.status}, so it has no results to compare")
    return Place(name, Kind.trial, f"trial {own}", str(folder), folder)
