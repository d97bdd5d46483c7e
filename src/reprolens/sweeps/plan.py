"""What a sweep will do, worked out before anything runs: its name, its trials, what of them is already there."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import IntervalSweep
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig

from reprolens.config import Config
from reprolens.config.compose import compose, search_path
from reprolens.errors import ConfigError, SweepError, suggest
from reprolens.files import atomic_folder
from reprolens.progress import track
from reprolens.sweeps.estimate import describe, estimate
from reprolens.sweeps.git import Snapshot, checkout, files_in, take_snapshot
from reprolens.sweeps.overrides import key_of, menu, read_overrides
from reprolens.sweeps.record import (
    CONFIG,
    Status,
    Sweep,
    Trial,
    read_trial,
    read_trials,
    trial_folder,
    write_sweep,
    write_trial,
)
from reprolens.sweeps.search.samplers import trial_count
from reprolens.sweeps.search.space import parse
from reprolens.sweeps.search.sweeper import check
from reprolens.sweeps.slots import at_once
from reprolens.sweeps.stages import config_id, joined, read_stages, stage_keys
from reprolens.sweeps.trial_config import source_paths, trial_config, weights_commits

MULTIRUN = Path("multirun")
"""Where the sweeps lie, each in a folder of its name."""


@dataclass(frozen=True)
class Plan:
    """A sweep that can start. `trials` are this start's; a search has none yet, it makes them as it goes.

    `before` are the records that were there.
    """

    folder: Path
    sweep: Sweep
    trials: tuple[Trial, ...]
    before: tuple[Trial, ...]
    config: Config
    search: bool
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Combinations:
    """What a command line spans: the keys that vary, the overrides that do not, and combinations that are composed.

    Of a grid these are all `total` trials. Of a search they are points that together reach both ends of every key.
    `named` are the overrides and choices by which the same sweep is known again.
    """

    varied: tuple[str, ...]
    named: tuple[str, ...]
    configs: tuple[Config, ...]
    parameters: tuple[Mapping[str, Any], ...]
    total: int


def make_plan(root: Path, arguments: Sequence[str], multirun: bool) -> Plan:
    """Compose and check every combination of `arguments`, Hydra's overrides, and work out what is to be done.

    Nothing is run, and nothing is written but Git's objects. Raises ConfigError or SweepError in one line for the first
    combination that is wrong, and for a place that cannot be written.
    """
    hydra = hydra_part(root, arguments)
    _check_installed(str(hydra.launcher["_target_"]))
    search = multirun and is_search(hydra)
    space = _space(root, hydra, arguments, multirun)
    config = space.configs[0]
    name = config.sweep.name or _name(space)
    folder = root / MULTIRUN / name
    inside = {Path(os.path.relpath(root / path, root)) for each in space.configs for path in source_paths(each)}
    snapshot = take_snapshot(root, [path for path in inside if path.parts and path.parts[0] != ".."])
    cache = _cache_folder(root)
    for place in (root, cache):
        _check_writable(place)
    pairs = zip(space.configs, space.parameters or [{}] * len(space.configs), strict=True)
    commits = weights_commits(root, space.configs)
    keys = [_keys(root, snapshot, trial_config(root, each, name, own, commits)) for each, own in pairs]
    before = tuple(read_trials(folder))
    trials = () if search else tuple(_numbered(space, [joined(each) for each in keys], before))
    total = space.total if search else len(trials)
    workers = min(at_once(hydra.sweeper, hydra.launcher), total) if multirun else 1
    sweep = Sweep(
        name=name,
        overrides=tuple(arguments),
        metrics=tuple(config.sweep.metric),
        directions=tuple(config.sweep.direction),
        trials=tuple(trial.number for trial in trials),
        total=total,
        tree=snapshot.tree,
        baseline=snapshot.baseline,
        cache=str(cache),
        code=joined(keys[0]),
        started=time.time(),
        commits=commits,
    )
    expected = estimate(root, cache, keys, workers, total)
    free = shutil.disk_usage(cache).free
    if expected.bytes > free:
        needed = f"{expected.bytes / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free"
        raise SweepError(f"{cache}: {needed}; make room with dvc gc --workspace --all-experiments")
    known = sum(trial.status == Status.done for trial in trials)
    lines = (
        f"{(MULTIRUN / name).as_posix()}: {total} trials" + (f", {known} of them done before" if known else ""),
        *describe(expected, workers),
    )
    return Plan(folder, sweep, trials, before, config, search, lines)


def write_plan(root: Path, plan: Plan) -> None:
    """Write the plan into the sweep's folder: its configuration, and a record of each trial that is to be run.

    A record that was written since the sweep was planned, by a worker that outlived its driver, stays.
    """
    before = {trial.number: trial for trial in plan.before}
    for trial in plan.trials:
        if read_trial(trial_folder(plan.folder, trial.number)) == before.get(trial.number):
            write_trial(plan.folder, trial)
    with atomic_folder(plan.folder / CONFIG) as folder:
        checkout(root, plan.sweep.tree, folder, ["params.yaml", *files_in(root, plan.sweep.tree, "conf")])
    write_sweep(plan.folder, plan.sweep)


def hydra_part(root: Path, arguments: Sequence[str]) -> DictConfig:
    """Return Hydra's own configuration as params.yaml and the overrides of it make it: launcher, sweeper, folders."""
    own = [argument for argument in arguments if argument.lstrip("+~").startswith("hydra")]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(root.resolve())):
            node = hydra_compose("params", [search_path(root), *own], return_hydra_config=True)
    except MissingConfigException as error:
        group, _, choice = str(error.missing_cfg_file or "").rpartition("/")
        there = [path.stem for path in (root / "conf" / group).glob("*.yaml")]
        raise ConfigError(f"{group}: there is no choice {choice!r}; {suggest(choice, [*there, 'basic'])}") from None
    except HydraException as error:
        raise ConfigError(str(error).splitlines()[0]) from None
    part = node.hydra
    assert isinstance(part, DictConfig)
    return part


def is_search(hydra: DictConfig | HydraConf) -> bool:
    """Return whether a sweep's trials are asked from a search, rather than all known from the start."""
    return str(hydra.sweeper["_target_"]).endswith(".OptunaSweeper")


def _space(root: Path, hydra: DictConfig, arguments: Sequence[str], multirun: bool) -> Combinations:
    own = [argument for argument in arguments if not argument.lstrip("+~").startswith("hydra")]
    params = hydra.sweeper.get("params") or {}
    if multirun and is_search(hydra):
        return _search_space(root, hydra, own, params)
    lines = [*(f"{key}={value}" for key, value in params.items()), *own] if multirun else own
    loader = menu(root)
    given = {key_of(override): override for override in read_overrides(lines, loader)}
    varied = [key for key, override in given.items() if not multirun or override.is_sweep_override()]
    if not multirun and (many := [key for key, override in given.items() if override.is_sweep_override()]):
        raise ConfigError(f"override {given[many[0]].input_line!r}: has several values; add -m to run them all")
    if intervals := [override for override in given.values() if isinstance(override.value(), IntervalSweep)]:
        raise ConfigError(f"override {intervals[0].input_line!r}: an interval needs a search; add hydra/sweeper=optuna")
    try:
        batches = BasicSweeper.split_arguments(list(given.values()), max_batch_size=None)
    except HydraException as error:
        raise ConfigError(str(error)) from None
    combinations = [overrides for batch in batches for overrides in batch]
    return Combinations(
        varied=tuple(varied) if multirun else (),
        named=tuple(override.input_line or "" for key, override in given.items() if not multirun or key not in varied),
        configs=tuple(_composed(root, overrides) for overrides in track(combinations, "checking combinations")),
        parameters=tuple(
            {
                key_of(override): override.value()
                for override in read_overrides(overrides, loader)
                if key_of(override) in varied
            }
            for overrides in combinations
        ),
        total=len(combinations),
    )


def _search_space(root: Path, hydra: DictConfig, own: Sequence[str], params: Mapping[str, Any]) -> Combinations:
    space = parse(own, params, menu(root))
    # A study compares trials by what it varies: other choices, or other settings beside them, make another sweep.
    base = _composed(root, space.fixed)
    choices = {key: getattr(dimension, "choices", None) for key, dimension in space.dimensions.items()}
    return Combinations(
        varied=tuple(space.dimensions),
        named=("a search", config_id(base), *(f"{key}={values}" for key, values in choices.items() if values)),
        configs=(base, *check(root, space)),
        parameters=(),
        total=trial_count(hydra.sweeper.sampler, int(hydra.sweeper.n_trials), space.dimensions),
    )


def _composed(root: Path, overrides: Sequence[str]) -> Config:
    try:
        return compose(root, overrides)
    except ConfigError as error:
        raise ConfigError(f"{' '.join(overrides) or 'params.yaml'}: {error}") from None


def _name(space: Combinations) -> str:
    """Return a name that the same command has again, also after a value was added to what a grid varies."""
    unnamed = ("sweep.", "tracking", "hydra")
    rest = sorted(line for line in space.named if not line.lstrip("+~").startswith(unnamed))
    digest = hashlib.sha256("\n".join([*sorted(space.varied), "", *rest]).encode()).hexdigest()[:6]
    words = [key.rpartition(".")[2] for key in space.varied] or [space.configs[0].model.name]
    return re.sub(r"[^\w.+=-]", "_", "-".join([*words[:4], digest]))


def _numbered(space: Combinations, codes: Sequence[str], before: Sequence[Trial]) -> Iterator[Trial]:
    """Give each combination the number that it had before, else the next; two that compose to the same are one.

    What was done or failed before stays so while its code shows that nothing that decides it has changed.
    """
    known = {trial.id: trial for trial in before}
    number = max((trial.number for trial in before), default=-1) + 1
    seen = set()
    for config, parameters, code in zip(space.configs, space.parameters, codes, strict=True):
        identity = config_id(config)
        if identity in seen:
            continue
        seen.add(identity)
        trial = known.get(identity) or Trial(number, identity, parameters)
        number += identity not in known
        stays = trial.status in (Status.done, Status.failed) and trial.code == code
        again = trial.status == Status.failed and config.sweep.retry_failed
        yield trial if stays and not again else Trial(trial.number, identity, parameters)


def _keys(root: Path, snapshot: Snapshot, config: Config) -> dict[str, str]:
    return stage_keys(root, snapshot.tree, config, read_stages(root, snapshot.tree, config))


def _check_installed(target: str) -> None:
    """Raise SweepError if a launcher's plugin is not there: Hydra would call it an unknown class."""
    package = ".".join(target.split(".")[:2])
    if importlib.util.find_spec(package) is None:
        extra = "slurm" if "submitit" in package else "ray" if "ray" in package else None
        install = f"pip install 'reprolens[{extra}]'" if extra else "install its package"
        raise SweepError(f"hydra/launcher: {package} is not installed; {install}")


def _cache_folder(root: Path) -> Path:
    """Return where the repository keeps its DVC cache: as configured, else .dvc/cache."""
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise SweepError(f"dvc cache dir: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return Path(done.stdout.strip())


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SweepError(f"{folder}: cannot be written ({error.strerror}); a sweep needs the place") from None
