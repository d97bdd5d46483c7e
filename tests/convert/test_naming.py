"""Laws of names: every picture has an id of its own, on any file system, and keeps the name that people gave it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprolens.convert.naming import names
from reprolens.voc.folder import original_name, plain_name

PARTS = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=20).filter(lambda x: x not in (".", ".."))
FILES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


def test_a_picture_keeps_its_name_its_folders_and_its_suffix() -> None:
    assert names([("a/b c/IMG_1.JPG", "images/a/b c/IMG_1.JPG"), ("ü.webp", "ü.webp"), ("1.2.tif", "1.2.tif")]) == [
        ("a/b c/IMG_1", "a/b c/IMG_1.JPG"),
        ("ü", "ü.webp"),
        ("1.2", "1.2.tif"),
    ]


def test_a_name_without_suffix_or_in_another_case_takes_that_of_the_file() -> None:
    assert names([("train/7", "images/train/7.png"), ("8.JPG", "8.jpg")]) == [
        ("train/7", "train/7.png"),
        ("8", "8.jpg"),
    ]


@pytest.mark.parametrize("name", ["../../etc/x.jpg", "/etc/x.jpg", "C:\\data\\x.jpg", "a/../../x.jpg", "//h/x.jpg"])
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    assert names([(name, "")]) == [("x", "x.jpg")]


def test_pictures_of_one_name_in_two_folders_go_by_their_places() -> None:
    assert names([("1.jpg", "train/1.jpg"), ("1.jpg", "val/1.jpg"), ("2.jpg", "train/2.jpg")]) == [
        ("train/1", "train/1.jpg"),
        ("val/1", "val/1.jpg"),
        ("2", "2.jpg"),
    ]


def test_pictures_that_differ_by_suffix_alone_keep_it_in_their_ids() -> None:
    assert names([("a.jpg", "a.jpg"), ("a.png", "a.png")]) == [("a.jpg", "a.jpg.jpg"), ("a.png", "a.png.png")]


def test_names_that_a_careless_file_system_takes_for_the_same_stay_apart() -> None:
    composed, split = "\u00e9.jpg", "e\u0301.jpg"
    ids = [id for id, _ in names([("A.jpg", "A.jpg"), ("a.jpg", "a.jpg"), (composed, composed), (split, split)])]
    assert len({unicodedata.normalize("NFC", id).casefold() for id in ids}) == 4


@given(st.lists(st.tuples(FILES, FILES | st.just("")), max_size=8))
def test_ids_are_always_different_inside_the_folder_and_lines_of_a_file(asked: list[tuple[str, str]]) -> None:
    named = names(asked)
    assert len({unicodedata.normalize("NFC", id).casefold() for id, _ in named}) == len(asked)
    for id, file in named:
        assert file.startswith(id)
        assert not file.startswith("/") and ".." not in file.split("/")
        assert id.splitlines() == [id] and id == id.strip()
        assert all(len(part.encode(errors="surrogateescape")) <= 255 - len(".xml") for part in file.split("/"))


@given(st.text())
def test_a_plain_name_fits_a_line_and_gives_the_name_back(name: str) -> None:
    plain = plain_name(name)
    assert plain.splitlines() in ([plain], []) and plain == plain.strip()
    if not any("\ud800" <= letter <= "\udfff" for letter in name):
        assert original_name(plain) == name


@given(st.binary(max_size=40))
def test_names_that_are_not_utf_8_come_back_too(name: bytes) -> None:
    text = name.decode(errors="surrogateescape")
    assert original_name(plain_name(text)) == text


def test_a_backslash_that_is_a_letter_of_a_pictures_name_stays_one() -> None:
    asked = [("0\\.JPG", "0\\.JPG"), ("0.JPG", "0.JPG"), ("a\\b.jpg", "a/b.jpg")]
    assert names(asked) == [("0\\", "0\\.JPG"), ("0", "0.JPG"), ("a/b", "a/b.jpg")]
