"""Laws of annotation files: what is damaged, hostile or endless ends in one line, whatever its kind."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from reprolens.convert.documents import read_json, read_lines, read_text, read_xml
from reprolens.errors import DataError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


class Entry(msgspec.Struct):
    bbox: list[Any]


def test_json_is_read_with_a_byte_order_mark_and_with_pythons_nan(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbf{"bbox": [1, NaN, Infinity, -Infinity], "more": 1}')
    assert read_json(file, Entry).bbox == [1, "NaN", "Infinity", "-Infinity"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not valid JSON"),
        (b'{"bbox": [1,', "not valid JSON"),
        (b'{"bbox": [NaN,', "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100_000, "nested too deeply|not as this format"),
        (b'{"x": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"bbox": 1}', "not as this format has it"),
    ],
)
def test_damaged_json_is_refused_in_one_line(file: Path, content: bytes, reason: str) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError, match=reason) as error:
        read_json(file, Entry)
    assert "\n" not in str(error.value) and str(file) in str(error.value)


BOMB = b'<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><a>&y;</a>'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BOMB, "document type or entities"),
        (b'<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>', "document type or entities"),
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "document type or entities"),
        (b"<a>" * 5000, "not well-formed"),
        (b"<a><b></a>", "not well-formed"),
        (b"", "not well-formed"),
    ],
)
def test_hostile_xml_is_refused_in_one_line(file: Path, content: bytes, reason: str) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError, match=reason) as error:
        read_xml(file)
    assert "\n" not in str(error.value)


def test_texts_are_read_in_the_encodings_that_windows_writes(file: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file.write_bytes("é\r\n\r\n b \rc".encode(encoding))
        assert read_lines(file) == ["é", "b", "c"]
    file.write_bytes(b"\xe9\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_text(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_text(file / "no")
