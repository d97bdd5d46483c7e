"""A data set's licence is what its own LICENSE file says first."""

from pathlib import Path

import pytest

from reprolens.config import Digits
from reprolens.convert import convert
from reprolens.convert.licence import stated_licence
from reprolens.convert.tree import open_tree


@pytest.mark.parametrize("name", ["LICENSE", "LICENCE.txt", "license.md", "COPYING"])
def test_the_first_line_of_the_file_names_it(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("\n# The MIT License (MIT)\n\nCopyright (c) 2020, y\n")
    assert stated_licence(open_tree(tmp_path)) == "The MIT License (MIT)"


@pytest.mark.parametrize(("name", "content"), [("sub/LICENSE", "MIT"), ("LICENSE", "\n"), ("license.json", "[]")])
def test_a_folder_that_states_none_has_none(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    assert stated_licence(open_tree(tmp_path)) is None


def test_a_file_that_is_no_text_gives_a_short_line(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_bytes(b"\xff" * 5000)
    assert len(stated_licence(open_tree(tmp_path)) or "") <= 100


def test_the_report_has_it(tmp_path: Path) -> None:
    config = Digits("digits", str(Path(__file__).parents[2] / "data" / "digits"), 80, 2, 1, 1, 1, 3, 16, 40, 50, 0.0)
    assert convert(config, 1, tmp_path / "voc")["source"][0]["licence"] == "CC BY 4.0"
