"""The study on disk: what was asked, what came out. Every process of a search opens it, and it survives them all."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprolens.errors import ConfigError, SweepError
from reprolens.sweeps.search.journal import JournalLock
from reprolens.sweeps.search.settings import Settings

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage


def open_study(sweep: Path, settings: Settings) -> "Study":
    """Return the study of a search, made if there is none of this name. Call it under `worker.exclusive`.

    Raises ConfigError for a storage that cannot be opened, and SweepError for a study that was made for other metrics,
    directions or choices, or that another folder searches.
    """
    import optuna
    from optuna.study import StudyDirection

    from reprolens.sweeps.search.samplers import pruner

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=_storage(sweep, settings.storage),
        study_name=settings.study_name,
        directions=[StudyDirection[direction.upper()] for direction in settings.directions],
        sampler=optuna.samplers.RandomSampler(),  # replaced for every ask
        pruner=pruner(settings.pruner, settings.pruning, settings.max_epochs),
        load_if_exists=True,
    )
    _check(study, sweep, settings)
    return study


@contextmanager
def storage_errors(sweep: Path) -> Iterator[None]:
    """Turn what a full or read-only disk, or a lost database, raises into a SweepError."""
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except (OSError, StorageInternalError) as error:
        cause = error.__cause__ or error
        reason = " ".join(str(cause).splitlines()[:1])
        raise SweepError(f"{sweep.name}: the study cannot be read or written ({reason}); start it again then") from None


def _storage(sweep: Path, url: str | None) -> "BaseStorage":
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if url is None:
        path = sweep / "study.journal"
        return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalLock(path)))  # type: ignore[arg-type]
    # Seconds that SQLite waits for another process' write before it gives up.
    arguments: dict[str, Any] = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return RDBStorage(url, engine_kwargs=arguments)
    except Exception as error:  # SQLAlchemy, its drivers and Optuna each have their own, and need not be installed
        reason = " ".join(str(error).splitlines()[:1])
        raise ConfigError(f"hydra.sweeper.storage: {url!r} cannot be opened ({reason}); write sqlite:///FILE") from None


def _check(study: "Study", sweep: Path, settings: Settings) -> None:
    name = f"study {study.study_name!r}"
    advice = "give the sweep another name"
    directions = tuple(direction.name.lower() for direction in study.directions)
    if directions != settings.directions:
        raise SweepError(f"{name}: was made to {_and(directions)}, not to {_and(settings.directions)}; {advice}")
    metrics = study.user_attrs.get("metrics")
    if metrics is None:
        study.set_user_attr("metrics", list(settings.metrics))
    elif tuple(metrics) != settings.metrics:
        raise SweepError(f"{name}: was made for {_and(metrics)}, not for {_and(settings.metrics)}; {advice}")
    if settings.storage is not None:
        # A running trial is known to be alive by a lock in the sweep's folder; from another folder it would look dead.
        folder = study.user_attrs.get("folder")
        if folder is None:
            study.set_user_attr("folder", str(sweep))
        elif folder != str(sweep):
            raise SweepError(f"{name}: is searched in {folder}; go on there, or give hydra.sweeper.study_name another")
    code = study.user_attrs.get("code")
    if code is None:
        study.set_user_attr("code", settings.code)
    elif code != settings.code:
        raise SweepError(f"{name}: was searched with other sources, data or settings; {advice}: sweep.name=...")
    _check_space(study, settings.space.dimensions, f"{name}: {{}}; {advice}")


def _check_space(study: "Study", dimensions: Mapping[str, "BaseDistribution"], line: str) -> None:
    """Refuse a space that the study's trials cannot be compared in: other keys, other choices, other kinds."""
    from optuna.distributions import check_distribution_compatibility

    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished() and set(trial.distributions) != set(dimensions):
            known, given = _and(sorted(trial.distributions)), _and(sorted(dimensions))
            raise SweepError(line.format(f"searched {known}, not {given}"))
        for key, distribution in trial.distributions.items():
            try:
                check_distribution_compatibility(distribution, dimensions.get(key, distribution))
            except ValueError:
                raise SweepError(line.format(f"searched other values of {key}")) from None


def _and(names: Any) -> str:
    return " and ".join(names)
