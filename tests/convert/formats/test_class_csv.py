"""Laws of reading tables of files and classes: every spelling of the same table gives the same classes."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convert.sources import DATA, POLICY
from reprolens.config.data import Labelled
from reprolens.convert.formats.class_csv import detect, read
from reprolens.convert.source import Problem, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

PICTURES = ("1.jpg", "2.jpg", "3.jpg")


def options(root: Path, annotations: str | None = None) -> Labelled:
    return Labelled("class_csv", str(root), None, annotations, [0.7, 0.1, 0.2], None, POLICY)


def load(
    root: Path, annotations: str | None = None, images: Path | None = None
) -> tuple[dict[str, tuple[str | None, tuple[str, ...]]], list[Problem], tuple[str, ...] | None]:
    """Return each picture's split and classes by its place, the problems, and the classes."""
    tree = open_tree(root, images)
    source = read(tree, options(root, annotations))
    assert source.task == "classification"
    items = list(source.images)
    found: dict[str, tuple[str | None, tuple[str, ...]]] = {}
    for item in items:
        if isinstance(item, SourceImage):
            (file,) = tree.images.find(item.record.file, item.near) or [item.record.file]
            labels = found.get(file, (None, ()))[1] + item.record.labels
            found[file] = (item.split, tuple(dict.fromkeys(labels)))
    return found, [item for item in items if isinstance(item, Problem)], source.classes


def labels(root: Path, annotations: str | None = None) -> dict[str, tuple[str, ...]]:
    found, problems, _ = load(root, annotations)
    assert problems == []
    return {file: names for file, (_, names) in found.items()}


def folder(root: Path, table: str, text: str, pictures: tuple[str, ...] = PICTURES) -> Path:
    for picture in pictures:
        path = root / picture
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(path)
    path = root / table
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def shared() -> Path:
    if not DATA.is_dir():
        pytest.skip("the shared data sets are not here")
    return DATA / "format_fixtures" / "assets"


# ---- real data sets


@pytest.mark.parametrize("name", ["image_csv", "image_txt"])
@pytest.mark.parametrize("pattern", [None, "ann.*", "ann_wo_ext.*"])
def test_five_cats_and_dogs_are_the_same_in_every_table(shared: Path, name: str, pattern: str | None) -> None:
    root = shared / "kaggle_dataset" / name
    assert "gives pictures and their classes" in (detect(open_tree(root)) or "")
    cat, dog = ("cat",), ("dog",)
    expected = {"images/1.jpg": dog, "images/2.jpg": cat, "images/3.jpg": dog, "images/4.jpg": cat, "images/5.jpg": cat}
    assert labels(root, pattern) == expected
    assert load(root, pattern)[2] == ("cat", "dog")


def test_six_pictures_have_several_classes_each(shared: Path) -> None:
    root = shared / "kaggle_dataset" / "image_csv_multi_label"
    assert detect(open_tree(root)) is not None
    found = labels(root)
    assert len(found) == 6
    assert found["images/1.jpg"] == ("dog",)
    assert found["images/5.jpg"] == ("dog", "person")
    assert load(root)[2] == ("dog", "cat", "person")


def test_roboflow_multi_class_has_its_splits(shared: Path) -> None:
    root = shared / "roboflow_dataset" / "multiclass"
    assert detect(open_tree(root)) is not None
    found, problems, classes = load(root)
    assert (problems, classes) == ([], ("label_0", "label_1"))
    assert found == {
        "train/train_001.jpg": ("train", ("label_0",)),
        "train/train_002.jpg": ("train", ("label_1",)),
        "val/val_001.jpg": ("val", ("label_0", "label_1")),
    }


def test_numbers_are_named_by_the_synsets(shared: Path) -> None:
    found, problems, classes = load(shared / "imagenet_txt_dataset" / "basic")
    assert problems == []
    assert classes == tuple(f"label_{number}" for number in range(10))
    assert [names for _, names in found.values()] == [("label_0",), ("label_5",), ("label_3",), ("label_5",)]
    assert {split for split, _ in found.values()} == {"train"}
    assert labels(shared / "imagenet_txt_dataset" / "custom_labels") == {"1.jpg": ("alt_label_0",)}
    assert labels(shared / "imagenet_txt_dataset" / "no_labels") == {"1.jpg": ("4",)}


@pytest.mark.parametrize(
    "name",
    [
        "kaggle_dataset/image_csv_det",
        "kaggle_dataset/image_txt_det",
        "vott_csv_dataset/dataset",
        "open_images_dataset/v6",
        "open_images_dataset/v5",
        "vgg_face2_dataset",
        "camvid_dataset",
        "voc_dataset/voc_dataset1",
        "celeba_dataset/dataset",
        "tabular_dataset",
        "kinetics_dataset",
        "mnist_csv_dataset",
        "lfw_dataset",
        "yolo_dataset",
        "coco_dataset",
        "widerface_dataset",
        "icdar_dataset/text_localization",
    ],
)
def test_other_tables_are_not_claimed(shared: Path, name: str) -> None:
    assert detect(open_tree(shared / name)) is None


# ---- spellings


@pytest.mark.parametrize(
    "text",
    [
        "file,label\n1.jpg,cat\n2.jpg,dog\n3.jpg,cat\n",
        "\ufefffile,label\r\n1.jpg,cat\r\n2.jpg,dog\r\n3.jpg,cat",
        "Image_Name;Class\n1.jpg;cat\n2.jpg;dog\n3.jpg;cat\n",
        "id\tbreed\n1\tcat\n2\tdog\n3\tcat\n",
        "class_id,class_name,id,filename\n0,cat,17,1.jpg\n1,dog,18,2.jpg\n0,cat,19,3.jpg\n",
        "\n1.jpg,cat\n\n2.jpg,dog\n3.jpg, cat \n",
        "1 cat\n2 dog\n3 cat\n",
        '"path","target"\n"C:\\data\\1.jpg","cat"\n"C:\\data\\2.jpg","dog"\n"C:\\data\\3.jpg","cat"\n',
        "image,cat,dog,age\n1.jpg,1,0,7\n2.jpg,0,1,9\n3.jpg,1,0,3\n",
        "image,cat,dog\n1.jpg,1.0,0.0\n2.jpg,0.0,1.0\n3.jpg,1.0,0.0\n",
        "image,cat,dog\n1.jpg,True,False\n2.jpg,False,True\n3.jpg,True,False\n",
        "image,cat,dog\n1.jpg,1,-1\n2.jpg,-1,1\n3.jpg,1,-1\n",
    ],
)
def test_every_spelling_of_a_table_gives_the_same(tmp_path: Path, text: str) -> None:
    root = folder(tmp_path, "table.csv", text)
    assert detect(open_tree(root)) is not None
    assert labels(root) == {"1.jpg": ("cat",), "2.jpg": ("dog",), "3.jpg": ("cat",)}


@pytest.mark.parametrize(
    "text",
    [
        "file,label\n1.jpg,cat;dog\n2.jpg,cat\n3.jpg,dog\n",
        "file,label\n1.jpg,cat | dog\n2.jpg,cat\n3.jpg,dog\n",
        "file,label\n1.jpg,cat\n1.jpg,dog\n2.jpg,cat\n3.jpg,dog\n",
        "file,label_1,label_2\n1.jpg,cat,dog\n2.jpg,cat,\n3.jpg,,dog\n",
        "file,cat,dog\n1.jpg,1,1\n2.jpg,1,0\n3.jpg,0,1\n",
    ],
)
def test_every_spelling_of_several_classes_gives_the_same(tmp_path: Path, text: str) -> None:
    assert labels(folder(tmp_path, "t.csv", text)) == {"1.jpg": ("cat", "dog"), "2.jpg": ("cat",), "3.jpg": ("dog",)}


def test_names_with_blanks_are_whole_in_a_text(tmp_path: Path) -> None:
    root = folder(tmp_path, "list.txt", "my cat.jpg tabby cat\nb.jpg dog\n", ("my cat.jpg", "b.jpg"))
    assert labels(root) == {"my cat.jpg": ("tabby cat",), "b.jpg": ("dog",)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "cat\ndog\n"),
        ("class_names.json", '["cat", "dog"]'),
        ("label_num_to_disease_map.json", '{"0": "cat", "1": "dog"}'),
        ("class_to_idx.json", '{"dog": 1, "cat": 0}'),
        ("labels.csv", "id,name\n0,cat\n1,dog\n"),
    ],
)
def test_numbers_are_named_by_the_list_beside(tmp_path: Path, name: str, text: str) -> None:
    root = folder(tmp_path, "train.csv", "image_id,label\n1,0\n2,1\n3,1.0\n")
    (root / name).write_text(text)
    found, problems, classes = load(root)
    assert (problems, classes) == ([], ("cat", "dog"))
    assert [names for _, names in found.values()] == [("cat",), ("dog",), ("dog",)]


def test_numbers_without_a_list_are_sorted_as_numbers(tmp_path: Path) -> None:
    root = folder(tmp_path, "t.csv", "file,label\n1.jpg,10\n2.jpg,9\n3.jpg,1\n")
    assert load(root)[2] == ("1", "9", "10")


# ---- splits


def test_a_column_of_splits_decides(tmp_path: Path) -> None:
    root = folder(tmp_path, "all.csv", "file,split,label\n1.jpg,train,a\n2.jpg,valid,a\n3.jpg,,a\n")
    assert {file: split for file, (split, _) in load(root)[0].items()} == {
        "1.jpg": "train",
        "2.jpg": "val",
        "3.jpg": None,
    }


def test_splits_are_told_from_the_names_of_tables_and_folders(tmp_path: Path) -> None:
    folder(tmp_path, "val_labels.csv", "file,label\n1.jpg,a\n")
    folder(tmp_path, "sub/list.csv", "file,label\ntest/4.jpg,b\n", ("test/4.jpg",))
    found = load(folder(tmp_path, "train.csv", "file,label\n2.jpg,a\n"))[0]
    assert {file: split for file, (split, _) in found.items()} == {
        "1.jpg": "val",
        "2.jpg": "train",
        "test/4.jpg": "test",
    }


def test_a_test_table_without_classes_and_a_sample_submission_are_no_tables(tmp_path: Path) -> None:
    root = folder(tmp_path, "train.csv", "id,label\n1,cat\n")
    (root / "test.csv").write_text("id\n2\n3\n")
    (root / "sample_submission.csv").write_text("id,label\n2,cat\n3,cat\n")
    assert labels(root) == {"1.jpg": ("cat",)}


def test_pictures_may_lie_elsewhere(tmp_path: Path) -> None:
    folder(tmp_path / "pictures", "notes.doc", "")
    folder(tmp_path / "tables", "a.csv", "file,label\n1.jpg,cat\n", ())
    assert detect(open_tree(tmp_path / "tables", tmp_path / "pictures")) is not None
    assert load(tmp_path / "tables", images=tmp_path / "pictures")[0] == {"1.jpg": (None, ("cat",))}


# ---- bad tables


def test_rows_without_class_or_picture_lose_themselves_alone(tmp_path: Path) -> None:
    root = folder(tmp_path, "t.csv", "file,label\n1.jpg,cat\n2.jpg,\n,dog\ngone.jpg,nan\n3.jpg\n")
    found, problems, _ = load(root)
    assert found == {"1.jpg": (None, ("cat",))}
    # 2.jpg and 3.jpg are there, so that convert finds them without annotation.
    assert [(problem.kind, problem.file) for problem in problems] == [
        ("unreadable_annotation", ""),
        ("missing_annotation", "gone.jpg"),
    ]
    assert problems[0].place.endswith("t.csv, line 4")


def test_doubt_is_neither_yes_nor_no(tmp_path: Path) -> None:
    root = folder(tmp_path, "t.csv", "path,oedema,fracture\n1.jpg,1,0\n2.jpg,-1,1\n3.jpg,,1\n")
    found, problems, _ = load(root)
    assert found == {"1.jpg": (None, ("oedema",)), "3.jpg": (None, ("fracture",))}
    assert [(problem.kind, problem.file) for problem in problems] == [("unreadable_annotation", "2.jpg")]


def test_one_damaged_table_does_not_lose_the_others(tmp_path: Path) -> None:
    root = folder(tmp_path, "a.csv", "file,label\n1.jpg,cat\n")
    (root / "b.csv").write_bytes(b"file,label\n2.jpg,\xff\xfe\xe9\n")
    found, problems, _ = load(root)
    assert found == {"1.jpg": (None, ("cat",))}
    assert [(problem.kind, problem.file) for problem in problems] == [("unreadable_annotation", "b.csv")]


def test_a_folder_without_table_is_refused_with_advice(tmp_path: Path) -> None:
    root = folder(tmp_path, "notes.txt", "nothing here\n")
    assert detect(open_tree(root)) is None
    with pytest.raises(DataError, match="filename,label"):
        load(root)


TABLE = "file,label,split\n1.jpg,cat,train\n2.jpg,dog;cat,val\n3.jpg,cat,\n"


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_mutated_table_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("mutated")
    text = bytearray(TABLE.encode())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 8))] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b'"', b",", b"\n"])
        )
    folder(root, "t.csv", "")
    (root / "t.csv").write_bytes(text)
    detect(open_tree(root))
    with suppress(DataError):
        list(read(open_tree(root), options(root)).images)
