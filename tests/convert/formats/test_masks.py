"""Laws of reading masks: whatever kind they are and wherever they lie, the same pixels show the same classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convert.formats.mask_sets import COLORS, PLAN, load, options, pair, photo, save, shown
from reprolens.config.data import Action
from reprolens.convert.formats.masks import detect, read
from reprolens.convert.source import SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

# ---- real data sets


def test_membranes_are_thirty_black_and_white_masks(shared: Path) -> None:
    root = shared / "membrane_seg"
    assert (detect(open_tree(root)) or "").startswith("30 pictures have a mask")
    source, pictures, problems = load(root)
    assert (source.task, source.classes, problems) == ("segmentation", ("object",), [])
    assert len(pictures) == len(source.not_pictures) == 30
    for file, image in pictures.items():
        assert image.split == "train"
        stored = np.asarray(Image.open(root / file.replace("/image/", "/label/")))
        assert np.array_equal(shown(image), stored == 255)
    assert load(root, classes=["cell"])[0].classes == ("cell",)


def test_camvid_without_its_colour_list_is_known_by_its_folders(shared: Path) -> None:
    root = shared / "format_fixtures" / "assets" / "camvid_dataset"
    source, pictures, problems = load(root)
    assert problems == []
    assert source.classes is not None
    assert len(source.classes) == 31  # 32 with Void, which counts as neither
    assert {file: image.split for file, image in pictures.items()} == {
        "test/0001TP_008550.png": "test",
        "test/0001TP_008580.png": "test",
        "train/0001TP_006690.png": "train",
        "val/0016E5_07959.png": "val",
    }
    names = {source.classes[index - 1] for index in np.unique(shown(pictures["test/0001TP_008550.png"]))}
    assert names == {"Animal", "Road", "Sky"}


@pytest.mark.parametrize(
    ("name", "pictures", "classes"),
    [
        ("common_semantic_segmentation_dataset/dataset", 2, ("Animal", "Archway", "Bicyclist", "Child", "Road")),
        (
            "common_semantic_segmentation_dataset/non_standard_dataset",
            2,
            ("Animal", "Archway", "Bicyclist", "Child", "Road", "Pedestrian", "SignSymbol"),
        ),
        ("kaggle_dataset/image_mask", 2, ("object",)),
        ("kaggle_dataset/image_mask_with_labelmap", 3, ("cat", "dog")),
        ("synthia_dataset/rand_custom_labelmap", 2, ("sky", "building", "person", "road")),
        ("synthia_dataset/rand_meta_file", 2, ("sky", "building", "person", "road")),
    ],
)
def test_real_masks_show_the_classes_of_their_label_map(
    shared: Path, name: str, pictures: int, classes: tuple[str, ...]
) -> None:
    root = shared / "format_fixtures" / "assets" / name
    assert detect(open_tree(root)) is not None
    source, found, problems = load(root)
    assert (source.classes, len(found), problems) == (classes, pictures, [])
    assert all(shown(image).max() <= len(classes) for image in found.values())


@pytest.mark.parametrize(
    ("name", "first", "names"),
    [
        ("synthia_dataset/rand", "RGB/000001.png", {"Building", "Road", "Sky", "TrafficLight"}),
        ("synthia_dataset/al", "RGB/000000.png", {"Pedestrian", "Sky"}),
        ("synthia_dataset/sf", "RGBLeft/000001.png", {"building", "sky", "traffic sign"}),
        (
            "cityscapes_dataset/dataset",
            "leftImg8bit/test/defaultcity/defaultcity_000001_000031_leftImg8bit.png",
            {"truck"},
        ),
        (
            "cityscapes_dataset/train_dataset",
            "leftImg8bit/test/defaultcity/defaultcity_000001_000031_leftImg8bit.png",
            {"truck"},
        ),
    ],
)
def test_well_known_data_sets_need_no_label_map(shared: Path, name: str, first: str, names: set[str]) -> None:
    root = shared / "format_fixtures" / "assets" / name
    assert detect(open_tree(root)) is not None
    source, pictures, problems = load(root)
    assert problems == []
    assert source.classes is not None
    assert {source.classes[index - 1] for index in np.unique(shown(pictures[first])) if index < 255} == names


def test_one_of_two_versions_of_masks_can_be_chosen(shared: Path) -> None:
    root = shared / "format_fixtures" / "assets" / "mapillary_vistas_dataset"
    _, pictures, problems = load(root)
    assert len(pictures) == 3
    assert {problem.kind for problem in problems} == {"unreadable_mask"}
    assert "choose with data.annotations" in problems[0].reason
    _, pictures, problems = load(root, annotations="v2.0/labels/*.png")
    assert (len(pictures), problems) == (3, [])
    assert all("v2.0" in image.place for image in pictures.values())


@pytest.mark.parametrize(
    "name",
    [
        "explore_dataset",
        "imagenet_dataset",
        "coco_dataset/coco",
        "kitti_dataset/kitti_detection",
        "yolo_dataset/strict",
        "ade20k2017_dataset/dataset",
        "mots_dataset",
        "image_dir_dataset",
        "kaggle_dataset/image_csv",
    ],
)
def test_other_data_sets_are_not_claimed(shared: Path, name: str) -> None:
    assert detect(open_tree(shared / "format_fixtures" / "assets" / name)) is None


# ---- where masks lie


@pytest.mark.parametrize(
    ("picture", "mask", "split"),
    [
        ("images/1.jpg", "masks/1.png", None),
        ("img/1.jpg", "ann/1.png", None),
        ("Images/1.JPG", "Labels/1.png", None),
        ("image/1.png", "label/1.png", None),
        ("train/1.png", "trainannot/1.png", "train"),
        ("val/1.jpg", "val_masks/1.gif", "val"),
        ("train/images/1.jpg", "train/masks/1.png", "train"),
        ("images/valid/1.jpg", "annotations/valid/1.png", "val"),
        ("imagesTr/1.png", "labelsTr/1.png", "train"),
        ("JPEGImages/1.jpg", "SegmentationClass/1.png", None),
        ("RGB/1.png", "GT/1.png", None),
        ("leftImg8bit/test/a/a_1_leftImg8bit.png", "gtFine/test/a/a_1_gtFine_labelIds.png", "test"),
        ("1.jpg", "1_mask.png", None),
        ("sub/1_sat.jpg", "sub/1_mask.png", None),
        ("1.png", "1_L.png", None),
        ("images/image_0001.png", "masks/gt_0001.png", None),
        ("a/images/x.y.jpg", "a/masks/x.y.png", None),
        ("images/1.jpg", "vessels/1.png", None),
    ],
)
def test_a_mask_finds_its_picture(tmp_path: Path, picture: str, mask: str, split: str | None) -> None:
    root = pair(tmp_path, (PLAN == 1).astype(np.uint8) * 255, picture, mask)
    assert detect(open_tree(root)) is not None
    source, pictures, problems = load(root, classes=["cat"])
    assert problems == []
    assert list(pictures) == [picture]
    assert source.not_pictures == {mask}
    assert pictures[picture].split == split
    assert pictures[picture].image == root / picture
    assert (pictures[picture].record.width, pictures[picture].record.height) == (4, 3)


def test_masks_and_pictures_may_lie_apart(tmp_path: Path) -> None:
    pair(tmp_path, PLAN, "elsewhere/set/1.jpg", "masks/1.png")
    tree = open_tree(tmp_path / "masks", tmp_path / "elsewhere")
    source = read(tree, options(tmp_path))
    (image,) = source.images
    assert isinstance(image, SourceImage)
    assert (image.record.file, source.not_pictures) == ("set/1.jpg", frozenset())


def test_lists_of_names_split_what_no_folder_splits(tmp_path: Path) -> None:
    for name in "123":
        pair(tmp_path, PLAN, f"images/{name}.jpg", f"masks/{name}.png")
    (tmp_path / "train.txt").write_text("1\n3\n")
    (tmp_path / "val.txt").write_text("images/2.jpg masks/2.png\n")
    splits = {file: image.split for file, image in load(tmp_path)[1].items()}
    assert splits == {"images/1.jpg": "train", "images/2.jpg": "val", "images/3.jpg": "train"}


def test_pictures_without_mask_are_left_to_convert_and_masks_without_picture_are_told(tmp_path: Path) -> None:
    root = pair(tmp_path, PLAN)
    photo(root / "images" / "2.jpg")
    save(root / "masks" / "3.png", PLAN)
    source, pictures, problems = load(root)
    assert list(pictures) == ["images/1.jpg"]
    assert source.not_pictures == {"masks/1.png", "masks/3.png"}
    assert [(problem.kind, problem.file) for problem in problems] == [("missing_image", "masks/3.png")]


def test_photographs_in_folders_of_the_same_names_are_no_masks(tmp_path: Path) -> None:
    for folder in ("mask", "no_mask"):  # classes of people with and without one
        for number in range(3):
            photo(tmp_path / folder / f"{number}.png", (64, 64))
    assert detect(open_tree(tmp_path)) is None


# ---- what masks show


@pytest.mark.parametrize(
    "label_map",
    [
        ("label_colors.txt", "0 0 0 background\n200 10 10\tcat\n10 200 10\tdog\n"),
        ("class_dict.csv", "name,r,g,b\nbackground,0,0,0\ncat,200,10,10\ndog,10,200,10\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:200,10,10::\ndog:10,200,10::\n"),
        ("colormap.txt", "cat 200 10 10\ndog 10 200 10\n"),
        (
            "dataset_meta.json",
            '{"label_map": {"0": "none", "1": "cat", "2": "dog"}, "background_label": "0",'
            ' "segmentation_colors": [[0, 0, 0], [200, 10, 10], [10, 200, 10]]}',
        ),
        ("labels.csv", "id,class,red,green,blue\n0,background,0,0,0\n1,cat,200,10,10\n2,dog,10,200,10\n"),
    ],
)
@pytest.mark.parametrize("kind", ["colour", "palette"])
def test_every_label_map_names_the_same_colours(tmp_path: Path, label_map: tuple[str, str], kind: str) -> None:
    root = pair(tmp_path, COLORS[PLAN]) if kind == "colour" else pair(tmp_path, PLAN, mode="P")
    (root / label_map[0]).write_text(label_map[1])
    source, pictures, problems = load(root)
    assert (source.classes, problems) == (("cat", "dog"), [])
    assert np.array_equal(shown(pictures["images/1.jpg"]), PLAN)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
@pytest.mark.parametrize(
    "given",
    [
        {"classes": ["background", "cat", "dog"]},
        {"classes": ["cat", "dog"]},
        {"classes": ["nothing", "cat", "dog"], "background": "nothing"},
        {"classes": ["cat", "dog", "bird"], "background": "background"},
    ],
)
def test_numbers_are_named_in_order(tmp_path: Path, dtype: type, given: dict[str, Any]) -> None:
    root = pair(tmp_path, PLAN.astype(dtype), name="masks/1.tif" if dtype == np.int32 else "masks/1.png")
    source, pictures, _ = load(root, **given)
    assert (source.classes or ())[:2] == ("cat", "dog")
    assert np.array_equal(shown(pictures["images/1.jpg"]), PLAN)


def test_numbers_without_names_are_their_own(tmp_path: Path) -> None:
    plan = np.where(PLAN == 2, 10, PLAN * 9)
    plan[0, 0] = 255
    source, pictures, _ = load(pair(tmp_path, plan.astype(np.uint8)))
    assert source.classes == ("9", "10")
    assert shown(pictures["images/1.jpg"])[0].tolist() == [255, 0, 1, 2]


def test_colours_without_names_are_their_own(tmp_path: Path) -> None:
    source, pictures, _ = load(pair(tmp_path, COLORS[PLAN]))
    assert source.classes == ("#0ac80a", "#c80a0a")
    assert np.array_equal(shown(pictures["images/1.jpg"]), np.array([0, 2, 1], np.uint8)[PLAN])


def test_an_empty_background_makes_the_first_name_a_class(tmp_path: Path) -> None:
    root = pair(tmp_path, PLAN)
    source, pictures, _ = load(root, classes=["sky", "road", "car"], background="")
    assert source.classes == ("sky", "road", "car")
    assert np.array_equal(shown(pictures["images/1.jpg"]), PLAN + 1)


def test_names_that_may_begin_at_0_or_1_are_refused(tmp_path: Path) -> None:
    root = pair(tmp_path, np.minimum(PLAN, 1) + 0)
    pair(tmp_path, PLAN, "images/2.jpg", "masks/2.png")
    with pytest.raises(DataError, match=r"data\.background"):
        load(root, classes=["cat", "dog", "bird"])


def test_void_is_neither_class_nor_background(tmp_path: Path) -> None:
    root = pair(tmp_path, PLAN)
    expected = np.array([0, 1, 255], np.uint8)[PLAN]
    for knobs in ({"classes": ["background", "cat", "ignore"]}, {"classes": ["background", "cat", "x"], "void": "x"}):
        source, pictures, _ = load(root, **knobs)
        assert source.classes == ("cat",)
        assert np.array_equal(shown(pictures["images/1.jpg"]), expected)
    source, pictures, _ = load(root, void="2")
    assert source.classes == ("1",)
    assert np.array_equal(shown(pictures["images/1.jpg"]), expected)


def test_a_number_without_a_name_is_told_with_its_place(tmp_path: Path) -> None:
    plan = PLAN.copy()
    plan[1, 2] = 7
    _, pictures, _ = load(pair(tmp_path, plan), classes=["background", "cat", "dog"])
    with pytest.raises(DataError, match=r"number 7 at 2, 1"):
        shown(pictures["images/1.jpg"])


@pytest.mark.parametrize("white", [1, 255])
@pytest.mark.parametrize("how", ["L", "RGB", "1"])
def test_black_and_white_is_one_class(tmp_path: Path, white: int, how: str) -> None:
    plan = np.where(PLAN == 1, white, 0).astype(np.uint8)
    pixels = {"L": plan, "RGB": np.dstack([plan] * 3), "1": plan > 0}[how]
    source, pictures, problems = load(pair(tmp_path, pixels), classes=["cat"])
    assert (source.classes, problems) == (("cat",), [])
    assert np.array_equal(shown(pictures["images/1.jpg"]), PLAN == 1)
    assert load(tmp_path)[0].classes == ("object",)


def test_the_masks_folder_names_the_class(tmp_path: Path) -> None:
    root = pair(tmp_path, (PLAN == 1).astype(np.uint8), name="vessels/1.png")
    assert load(root)[0].classes == ("vessel",)


def test_the_noise_of_a_jpeg_is_cut_at_half_and_told_where_there_is_much(tmp_path: Path) -> None:
    plan = np.zeros((64, 64), np.uint8)
    plan[16:48, 16:48] = 255
    root = pair(tmp_path, plan, name="masks/1.jpg", picture="images/1.png", quality=80)
    source, pictures, problems = load(root)
    assert (source.classes, problems) == (("object",), [])
    assert (shown(pictures["images/1.png"]) == (plan > 0)).mean() > 0.99
    blurred = plan.copy()
    blurred[:, 14:16], blurred[0, :8], blurred[1, :8] = 100, 20, 240
    pair(root, blurred, name="masks/2.png", picture="images/2.png")
    _, pictures, problems = load(root)
    assert len(pictures) == 2
    assert [(problem.kind, problem.file, problem.action) for problem in problems] == [
        ("unclear_mask", "masks/2.png", Action.fix)
    ]
