"""Stages of dvc.yaml, and a key for each: two trials with the same key of a stage end in the same results of it.

DVC knows such a key only once everything before the stage has run. A sweep needs it earlier: to let one trial at a time
compute what several share, and to say before it starts what is already there.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from reprolens.config import Config
from reprolens.errors import SweepError
from reprolens.sweeps.git import digests, git, has_all

COMPOSED = "config.yaml"


@dataclass(frozen=True)
class Stage:
    """What decides a stage's result: its command, the files and the stages that it reads from, its parameters.

    `sections` are the parts of config.yaml it reads, dotted; None stands for the whole of it.
    """

    name: str
    command: str
    files: tuple[str, ...]
    before: tuple[str, ...]
    sections: tuple[str, ...] | None
    outputs: tuple[str, ...]


def read_stages(root: Path, tree: str, config: Config) -> list[Stage]:
    """Return the stages of a tree's dvc.yaml in an order in which they can run, `${...}` filled in from `config`."""
    try:
        values = yaml.safe_load(git(root, "cat-file", "blob", f"{tree}:dvc.yaml"))["stages"]
        makers = {output: name for name, stage in values.items() for output in _outputs(stage)}
        stages = {name: _stage(name, stage, makers, asdict(config)) for name, stage in values.items()}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        problem = getattr(error, "problem", None) or f"{type(error).__name__}: {error}"
        raise SweepError(f"dvc.yaml: cannot be read ({problem}); see what dvc stage list says") from None
    graph = {name: set(stage.before) for name, stage in stages.items()}
    for name, stage in stages.items():
        if stage.sections and COMPOSED in makers:
            graph[name].add(makers[COMPOSED])  # it reads parts of config.yaml: runs later, but depends on no more
    try:
        return [stages[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        raise SweepError(f"dvc.yaml: its stages wait for each other: {', '.join(error.args[1])}") from None


def stage_keys(root: Path, tree: str, config: Config, stages: Iterable[Stage]) -> dict[str, str]:
    """Return each stage's key, 16 hexadecimal digits. `stages` come in the order in which they run.

    Files of the tree count by content, others (a data set outside Git) by the names, sizes and times of what is there.
    """
    stages, composed = list(stages), asdict(config)
    names = sorted({name for stage in stages for name in stage.files})
    contents = digests(root, tree, names)
    for name in names:
        if contents[name] is None or (name == config.data.path and not has_all(root, tree, name)):
            contents[name] = _digest(_listing(root / name))
    keys: dict[str, str] = {}
    for stage in stages:
        try:
            sections = composed if stage.sections is None else {name: _part(composed, name) for name in stage.sections}
        except (KeyError, TypeError):
            raise SweepError(f"dvc.yaml: stage {stage.name} has a parameter that config.yaml has not") from None
        inputs = {name: contents[name] for name in stage.files}
        keys[stage.name] = _digest([stage.command, inputs, [keys[name] for name in stage.before], sections])
    return keys


def joined(keys: Mapping[str, str]) -> str:
    """Return one key of all stages: of everything that a trial depends on."""
    return _digest(dict(keys))


def config_id(config: Config) -> str:
    """Return 8 hexadecimal digits of all that decides a trial's results, so not of how it is tracked and swept."""
    return _digest({name: value for name, value in asdict(config).items() if name not in ("sweep", "tracking")})[:8]


def _stage(name: str, stage: Mapping[str, Any], makers: Mapping[str, str], config: Mapping[str, Any]) -> Stage:
    deps = [_filled(dep, config) for dep in stage.get("deps", ())]
    sections: list[str] | None = []
    for entry in stage.get("params", ()):
        if isinstance(entry, str):
            sections = None  # of params.yaml, which in a workspace is the whole composed configuration
        else:
            for file, keys in entry.items():
                sections = None if keys is None or sections is None or file != COMPOSED else [*sections, *keys]
    before = dict.fromkeys(makers[dep] for dep in deps if dep in makers)
    return Stage(
        name,
        str(stage["cmd"]),
        tuple(dep for dep in deps if dep not in makers),
        tuple(before),
        None if sections is None else tuple(sections),
        tuple(_outputs(stage)),
    )


def _outputs(stage: Mapping[str, Any]) -> list[str]:
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, ())]
    return [name for entry in entries for name in ([entry] if isinstance(entry, str) else entry)]


def _filled(text: str, config: Mapping[str, Any]) -> str:
    """Fill in a dependency such as `${data.path}`."""
    if text.startswith("${") and text.endswith("}"):
        return str(_part(config, text[2:-1]))
    return text


def _part(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = value[name]
    return value


def _listing(path: Path) -> list[tuple[str, int, int]]:
    """Return name, size and time of a file, or of all files in a folder."""
    if not path.is_dir():
        return [(str(path), path.stat().st_size, path.stat().st_mtime_ns)] if path.exists() else []
    entries = []
    seen = set[str]()  # folders that links have led to, which may lead in a circle
    for folder, folders, files in os.walk(path, followlinks=True):
        folders[:] = [name for name in sorted(folders) if _once(Path(folder) / name, seen)]
        for name in sorted(files):
            file = Path(folder) / name
            status = file.stat() if file.exists() else file.lstat()
            entries.append((os.path.relpath(file, path), status.st_size, status.st_mtime_ns))
    return entries


def _once(folder: Path, seen: set[str]) -> bool:
    real = str(folder.resolve())
    fresh = real not in seen
    seen.add(real)
    return fresh


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
