"""Laws of reading folders of classes: the class is the folder, whatever holds the folders."""

import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convert.sources import POLICY
from reprolens.config.data import Labelled
from reprolens.convert.formats.class_folders import detect, natural, read
from reprolens.convert.source import SourceImage
from reprolens.convert.tree import Listing, Tree, open_tree
from reprolens.errors import DataError


def options(root: Path) -> Labelled:
    return Labelled("class_folders", str(root), None, None, [0.7, 0.1, 0.2], None, POLICY)


def classes_of(tree: Tree) -> dict[str, tuple[str | None, str]]:
    """Return each picture's split and class."""
    items = list(read(tree, options(tree.root)).images)
    assert all(isinstance(item, SourceImage) for item in items)
    return {item.record.file: (item.split, *item.record.labels) for item in items}  # type: ignore[union-attr]


def tree_of(*files: str) -> Tree:
    """Return a tree of files that are nowhere: reading folders opens none."""
    names = tuple(sorted(files))
    return Tree(Path("/nowhere"), names, Listing(Path("/nowhere"), names))


def test_signdigits_has_500_pictures_of_ten_digits(shared: Path) -> None:
    tree = open_tree(shared / "signdigits")
    assert "10 folders" in (detect(tree) or "")
    source = read(tree, options(tree.root))
    assert source.task == "classification"
    assert source.classes == tuple("0123456789")
    items = [item for item in source.images if isinstance(item, SourceImage)]
    assert len(items) == 500
    assert all(item.image == tree.root / item.record.file and item.split is None for item in items)
    assert Counter(item.record.labels for item in items) == Counter(
        (path.parent.name,) for path in tree.root.rglob("*.JPG")
    )


def test_omniglot_has_5840_pictures_of_alphabets_and_characters(shared: Path, tmp_path: Path) -> None:
    """Both zips hold Greek and Latin, the same characters under the same names: 136 and 156 folders, 242 classes."""
    for name in ("images_background_small1", "images_background_small2"):
        with zipfile.ZipFile(shared / "omniglot" / f"{name}.zip") as archive:
            archive.extractall(tmp_path)
    tree = open_tree(tmp_path)
    assert detect(tree) is not None
    found = classes_of(tree)
    assert len(found) == 5840
    names = {name for _, name in found.values()}
    assert len(names) == 242
    assert all(name.count("/") == 1 and name.split("/")[1].startswith("character") for name in names)
    assert found["images_background_small1/Greek/character01/0394_01.png"] == (None, "Greek/character01")
    alone = open_tree(tmp_path / "images_background_small1")
    assert len(read(alone, options(alone.root)).classes or ()) == 136


@pytest.mark.parametrize(
    ("name", "pictures", "classes"),
    [
        ("imagenet_dataset", 3, ("label_0", "label_1", "label_1/label_1_1")),
        ("imagenet_subsets_dataset", 9, ("label_0", "label_1", "label_1/label_1_1")),
        ("explore_dataset", 24, ("bird", "cat", "dog", "monkey")),
    ],
)
def test_real_folders_have_their_classes(shared: Path, name: str, pictures: int, classes: tuple[str, ...]) -> None:
    tree = open_tree(shared / "format_fixtures" / "assets" / name)
    assert detect(tree) is not None
    assert read(tree, options(tree.root)).classes == classes
    found = classes_of(tree)
    assert len(found) == pictures
    splits = {"train", "val", "test"} if "subsets" in name else {None}
    assert {split for split, _ in found.values()} == splits


@pytest.mark.parametrize(
    "name", ["coco_dataset", "kaggle_dataset", "camvid_dataset", "image_dir_dataset", "mot_dataset"]
)
def test_other_data_sets_are_not_claimed(shared: Path, name: str) -> None:
    assert detect(open_tree(shared / "format_fixtures" / "assets" / name)) is None


@pytest.mark.parametrize("prefix", ["", "data/", "images/", "set/Images/"])
@pytest.mark.parametrize(
    "folders", [("train", "valid", "test"), ("Training", "Validation", "Test"), ("seg_train", "seg_val", "seg_test")]
)
def test_splits_are_told_from_folders(prefix: str, folders: tuple[str, ...]) -> None:
    files = [
        f"{prefix}{folder}/{name}/{number}.jpg" for folder in folders for name in ("cat", "dog") for number in "12"
    ]
    found = classes_of(tree_of(*files))
    assert Counter(found.values()) == {
        (split, name): 2 for split in ("train", "val", "test") for name in ("cat", "dog")
    }


def test_pictures_folders_below_the_splits_name_no_class() -> None:
    found = classes_of(tree_of("train/images/cat/1.png", "train/images/dog/2.png", "test/images/cat/3.png"))
    assert sorted(found.values()) == [("test", "cat"), ("train", "cat"), ("train", "dog")]


def test_a_split_folder_that_repeats_itself_counts_once() -> None:
    files = (
        "seg_train/seg_train/sea/1.jpg",
        "seg_train/seg_train/ice/2.jpg",
        "seg_test/seg_test/sea/3.jpg",
        "seg_pred/seg_pred/4.jpg",
    )
    assert classes_of(tree_of(*files)) == {
        files[0]: ("train", "sea"),
        files[1]: ("train", "ice"),
        files[2]: ("test", "sea"),
    }


def test_a_train_beside_a_bus_is_a_class() -> None:
    assert classes_of(tree_of("train/1.jpg", "bus/2.jpg")) == {
        "train/1.jpg": (None, "train"),
        "bus/2.jpg": (None, "bus"),
    }


def test_unlabelled_pictures_beside_the_splits_have_no_class() -> None:
    found = classes_of(tree_of("train/cat/1.jpg", "train/dog/2.jpg", "test/dog/3.jpg", "unlabeled/4.jpg", "5.jpg"))
    assert set(found) == {"train/cat/1.jpg", "train/dog/2.jpg", "test/dog/3.jpg"}


def test_split_folders_without_classes_are_refused() -> None:
    tree = tree_of("train/1.jpg", "test/2.jpg")
    assert detect(tree) is None
    with pytest.raises(DataError, match="one a class"):
        read(tree, options(tree.root))


def test_one_class_alone_is_read_but_not_claimed() -> None:
    tree = tree_of("animals/cat/1.jpg", "animals/cat/2.jpg")
    assert detect(tree) is None
    assert {name for _, name in classes_of(tree).values()} == {"cat"}


@pytest.mark.parametrize(
    "files",
    [
        ("images/1.jpg", "depth/1.png"),
        ("image_2/1.png", "image_3/1.png"),
        ("a/1.jpg", "b/2.jpg", "a/1.xml", "b/2.xml"),
        ("1.jpg", "2.jpg", "3.jpg", "a/4.jpg", "b/5.jpg", "6.jpg"),
        ("1.jpg",),
        ("readme.md",),
    ],
)
def test_what_lies_in_folders_for_another_reason_is_not_claimed(files: tuple[str, ...]) -> None:
    assert detect(tree_of(*files)) is None


def test_classes_are_sorted_as_people_count() -> None:
    assert natural({"10", "2", "1", "b", "A", "c10", "c9"}) == ("1", "2", "10", "A", "b", "c9", "c10")


def test_suffixes_are_taken_in_any_case(tmp_path: Path) -> None:
    for name in ("x/IMG.JPG", "y/b.Png", "y/notes.doc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name, "PNG")
    assert classes_of(open_tree(tmp_path)) == {"x/IMG.JPG": (None, "x"), "y/b.Png": (None, "y")}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["train", "test", "a", "é", "1", "10", "images", "x y"]), min_size=0, max_size=4),
        max_size=8,
    )
)
def test_any_folders_are_read_or_refused(folders: list[list[str]]) -> None:
    tree = tree_of(*{"/".join([*parts, f"{number}.jpg"]) for number, parts in enumerate(folders)})
    detect(tree)
    try:
        found = classes_of(tree)
    except DataError:
        return
    assert set(found) <= set(tree.files)
    assert all(f"/{file}".rpartition("/")[0].endswith(f"/{name}") for file, (_, name) in found.items())
