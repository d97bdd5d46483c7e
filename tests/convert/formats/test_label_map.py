"""label_map.pbtxt in the ways that people write it."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprolens.convert.formats.entries import EntryError
from reprolens.convert.formats.label_map import LabelMap, nearest_map, read_label_map
from reprolens.errors import DataError


def read(tmp_path: Path, text: str) -> LabelMap:
    path = tmp_path / "label_map.pbtxt"
    path.write_text(text, encoding="utf-8")
    return read_label_map(path)


@pytest.mark.parametrize(
    "text",
    [
        "item {\n  id: 1\n  name: 'cat'\n}\nitem {\n  id: 2\n  name: 'dog'\n}\n",
        'item{name:"cat" id:1}item{id:2,name:"dog"}',
        "# classes\nitem: { id: 1; name: 'cat' } # one\nitem < id: 0x2 name: 'd' \"og\" >",
        "item { name: 'cat' id: 1 keypoints { id: 7 label: 'nose' } }\nitem { name: '\\144og' id: 2 }",
        "item { id: 0 name: 'background' } item { id: 2 name: 'dog' } item { id: 1 name: 'cat' }",
        "version: 3\nitem { id: 1 display_name: 'cat' }\nitem { id: 2 name: 'dog' }\nother { id: 9 name: 'x' }",
    ],
)
def test_label_map_is_read_in_every_spelling(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).classes == ("cat", "dog")


def test_display_names_are_the_classes_and_names_their_aliases(tmp_path: Path) -> None:
    labels = read(
        tmp_path, "item { name: '/m/01' id: 1 display_name: 'Cat' }\nitem { name: '/m/02' id: 4 display_name: 'Dog' }"
    )
    assert labels.classes == ("Cat", "Dog")
    assert [labels.name("/m/02", None), labels.name("Cat", None), labels.name("", 4), labels.name("odd", 1)] == [
        "Dog", "Cat", "Dog", "Cat",
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "number"), [("bird", None), ("", 3), ("", None), ("", 0)])
def test_class_that_is_not_in_the_map_is_left_out(tmp_path: Path, text: str, number: int | None) -> None:
    labels = read(tmp_path, "item { id: 1 name: 'cat' }")
    with pytest.raises(EntryError):
        labels.name(text, number)


@pytest.mark.parametrize(
    "text",
    ["item { id: 1", "item } {", "item { name: 'cat' }", "item { id: x name: 'y' }", "item { id: 1 name: 'cat }", "§"],
)
def test_damaged_map_is_a_data_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="not a label map"):
        read(tmp_path, text)


def test_number_of_two_classes_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two classes"):
        read(tmp_path, "item { id: 1 name: 'cat' } item { id: 1 name: 'dog' }")


def test_nearest_map_holds_for_a_file() -> None:
    maps = {"label_map.pbtxt": LabelMap({}), "train/label_map.pbtxt": LabelMap({})}
    assert nearest_map("train/a.tfrecord", maps) == "train/label_map.pbtxt"
    assert nearest_map("val/a.tfrecord", maps) == "label_map.pbtxt"
    assert nearest_map("val/a.tfrecord", {"train/x.pbtxt": LabelMap({})}) == "train/x.pbtxt"


@given(st.text("item{}<>:'\" \\x12\n#name,;[]é", max_size=60))
def test_no_text_ends_in_another_exception(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.pbtxt"
    path.write_text(text, encoding="utf-8")
    with suppress(DataError):
        read_label_map(path)
