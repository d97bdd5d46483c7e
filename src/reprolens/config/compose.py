"""params.yaml and conf/ made into one checked configuration.

Hydra composes; the schema checks; an error names the key, the file and line it came from, and the nearest valid names.
"""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reprolens.config.load import SchemaError, validate
from reprolens.config.origin import Source, check_numbers, file_of, sources, where, where_chosen
from reprolens.config.schema import Config
from reprolens.errors import ConfigError, suggest

_NOISE = ("full_key:", "object_type=", "reference_type=", "Available options")
"""How the lines begin that Hydra and OmegaConf add to a message and that no user needs."""

HEADER = "# Written by the compose stage from params.yaml and conf/. Edit those, not this.\n"


def compose(root: Path, overrides: Sequence[str] = ()) -> Config:
    """Compose `root`/params.yaml with `root`/conf and the overrides, and check it.

    Raises ConfigError in one line for anything that is wrong with them.
    """
    _check_params(root / "params.yaml")
    files = [Source(root / "params.yaml", "")]
    # A fully composed params.yaml needs no menu.
    menu = [search_path(root)] if (root / "conf").is_dir() else []
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(root.resolve())):
            asked = [*menu, *(_addable(override) for override in overrides)]
            files = sources(root, asked)
            for file in files:
                check_numbers(file, root)
            config = _merged(asked)
        return validate(config)
    except SchemaError as error:
        raise ConfigError(f"{where(error.key, root, files, overrides)}: {error}") from None
    except MissingConfigException as error:
        raise ConfigError(_missing_choice(error, root, overrides)) from None
    except OverrideParseException as error:
        raise ConfigError(f"override {error.override.removeprefix('++')!r}: cannot be read; write key=value") from None
    except OmegaConfBaseException as error:
        place = where(error.full_key or "", root, files, overrides)
        key = f"{error.full_key}: " if error.full_key else ""
        raise ConfigError(f"{place}: {key}{_first_line(error)}") from None
    except (HydraException, ValueError) as error:  # Hydra raises plain ValueErrors about a defaults list
        raise ConfigError(_about_file(error, root)) from None
    except yaml.YAMLError as error:
        raise ConfigError(_bad_yaml(error, root)) from None


def _merged(overrides: list[str]) -> DictConfig:
    """Return what Hydra composes, every interpolation resolved, without Hydra's own part."""
    node = hydra_compose("params", overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(node)  # for ${hydra:...} in a user's own files
    keys: list[Any] = [key for key in node if key not in ("hydra", "experiment")]
    config = OmegaConf.masked_copy(node, keys)
    _resolve(config, "")
    return config


def _resolve(node: DictConfig, prefix: str) -> None:
    """Replace every interpolation by its value. Raises SchemaError, because OmegaConf's errors do not name the key."""
    name: Any
    for name in node:
        if not OmegaConf.is_missing(node, name):
            try:
                value = node[name]
                if isinstance(value, ListConfig):
                    OmegaConf.resolve(value)
            except OmegaConfBaseException as error:
                raise SchemaError(f"{prefix}{name}", _first_line(error)) from None
            node[name] = value
            if isinstance(value, DictConfig):
                _resolve(node[name], f"{prefix}{name}.")


def _addable(override: str) -> str:
    """Let an override name a key that does not exist: the schema then says which ones do, better than Hydra."""
    key = override.partition("=")[0]
    return f"++{override}" if "." in key and key[0] not in "+~" and not key.startswith("hydra.") else override


def search_path(root: Path) -> str:
    """Return the override that lets Hydra find the groups in `root`/conf while params.yaml lies in `root`."""
    return f"hydra.searchpath=[file://{(root / 'conf').resolve()}]"


def to_yaml(config: Config) -> str:
    """Return the configuration as config.yaml holds it: complete, resolved, in the schema's order."""
    return HEADER + OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config)))


def _check_params(params: Path) -> None:
    try:
        value = yaml.safe_load(params.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError(f"{params}: not found; run this in the folder that holds params.yaml") from None
    except UnicodeDecodeError as error:
        raise ConfigError(_about_file(error, params.parent)) from None
    except yaml.YAMLError as error:
        raise ConfigError(_bad_yaml(error, params.parent)) from None
    if not isinstance(value, dict):
        raise ConfigError(f"{params.name}: holds no keys; restore it with git checkout {params.name}")
    for field in dataclasses.fields(Config):
        if field.type is not int and field.name in value and not isinstance(value[field.name], dict):
            place = where(field.name, params.parent, [Source(params, "")], ())
            raise ConfigError(f"{place}: {field.name}: must be a section of keys, not {value[field.name]!r}")


def _bad_yaml(error: yaml.YAMLError, root: Path) -> str:
    mark = getattr(error, "problem_mark", None)
    # A mark's name is the path of the file where it was read as a file, and a placeholder where it was read as a text.
    name = os.path.relpath(mark.name, root) if mark and Path(mark.name).is_file() else "params.yaml"
    problem = getattr(error, "problem", None) or _first_line(error)
    return f"{name}:{mark.line + 1}: not valid YAML ({problem})" if mark else f"{name}: not valid YAML ({problem})"


def _missing_choice(error: MissingConfigException, root: Path, overrides: Sequence[str]) -> str:
    """Say which choice of a group does not exist, and where it is asked for."""
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    place = where_chosen(group, choice, _named_file(error, root), root, overrides)
    folder = root / "conf" / group
    if group and folder.is_dir():
        choices = [path.stem for path in folder.glob("*.yaml")]
        return f"{place}: {group}: there is no choice {choice!r} in conf/{group}/; {suggest(choice, choices)}"
    groups = [path.name for path in (root / "conf").iterdir() if path.is_dir()] if (root / "conf").is_dir() else []
    return f"{place}: there is no group {group or choice!r} in conf/; {suggest(group or choice, groups)}"


def _about_file(error: Exception, root: Path) -> str:
    """Name the file of an error of Hydra, which says `In 'experiment/mine': ...`, or of decoding, which does not."""
    if isinstance(error, UnicodeDecodeError):
        for path in (root / "params.yaml", *sorted((root / "conf").rglob("*.yaml"))):
            if error.object in path.read_bytes():
                return f"{os.path.relpath(path, root)}: not UTF-8 text; save it as UTF-8"
    text = re.sub(r"^In '[^']*': ", "", _first_line(error))
    return f"{os.path.relpath(_named_file(error, root), root)}: {text}"


def _named_file(error: Exception, root: Path) -> Path:
    named = re.match(r"In '([^']*)'", str(error))
    path = file_of(root, named[1]) if named else root / "params.yaml"
    return path if path.is_file() else root / "params.yaml"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join([line for line in lines if line and not line.startswith(_NOISE)][:2]) or type(error).__name__
