"""The formats by name, and which one a folder is in."""

import importlib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol, cast

import yaml

from reprolens.config import Labelled, Policy
from reprolens.config.data import Action
from reprolens.config.schema import VARIANTS
from reprolens.convert.source import Source
from reprolens.convert.tree import Tree
from reprolens.errors import DataError, suggest

FORMATS = tuple(name for name, kind in VARIANTS["data"][1].items() if issubclass(kind, Labelled) and name != "auto")
"""The formats that people bring; each is a module of this package."""

_ALIASES = {"pascalvoc": "voc", "imagenetxml": "voc", "csv": "tfcsv", "via2": "via", "darknet": "yolo"}

_OWN_KNOBS = {"first_pixel": 1}
"""What a format's own knobs are where no file of conf/data/ gives them: in `auto` and `inspect`. Others are null."""


class Format(Protocol):
    """What a module of a format offers. One with a true `WEAK` is asked only if no other claims a folder."""

    def detect(self, tree: Tree) -> str | None: ...
    def read(self, tree: Tree, options: Labelled) -> Source: ...


def module_of(name: str) -> Format:
    """Return the module that reads a format."""
    return cast(Format, importlib.import_module(f"reprolens.convert.formats.{name}"))


def named(name: str) -> str:
    """Return the format that a user's spelling means: `Pascal-VOC`, `OpenImages`. Raises DataError if there is none."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    known = {format.replace("_", ""): format for format in FORMATS}
    found = known.get(_ALIASES.get(plain, plain))
    if found is None:
        raise DataError(f"{name!r} is no format; {suggest(name, (*FORMATS, 'auto'))}")
    return found


def detect(tree: Tree) -> tuple[str, str]:
    """Return the format of a folder and the reason. Raises DataError if it could be several, or none."""
    claims: dict[str, str] = {}
    for weak in (False, True):
        for name in FORMATS:
            module = module_of(name)
            if getattr(module, "WEAK", False) == weak and (reason := module.detect(tree)):
                claims[name] = reason
        if len(claims) == 1:
            return next(iter(claims.items()))
        if claims:
            listed = "; or ".join(f"{name}: {reason}" for name, reason in claims.items())
            raise DataError(f"{tree.root}: could be {listed}. Choose the format (data.format, or --format)")
    shown = ", ".join(tree.files[:5]) + (", ..." if len(tree.files) > 5 else "")
    raise DataError(
        f"{tree.root}: in none of the formats known ({', '.join(FORMATS)}); it holds {shown}. Choose one with "
        f"data.format or --format, or try datumaro, which reads many more"
    )


def labelled(name: str, path: str, images: str | None, root: Path) -> Labelled:
    """Return the configuration of a data set in a format, or in whatever format it is (`auto`).

    What is not given is as conf/data/ of the repository at `root` has it, if there is one; else every problem would
    stop convert. Raises DataError if there is no such format.
    """
    name = "auto" if name == "auto" else named(name)
    conf = root / "conf" / "data"
    if (conf / "policy" / "default.yaml").is_file() and (conf / f"{name}.yaml").is_file():
        given = _yaml(conf / f"{name}.yaml")
        actions = _yaml(conf / "policy" / "default.yaml") | (given.get("policy") or {})
        own = {key: given[key] for key in _OWN_KNOBS if key in given}
    else:
        actions, own = dict.fromkeys((field.name for field in fields(Policy)), "fail"), {}
    policy = Policy(**{kind: Action(action) for kind, action in actions.items()})
    options = Labelled("auto", path, images, None, [0.7, 0.1, 0.2], None, policy)
    return options if name == "auto" else replace(options_of(name, options), **own)


def _yaml(path: Path) -> dict[str, Any]:
    return cast(dict[str, Any], yaml.safe_load(path.read_text(encoding="utf-8")))


def options_of(name: str, options: Labelled) -> Labelled:
    """Return a configuration that leaves the format open as one of the format that was found."""
    kind = VARIANTS["data"][1][name]
    if type(options) is kind and options.format == name:
        return options
    values = {key: value for key, value in vars(options).items() if key != "format"}
    own = {field.name: _OWN_KNOBS.get(field.name) for field in fields(kind) if field.name not in vars(options)}
    return cast(Labelled, kind(format=name, **values, **own))
