"""What MODEL stands for on the command line: an exported file or folder, a weights file, a trial, a Git revision."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reprolens.errors import ConfigError, ExportError, WeightsError
from reprolens.inference.load import RUNTIMES, load_model, preferred_file
from reprolens.inference.model import Model

EXPORTED, WEIGHTS = "export/model.onnx", "weights/model.pt"
"""Where a repository has its model, the better one to run first."""

_WEIGHTS_SUFFIX = ".pt"
_HERE = "workspace"
"""The repository as it lies, as compare calls it too."""


@dataclass(frozen=True)
class Detector:
    """A model that runs, and in words what the user's name for it was taken for."""

    model: Model
    said: str


def find_detector(root: Path, name: str, threads: int | None = None) -> Detector:
    """Return the model that `name` stands for in the repository `root`, tried in this order: an exported file, a
    weights file, an exported folder, a repository's folder, a trial, a Git revision or DVC experiment.

    Of a repository, trial or revision it is export/model.onnx, else weights/model.pt. Raises ConfigError for a name
    that nothing has, and what its reader raises for a model that cannot be loaded.
    """
    if not name.strip():  # an empty variable of a shell script
        raise ConfigError("MODEL: an empty name; give an exported file or folder, weights, a trial or a revision")
    path = Path(name)
    if name == _HERE and not path.exists():
        return _in_folder(root, threads)
    if path.is_dir():
        return _in_folder(path, threads)
    if path.exists():
        return Detector(load(path, threads), name)
    if path.suffix.lower() in (*RUNTIMES, _WEIGHTS_SUFFIX):
        raise ConfigError(f"{name}: there is no such file")
    return _in_repository(root, name, threads)


def load(path: Path, threads: int | None = None) -> Model:
    """Load an exported file or folder, or the weights that the train stage wrote.

    Raises ConfigError for another kind of file, ExportError or WeightsError if it cannot be loaded.
    """
    suffix = path.suffix.lower()
    if path.is_dir() or suffix in RUNTIMES:
        return load_model(path, threads)
    if suffix != _WEIGHTS_SUFFIX:
        known = ", ".join((*RUNTIMES, _WEIGHTS_SUFFIX))
        raise ConfigError(f"{path}: is no model; taken are {known} files, the exported folder, trials and revisions")
    try:
        import torch

        from reprolens.export.eager import TorchModel
        from reprolens.models import load_trained
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"{path}: weights need the whole of reprolens, and {error.name} is not installed; take an exported file"
        ) from None
    if threads is not None:
        torch.set_num_threads(threads)
    return TorchModel(load_trained(path), "cuda" if torch.cuda.is_available() else "cpu")


def _in_folder(folder: Path, threads: int | None) -> Detector:
    """Load what a folder holds: its own files if one is a model, else those of the repository that it is."""
    if any((folder / name).is_file() for name in (EXPORTED, WEIGHTS)):
        return _first(str(folder), threads, lambda file: folder / file, lambda file: str(folder / file))
    file = preferred_file(folder)
    return Detector(load_model(file, threads), str(file))


def _in_repository(root: Path, name: str, threads: int | None) -> Detector:
    try:
        from reprolens.comparison.revisions import find_revision, revision_names
        from reprolens.errors import SweepError, suggest
        from reprolens.sweeps.find import find_trial, trial_names
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{name}: there is no such file or folder; trials and revisions need the whole of reprolens, and "
            f"{error.name} is not installed"
        ) from None
    try:
        trial = find_trial(root, name)
    except SweepError:
        pass
    else:
        said = f"trial {trial.parent.name}/{trial.name}"
        return _first(name, threads, lambda file: trial / file, lambda file: f"{said}, {file}")
    revision = find_revision(root, name)
    if revision is None:
        known = [*trial_names(root), *revision_names(root)]
        hint = f"; {suggest(name, known)}" if known else ", and no repository is here"
        raise ConfigError(f"{name}: no such file, folder, trial (SWEEP/NUMBER) or Git revision{hint}")
    said = f"commit {revision.short}" if revision.commit.startswith(name) else f"{name}, commit {revision.short}"
    with tempfile.TemporaryDirectory(prefix="reprolens-") as copy:

        def fetch(file: str) -> Path:
            revision.write([file], Path(copy))
            return Path(copy, file)

        return _first(name, threads, fetch, lambda file: f"{said}, {file}")


def _first(
    name: str,
    threads: int | None,
    fetch: Callable[[str], Path],
    say: Callable[[str], str],
    files: Sequence[str] = (EXPORTED, WEIGHTS),
) -> Detector:
    """Load the first of a repository's files that it has and that this version can run.

    What cannot be loaded is told by the user's name: a revision's files lie in a folder that is gone afterwards.
    """
    problem = f"{name}: has neither {' nor '.join(files)}; dvc repro export writes them (dvc pull, if made elsewhere)"
    for file in files:
        path = fetch(file)
        if not path.is_file():
            continue
        try:
            return Detector(load(path, threads), say(file))
        except (ExportError, WeightsError) as error:
            problem = str(error).replace(str(path), f"{name}, {file}")
    raise ConfigError(problem)
