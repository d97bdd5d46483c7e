"""Laws of reading Open Images: boxes, labels, masks, class names and splits of all its tables come together."""

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hotcoco import mask as hotcoco_mask
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convert.sources import POLICY
from reprolens.config.data import Labelled
from reprolens.convert.formats.open_images import detect, read
from reprolens.convert.source import Problem, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

HEAD = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
MASK_HEAD = "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks\n"


def load(
    root: Path, images: Path | None = None, annotations: str | None = None
) -> tuple[dict[str, SourceImage], list[Problem], tuple[str, ...] | None]:
    options = Labelled("open_images", str(root), None, annotations, [0.7, 0.1, 0.2], None, POLICY)
    source = read(open_tree(root, images), options)
    items = list(source.images)
    pictures = {item.record.file: item for item in items if isinstance(item, SourceImage)}
    return pictures, [item for item in items if isinstance(item, Problem)], source.classes


def write(root: Path, files: dict[str, str], **pictures: tuple[int, int]) -> Path:
    for name, text in files.items():
        (root / name).write_text(text)
    for name, size in pictures.items():
        Image.new("RGB", size).save(root / f"{name}.jpg")
    return root


# ---- real data sets


def test_100_photographs_have_the_boxes_of_their_coco_file(shared: Path) -> None:
    database = shared / "voc100_multiformat" / "data" / "database"
    coco = json.loads((database / "gts" / "coco_format_v2" / "instances_v2.json").read_text())
    names = {item["id"]: item["name"] for item in coco["categories"]}
    files = {item["id"]: item["file_name"] for item in coco["images"]}
    expected: Counter[tuple[str, str, float, float, float, float]] = Counter()
    for item in coco["annotations"]:
        x, y, w, h = item["bbox"]
        expected[files[item["image_id"]], names[item["category_id"]], x, y, x + w, y + h] += 1

    root = database / "gts" / "openimages_format"  # its numbers have decimal commas
    assert detect(open_tree(root))
    pictures, problems, classes = load(root, database / "images")
    found = Counter(
        (file, item.name, *item.box) for file, picture in pictures.items() for item in picture.record.objects
    )
    assert not problems and len(pictures) == 100 and found.total() == 273 and classes is None
    assert found == expected


def test_the_fixture_of_version_6_is_read_whole(shared: Path) -> None:
    root = shared / "format_fixtures" / "assets" / "open_images_dataset" / "v6"
    pictures, problems, classes = load(root)
    assert not problems and classes == tuple(f"Generic label #{number}" for number in range(4))
    assert {file: item.split for file, item in pictures.items()} == {
        "images/train/a.jpg": "train",
        "images/train/b.jpg": "train",
        "images/test/c.jpg": "test",
        "images/validation/d.png": "val",
    }
    assert pictures["images/train/a.jpg"].record.labels == ("Generic label #0",)
    (item,) = pictures["images/train/b.jpg"].record.objects
    assert item.box == (2.0, 0.6, 8.0, 1.0) and not (item.crowd or item.occluded)  # -1 is unknown
    code = json.loads(item.segmentation)
    stored = np.asarray(Image.open(root / "masks" / "train" / "b_m0_01234567.png"))
    assert np.array_equal(hotcoco_mask.decode({**code, "counts": code["counts"]}), stored)
    (item,) = pictures["images/test/c.jpg"].record.objects
    assert item.name == "Generic label #3" and item.crowd and item.occluded and not item.truncated
    assert read(
        open_tree(root), Labelled("open_images", "x", None, None, [0.7, 0.1, 0.2], None, POLICY)
    ).not_pictures == {"masks/train/b_m0_01234567.png"}


def test_pictures_without_a_box_are_pictures_without_objects(shared: Path) -> None:
    pictures, problems, _ = load(shared / "format_fixtures" / "assets" / "open_images_dataset" / "v5")
    assert not problems
    assert {file: (item.split, item.record.objects) for file, item in pictures.items()} == {
        "images/test/cc.jpg": ("test", ()),
        "images/train/aa.jpg": ("train", ()),
    }


def test_no_other_format_is_taken_for_open_images(shared: Path) -> None:
    for root in sorted((shared / "format_fixtures" / "assets").iterdir()):
        if root.is_dir() and root.name != "open_images_dataset":
            assert detect(open_tree(root)) is None, root


# ---- rules


@pytest.mark.parametrize("identity", ["a", "a.jpg", "train/a.jpg"])
def test_a_picture_is_found_with_and_without_suffix(tmp_path: Path, identity: str) -> None:
    write(
        tmp_path,
        {"train-annotations-bbox.csv": f"{HEAD}{identity},xclick,cat,1,0.25,0.5,0.1,0.9,0,1,0,0,0\n"},
        a=(40, 30),
    )
    (picture,) = load(tmp_path)[0].values()
    (item,) = picture.record.objects
    assert (picture.record.file, picture.split, item.box) == ("a.jpg", "train", (10.0, 3.0, 20.0, 27.0))
    assert item.truncated and not item.occluded


def test_edges_on_pixels_come_back_and_others_are_exact(tmp_path: Path) -> None:
    row = "a,xclick,cat,1,0.333333,0.666667,0.1234567,0.9,0,0,0,0,0\n"
    write(tmp_path, {"annotations-bbox.csv": HEAD + row}, a=(300, 700))
    (item,) = load(tmp_path)[0]["a.jpg"].record.objects
    assert Decimal(repr(item.box[1])) == Decimal("86.41969")
    assert item.box[3] == 630.0


def test_labels_count_only_where_they_were_verified_to_be_there(tmp_path: Path) -> None:
    text = "ImageID,Source,LabelName,Confidence\na,verification,/m/1,1\na,verification,/m/2,0\na,machine,/m/2,0.7\n"
    write(
        tmp_path,
        {"test-annotations-human-imagelabels.csv": text, "class-descriptions.csv": "/m/1,Cat\n/m/2,Dog\n"},
        a=(4, 4),
    )
    pictures, problems, classes = load(tmp_path)
    assert not problems and classes == ("Cat", "Dog")
    assert (pictures["a.jpg"].record.labels, pictures["a.jpg"].split) == (("Cat",), "test")


def test_a_mask_goes_to_its_own_box_at_the_size_of_the_picture(tmp_path: Path) -> None:
    boxes = "a,x,cat,1,0,0.5,0,1,0,0,0,0,0\na,x,cat,1,0.5,1,0,1,0,0,0,0,0\n"
    masks = "a_m1_1.png,a,cat,1,0.5001,1,0,1,0.9,\ngone.png,a,cat,2,0,0.5,0,1,0.9,\n"
    write(tmp_path, {"annotations-bbox.csv": HEAD + boxes, "object-segmentation.csv": MASK_HEAD + masks}, a=(40, 30))
    (tmp_path / "masks").mkdir()
    stored = np.zeros((15, 20), np.uint8)
    stored[:, 10:] = 255
    Image.fromarray(stored).save(tmp_path / "masks" / "a_m1_1.png")
    pictures, problems, _ = load(tmp_path)
    first, second = pictures["a.jpg"].record.objects
    assert first.segmentation == "" and json.loads(second.segmentation)["size"] == [30, 40]
    decoded = hotcoco_mask.decode(json.loads(second.segmentation))
    assert decoded[:, 20:].all() and not decoded[:, :20].any()
    assert [(item.kind, item.reason) for item in problems] == [("unreadable_mask", "the mask gone.png is missing")]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("a,x,/m/9,1,0,1,0,1,0,0,0,0,0", "unknown_class"),
        ("a,x,/m/1,1,0,nan,0,1,0,0,0,0,0", "invalid_box"),
        ("a,x,/m/1,1,0", "invalid_box"),
        (",x,/m/1,1,0,1,0,1,0,0,0,0,0", "unreadable_annotation"),
    ],
)
def test_a_bad_row_is_a_problem_and_costs_no_other(tmp_path: Path, row: str, kind: str) -> None:
    good = "a,x,/m/1,1,0,1,0,1,0,0,0,0,0\n"
    files = {"annotations-bbox.csv": f"{HEAD}{good}{row}\n{good}", "class-descriptions.csv": "/m/1,Cat\n"}
    pictures, problems, _ = load(write(tmp_path, files, a=(8, 8)))
    assert [item.box for item in pictures["a.jpg"].record.objects] == [(0, 0, 8, 8)] * 2
    assert [(item.kind, item.place.endswith("line 3")) for item in problems] == [(kind, True)]


def test_boxes_without_their_picture_stay_relative(tmp_path: Path) -> None:
    pictures, _, _ = load(write(tmp_path, {"annotations-bbox.csv": f"{HEAD}gone,x,cat,1,0.1,0.2,0.3,0.4,0,0,0,0,0\n"}))
    record = pictures["gone"].record
    assert (record.width, record.height, record.objects[0].box) == (0, 0, (0.1, 0.3, 0.2, 0.4))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 250), st.sampled_from(["b-bbox.csv", "m.csv", "class-descriptions.csv"]))
def test_damaged_files_raise_nothing_but_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int, victim: str
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    files = {"b-bbox.csv": f"{HEAD}a,x,/m/1,1,0,1,0,1,0,0,0,0,0\n", "class-descriptions.csv": "/m/1,Cat\n"}
    write(root, {**files, "m.csv": f"{MASK_HEAD}a_1.png,a,/m/1,1,0,1,0,1,0.9,\n"}, a=(8, 8))
    data = (root / victim).read_bytes()
    (root / victim).write_bytes(data[:place] + noise + data[place + len(noise) :])
    try:
        detect(open_tree(root))
        load(root)
    except DataError:
        pass
