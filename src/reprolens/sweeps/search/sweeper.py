"""Hydra's sweeper for Optuna: it checks a search, writes it down, and launches workers that share it.

`hydra/sweeper=optuna`, with Hydra's override syntax for the space. The published plugin pins an Optuna of 2021 and
waits for the slowest of every batch; here a job of Hydra is a worker, so that every launcher works as it is.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from reprolens.config import Config
from reprolens.errors import ConfigError, ReprolensError
from reprolens.sweeps.overrides import menu
from reprolens.sweeps.record import read_sweep
from reprolens.sweeps.search.samplers import Pruning, check_pruner, check_sampler, trial_count
from reprolens.sweeps.search.settings import Settings, write_settings
from reprolens.sweeps.search.space import Space, parse
from reprolens.sweeps.search.worker import composed, exclusive, retry
from reprolens.sweeps.slots import at_once

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

TARGET = "hydra_plugins.reprolens.OptunaSweeper"
"""The sweeper's name in a configuration. Hydra instantiates plugins from the package hydra_plugins alone."""


def register() -> None:
    """Make `hydra/sweeper=optuna` known to Hydra. Call it before the function that hydra.main decorates."""
    plugins = Plugins.instance()
    plugins.register(OptunaSweeper)
    plugins.class_name_to_class[TARGET] = OptunaSweeper


class OptunaSweeper(Sweeper):
    """The keys of conf/hydra/sweeper/optuna.yaml, which says what each means."""

    joins = False
    """Whether another driver runs this search: then its settings stand, and workers are all that is added."""

    def __init__(
        self,
        sampler: str,
        n_trials: int,
        workers: int | None,
        seed: int,
        pruner: str,
        pruning: Mapping[str, Any],
        storage: str | None,
        study_name: str | None,
        params: Mapping[str, Any],
    ) -> None:
        self._sampler, self._n_trials, self._workers, self._seed = sampler, n_trials, workers, seed
        self._pruner, self._pruning = pruner, Pruning(**pruning)
        self._storage, self._study_name, self._params = storage, study_name, params
        self._config: DictConfig
        self._launcher: Launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives: its context, the function that is a worker, and the composed configuration."""
        self._config = config
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Check the search, write search.json, and run the workers; return what Hydra's launcher returns."""
        try:
            root, sweep = _root(self._config), _sweep_folder(self._config)
            settings, configs = self._plan(root, sweep, arguments)
            if not self.joins:
                sweep.mkdir(parents=True, exist_ok=True)
                OmegaConf.save(self._config, sweep / "multirun.yaml")
                _prepare(sweep, settings, every=configs[0].sweep.retry_failed)
        except ReprolensError as error:  # here, because Hydra would make a traceback of it
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        # A worker has a folder of its own: the numbers in the sweep's folder are the trials'.
        job = [*settings.space.fixed, "hydra.sweep.subdir=.workers/${hydra.job.num}"]
        jobs = [job] * min(self._at_once(), settings.n_trials)
        results = self._launcher.launch(jobs, initial_job_idx=0)
        for result in results:
            _ = result.return_value  # raises what the worker raised
        return results

    def _plan(self, root: Path, sweep: Path, arguments: Sequence[str]) -> tuple[Settings, list[Config]]:
        _whole("n_trials", self._n_trials, 1)
        _whole("workers", self._workers, 1, optional=True)
        _whole("seed", self._seed, 0)
        space = parse(arguments, self._params, menu(root))
        configs = check(root, space)
        settings = configs[0].sweep
        directions = tuple(str(direction) for direction in settings.direction)
        check_sampler(self._sampler, space.dimensions, len(directions))
        max_epochs = max(config.trainer.max_epochs for config in configs)
        check_pruner(self._pruner, self._pruning, len(directions), max_epochs)
        n_trials = trial_count(self._sampler, self._n_trials, space.dimensions)
        return (
            Settings(
                space=space,
                metrics=tuple(settings.metric),
                directions=directions,
                sampler=self._sampler,
                n_trials=n_trials,
                seed=self._seed,
                pruner=self._pruner,
                pruning=self._pruning,
                study_name=self._study_name or settings.name or sweep.name,
                storage=_absolute(self._storage, Path(self._config.hydra.runtime.cwd)),
                max_epochs=max_epochs,
                max_failures=settings.max_failure_rate * n_trials,
                code=_code(sweep),
            ),
            configs,
        )

    def _at_once(self) -> int:
        hydra = self._config.hydra
        return at_once({"workers": self._workers}, hydra.launcher)


def corners(space: Space) -> list[tuple[str, ...]]:
    """Return the overrides of points that reach each choice and both ends of each interval.

    One dimension at a time leaves its first value; the point of all first values comes first.
    """
    first = {key: _ends(distribution)[0] for key, distribution in space.dimensions.items()}
    others = [(key, value) for key, distribution in space.dimensions.items() for value in _ends(distribution)[1:]]
    return [space.overrides(first), *(space.overrides(first | {key: value}) for key, value in others)]


def check(root: Path, space: Space) -> list[Config]:
    """Return the configurations of the corners. Raises ConfigError naming the combination that is wrong."""
    configs = []
    for overrides in corners(space):
        try:
            configs.append(composed(root, overrides))
        except ConfigError as error:
            varied = " ".join(overrides[len(space.fixed) :])
            raise ConfigError(f"{varied}: {error}") from None
    return configs


def _ends(distribution: "BaseDistribution") -> tuple[Any, ...]:
    choices = getattr(distribution, "choices", None)
    return tuple(choices) if choices is not None else (distribution.low, distribution.high)  # type: ignore[attr-defined]


def _prepare(sweep: Path, settings: Settings, *, every: bool) -> None:
    """Make or check the study, write search.json, and enqueue the failed trials that are to be run again."""
    from reprolens.sweeps.search.study import open_study, storage_errors

    with storage_errors(sweep), exclusive(sweep):
        study = open_study(sweep, settings)
        write_settings(sweep, settings)
        retry(study, sweep, every)


def _code(sweep: Path) -> str:
    """Return what the driver's plan says of the sources; empty where this runs without a driver."""
    return read_sweep(sweep).code if (sweep / "sweep.json").is_file() else ""


def _root(config: DictConfig) -> Path:
    """Return the folder that holds params.yaml."""
    sources = config.hydra.runtime.config_sources
    return Path(next(source.path for source in sources if source.provider == "main"))


def _sweep_folder(config: DictConfig) -> Path:
    return (Path(config.hydra.runtime.cwd) / config.hydra.sweep.dir).resolve()


def _absolute(url: str | None, root: Path) -> str | None:
    """Let a relative SQLite file mean one place, wherever a worker runs."""
    match = re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^/:].*)", url or "")
    return f"{match[1]}{(root / match[2]).resolve()}" if match else url


def _whole(key: str, value: Any, least: int, *, optional: bool = False) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"hydra.sweeper.{key}: must be a whole number of at least {least}, not {value!r}")
