"""Where a key of the composed configuration comes from: the file and the line, for error messages."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from reprolens.errors import ConfigError


@dataclass(frozen=True)
class Source:
    """A file that a composition merges, and the dotted key under which its content lands ("" for the top)."""

    path: Path
    package: str


def sources(root: Path, overrides: Sequence[str]) -> list[Source]:
    """Return the files of `root` that Hydra merges, in the order in which it merges them; the last one wins.

    Hydra has to be initialised for `root`.
    """
    defaults = GlobalHydra.instance().config_loader().compute_defaults_list("params", list(overrides), RunMode.RUN)
    found = [Source(file_of(root, item.config_path or ""), item.package or "") for item in defaults.defaults]
    return [source for source in found if source.path.is_file()]


def file_of(root: Path, name: str) -> Path:
    """Return the file of a Hydra config: params.yaml, or one in conf/."""
    return root / "params.yaml" if name == "params" else root / "conf" / f"{name}.yaml"


def check_numbers(source: Source, root: Path) -> None:
    """Raise ConfigError at a number that YAML reads otherwise than people do: 017 as 15, 1:30 as 90."""
    top = yaml.compose(source.path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    for key, node in _scalars(top, source.package):
        if node.tag == "tag:yaml.org,2002:int" and re.fullmatch(r"[-+]?0[0-9_]+|.*:.*", node.value):
            place = f"{os.path.relpath(source.path, root)}:{node.start_mark.line + 1}: {key}"
            raise ConfigError(
                f"{place}: {node.value} means {yaml.safe_load(node.value)} in YAML; "
                f"write the number that you mean, or put quotes around a text"
            )


def where(key: str, root: Path, files: Sequence[Source], overrides: Sequence[str]) -> str:
    """Return 'file:line' of the file that set `key`, or the file alone where no line names it."""
    if any(override.lstrip("+~").partition("=")[0] == key for override in overrides):
        return "command line"
    last = "params.yaml"
    for source in reversed(files):
        prefix = f"{source.package}." if source.package else ""
        name = os.path.relpath(source.path, root)
        if key == source.package:
            return name
        if not key.startswith(prefix):
            continue
        node = yaml.compose(source.path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        if line := _line_of(node, key.removeprefix(prefix)):
            return f"{name}:{line}"
        if prefix and last == "params.yaml":
            last = name
    return last


def where_chosen(group: str, choice: str, asking: Path, root: Path, overrides: Sequence[str]) -> str:
    """Return 'file:line' of the entry of a defaults list that asks for a choice, in the file `asking` where possible.

    It may be another file, because `override /data: voc` changes what Hydra says that params.yaml asks for.
    """
    if any(override.lstrip("+~").partition("=")[0] == group for override in overrides):
        return "command line"
    for path in (asking, *sorted((root / "conf").rglob("*.yaml"))):
        for line, asked, wanted in _defaults(path):
            if choice in wanted and asked in (group, None):
                return f"{os.path.relpath(path, root)}:{line}"
    return os.path.relpath(asking, root)


def _defaults(path: Path) -> Iterator[tuple[int, str | None, list[str]]]:
    """Yield the entries of a file's defaults list: line, group (None for the file's own), and choices asked for."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (UnicodeDecodeError, yaml.YAMLError):
        return
    for key, entries in _entries(root) if isinstance(root, yaml.MappingNode) else ():
        if key.value != "defaults" or not isinstance(entries, yaml.SequenceNode):
            continue
        for entry in entries.value:
            for asked, wanted in _entries(entry) if isinstance(entry, yaml.MappingNode) else [(None, entry)]:
                # `override /data: voc` and `optional data@there: voc` ask for the group `data` too.
                group = asked.value.split()[-1].lstrip("/").partition("@")[0] if asked else None
                choices = wanted.value if isinstance(wanted, yaml.SequenceNode) else [wanted]
                yield entry.start_mark.line + 1, group, [str(choice.value) for choice in choices]


def _line_of(node: yaml.Node | None, key: str) -> int | None:
    """Return the 1-based line where a nested key stands, or None. A key may hold dots itself, written so by mistake."""
    if not isinstance(node, yaml.MappingNode):
        return None
    for name, value in _entries(node):
        if name.value == key:
            return name.start_mark.line + 1
        if key.startswith(f"{name.value}.") and (line := _line_of(value, key.removeprefix(f"{name.value}."))):
            return line
    return None


def _entries(node: yaml.MappingNode) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """Yield a mapping's keys and values, those that it takes over with `<<` after its own."""
    merged: list[yaml.Node] = []
    for name, value in node.value:
        if name.tag == "tag:yaml.org,2002:merge":
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
        elif isinstance(name, yaml.ScalarNode):
            yield name, value
    for value in merged:
        if isinstance(value, yaml.MappingNode):
            yield from _entries(value)


def _scalars(node: yaml.Node | None, key: str) -> Iterator[tuple[str, yaml.ScalarNode]]:
    """Yield the values that are written without quotes, each with its dotted key."""
    if isinstance(node, yaml.ScalarNode) and node.style is None:
        yield key, node
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalars(item, key)
    elif isinstance(node, yaml.MappingNode):
        for name, value in _entries(node):
            yield from _scalars(value, f"{key}.{name.value}".lstrip("."))
