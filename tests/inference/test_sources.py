"""What the user names stands for these files, in this order and under these names."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprolens.errors import DataError
from reprolens.inference.sources import find_pictures


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def names(*paths: str) -> list[str]:
    found = find_pictures(paths)
    assert len({source.name for source in found}) == len(found)
    assert all(source.path.exists() for source in found)
    return [source.name for source in found]


def refusal(*paths: str) -> str:
    with pytest.raises(DataError) as caught:
        find_pictures(paths)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folder_gives_its_pictures_and_videos_in_natural_order() -> None:
    touch("a/10.jpg", "a/2.jpg", "a/1.JPG", "a/b2/x.png", "a/b10/x.png", "a/film.mp4", "a/B3/y.webp")
    assert names("a") == ["1.JPG", "2.jpg", "10.jpg", "b2/x.png", "B3/y.webp", "b10/x.png", "film.mp4"]


def test_what_is_hidden_or_no_picture_is_left_out_of_a_folder() -> None:
    touch("a/1.jpg", "a/._1.jpg", "a/.git/2.jpg", "a/labels.txt", "a/noname", "a/3.xml")
    assert names("a") == ["1.jpg"]


def test_hidden_folder_that_is_named_is_taken() -> None:
    touch(".a/1.jpg")
    assert names(".a") == ["1.jpg"]


def test_file_that_is_named_is_taken_whatever_its_suffix() -> None:
    touch("a/scan.dat", "a/.hidden", "a/film.MOV")
    assert names("a/scan.dat", "a/.hidden", "a/film.MOV") == ["scan.dat", ".hidden", "film.MOV"]
    assert [source.is_video for source in find_pictures(["a/scan.dat", "a/film.MOV"])] == [False, True]


def test_arguments_keep_their_order_and_each_file_comes_once() -> None:
    touch("a/1.jpg", "a/2.jpg", "b/3.jpg")
    assert names("b", "a/2.jpg", "a", "./b/../a/1.jpg", str(Path("a/2.jpg").resolve())) == ["3.jpg", "2.jpg", "1.jpg"]


def test_globs_are_expanded_where_no_shell_did() -> None:
    touch("a/1.jpg", "a/10.jpg", "a/2.jpg", "a/x.txt", "a/c/5.jpg", "a/c/.6.jpg", "b/7.png")
    assert names("a/*.jpg") == ["1.jpg", "2.jpg", "10.jpg"]
    assert names("a/[12].jpg") == ["1.jpg", "2.jpg"]
    assert names("*/?.*") == ["a/1.jpg", "a/2.jpg", "b/7.png"]
    assert names("**/*.jpg") == ["a/1.jpg", "a/2.jpg", "a/10.jpg", "a/c/5.jpg"]
    assert names("a/**/5.jpg") == ["c/5.jpg"]
    assert names(str(Path("a").resolve() / "*.jpg")) == ["1.jpg", "2.jpg", "10.jpg"]


def test_glob_that_matches_a_folder_gives_what_is_in_it() -> None:
    touch("a/c/5.jpg", "a/c/d/6.jpg", "a/c/x.txt", "a/7.jpg")
    assert names("a/c*") == ["c/5.jpg", "c/d/6.jpg"]
    assert names("**/c") == ["a/c/5.jpg", "a/c/d/6.jpg"]
    assert names("a/**") == ["7.jpg", "c/5.jpg", "c/d/6.jpg"]
    assert names("a/*") == ["7.jpg", "c/5.jpg", "c/d/6.jpg"]


def test_glob_of_another_suffix_gives_what_it_matches() -> None:
    touch("a/1.dat", "a/2.dat", "a/3.jpg")
    assert names("a/*.dat") == ["1.dat", "2.dat"]


def test_path_that_is_there_is_no_glob() -> None:
    touch("a[1]/x[2].jpg", "a[1]/x2.jpg")
    assert names("a[1]/x[2].jpg") == ["x[2].jpg"]
    assert names("a[1]") == ["x2.jpg", "x[2].jpg"]
    assert names("a[1]/*2.jpg") == ["x2.jpg"]


def test_files_of_one_name_stay_apart() -> None:
    touch("a/1.jpg", "a/2.jpg", "b/1.jpg", "c/3.jpg", "x/s/1.jpg", "y/s/1.jpg", "y/s/t/1.jpg")
    assert names("a", "b", "c") == ["a/1.jpg", "a/2.jpg", "b/1.jpg", "3.jpg"]
    assert names("a/1.jpg", "b/1.jpg") == ["a/1.jpg", "b/1.jpg"]
    assert names("x/s", "y/s") == ["x/s/1.jpg", "y/s/1.jpg", "y/s/t/1.jpg"]
    assert names("b", ".")[:3] == ["1.jpg", "a/1.jpg", "a/2.jpg"]
    touch("a/b/1.jpg")
    assert names("b", "a/b", "a") == [f"{Path.cwd().name}/b/1.jpg", "a/b/1.jpg", "a/1.jpg", "a/2.jpg"]


def test_names_never_lead_out_of_where_results_are_written() -> None:
    touch("a/1.jpg", "b/1.jpg")
    os.chdir("b")
    for paths in (
        ["../a"],
        ["../a", "."],
        ["../a/1.jpg", "../b/../b/1.jpg"],
        ["../*/1.jpg"],
        ["../a/", str(Path.cwd())],
    ):
        for name in names(*paths):
            assert ".." not in name.split("/")
            assert not Path(name).is_absolute()
    assert "`..`" in refusal("../*/../a/1.jpg")


def test_links_in_circles_come_to_an_end_and_each_folder_is_entered_once() -> None:
    touch("a/b/1.jpg", "a/2.jpg")
    for place in ("a/b/up", "a/b/again", "a/0"):
        Path(place).symlink_to(Path("a").resolve())
    Path("a/self").symlink_to("self")
    Path("a/0b").symlink_to("b")
    assert names("a") == ["2.jpg", "b/1.jpg"]
    assert names("a/**/*.jpg") == ["2.jpg", "b/1.jpg"]


def test_linked_pictures_are_taken_and_those_whose_link_is_broken_too() -> None:
    touch("store/f00.jpg", "a/1.jpg")
    Path("a/2.jpg").symlink_to(Path("store/f00.jpg").resolve())
    Path("a/3.jpg").symlink_to("nowhere.jpg")
    assert [source.name for source in find_pictures(["a"])] == ["1.jpg", "2.jpg", "3.jpg"]


def test_pipes_are_no_pictures() -> None:
    touch("a/1.jpg")
    os.mkfifo("a/2.jpg")
    assert names("a") == ["1.jpg"]
    assert "no file or folder" in refusal("a/2.jpg")


def test_what_stands_for_nothing_is_refused_in_one_line() -> None:
    touch("a/x.txt")
    assert refusal("nowhere.jpg") == "nowhere.jpg: there is no such file or folder"
    assert refusal("b/*.jpg") == "b/*.jpg: matches no picture or video"
    assert refusal("b/**/*.jpg") == "b/**/*.jpg: matches no picture or video"
    assert refusal("a") == "a: no picture or video lies in this folder"
    assert refusal("") == "'': there is no such file or folder"


@given(st.lists(st.text("a0129", min_size=1, max_size=5), min_size=1, max_size=6, unique=True))
def test_any_names_are_found_again_in_a_fixed_order(tmp_path_factory: pytest.TempPathFactory, stems: list[str]) -> None:
    root = tmp_path_factory.mktemp("any")
    for stem in reversed(stems):
        (root / f"{stem}.png").touch()
    found = [source.name for source in find_pictures([root])]
    assert sorted(found) == sorted(f"{stem}.png" for stem in stems)
    whole = [int(name[:-4]) for name in found if name[:-4].isdigit()]
    assert whole == sorted(whole)
