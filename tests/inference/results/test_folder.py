"""Only what predict wrote is written over, and what it drew is no picture to look at."""

import json
from pathlib import Path

import pytest

from reprolens.errors import ConfigError
from reprolens.inference.results.folder import ABOUT, claim, results_in, without_results
from reprolens.inference.sources import find_pictures


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def looked_at(*paths: str) -> list[str]:
    return [source.path.as_posix() for source in without_results(find_pictures(paths), paths)]


def test_a_folder_is_claimed_with_all_that_was_ever_written_there() -> None:
    claim(Path("out"), ["images", "coco.json"], {"model": "m"})
    touch("out/images/a.jpg", "out/coco.json")
    claim(Path("out"), ["coco.json", "labels"], {"model": "n"})
    assert results_in(Path("out")) == {ABOUT, "images", "coco.json", "labels"}
    assert json.loads(Path("out", ABOUT).read_text())["model"] == "n"


@pytest.mark.parametrize("theirs", ["labels/a.txt", "coco.json", ABOUT])
def test_what_is_not_ours_is_refused_and_left_alone(theirs: str) -> None:
    touch(f"out/{theirs}")
    with pytest.raises(ConfigError, match=rf"--out out: holds {theirs.partition('/')[0]}, which predict did not write"):
        claim(Path("out"), ["labels", "coco.json"], {})
    assert [path.as_posix() for path in Path("out").rglob("*.*")] == [f"out/{theirs}"]


def test_a_link_that_leads_nowhere_is_not_ours_either() -> None:
    Path("out").mkdir()
    Path("out/coco.json").symlink_to("gone")
    with pytest.raises(ConfigError, match=r"holds coco\.json"):
        claim(Path("out"), ["coco.json"], {})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"made_by": "another", "files": ["images"]}', '{"made_by": 1}'])
def test_another_programs_about_says_nothing_of_ours(text: str) -> None:
    Path(ABOUT).write_text(text)
    assert results_in(Path()) == frozenset()


def test_drawn_pictures_are_left_out_unless_they_are_named() -> None:
    claim(Path("in/out"), ["images"], {})
    touch("in/a.jpg", "in/images/b.jpg", "in/out/c.jpg", "in/out/images/d/a.jpg")
    others = ["in/a.jpg", "in/images/b.jpg", "in/out/c.jpg"]
    assert looked_at("in") == looked_at(".") == looked_at("in/**/*.jpg") == others
    assert looked_at("in/out/images") == looked_at("in/out/images/d/a.jpg") == ["in/out/images/d/a.jpg"]
    assert looked_at("in/out/images/*/*.jpg") == ["in/out/images/d/a.jpg"]
