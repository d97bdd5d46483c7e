"""Every picture has a file of its own, inside the folder that is written."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprolens.errors import DataError
from reprolens.inference.results.names import ResultFiles

_part = st.sampled_from(["a", "A", "a.jpg", "a.xml", "a.png", ".jpg", "b c", "ü", "'\"", "-"])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(_part, min_size=1, max_size=3).map("/".join), unique=True))
def test_no_two_pictures_share_a_file_and_each_can_be_written(names: list[str]) -> None:
    with TemporaryDirectory() as folder:
        files = ResultFiles(Path(folder))
        paths = []
        for name in names:
            paths.append(files.place(name, ".xml"))
            paths[-1].write_text(name)
        assert len({str(path).casefold() for path in paths}) == len(names)
        assert [path.read_text() for path in paths] == names
        assert all(path.resolve().is_relative_to(Path(folder).resolve()) for path in paths)


def test_the_suffix_is_replaced_and_kept_only_where_the_name_is_taken(tmp_path: Path) -> None:
    files = ResultFiles(tmp_path)
    placed = [files.place(name, ".txt").relative_to(tmp_path).as_posix() for name in ("b/a.jpg", "b/a.png", "c/a.jpg")]
    assert placed == ["b/a.txt", "b/a.png.txt", "c/a.txt"]


@pytest.mark.parametrize("name", ["../a.jpg", "b/../../a.jpg", "/a.jpg", "", "."])
def test_a_name_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leads out"):
        ResultFiles(tmp_path / "in").place(name, ".txt")
    assert list(tmp_path.iterdir()) == []
