"""Files of weights that lie elsewhere: in a Weights & Biases artifact, or where DVC tracks them."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from reprolens.config import ArtifactWeights, DvcWeights, Expected, Model
from reprolens.errors import WeightsError, first_line, suggest
from reprolens.models.weights.fetch import unreachable, without_password
from reprolens.models.weights.files import read_weights
from reprolens.models.weights.loading import StartingWeights

if TYPE_CHECKING:
    from wandb import Artifact

WEIGHTS = re.compile(r"\.(pt|pth|bin|safetensors|weights|backup|conv\.[0-9]+)$")
"""How the files of an artifact end that hold weights, where none is named."""

TIMEOUT = 20
"""Seconds to wait for an answer of the W&B server."""

_ADDRESS = re.compile(r".+://|[^/]+:")
"""How an address begins, or git's short form of one (git@host:path); anything else is a folder."""

Origin = dict[str, Any]


def artifact_weights(config: ArtifactWeights, options: Model) -> StartingWeights:
    """Return the weights of a Weights & Biases artifact's file. wandb's own cache keeps what was downloaded before.

    Raises WeightsError if there is no key, server or such artifact, if it is not clear which of its files is meant, or
    if that does not fit.
    """

    def bring(folder: Path) -> tuple[Path, str, Origin]:
        artifact = _find_artifact(config.artifact)
        name = _choose_file(artifact, config)
        with _told(f"pretrain.artifact: {config.artifact}: {name} cannot be downloaded"):
            path = Path(artifact.get_entry(name).download(root=str(folder)))
        version = f"{artifact.qualified_name.partition(':')[0]}:{artifact.version}"  # which an alias is not for ever
        facts = {"name": version, "file": name, "digest": artifact.digest}
        return path, f"{name} of the artifact {config.artifact}", facts

    return _brought("artifact", bring, options, config.expects)


def dvc_weights(config: DvcWeights, options: Model) -> StartingWeights:
    """Return the weights of a file that DVC or Git tracks, in this repository or another, at a revision of it.

    Raises WeightsError if the repository, the revision or the file is not there, or if the file does not fit.
    """

    def bring(folder: Path) -> tuple[Path, str, Origin]:
        shown = without_password(config.repo)
        place = f"{config.path} of {'this repository' if shown == '.' else shown}"
        place += f" at {config.rev}" if config.rev else ""
        _check_asked(config)
        with _told(f"pretrain.path: {place}: cannot be had"):
            path = folder / PurePosixPath(config.path).name
            revision = _copy_tracked(config, path, place)
        facts = {"name": f"{place} ({revision[:7]})", "file": config.path, "repo": shown, "rev": revision}
        return path, place, facts

    return _brought("dvc", bring, options, config.expects)


def _brought(
    source: str, bring: Callable[[Path], tuple[Path, str, Origin]], options: Model, expects: Expected
) -> StartingWeights:
    """Return the weights of a file that `bring` puts into a folder; it says how to call the file, and of its origin."""
    with tempfile.TemporaryDirectory(prefix="reprolens-weights-") as folder:
        path, shown, facts = bring(Path(folder))
        try:
            weights = read_weights(path, options, expects)
        except WeightsError as error:  # the path means nothing to the user
            raise WeightsError(str(error).replace(str(path), shown)) from None
    return replace(weights, origin=weights.origin | {"source": source} | facts)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Tell in one line what wandb or DVC raises: dozens of kinds of their own, and those of what they use."""
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{what} ({first_line(error)})") from None


def _find_artifact(name: str) -> "Artifact":
    import wandb

    server = wandb.setup(wandb.Settings(mode="online", silent=True)).settings.base_url
    if not wandb.login(prompt=False, verify=False):
        raise WeightsError("pretrain.artifact: no W&B key is set; run wandb login, or set WANDB_API_KEY")
    if why := unreachable(server, TIMEOUT):
        raise WeightsError(f"pretrain.artifact: no W&B server answers at {server} ({why}); use pretrain: file")
    with _told(f"pretrain.artifact: {name}: not found on {server}; [entity/]project/name:alias is asked for"):
        return wandb.Api(timeout=TIMEOUT).artifact(name)


def _choose_file(artifact: "Artifact", config: ArtifactWeights) -> str:
    """Return which of an artifact's files is meant. Raises WeightsError if it is none of them, or may be several."""
    files = sorted(artifact.manifest.entries)
    if config.file is not None:
        if PurePosixPath(config.file).is_absolute() or ".." in PurePosixPath(config.file).parts:
            raise WeightsError(f"pretrain.file: {config.file} leaves the artifact; give a path within it")
        if config.file not in files:
            raise WeightsError(f"pretrain.file: {config.artifact} has no {config.file}; {suggest(config.file, files)}")
        return config.file
    weights = [name for name in files if WEIGHTS.search(name)]
    if not weights:
        raise WeightsError(f"pretrain.file: {config.artifact} has no file named as weights are; name one of its files")
    if len(weights) > 1:
        raise WeightsError(f"pretrain.file: {config.artifact} holds {', '.join(weights)}; name one of them")
    return weights[0]


def _check_asked(config: DvcWeights) -> None:
    """Raise WeightsError if the repository is a folder that is not there, or the file what pretrain stages write."""
    if not _ADDRESS.match(config.repo) and not Path(config.repo).is_dir():
        raise WeightsError(f"pretrain.repo: {config.repo}: there is no such folder; check the path")
    if PurePosixPath(config.path) == PurePosixPath("weights/initial.pt"):
        raise WeightsError(f"pretrain.path: {config.path} is a pretrain stage's own output; take weights/model.pt")


def _copy_tracked(config: DvcWeights, path: Path, place: str) -> str:
    """Copy a file that DVC or Git tracks, called `place`, to `path`, and return the commit that it is from.

    Of a repository on this machine, too, it is what was committed: its working tree may be of any state.
    """
    from dvc.api import DVCFileSystem

    local = Path(config.repo).is_dir()
    repo = str(Path(config.repo).resolve()) if local else config.repo
    tracked = DVCFileSystem(repo, rev=config.rev or ("HEAD" if local else None))
    try:
        revision = str(tracked.repo.get_rev())
        with tracked.open(config.path, mode="rb") as file, path.open("wb") as copy:
            shutil.copyfileobj(file, copy)
        return revision
    except IsADirectoryError:
        raise WeightsError(f"pretrain.path: {place} is a folder; name a file in it") from None
    except FileNotFoundError:
        if not tracked.exists(config.path):
            raise
        raise WeightsError(
            f"pretrain.path: {place}: not in DVC's cache there; dvc fetch it there, or dvc pull"
        ) from None
    finally:
        tracked.close()
