"""params.yaml and conf/ made into one checked configuration.

Hydra composes; the schema checks; an error names the key, the file and line it came from, and the nearest valid names.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reprolens.config.load import SchemaError, validate
from reprolens.config.schema import Config
from reprolens.errors import ConfigError, suggest

HEADER = "# Written by the compose stage from params.yaml and conf/. Edit those, not this.\n"


def compose(root: Path, overrides: Sequence[str] = ()) -> Config:
    """Compose `root`/params.yaml with `root`/conf and the overrides, and check it.

    Raises ConfigError in one line for anything that is wrong with them.
    """
    params = root / "params.yaml"
    _check_yaml(params)
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(root.resolve())):
            node = hydra_compose("params", [search_path(root), *overrides], return_hydra_config=True)
            choices = dict(OmegaConf.to_container(node.hydra.runtime.choices))  # type: ignore[call-overload]
            HydraConfig.instance().set_config(node)  # for ${hydra:...} in a user's own files
            config = OmegaConf.masked_copy(node, [key for key in node if key not in ("hydra", "experiment")])
            OmegaConf.resolve(config)
    except MissingConfigException as error:
        raise ConfigError(_missing_choice(error, root)) from None
    except OverrideParseException as error:
        raise ConfigError(f"override {error.override!r}: cannot be read; write key=value") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"params.yaml: {_first_line(error)}") from None
    try:
        return validate(config)
    except SchemaError as error:
        raise ConfigError(f"{_origin(error.key, root, choices, overrides)}: {error}") from None


def search_path(root: Path) -> str:
    """Return the override that lets Hydra find the groups in `root`/conf while params.yaml lies in `root`."""
    return f"hydra.searchpath=[file://{(root / 'conf').resolve()}]"


def to_yaml(config: Config) -> str:
    """Return the configuration as config.yaml holds it: complete, resolved, in the schema's order."""
    return HEADER + OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config)))


def _check_yaml(params: Path) -> None:
    try:
        value = yaml.safe_load(params.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError(f"{params}: not found; run this in the folder that holds params.yaml") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{params.name}:{mark.line + 1}" if mark else params.name
        raise ConfigError(f"{where}: not valid YAML ({getattr(error, 'problem', None) or 'not UTF-8 text'})") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{params.name}: holds no keys; restore it with git checkout {params.name}")


def _missing_choice(error: MissingConfigException, root: Path) -> str:
    """Say which choice of a group does not exist."""
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    folder = root / "conf" / group
    if group and folder.is_dir():
        choices = [path.stem for path in folder.glob("*.yaml")]
        return f"{group}: there is no choice {choice!r} in conf/{group}/; {suggest(choice, choices)}"
    groups = [path.name for path in (root / "conf").iterdir() if path.is_dir()] if (root / "conf").is_dir() else []
    return f"there is no group {group or choice!r} in conf/; {suggest(group or choice, groups)}"


def _first_line(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:2] if line.strip())


def _origin(key: str, root: Path, choices: dict[str, str | None], overrides: Sequence[str]) -> str:
    """Return 'file:line' of the last file that sets `key`, in the order in which Hydra merges them."""
    if any(override.lstrip("+~").partition("=")[0] == key for override in overrides):
        return "command line"
    candidates = [(root / "params.yaml", key)]
    if choice := choices.get("experiment"):
        candidates.append((root / "conf" / "experiment" / f"{choice}.yaml", key))
    group, _, rest = key.partition(".")
    if choice := choices.get(group):
        candidates.append((root / "conf" / group / f"{choice}.yaml", rest))
    for path, inner in candidates:
        if path.is_file() and (line := _line_of(path, inner.split("."))):
            return f"{os.path.relpath(path, root)}:{line}"
    return os.path.relpath(candidates[-1][0], root)


def _line_of(path: Path, keys: list[str]) -> int | None:
    """Return the 1-based line where a nested key stands in a YAML file, or None."""
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    line = None
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            return None
        for name, value in node.value:
            if name.value == key:
                line, node = name.start_mark.line + 1, value
                break
        else:
            return None
    return line

