"""Laws of reading tables of boxes: whatever the columns are called, the same pictures and boxes arrive."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.sources import DATA, POLICY
from reprolens.config.data import Labelled
from reprolens.convert.formats.tf_csv import detect, read
from reprolens.convert.source import Problem, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

BOXES = {
    "a.jpg": [("cat", 1.0, 2.0, 10.0, 20.5), ("dog", 0.0, 0.0, 5.0, 5.0)],
    "b.jpg": [("cat", 3.0, 4.0, 7.0, 8.0)],
}


def load(root: Path, annotations: str | None = None) -> tuple[list[SourceImage], list[Problem], tuple[str, ...] | None]:
    options = Labelled("tf_csv", str(root), None, annotations, [0.7, 0.1, 0.2], None, POLICY)
    source = read(open_tree(root), options)
    items = list(source.images)
    pictures = [item for item in items if isinstance(item, SourceImage)]
    return pictures, [item for item in items if isinstance(item, Problem)], source.classes


def boxes(pictures: list[SourceImage]) -> dict[str, list[tuple[str, float, float, float, float]]]:
    return {item.record.file: [(found.name, *found.box) for found in item.record.objects] for item in pictures}


@pytest.fixture
def kaggle() -> Path:
    if not DATA.is_dir():
        pytest.skip("the shared data sets are not here")
    return DATA / "format_fixtures" / "assets" / "kaggle_dataset"


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("image_csv_det", "ann.csv"),
        ("image_csv_det", "ann2.csv"),
        ("image_csv_det", "ann3.csv"),
        ("image_txt_det", "ann.txt"),
    ],
)
def test_kaggles_four_tables_hold_the_same_six_boxes(kaggle: Path, folder: str, file: str) -> None:
    pictures, problems, _ = load(kaggle / folder, file)
    assert not problems
    assert boxes(pictures) == {
        "1.jpg": [("dog", 0, 1, 1, 2), ("cat", 1, 2, 3, 3)],
        "2.jpg": [("cat", 0, 0, 1, 1)],
        "3.jpg": [("dog", 0, 2, 2, 4), ("dog", 0, 0, 1, 1), ("cat", 1, 1, 2, 2)],
    }
    assert detect(open_tree(kaggle / folder))


def test_no_other_format_is_taken_for_a_table_of_boxes() -> None:
    if not DATA.is_dir():
        pytest.skip("the shared data sets are not here")
    assets = DATA / "format_fixtures" / "assets"
    kaggle = [root for root in (assets / "kaggle_dataset").iterdir() if "det" not in root.name]
    for root in sorted([*assets.iterdir(), *kaggle, DATA / "car_damage_via", DATA / "voc100_multiformat"]):
        if root.is_dir() and root.name != "kaggle_dataset":
            assert detect(open_tree(root)) is None, root


@pytest.mark.parametrize(
    "text",
    [
        "filename,width,height,class,xmin,ymin,xmax,ymax\n"
        "a.jpg,40,30,cat,1,2,10,20.5\na.jpg,40,30,dog,0,0,5,5\nb.jpg,40,30,cat,3,4,7,8\n",
        "XMax;YMax;Label;X Min;Y Min;Image\n10;20,5;cat;1;2;a.jpg\n5;5;dog;0;0;a.jpg\n7;8;cat;3;4;b.jpg\n",
        "image_path,x,y,w,h,category\na.jpg,1,2,9,18.5,cat\na.jpg,0,0,5,5,dog\nb.jpg,3,4,4,4,cat\n",
        "image,label,x,y,width,height\na.jpg,cat,1,2,9,18.5\na.jpg,dog,0,0,5,5\nb.jpg,cat,3,4,4,4\n",
        'image,label,bbox\na.jpg,cat,"[1, 2, 10, 20.5]"\na.jpg,dog,"[0,0,5,5]"\nb.jpg,cat,3 4 7 8\n',
        'image,label,bbox\na.jpg,cat,"[1, 2, 9, 18.5]"\na.jpg,dog,"[0,0,5,5]"\nb.jpg,cat,"[3, 4, 4, 4]"\n'
        'c.jpg,x,"[9,9,2,2]"\n',
        "a.jpg,1,2,10,20.5,cat\na.jpg,0,0,5,5,dog\nb.jpg,3,4,7,8,cat\n",
        "a.jpg,cat,1,2,10,20.5\na.jpg,dog,0,0,5,5\nb.jpg,cat,3,4,7,8\n",
    ],
)
def test_every_way_to_name_the_columns_says_the_same(tmp_path: Path, text: str) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    assert detect(open_tree(tmp_path))
    pictures, problems, _ = load(tmp_path)
    assert not problems
    assert {name: found for name, found in boxes(pictures).items() if name != "c.jpg"} == BOXES


def test_sizes_and_splits_come_from_the_tables(tmp_path: Path) -> None:
    head = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    (tmp_path / "train_labels.csv").write_text(f"{head}a.jpg,40,30,cat,1,2,3,4\n")
    (tmp_path / "test_labels.csv").write_text(f"{head}b.jpg,50,20,cat,1,2,3,4\n")
    (tmp_path / "valid").mkdir()
    (tmp_path / "valid" / "_annotations.csv").write_text(f"{head}c.jpg,50,20,cat,1,2,3,4\n")
    found = {item.record.file: item for item in load(tmp_path)[0]}
    assert {file: item.split for file, item in found.items()} == {"a.jpg": "train", "b.jpg": "test", "c.jpg": "val"}
    assert (found["a.jpg"].record.width, found["a.jpg"].record.height) == (40, 30)
    assert found["c.jpg"].near == "valid"


def test_a_row_with_a_picture_alone_is_a_picture_without_objects(tmp_path: Path) -> None:
    (tmp_path / "annotations.csv").write_text("img/a.jpg,,,,,\nimg/b.jpg,1,2,3,4,cat\n")
    (tmp_path / "classes.csv").write_text("dog,1\ncat,0\n")
    pictures, problems, classes = load(tmp_path)
    assert not problems and classes == ("cat", "dog")
    assert boxes(pictures) == {"img/a.jpg": [], "img/b.jpg": [("cat", 1, 2, 3, 4)]}


@pytest.mark.parametrize(
    "first_line",
    [
        "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes",
        '"image","xmin","ymin","xmax","ymax","label"',
        "file,label",
        "image_name,dog,cat",
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded",
    ],
)
def test_tables_of_other_formats_are_not_claimed(tmp_path: Path, first_line: str) -> None:
    (tmp_path / "x.csv").write_text(f"{first_line}\n{','.join('1' for _ in first_line.split(','))}\n")
    assert detect(open_tree(tmp_path)) is None


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("a.jpg,40,30,cat,1,2,x,4", "invalid_box"),
        ("a.jpg,40,30,cat,,,,", "invalid_box"),
        ("a.jpg,40,30,,1,2,3,4", "unreadable_annotation"),
        (",40,30,cat,1,2,3,4", "unreadable_annotation"),
        ("a.jpg", None),
    ],
)
def test_a_bad_row_is_a_problem_and_costs_no_other(tmp_path: Path, row: str, kind: str | None) -> None:
    good = "a.jpg,40,30,cat,1,2,3,4\n"
    (tmp_path / "x.csv").write_text(f"filename,width,height,class,xmin,ymin,xmax,ymax\n{good}{row}\n{good}")
    pictures, problems, _ = load(tmp_path)
    assert boxes(pictures) == {"a.jpg": [("cat", 1, 2, 3, 4)] * 2}
    assert [(item.kind, item.place.endswith("line 3")) for item in problems] == ([(kind, True)] if kind else [])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.decimals(-1000, 100_000, allow_nan=False, places=20), min_size=4, max_size=4))
def test_numbers_of_any_length_are_exact(tmp_path_factory: pytest.TempPathFactory, numbers: list[object]) -> None:
    root = tmp_path_factory.mktemp("exact")
    (root / "x.csv").write_text("filename,class,xmin,ymin,xmax,ymax\na.jpg,cat," + ",".join(map(str, numbers)) + "\n")
    item = load(root)[0][0].record.objects[0]
    assert list(item.exact or [Decimal(repr(edge)) for edge in item.box]) == numbers


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 120))
def test_damaged_files_raise_nothing_but_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    text = b'filename,class,bbox\na.jpg,cat,"[1,2,3,4]"\nb.jpg,dog,"5 6 7 8"\n'
    (root / "x.csv").write_bytes(text[:place] + noise + text[place + len(noise) :])
    try:
        detect(open_tree(root))
        load(root)
    except DataError:
        pass
