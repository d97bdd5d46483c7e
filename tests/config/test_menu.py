"""Laws of conf/, the menu, as it is shipped."""

import dataclasses
import re
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from reprolens.config import Config, Policy
from reprolens.config.compose import compose, to_yaml
from reprolens.config.schema import VARIANTS

ROOT = Path(__file__).parents[2]
CHOICES = sorted((ROOT / "conf").glob("*/*.yaml"))
MANDATORY = {
    "data=voc": "data.path=some/folder",
    "pretrain=artifact": "pretrain.artifact=project/model:best",
    "pretrain=dvc_tracked": "pretrain.path=weights/model.pt",
    "pretrain=file": "pretrain.path=some/file.pt",
}


def _name(path: Path) -> str:
    return f"{path.parent.name}={path.stem}"


@cache
def _composed(choice: str) -> Config:
    return compose(ROOT, [choice, *([MANDATORY[choice]] if choice in MANDATORY else [])])


@pytest.mark.parametrize("choice", map(_name, CHOICES))
def test_every_shipped_choice_and_experiment_composes(choice: str) -> None:
    config = _composed(choice)
    group, _, _ = choice.partition("=")
    assert isinstance(config, Config)
    if group in VARIANTS:
        tag, kinds = VARIANTS[group]
        kind = yaml.safe_load((ROOT / "conf" / f"{choice.replace('=', '/')}.yaml").read_text())[tag]
        assert type(getattr(config, group)) is kinds[kind]


@pytest.mark.parametrize("choice", map(_name, CHOICES))
def test_a_fully_composed_file_is_a_params_file_that_composes_to_the_same_bytes(choice: str, tmp_path: Path) -> None:
    composed = to_yaml(_composed(choice))
    (tmp_path / "params.yaml").write_text(composed)
    assert to_yaml(compose(tmp_path)) == composed


def test_no_choice_bears_a_name_that_dvc_reads_as_its_own() -> None:
    assert not [path for path in (ROOT / "conf").rglob("*") if path.name in ("dvc.yaml", "dvc.lock")]


def test_params_names_every_group_of_the_menu() -> None:
    defaults = yaml.safe_load((ROOT / "params.yaml").read_text())["defaults"]
    named = {name for entry in defaults if isinstance(entry, dict) for name in entry}
    assert named == {path.parent.name for path in CHOICES}


def test_every_choice_that_params_mentions_exists() -> None:
    for line in (ROOT / "params.yaml").read_text().splitlines():
        if entry := re.match(r"  - (\w+): (\w+) *#(.*)", line):
            group, chosen, comment = entry.groups()
            mentioned = re.findall(r"\w+(?= \||$)|(?<=\| )\w+", comment) if "|" in comment else []
            for name in {chosen, *mentioned} - {"null"}:
                assert (ROOT / "conf" / group / f"{name}.yaml").is_file(), f"{group}: {name}"


def _keys(path: Path) -> set[str]:
    """Return the keys that a file of the menu gives, its own and those of the files that its defaults list names."""
    content = yaml.safe_load(path.read_text())
    named = {name for entry in content.pop("defaults", []) if isinstance(entry, dict) for name in entry}
    return {*content, *named}


def test_every_kind_of_problem_has_its_policy_in_the_menu() -> None:
    content = yaml.safe_load((ROOT / "conf" / "data" / "policy" / "default.yaml").read_text())
    assert list(content) == [field.name for field in dataclasses.fields(Policy)]


def test_every_format_has_its_file_in_the_menu() -> None:
    files = {yaml.safe_load(path.read_text())["format"]: path.stem for path in CHOICES if path.parent.name == "data"}
    assert files == {name: name for name in VARIANTS["data"][1]}


def test_every_knob_of_the_schema_has_its_default_in_the_menu() -> None:
    knobs: dict[str, Any] = {}
    for field in dataclasses.fields(Config):
        kinds: tuple[Any, ...] = get_args(field.type) or (field.type,)
        if field.name in VARIANTS:
            kinds = tuple(VARIANTS[field.name][1].values())
        knobs |= {f"{field.name}/{kind.__name__}": kind for kind in kinds if hasattr(kind, "__dataclass_fields__")}
    for place, kind in knobs.items():
        wanted = {field.name for field in dataclasses.fields(kind)}
        offered = [_keys(path) for path in CHOICES if path.parent.name == place.split("/")[0]]
        assert wanted in offered, f"no file of conf/{place.split('/')[0]} holds {sorted(wanted)}"


@pytest.mark.parametrize("path", [path for path in CHOICES if path.parent.name != "experiment"], ids=_name)
def test_every_key_of_the_menu_has_a_comment_on_its_line_or_above(path: Path) -> None:
    lines = path.read_text().splitlines()
    if any(line.startswith("defaults:") for line in lines):
        assert lines[0].startswith("#")  # its keys are explained in the file that it starts from
        return
    for number, line in enumerate(lines):
        if re.match(r" *\w+:", line):
            above = lines[number - 1] if number else ""
            assert "#" in line or above.lstrip().startswith("#"), f"{path.name}:{number + 1}: {line}"
