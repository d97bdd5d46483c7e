"""Laws of CSV files: read whatever separates their cells, or refused in one line."""

from pathlib import Path

import pytest

from reprolens.convert.formats.table import read_table
from reprolens.errors import DataError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_is_read_whatever_separates_its_cells(file: Path, delimiter: str) -> None:
    lines = [("a", "b", "c"), (" 1 ", '"2,5;x\ty"', ""), ("", "", ""), ("4",)]
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(delimiter.join(line) for line in lines).encode())
    assert read_table(file) == [{"a": "1", "b": "2,5;x\ty", "c": ""}, {"a": "4", "b": "", "c": ""}]


def test_a_bad_table_is_refused(file: Path) -> None:
    file.write_text("\n\n")
    with pytest.raises(DataError, match="is empty"):
        read_table(file)
    file.write_text("a,b,a\n1,2,3\n")
    with pytest.raises(DataError, match="twice"):
        read_table(file)
    file.write_text(f"a,b\n{'x' * 200_000},1\n")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_table(file)
