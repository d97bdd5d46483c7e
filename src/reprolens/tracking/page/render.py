"""The run as one page for people without an account: reports/index.html, self-contained, written from the reports.

Pictures are embedded, charts are SVG, style and script stand inline: the file can be mailed. The same reports give the
same bytes, and an unfinished or failed trial has a page of what there is. All that comes from outside is escaped.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from reprolens.files import write_text
from reprolens.tracking.page.pictures import embed
from reprolens.tracking.page.sections import read_sections
from reprolens.tracking.wording import MISSING, write_duration, write_number, write_value

PAGE = Path("reports/index.html")
"""Where the page lies in a repository or a trial's workspace."""

_PROVENANCE = ("dvc", "git", "environment")  # the sections of the configuration that no one chose
_CHOICE = ("name", "format", "method", "source", "split", "mode", "metric")
"""The keys that name a group's choice, if it has one."""


def write_page(root: Path, composed: Mapping[str, Any], run: Mapping[str, str]) -> Path:
    """Write the page of the experiment in `root` and return its path; see `render_page`."""
    path = root / PAGE
    write_text(path, render_page(root, composed, run))
    return path


def render_page(root: Path, composed: Mapping[str, Any], run: Mapping[str, str]) -> str:
    """Return the page of the experiment in the repository `root`, as HTML.

    `composed` is the whole configuration as plain dicts, lists and values, with the sections `dvc` (hashes), `git`
    (revision, dirty) and `environment` where they are known. `run` is what reports/run.json says: mode, id, name,
    project, and url or folder; it may be empty. Reports that are missing or damaged are not shown; nothing is raised.
    """
    url = run.get("url", "")
    return (
        environment()
        .get_template("page.html")
        .render(
            shown=read_sections(root, embed),
            name=run.get("name") or _name(composed),
            run=run,
            url=url if url.startswith(("https://", "http://")) else None,
            facts=_facts(composed),
            groups=_groups(composed),
            revision=_section(composed, "git").get("revision"),
            dirty=bool(_section(composed, "git").get("dirty")),
            provenance={name: list(_flat(_section(composed, name))) for name in _PROVENANCE},
        )
    )


@cache
def environment(*packages: str) -> Environment:
    """Return Jinja with the templates of `packages`, then those of this package, and the filters for values."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*packages, "reprolens.tracking.page")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"value": write_value, "exact": _exact, "number": _number, "duration": write_duration}
    made.globals |= {"missing": MISSING}
    return made


def _exact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _number(value: Any) -> str:
    return write_number(value) if isinstance(value, float) or value is None else write_value(value)


def _section(composed: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = composed.get(name)
    return section if isinstance(section, Mapping) else {}


def _name(composed: Mapping[str, Any]) -> str:
    """Return what the run would be called, for one that has none."""
    names = (_section(composed, "tracking").get("name"), _section(composed, "model").get("name"), "experiment")
    return str(next(name for name in names if name))


def _facts(composed: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the line of provenance: model, data, seed, Git revision, DVC hashes, where known."""
    data, git = _section(composed, "data"), _section(composed, "git")
    facts = [("model", _section(composed, "model").get("name")), ("data", data.get("path") or data.get("format"))]
    facts.append(("seed", composed.get("seed")))
    if git.get("revision"):
        facts.append(("commit", f"{str(git['revision'])[:8]}{' + changes' if git.get('dirty') else ''}"))
    facts += [(f"DVC {name}", str(md5)[:8]) for name, md5 in _section(composed, "dvc").items()
              if name in ("data", "model") and md5]  # fmt: skip
    return [(name, str(value)) for name, value in facts if value is not None]


def _groups(composed: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, choice and YAML of each group of the configuration; single values together, as the first."""
    single = {key: value for key, value in composed.items() if not isinstance(value, Mapping)}
    groups = [("experiment", "", _yaml(single))] if single else []
    for name, group in composed.items():
        if isinstance(group, Mapping) and name not in _PROVENANCE:
            choice = next((group[key] for key in _CHOICE if group.get(key)), "")
            groups.append((name, write_value(choice), _yaml(group)))
    return groups


class _Dumper(yaml.SafeDumper):
    """Writes lists in one line, as people do."""


_Dumper.add_representer(
    list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)
)


def _yaml(value: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(value, default=str))
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the values of a section of provenance by their dotted names."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", _exact(value)
