"""A composed configuration against the schema, and config.yaml back as dataclasses."""

import dataclasses
import math
from enum import EnumType
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, cast, get_args, get_origin, get_type_hints

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, UnsupportedValueType, ValidationError

from reprolens.config.model import Model
from reprolens.config.schema import VARIANTS, Config
from reprolens.errors import ConfigError, suggest


class SchemaError(ConfigError):
    """A key that breaks the schema. `key` is its dotted path, `reason` the rest of the line."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key, self.reason = key, reason


def load(path: Path) -> Config:
    """Read the config.yaml that the compose stage wrote. Raises ConfigError if it is missing or breaks the schema."""
    try:
        return validate(_read(path, "run dvc repro compose first"))
    except SchemaError as error:
        raise ConfigError(f"{path}: {error}; run dvc repro compose again") from None


def load_model(root: Path, name: str) -> Model:
    """Read a model's choice, `root`/conf/model/NAME.yaml, as it is. Raises ConfigError if it is missing or wrong."""
    path = root / "conf" / "model" / f"{name}.yaml"
    try:
        return cast(Model, _build(_read(path, "run this in the folder that holds conf/"), Model, "model."))
    except SchemaError as error:
        raise ConfigError(f"{path}: {error}") from None


def _read(path: Path, advice: str) -> DictConfig:
    try:
        node = OmegaConf.load(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found; {advice}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path}: cannot be read as YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(node, DictConfig):
        raise ConfigError(f"{path}: is not a mapping; {advice}")
    return node


def validate(node: DictConfig) -> Config:
    """Return the configuration as frozen dataclasses. Raises SchemaError at the first key that breaks the schema."""
    return cast(Config, _build(node, Config, ""))


def _build(node: DictConfig, schema: type, prefix: str) -> Any:
    """Build `schema` from `node`, field by field, so that an error knows its key."""
    fields = get_type_hints(schema)
    for name in map(str, node):
        if name not in fields:
            section, dot, inner = name.partition(".")
            advice = f"write it as a section, {section}: {{{inner}: ...}}" if dot else suggest(name, fields)
            raise SchemaError(f"{prefix}{name}", f"unknown key; {advice}")
    values = {}
    for name, hint in fields.items():
        key = f"{prefix}{name}"
        if OmegaConf.is_missing(node, name):
            raise SchemaError(key, "has no value yet; give it in params.yaml")
        if name not in node:
            raise SchemaError(key, "is missing; give it in params.yaml")
        if key in VARIANTS:
            hint = _variant(key, node[name])
        build = _section if dataclasses.is_dataclass(hint) else _leaf
        values[name] = build(node, name, hint, key)
    try:
        return schema(**values)
    except ConfigError as error:
        key, _, reason = str(error).partition(": ")
        raise SchemaError(key, reason) from None


def _section(node: DictConfig, name: str, schema: Any, key: str) -> Any:
    if not isinstance(node[name], DictConfig):
        raise SchemaError(key, f"must be a section of keys, not {node[name]!r}")
    return _build(node[name], schema, f"{key}.")


def _variant(group: str, node: Any) -> type:
    """Return the schema that a group's telling key chooses."""
    tag, kinds = VARIANTS[group]
    if not isinstance(node, DictConfig):
        raise SchemaError(group, f"must be a section of keys, not {node!r}")
    value = node.get(tag)
    if value is None:
        raise SchemaError(f"{group}.{tag}", f"is missing; valid: {', '.join(kinds)}")
    if value not in kinds:
        raise SchemaError(f"{group}.{tag}", f"{value!r} does not exist; {suggest(str(value), kinds)}")
    return kinds[value]


def _leaf(node: DictConfig, name: str, hint: Any, key: str) -> Any:
    """Return one value converted to its type as OmegaConf converts it: '3' to 3, 1 to 1.0, but never 1.5 to 1.

    Two things OmegaConf lets pass are refused: a number or a boolean as a text, because YAML may have changed it (`off`
    would be 'False', 1e3 '1000.0'), and NaN or infinity.
    """
    value = node[name]
    if get_origin(hint) is list and isinstance(value, str):
        value = OmegaConf.create([value])  # one text where a list of texts is asked for is a list of one
    items = value if isinstance(value, ListConfig) else [value]
    if hint in (str, str | None, list[str]) and any(isinstance(item, bool | int | float) for item in items):
        raise SchemaError(key, f"{value!r} is not {_describe(hint)}; put quotes around it to make it one")
    typed = OmegaConf.structured(_holder(hint))
    try:
        typed.value = value
        result = OmegaConf.to_object(typed).value  # type: ignore[union-attr]
    except (ValidationError, UnsupportedValueType, ConfigKeyError):
        raise SchemaError(key, f"{value!r} is not {_describe(hint)}") from None
    numbers = [item for item in (result if isinstance(result, list) else [result]) if isinstance(item, float)]
    if not all(map(math.isfinite, numbers)):
        raise SchemaError(key, f"{value!r} is not finite")
    return result


@cache
def _holder(hint: Any) -> type:
    return dataclasses.make_dataclass("Leaf", [("value", hint)])


def _describe(hint: Any) -> str:
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}
    if hint in plain:
        return plain[hint]
    if get_origin(hint) is list:
        return f"a list of {_describe(get_args(hint)[0]).removeprefix('a ')}s"
    if isinstance(hint, EnumType):
        return f"one of {', '.join(hint.__members__)}"
    return " or ".join(_describe(kind) for kind in get_args(hint))
