"""A trial becomes the repository's experiment: its settings in params.yaml, its results in their places."""

import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from reprolens.config.compose import compose
from reprolens.errors import ReprolensError, SweepError
from reprolens.files import write_text
from reprolens.sweeps.experiment import RECORDED
from reprolens.sweeps.find import find_trial
from reprolens.sweeps.git import git
from reprolens.sweeps.record import Status, Trial, read_sweep, read_trial
from reprolens.sweeps.workspace import dvc_environment

PARAMS = "params.yaml"
SHOWN = (("tracking",), ("tracking", "group"), ("tracking", "name"))
"""The keys of tracking that a promoted trial keeps."""


def promote(root: Path, name: str, force: bool = False) -> str:
    """Make the trial `name` (sweep/number, its folder, or its experiment) the repository's; return a line about it.

    params.yaml keeps its menu and comments where the trial can be written as choices and overrides of it; else it
    becomes the trial's composed one. Raises SweepError for a trial that is not done, and, unless `force`, where that
    would lose changes of params.yaml that are not committed.
    """
    folder = find_trial(root, name)
    trial = read_trial(folder)
    assert trial is not None
    if trial.status != Status.done:
        raise SweepError(f"{name}: the trial is {trial.status}, so it has no results to promote")
    if not force and git(root, "status", "--porcelain", "--", PARAMS).strip():
        raise SweepError(f"{PARAMS}: has changes that are not committed; commit them, or add --force to lose them")
    if missing := [file for file in RECORDED if not (folder / file).is_file()]:
        raise SweepError(f"{folder / missing[0]}: not found; start the sweep again to bring the trial back")
    text = _menu_with(root, folder, trial)
    with _restored_on_failure([root / file for file in RECORDED]):
        for file in RECORDED:
            write_text(root / file, (folder / file).read_text(encoding="utf-8"))
        if text is not None:
            write_text(root / PARAMS, text)
        _dvc(root, "checkout")
        _dvc(root, "repro", "--single-item", "compose")
    sweep = read_sweep(folder.parent)
    tree = git(root, "rev-parse", f"{sweep.baseline}^{{tree}}").strip()
    changed = "" if tree == sweep.tree and git(root, "rev-parse", "HEAD").strip() == sweep.baseline else _advice(trial)
    return f"{PARAMS} and its results are those of {folder.parent.name}/{trial.number}{changed}"


@contextmanager
def _restored_on_failure(paths: Sequence[Path]) -> Iterator[None]:
    before = {path: path.read_text(encoding="utf-8") if path.exists() else None for path in paths}
    try:
        yield
    except BaseException:
        for path, text in before.items():
            path.unlink(missing_ok=True) if text is None else write_text(path, text)
        raise


def _advice(trial: Trial) -> str:
    return (
        "; where the sources have changed since, dvc repro runs what they decide again "
        f"(dvc exp apply {trial.experiment} brings the trial's own back)"
    )


def _menu_with(root: Path, folder: Path, trial: Trial) -> str | None:
    """Return params.yaml with the trial's choices and overrides, None where that does not compose to the trial."""
    editor = YAML()
    editor.preserve_quotes, editor.width = True, 1000
    editor.indent(mapping=2, sequence=4, offset=2)
    editor.representer.add_representer(
        type(None), lambda own, _: own.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    document = editor.load((root / PARAMS).read_text(encoding="utf-8"))
    wanted = yaml.safe_load((folder / PARAMS).read_text(encoding="utf-8"))
    choices = _choices(root, read_sweep(folder.parent).overrides, trial.parameters)
    try:
        for entry in document["defaults"]:
            for group in choices.keys() & (entry if isinstance(entry, dict) else {}):
                entry[group] = choices[group]
        for keys, value in list(_differences(_composed(root, _written(editor, document)), wanted)):
            section = document
            for key in keys[:-1]:
                section = section.setdefault(key, {})
            section[keys[-1]] = _inline(value)
        text = _written(editor, document)
        return None if any(_differences(_composed(root, text), wanted)) else text
    except (ReprolensError, KeyError, TypeError, AttributeError):  # no menu, or one of another shape
        return None


def _choices(root: Path, overrides: Sequence[str], parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the choices of conf/ that a sweep's overrides, and its trial's parameters, make."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    fixed = {override.get_key_element(): override.value() for override in parsed if not override.is_sweep_override()}
    return {
        key: value
        for key, value in {**fixed, **parameters}.items()
        if isinstance(value, str) and (root / "conf" / key / f"{value}.yaml").is_file()
    }


def _composed(root: Path, text: str) -> dict[str, Any]:
    """Compose a params.yaml that is not in its place yet with the repository's conf/."""
    with tempfile.TemporaryDirectory(prefix="reprolens-") as copy:
        (Path(copy) / PARAMS).write_text(text, encoding="utf-8")
        (Path(copy) / "conf").symlink_to((root / "conf").resolve())
        return asdict(compose(Path(copy)))


def _differences(
    now: Mapping[str, Any], wanted: Mapping[str, Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the keys, from the outermost, at which `wanted` has another value.

    Not of what decides no result, but for group and name, so that the trial's run stays what the dashboard has.
    """
    for name, value in wanted.items():
        keys = (*above, name)
        decides = keys[0] not in ("sweep", "tracking") or keys in SHOWN
        if now.get(name) == value or not decides:
            continue
        if isinstance(value, Mapping) and isinstance(now.get(name), Mapping):
            yield from _differences(now[name], value, keys)
        else:
            yield keys, value


def _inline(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    items = CommentedSeq(value)
    items.fa.set_flow_style()
    return items


def _written(editor: YAML, document: Any) -> str:
    stream = io.StringIO()
    editor.dump(document, stream)
    return stream.getvalue()


def _dvc(root: Path, *arguments: str) -> None:
    command, environment = [sys.executable, "-m", "dvc", *arguments], dvc_environment(root)
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "ERROR" in line or line.startswith("error")]
        raise SweepError(f"dvc {arguments[0]}: {(said or [done.stderr.strip() or 'failed'])[-1]}")
