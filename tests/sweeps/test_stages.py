"""Keys of stages: what a stage reads changes its key and the keys after it, and nothing else does."""

import copy
import dataclasses
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reprolens.config import Config
from reprolens.config.compose import compose
from reprolens.errors import SweepError
from reprolens.sweeps.git import take_snapshot, tree_with
from reprolens.sweeps.stages import config_id, joined, read_stages, stage_keys

ROOT = Path(__file__).parents[2]
CONFIG = compose(ROOT, ["data=digits"])
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
OUTSIDE = ("sweep", "tracking")


def leaves(values: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not isinstance(values, dict):
        yield above
        return
    for name, value in values.items():
        yield from leaves(value, (*above, name))


LEAVES = sorted(leaves(dataclasses.asdict(CONFIG)))


def with_value(config: Config, place: tuple[str, ...], value: Any) -> Config:
    """Return a copy with another value; the schema's bounds do not matter to keys."""
    changed: Any = copy.deepcopy(config)
    section = changed
    for name in place[:-1]:
        section = getattr(section, name)
    object.__setattr__(section, place[-1], value)
    return changed


def entries(stage: dict[str, Any]) -> set[str]:
    """Return the paths that a stage of dvc.yaml writes."""
    items = [item for kind in ("outs", "metrics", "plots") for item in stage.get(kind, [])]
    return {path for item in items for path in ([item] if isinstance(item, str) else list(item))}


def after(changed: set[str]) -> set[str]:
    """Return the stages that are decided by these, themselves included."""
    while True:
        written = {path for name in changed for path in entries(PIPELINE[name])}
        more = changed | {name for name, stage in PIPELINE.items() if written & set(stage["deps"])}
        if more == changed:
            return changed
        changed = more


def readers_of_key(place: tuple[str, ...]) -> set[str]:
    """Return the stages whose `params` name a key or a section around it; a whole file names all."""
    above = {".".join(place[:length]) for length in range(1, len(place) + 1)}
    found = set()
    for name, stage in PIPELINE.items():
        for entry in stage.get("params", []):
            ((_, keys),) = entry.items()
            if keys is None or above & set(keys):
                found.add(name)
    return found


def readers_of_file(file: str) -> set[str]:
    found = set()
    for name, stage in PIPELINE.items():
        deps = [dep.replace("${data.path}", CONFIG.data.path) for dep in stage["deps"]]
        if any(file == dep or file.startswith(f"{dep}/") for dep in deps):
            found.add(name)
    return found


@pytest.fixture(scope="module")
def clone(fresh_clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clone of the project as a user has it after git clone."""
    folder = tmp_path_factory.mktemp("stages") / "clone"
    subprocess.run(["git", "clone", "-q", str(fresh_clone), str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def tree(clone: Path) -> str:
    return take_snapshot(clone).tree


@pytest.fixture(scope="module")
def start(clone: Path, tree: str) -> dict[str, str]:
    """Return the keys before any change."""
    return keys(clone, tree)


@pytest.fixture(scope="module")
def sources(clone: Path) -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=clone, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and name != "dvc.yaml"]


def keys(root: Path, tree: str, config: Config = CONFIG) -> dict[str, str]:
    return stage_keys(root, tree, config, read_stages(root, tree, config))


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


@given(place=st.sampled_from(LEAVES), value=st.integers(1000, 2000) | st.text("abc", min_size=9))
@settings(max_examples=40, deadline=None)
def test_parameter_changes_the_keys_of_the_stages_that_read_it_and_of_those_after(
    clone: Path, tree: str, start: dict[str, str], place: tuple[str, ...], value: Any
) -> None:
    found = changed(start, keys(clone, tree, with_value(CONFIG, place, value)))
    assert found == after(readers_of_key(place))


@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_source_changes_the_keys_of_the_stages_that_run_it_and_of_those_after(
    clone: Path,
    tree: str,
    start: dict[str, str],
    sources: list[str],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    name = data.draw(st.sampled_from(sources))
    other = tmp_path_factory.getbasetemp() / "other"
    other.write_text("# edited\n")
    edited = tree_with(clone, tree, {name: other})
    assert changed(start, keys(clone, edited)) == after(readers_of_file(name))


def test_new_file_in_a_folder_that_a_stage_runs_changes_its_key(clone: Path, tree: str, tmp_path: Path) -> None:
    (tmp_path / "new.py").touch()
    edited = tree_with(clone, tree, {"src/reprolens/export/new.py": tmp_path / "new.py"})
    assert changed(keys(clone, tree), keys(clone, edited)) == {"export", "track"}


def test_command_changes_the_keys_of_its_stage_and_of_those_after(clone: Path, tree: str, tmp_path: Path) -> None:
    text = (clone / "dvc.yaml").read_text().replace("cmd: python -m pipelines.export", "cmd: python -O -m x")
    (tmp_path / "dvc.yaml").write_text(text)
    edited = tree_with(clone, tree, {"dvc.yaml": tmp_path / "dvc.yaml"})
    assert changed(keys(clone, tree), keys(clone, edited)) == {"export", "track"}


def test_same_sources_and_configuration_have_the_same_keys_everywhere(clone: Path, tree: str, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", str(clone), str(tmp_path / "other")], check=True)
    assert keys(tmp_path / "other", take_snapshot(tmp_path / "other").tree) == keys(clone, tree)
    assert all(len(key) == 16 and int(key, 16) >= 0 for key in keys(clone, tree).values())


def test_stages_come_in_an_order_in_which_they_can_run(clone: Path, tree: str) -> None:
    names = [stage.name for stage in read_stages(clone, tree, CONFIG)]
    assert sorted(names) == sorted(PIPELINE)
    for name, stage in PIPELINE.items():
        for other, maker in PIPELINE.items():
            reads = entries(maker) & set(stage["deps"]) or (
                "config.yaml" in entries(maker) and any("config.yaml" in entry for entry in stage.get("params", []))
            )
            if reads:
                assert names.index(other) < names.index(name)


@given(data=st.data(), count=st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_any_pipeline_comes_in_an_order_in_which_it_can_run(
    clone: Path, tree: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, count: int
) -> None:
    before = {n: data.draw(st.sets(st.integers(0, n - 1))) if n else set() for n in range(count)}
    listed = data.draw(st.permutations(range(count)))
    stages = {
        f"s{n}": {"cmd": "true", "deps": [f"out/{m}" for m in sorted(before[n])], "outs": [f"out/{n}"]} for n in listed
    }
    file = tmp_path_factory.getbasetemp() / "dvc.yaml"
    file.write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    found = read_stages(clone, tree_with(clone, tree, {"dvc.yaml": file}), CONFIG)
    places = {stage.name: place for place, stage in enumerate(found)}
    assert len(places) == count
    assert all(places[f"s{m}"] < places[f"s{n}"] for n in before for m in before[n])


@given(place=st.sampled_from(LEAVES))
def test_identity_is_all_that_decides_results_and_nothing_else(place: tuple[str, ...]) -> None:
    other = config_id(with_value(CONFIG, place, "another value"))
    assert (other == config_id(CONFIG)) is (place[0] in OUTSIDE)
    assert len(other) == 8 and int(other, 16) >= 0


def test_sweep_knobs_change_no_key_but_that_of_compose(clone: Path, tree: str) -> None:
    for place in (leaf for leaf in LEAVES if leaf[0] == "sweep"):
        assert changed(keys(clone, tree), keys(clone, tree, with_value(CONFIG, place, "other"))) == {"compose"}


def test_one_key_of_all_stages_changes_with_each_of_them() -> None:
    own = {"a": "1", "b": "2"}
    assert joined(own) == joined({"b": "2", "a": "1"})
    assert len({joined(own), joined({"a": "2", "b": "2"}), joined({"a": "1", "b": "1"}), joined({"a": "1"})}) == 4


def with_data(path: Path | str) -> Config:
    return with_value(CONFIG, ("data", "path"), str(path))


def _added(folder: Path) -> None:
    (folder / "sub" / "c").write_text("c")


def _removed(folder: Path) -> None:
    (folder / "a").unlink()


def _renamed(folder: Path) -> None:
    (folder / "a").rename(folder / "z")


def _longer(folder: Path) -> None:
    (folder / "sub" / "b").write_text("longer")


def _rewritten(folder: Path) -> None:
    (folder / "a").write_text("y")
    os.utime(folder / "a", ns=(1, 1))


@pytest.mark.parametrize("edit", [_added, _removed, _renamed, _longer, _rewritten])
def test_data_outside_of_git_counts_by_its_files(clone: Path, tree: str, tmp_path: Path, edit: Any) -> None:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("a")
    (folder / "sub" / "b").write_text("b")
    before = keys(clone, tree, with_data(folder))
    assert keys(clone, tree, with_data(folder)) == before
    edit(folder)
    assert changed(before, keys(clone, tree, with_data(folder))) == after({"convert"})


def test_data_file_outside_of_git_counts_by_size_and_time(clone: Path, tree: str, tmp_path: Path) -> None:
    file = tmp_path / "data.zip"
    before = keys(clone, tree, with_data(file))
    file.write_text("a")
    there = keys(clone, tree, with_data(file))
    file.write_text("ab")
    assert changed(before, there) == changed(there, keys(clone, tree, with_data(file))) == after({"convert"})


def test_data_folder_of_which_git_has_a_part_counts_by_all_its_files(fresh_clone: Path, tmp_path: Path) -> None:
    root = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(fresh_clone), str(root)], check=True)
    folder = root / "data" / "mine"
    folder.mkdir()
    (folder / ".gitignore").write_text("*.jpg\n")  # a data set whose pictures are not committed
    (folder / "picture.jpg").write_text("a picture")
    subprocess.run(["git", "add", "data/mine"], cwd=root, check=True)
    config = with_data("data/mine")
    before = keys(root, take_snapshot(root).tree, config)
    (folder / "another.jpg").write_text("another picture")
    assert changed(before, keys(root, take_snapshot(root).tree, config)) == after({"convert"})


def test_data_folder_with_a_dangling_link_is_no_traceback(clone: Path, tree: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to("gone")
    try:
        found = keys(clone, tree, with_data(tmp_path / "data"))
    except SweepError as error:
        assert "link" in str(error) and "\n" not in str(error)
    else:
        assert found.keys() == PIPELINE.keys()


@pytest.mark.parametrize(
    "text",
    [
        "stages: {a: {cmd: b}\n",
        "stages:\n\ta: {}\n",
        "",
        "- a\n",
        "stages: []\n",
        "stages: {a: [b]}\n",
        "stages: {a: {foreach: [1], do: {cmd: b}}}\n",
        "stages: {a: {cmd: b, deps: ['${data.pth}']}}\n",
        "stages: {a: {cmd: b, params: [config.yaml: [sedd]]}}\n",
        "stages: {a: {cmd: b, params: [config.yaml: [seed.x]]}}\n",
        "stages: {a: {cmd: b, params: 3}}\n",
        "stages: {a: {cmd: c, deps: [x], outs: [y]}, b: {cmd: c, deps: [y], outs: [x]}}\n",
    ],
)
def test_broken_dvc_yaml_is_one_line_that_names_it(clone: Path, tree: str, tmp_path: Path, text: str) -> None:
    (tmp_path / "dvc.yaml").write_text(text)
    with pytest.raises(SweepError, match=r"^dvc.yaml: ") as caught:
        keys(clone, tree_with(clone, tree, {"dvc.yaml": tmp_path / "dvc.yaml"}))
    assert "\n" not in str(caught.value)


def test_missing_dvc_yaml_is_one_line_that_names_it(tmp_path: Path) -> None:
    for command in (
        ["init", "-q"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-mx"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    with pytest.raises(SweepError, match=r"dvc\.yaml") as caught:
        read_stages(tmp_path, take_snapshot(tmp_path).tree, CONFIG)
    assert "\n" not in str(caught.value)
