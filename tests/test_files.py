"""Laws of writing: a file or folder is whole or not there, and what was there stays until the new one is whole."""

import csv
import hashlib
import json
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprolens.errors import ConfigError, DataError, ReprolensError, suggest
from reprolens.files import atomic, atomic_folder, sha256, write_csv, write_json, write_text


def test_a_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model.pt"
    with atomic(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".pt"
        temporary.write_text("half")
        assert not target.exists()
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["model.pt"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


@pytest.mark.parametrize("name", [f"{'x' * 251}.jpg", f"x.{'y' * 253}", "x" * 255, "é" * 127, f".{'x' * 254}"])
def test_a_name_may_be_as_long_as_names_can_be(name: str, tmp_path: Path) -> None:
    write_text(tmp_path / name, "whole")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "whole"}


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_file_stays_as_it_was_if_writing_fails(error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    target.write_text("earlier")
    with pytest.raises(error), atomic(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_folder_replaces_all_that_was_in_it(tmp_path: Path) -> None:
    target = tmp_path / "data" / "voc"
    (target / "old").mkdir(parents=True)
    (target / "old" / "file").write_text("old")
    (target / "old" / "file").chmod(0o444)  # as DVC leaves what it protects
    with atomic_folder(target) as temporary:
        (temporary / "new").write_text("new")
        assert (target / "old" / "file").read_text() == "old"
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in target.parent.iterdir()] == ["voc"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_folder_stays_as_it_was_if_writing_fails(error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "voc"
    target.mkdir()
    (target / "file").write_text("earlier")
    with pytest.raises(error), atomic_folder(target) as temporary:
        (temporary / "file").write_text("half")
        raise error
    assert (target / "file").read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["voc"]


@pytest.mark.parametrize("kind", ["file", "link to a folder", "broken link"])
def test_a_folder_takes_the_place_of_a_file_or_link_and_leaves_a_links_target_alone(kind: str, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "voc", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("keep")
    if kind == "file":
        target.write_text("file")
    else:
        target.symlink_to(elsewhere if kind == "link to a folder" else tmp_path / "nowhere")
    with atomic_folder(target) as temporary:
        (temporary / "new").write_text("new")
    assert not target.is_symlink()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert (elsewhere / "precious").read_text() == "keep"


def test_a_folder_that_its_writer_removed_leaves_the_earlier_one_in_place(tmp_path: Path) -> None:
    target = tmp_path / "voc"
    target.mkdir()
    (target / "file").write_text("earlier")
    with pytest.raises(OSError), atomic_folder(target) as temporary:
        temporary.rename(tmp_path / "stolen")
    assert (target / "file").read_text() == "earlier"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(JSON)
def test_json_comes_back_and_the_same_value_gives_the_same_bytes(value: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "value.json"
        write_json(path, value)
        first = path.read_bytes()
        assert json.loads(first) == value
        write_json(path, value)
        assert path.read_bytes() == first
        assert first.endswith(b"\n")


def test_a_file_name_that_is_not_utf_8_can_be_reported(tmp_path: Path) -> None:
    write_json(tmp_path / "report.json", {"file": "caf\udce9.jpg"})
    assert json.loads((tmp_path / "report.json").read_bytes()) == {"file": "caf\udce9.jpg"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, {"a": float("-inf")}]])
def test_a_number_that_json_lacks_is_refused_and_the_file_stays(value: object, tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, value)
    assert json.loads(path.read_text()) == 1


def test_text_has_unix_line_ends_and_is_utf_8(tmp_path: Path) -> None:
    write_text(tmp_path / "text", "größer\nals\n")
    assert (tmp_path / "text").read_bytes() == "größer\nals\n".encode()


def test_rows_of_different_keys_share_one_header_in_order_of_appearance(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    write_csv(
        path, [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "val/map": 0.1}, {"epoch": 3, "note": 'a,"b"\nc'}]
    )
    assert path.read_bytes().splitlines()[0] == b"epoch,loss,val/map,note"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {"epoch": "2", "loss": "0.25", "val/map": "0.1", "note": ""}
    assert rows[2] == {"epoch": "3", "loss": "", "val/map": "", "note": 'a,"b"\nc'}
    write_csv(path, [])
    assert path.read_text().strip() == ""


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    assert sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_suggestions_name_the_nearest_or_all_that_is_valid() -> None:
    assert suggest("optimiser", ["optimizer", "schedule"]) == "did you mean optimizer?"
    assert suggest("xyz", ["b", "a"]) == "valid: a, b"
    assert suggest("xyz", []) == "nothing is valid here"


def test_every_users_error_is_a_reprolens_error() -> None:
    assert issubclass(ConfigError, ReprolensError)
    assert issubclass(DataError, ReprolensError)
