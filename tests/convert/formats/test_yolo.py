"""Laws of reading YOLO: every layout that tools write gives the same pictures, boxes, classes and splits."""

import json
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convert.sources import POLICY
from reprolens.config.data import Yolo
from reprolens.convert.formats.yolo import detect, read
from reprolens.convert.source import Problem, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

Box = tuple[str, float, float, float, float]


def options(root: Path, annotations: str | None = None, classes: list[str] | None = None) -> Yolo:
    return Yolo("yolo", str(root), None, annotations, [0.7, 0.1, 0.2], None, POLICY, classes)


def load(
    root: Path, images: Path | None = None, **knobs: object
) -> tuple[dict[str, SourceImage], list[Problem], tuple[str, ...] | None]:
    source = read(open_tree(root, images), options(root, **knobs))  # type: ignore[arg-type]
    items = list(source.images)
    pictures = {item.record.file: item for item in items if isinstance(item, SourceImage)}
    return pictures, [item for item in items if isinstance(item, Problem)], source.classes


def boxes(picture: SourceImage) -> list[Box]:
    return [(item.name, *item.box) for item in picture.record.objects]


def write(root: Path, files: dict[str, str | tuple[int, int]]) -> Path:
    """Write texts, and pictures of the sizes given."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            Image.new("RGB", content).save(path)
    return root


# ---- real data sets


def test_100_photographs_have_the_boxes_of_their_coco_file(shared: Path) -> None:
    database = shared / "voc100_multiformat" / "data" / "database"
    coco = json.loads((database / "gts" / "coco_format_v2" / "instances_v2.json").read_text())
    names = {item["id"]: item["name"] for item in coco["categories"]}
    files = {item["id"]: item["file_name"] for item in coco["images"]}
    expected: Counter[tuple[str, Box]] = Counter()
    for item in coco["annotations"]:
        x, y, w, h = item["bbox"]
        expected[files[item["image_id"]], (names[item["category_id"]], x, y, x + w, y + h)] += 1

    pictures, problems, classes = load(database / "gts" / "yolo_format", database / "images")
    found = Counter((file, box) for file, picture in pictures.items() for box in boxes(picture))
    assert not problems and len(pictures) == 100 and found.total() == 273 and len(classes or ()) == 20
    assert found == expected
    assert all(item.exact is None for picture in pictures.values() for item in picture.record.objects)
    assert {picture.split for picture in pictures.values()} == {"train"}


TWO = [("label_2", 0.0, 2.0, 4.0, 4.0), ("label_4", 3.0, 3.0, 5.0, 6.0)]


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("yolo_dataset/labels", {"images/train/1.jpg": ("train", TWO), "images/val/1.jpg": ("val", TWO)}),
        ("yolo_dataset/annotations", {"Images/1.jpg": (None, TWO)}),
        ("yolo_dataset/strict", {"obj_train_data/1.jpg": ("train", TWO)}),
        (
            "roboflow_dataset/yolo",
            {
                "train/images/train_001.jpg": ("train", [("label_0", 2, 1, 5, 2)]),
                "train/images/train_002.jpg": ("train", [("label_1", 0, 0, 2, 4)]),
                "val/images/val_001.jpg": ("val", [("label_0", 0, 0, 1, 2), ("label_1", 0, 0, 9, 1)]),
            },
        ),
        *(
            (
                folder,
                {
                    "train/images/train_001.jpg": ("train", [("label_0", 0, 0, 2, 2)]),
                    "train/images/train_002.jpg": ("train", [("label_1", 1, 1, 5, 5)]),
                    "val/images/val_001.jpg": ("val", [("label_0", 0, 0, 1, 1), ("label_1", 1, 2, 10, 5)]),
                },
            )
            for folder in ("roboflow_dataset/yolo_obb", "dota_dataset")
        ),
        (
            "kaggle_dataset/relaxed_yolo",
            {
                "1.jpg": (None, [("2", 0, 2, 4, 4), ("4", 3, 3, 5, 6)]),
                "2.jpg": (None, [("1", 0, 2, 4, 4), ("3", 3, 3, 5, 6)]),
            },
        ),
    ],
)
def test_the_small_sets_of_other_tools_are_read_whole(
    shared: Path, folder: str, expected: dict[str, tuple[str | None, list[Box]]]
) -> None:
    root = shared / "format_fixtures" / "assets" / folder
    assert detect(open_tree(root))
    pictures, problems, _ = load(root)
    assert not problems
    assert {file: (item.split, boxes(item)) for file, item in pictures.items()} == expected


def test_no_other_format_is_taken_for_yolo(shared: Path) -> None:
    for root in sorted((shared / "format_fixtures" / "assets").iterdir()):
        if root.is_dir() and root.name not in ("yolo_dataset", "roboflow_dataset", "dota_dataset", "kaggle_dataset"):
            assert detect(open_tree(root)) is None, root


# ---- layouts


HALF = "0 0.5 0.5 0.5 0.5\n"
HALF_BOX = ("cat", 5.0, 2.5, 15.0, 7.5)


@pytest.mark.parametrize(
    "files",
    [
        {"data.yaml": "path: ../datasets/x\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"},
        {"data.yaml": "train: /home/me/x/images/train\nval: /home/me/x/images/val\nnc: 2\nnames: [cat, dog]\n"},
        {"data.yaml": "train: [images/train]\nval: [images/val]\nnames: ['cat', 'dog']\n"},
        {
            "data.yaml": "train: train.txt\nval: val.txt\nnames: [cat, dog]\n",
            "train.txt": "./images/train/a.jpg\n",
            "val.txt": "./images/val/b.jpg\n./images/val/c.jpg\n",
        },
        {"classes.txt": "cat\ndog\n"},
        {"obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n", "obj.names": "cat\ndog\n"},
    ],
)
def test_every_way_to_name_classes_and_splits_says_the_same(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, {f"images/{place}.jpg": (20, 10) for place in ("train/a", "val/b", "val/c")})
    write(tmp_path, {"labels/train/a.txt": HALF, "labels/val/b.txt": HALF, **files})
    assert detect(open_tree(tmp_path))
    pictures, problems, classes = load(tmp_path)
    assert [problem.kind for problem in problems] == ["unlabelled_pictures"] and classes == ("cat", "dog")
    assert {file: (item.split, boxes(item)) for file, item in pictures.items()} == {
        "images/train/a.jpg": ("train", [HALF_BOX]),
        "images/val/b.jpg": ("val", [HALF_BOX]),
        "images/val/c.jpg": ("val", []),  # no label file: no objects
    }


def test_a_data_yaml_may_be_given_for_its_folder(tmp_path: Path) -> None:
    write(tmp_path, {"images/train/a.jpg": (20, 10), "labels/train/a.txt": HALF})
    write(tmp_path, {"data.yaml": "train: images/train\nnames: [cat]\n"})
    pictures, _, _ = load(tmp_path / "data.yaml")
    assert boxes(pictures["images/train/a.jpg"]) == [HALF_BOX]


def test_names_that_yaml_takes_for_something_else_stay_names(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": (20, 10), "a.txt": HALF, "data.yaml": "train: .\nnames: [no, 1e3, 'yes']\n"})
    assert load(tmp_path)[2] == ("no", "1e3", "yes")


def test_the_users_own_classes_win(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": (20, 10), "a.txt": HALF, "classes.txt": "x\n"})
    pictures, _, classes = load(tmp_path, classes=["bird", "fish"])
    assert classes == ("bird", "fish") and boxes(pictures["a.jpg"])[0][0] == "bird"


def test_without_names_classes_are_numbered_up_to_the_largest(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": (20, 10), "a.txt": "3 0.5 0.5 0.5 0.5\n"})
    assert load(tmp_path)[2] == ("0", "1", "2", "3")


def test_two_lists_of_classes_that_differ_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": (20, 10), "a.txt": HALF, "x/classes.txt": "cat\n", "y/classes.txt": "dog\n"})
    with pytest.raises(DataError, match=r"set data\.classes"):
        load(tmp_path)


def test_a_label_file_without_picture_is_handed_over_without_size(tmp_path: Path) -> None:
    write(tmp_path, {"images/train/a.jpg": (20, 10), "labels/train/a.txt": HALF, "labels/train/gone.txt": HALF})
    gone = load(tmp_path)[0]["train/gone"]
    assert (gone.record.width, gone.record.height, gone.image, gone.split) == (0, 0, None, "train")
    assert boxes(gone) == [("0", 0.25, 0.25, 0.75, 0.75)]


def test_labels_never_go_to_a_picture_of_another_split(tmp_path: Path) -> None:
    write(tmp_path, {"images/train/a.jpg": (20, 10), "images/val/b.jpg": (20, 10), "labels/val/a.txt": HALF})
    pictures, _, _ = load(tmp_path)
    assert boxes(pictures["val/a"]) and "images/train/a.jpg" not in pictures
    image = pictures["val/a"].image
    assert isinstance(image, Path) and not image.exists()  # so that convert calls it missing


def test_a_list_that_leads_out_of_the_data_set_opens_nothing_there(tmp_path: Path) -> None:
    write(tmp_path, {"x.jpg": (20, 10)})
    root = write(tmp_path / "set", {f"images/{folder}/x.jpg": (20, 10) for folder in "pq"})
    write(root, {"labels/p/x.txt": HALF, "train.txt": "../x.jpg\n/etc/x.jpg\n"})
    pictures, _, _ = load(root)
    inside = [item.image for item in pictures.values() if isinstance(item.image, Path)]
    assert inside == [root / "images" / "p" / "x.jpg"]
    assert pictures["../x.jpg"].image is None and pictures["../x.jpg"].split == "train"


# ---- lines


def lines_of(tmp_path: Path, text: str, size: tuple[int, int] = (20, 10)) -> tuple[SourceImage, list[Problem]]:
    write(tmp_path, {"images/a.jpg": size, "labels/a.txt": text, "classes.txt": "cat\ndog\n"})
    pictures, problems, _ = load(tmp_path)
    return pictures["images/a.jpg"], problems


def test_boxes_segments_and_oriented_boxes_may_be_mixed(tmp_path: Path) -> None:
    text = "0 0.5 0.5 0.5 0.5\n1 0.1 0.2 0.5 0.2 0.5 0.8\n1 0.1 0.1 0.5 0.1 0.5 0.9 0.1 0.9\n"
    picture, problems = lines_of(tmp_path, text)
    assert not problems
    assert [item.segmentation for item in picture.record.objects] == ["", "[[2,2,10,2,10,8]]", "[[2,1,10,1,10,9,2,9]]"]
    assert boxes(picture)[1:] == [("dog", 2, 2, 10, 8), ("dog", 2, 1, 10, 9)]


def test_a_segment_between_pixels_keeps_every_digit(tmp_path: Path) -> None:
    picture, _ = lines_of(tmp_path, "0 0.123456 0.2 0.5 0.2 0.5 0.8\n", (7, 10))
    assert picture.record.objects[0].segmentation == "[[0.864192,2,3.5,2,3.5,8]]"


def test_a_pose_is_its_box(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": (20, 10), "a.txt": "0 0.5 0.5 0.5 0.5 0.1 0.1 0.2 0.2\n"})
    write(tmp_path, {"data.yaml": "train: .\nkpt_shape: [2, 2]\nnames: [cat]\n"})
    assert boxes(load(tmp_path)[0]["a.jpg"]) == [HALF_BOX]


def test_dota_keeps_difficult_and_skips_its_head(tmp_path: Path) -> None:
    text = "imagesource:GoogleEarth\ngsd:0.146\n1 2 9.5 2 9.5 6 1 6 small vehicle 1\n1 1 2 1 2 2 1 2 ship 0\n"
    write(tmp_path, {"images/a.png": (20, 10), "labelTxt/a.txt": text})
    picture = load(tmp_path)[0]["images/a.png"]
    assert boxes(picture) == [("small vehicle", 1, 2, 9.5, 6), ("ship", 1, 1, 2, 2)]
    assert [item.difficult for item in picture.record.objects] == [True, False]


@pytest.mark.parametrize(
    ("line", "kind", "word"),
    [
        ("0 0.5 0.5 0.2 0.2 0.98", "unreadable_annotation", "confidence"),
        ("0 0.5 0.5", "unreadable_annotation", "3 columns"),
        ("7 0.5 0.5 0.2 0.2", "unknown_class", "'7'"),
        ("-1 0.5 0.5 0.2 0.2", "unknown_class", "'-1'"),
        ("bird 0.5 0.5 0.2 0.2", "unknown_class", "'bird'"),
        ("0 nan 0.5 0.2 0.2", "invalid_box", "'nan'"),
        ("0 0.5 1e999999999 0.2 0.2", "invalid_box", "finite"),
        ("0 0.5 0.5 0.2 abc", "invalid_box", "'abc'"),
    ],
)
def test_a_bad_line_is_a_problem_and_costs_no_other(tmp_path: Path, line: str, kind: str, word: str) -> None:
    picture, problems = lines_of(tmp_path, f"{HALF}{line}\n{HALF}")
    assert boxes(picture) == [HALF_BOX, HALF_BOX]
    assert [(item.kind, item.place.endswith("line 2")) for item in problems] == [(kind, True)]
    assert word in problems[0].reason


def test_a_label_file_that_is_no_text_is_a_problem_and_costs_no_other(tmp_path: Path) -> None:
    write(tmp_path, {f"{name}.jpg": (20, 10) for name in "ab"})
    write(tmp_path, {"b.txt": HALF})
    (tmp_path / "a.txt").write_bytes(b"\xff\x00\x80")
    pictures, problems, _ = load(tmp_path)
    assert list(pictures) == ["b.jpg"] and [item.kind for item in problems] == ["unreadable_annotation"]


@settings(max_examples=50, deadline=None)
@given(
    st.binary(max_size=60),
    st.integers(0, 200),
    st.sampled_from(["data.yaml", "labels/a.txt", "classes.txt", "train.txt"]),
)
def test_damaged_files_raise_nothing_but_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int, victim: str
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    write(
        root,
        {"images/a.jpg": (20, 10), "labels/a.txt": HALF + "1 0.1 0.2 0.5 0.2 0.5 0.8\n", "classes.txt": "cat\ndog\n"},
    )
    write(root, {"data.yaml": "train: images\nval: [images]\nnames: {0: cat, 1: dog}\n", "train.txt": "images/a.jpg\n"})
    data = (root / victim).read_bytes()
    (root / victim).write_bytes(data[:place] + noise + data[place + len(noise) :])
    try:
        detect(open_tree(root))
        load(root)
    except DataError:
        pass


def test_36000_boxes_are_parsed_in_a_second(tmp_path: Path) -> None:
    random.seed(0)
    Image.new("RGB", (1000, 800)).save(tmp_path / "0.jpg")
    rows = [
        f"{random.randrange(80)} " + " ".join(f"{random.uniform(0.3, 0.6):.6f}" for _ in range(4))
        for _ in range(36_000)
    ]
    (tmp_path / "0.txt").write_text("\n".join(rows))
    start = time.process_time()
    picture = load(tmp_path)[0]["0.jpg"]
    assert len(picture.record.objects) == 36_000
    assert time.process_time() - start < 2  # 0.6 s on an idle core
