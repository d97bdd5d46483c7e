"""Laws of the search for pictures: what is meant is found, and nothing outside the source ever is."""

from pathlib import Path

import pytest

from reprolens.convert.tree import Listing, open_tree
from reprolens.errors import DataError

FILES = ("ann/1.xml", "images/1.jpg", "images/a/2.PNG", "images/b/2.png", "images/b/3.v2.jpg", "notes.txt")


def listing(*files: str) -> Listing:
    return Listing(Path("root"), files or FILES)


@pytest.mark.parametrize(
    ("name", "near", "found"),
    [
        ("images/1.jpg", "", "images/1.jpg"),
        ("../images/1.jpg", "ann", "images/1.jpg"),
        ("1.jpg", "ann", "images/1.jpg"),
        ("C:\\Users\\me\\images\\1.jpg", "", "images/1.jpg"),
        ("/home/me/images/1.jpg", "ann", "images/1.jpg"),
        ("1", "", "images/1.jpg"),
        ("1.png", "", "images/1.jpg"),
        ("3.v2", "", "images/b/3.v2.jpg"),
        ("x/b/2.png", "", "images/b/2.png"),
        ("2.png", "images/b", "images/b/2.png"),
        ("1.JPG", "", "images/1.jpg"),
    ],
)
def test_a_picture_is_found_by_whatever_its_annotation_calls_it(name: str, near: str, found: str) -> None:
    assert listing().find(name, near) == [found]


def test_a_name_that_fits_several_pictures_is_not_decided() -> None:
    assert listing("a/1.jpg", "b/1.jpg").find("1.jpg") == ["a/1.jpg", "b/1.jpg"]
    assert listing("a/1.jpg", "a/1.png").find("1") == ["a/1.jpg", "a/1.png"]


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "..", "", ".", "images", "notes.txt/x", "4.jpg", "/"])
def test_what_is_not_listed_is_not_found(name: str) -> None:
    assert listing().find(name) == []


def test_hidden_files_are_no_part_of_a_source_and_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "__MACOSX").mkdir()
    for name in ("a/1.jpg", "a/deep/2.jpg", "._1.jpg", ".DS_Store", "__MACOSX/3.jpg"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a" / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a" / "deep")
    assert open_tree(tmp_path).files == ("a/1.jpg", "a/deep/2.jpg", "b/2.jpg")


def test_a_single_file_is_a_source_whose_pictures_lie_beside_it_or_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").write_bytes(b"")
    (tmp_path / "all.json").write_text("{}")
    tree = open_tree(tmp_path / "all.json")
    assert (tree.root, tree.files, tree.images.pictures) == (tmp_path, ("all.json",), ("pictures/1.jpg",))
    assert open_tree(tmp_path / "all.json", tmp_path / "pictures").images.pictures == ("1.jpg",)


def test_a_missing_or_empty_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: there is no such file or folder"):
        open_tree(tmp_path / "nowhere")
    with pytest.raises(DataError, match="the folder is empty"):
        open_tree(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DataError, match=r"pics: there is no such folder; set data\.images"):
        open_tree(tmp_path, tmp_path / "pics")
