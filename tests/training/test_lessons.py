"""What a backbone learns from: objects as they are, or pictures that have a class each."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reprolens.errors import DataError
from reprolens.loading import Key, open_rgb
from reprolens.training.lessons import LessonPictures, Lessons, Pictures, crop_lessons, picture_lessons
from reprolens.voc import Folder

SIDE = 32


def class_folders(root: Path, classes: int = 2, each: int = 10) -> Path:
    """Draw pictures of noise, wider than high, into a folder a class."""
    random = np.random.default_rng(0)
    for name in range(classes):
        (root / f"class {name}").mkdir(parents=True)
        for number in range(each):
            pixels = random.integers(0, 256, (24, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"class {name}" / f"{name}-{number}.png")
    return root


def class_table(root: Path, labels: list[str]) -> Path:
    """Draw a picture for each of the labels, which a table gives, several of a picture with `;` between."""
    root.mkdir(parents=True)
    rows = [("filename", "label")]
    for number, label in enumerate(labels):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(root / f"{number}.png")
        rows.append((f"{number}.png", label))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


def lessons(path: Path, folder: Folder, seed: int = 1) -> Lessons:
    return picture_lessons(str(path), SIDE, seed, folder)


def test_every_object_is_cut_out_by_its_box(digits: Folder) -> None:
    found = crop_lessons(digits, SIDE)
    assert (found.classes, found.shift) == (10, 0)
    record = next(digits.records("train"))
    cut = open_rgb(digits, record).resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=record.objects[0].box)
    assert np.array_equal(found.train.images[0].permute(1, 2, 0).numpy(), np.array(cut))
    assert digits.classes[int(found.train.labels[0])] == record.objects[0].name
    for pictures, split in ((found.train, "train"), (found.val, "val")):
        assert len(pictures) == sum(len(record.objects) for record in digits.records(split))


def test_pictures_are_resized_whole_and_split_by_the_seed(digits: Folder, tmp_path: Path) -> None:
    path = class_folders(tmp_path / "set", classes=3)
    first, same, other = (lessons(path, digits, seed) for seed in (1, 1, 2))
    assert first.train.images.shape == (24, 3, SIDE, SIDE)
    assert (first.classes, first.shift, len(first.val)) == (3, SIDE // 8, 3)
    assert Counter(first.train.labels.tolist()) == {0: 8, 1: 8, 2: 8}
    for name, label in zip(first.train.ids, first.train.labels.tolist(), strict=True):
        assert Path(name).name.startswith(f"{label}-")
    assert torch.equal(first.train.images, same.train.images)
    assert first.train.ids != other.train.ids


def test_splits_of_its_own_are_kept(digits: Folder, tmp_path: Path) -> None:
    for split, each in (("train", 4), ("val", 3), ("test", 2)):
        class_folders(tmp_path / "set" / split, each=each)
        for path in (tmp_path / "set" / split).rglob("*.png"):  # else they are the same pictures, which are leaks
            Image.fromarray(np.array(Image.open(path)) // (2 + each)).save(path)
    found = lessons(tmp_path / "set", digits)
    assert (len(found.train), len(found.val)) == (8, 6)
    assert (found.origin["pictures"], found.origin["pictures/val"], found.origin["format"]) == (8, 6, "class_folders")


def test_the_digest_tells_of_pictures_and_classes_and_not_of_the_place(digits: Folder, tmp_path: Path) -> None:
    first = lessons(class_folders(tmp_path / "first"), digits).origin
    moved = class_folders(tmp_path / "second")
    assert lessons(moved, digits).origin["digest"] == first["digest"]
    (moved / "class 0").rename(moved / "third")
    renamed = lessons(moved, digits).origin["digest"]
    Image.new("RGB", (48, 24)).save(moved / "third" / "0-0.png")
    assert len({first["digest"], renamed, lessons(moved, digits).origin["digest"]}) == 3


def test_nothing_is_left_behind(digits: Folder, tmp_path: Path) -> None:
    lessons(class_folders(tmp_path / "set"), digits)
    assert list(digits.root.parent.rglob("classify*")) == []


def test_pictures_of_several_classes_are_left_out_and_counted(digits: Folder, tmp_path: Path) -> None:
    path = class_table(tmp_path / "set", ["cat", "dog", "cat;dog"] * 10)
    found = lessons(path, digits)
    assert found.origin["pictures/several_classes"] > 0
    assert found.origin["pictures"] + found.origin["pictures/val"] <= 20
    assert set(found.train.labels.tolist()) == {0, 1}


def test_a_damaged_picture_is_left_out_and_counted(digits: Folder, tmp_path: Path) -> None:
    path = class_folders(tmp_path / "set")
    (path / "class 0" / "0-0.png").write_bytes(b"no picture")
    origin = lessons(path, digits).origin
    assert {"kind": "undecodable_image", "action": "drop", "count": 1} in origin["problem_kinds"]


def detection_set(root: Path) -> Path:
    """Write a COCO data set: its pictures have objects, and no class as a whole."""
    root.mkdir(parents=True)
    images = [{"id": n, "file_name": f"{n}.png", "width": 8, "height": 8} for n in range(6)]
    for n in range(6):
        Image.new("RGB", (8, 8), (n, 0, 0)).save(root / f"{n}.png")
    boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 4, 4], "area": 16} for n in range(6)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
    (root / "instances.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root, r"set: there is no such file or folder; null takes the objects instead$"),
        (lambda root: detection_set(root), r"no picture has a class as a whole \(it is coco, for detection\)"),
        (lambda root: class_table(root, ["cat"] * 6), "its train split has . pictures of one class each, of 1 classes"),
        (lambda root: class_table(root, ["cat", "dog"]), "no picture is left for the split"),
        (lambda root: class_folders(root, classes=1), r"in none of the formats known .*; put each class's"),
    ],
    ids=["absent", "of objects", "one class", "two pictures", "one folder"],
)
def test_what_teaches_nothing_is_refused_in_one_line(
    make: Callable[[Path], Path], message: str, digits: Folder, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        lessons(make(tmp_path / "set"), digits)
    text = str(caught.value)
    assert text.startswith("pretrain.data: ") and "\n" not in text and "data.path" not in text


def test_pictures_move_by_whole_pixels_as_seed_epoch_and_index_say() -> None:
    columns = torch.arange(SIDE, dtype=torch.uint8).expand(1, 3, SIDE, SIDE)  # a pixel's value is its column
    one = Pictures(columns, torch.tensor([1]), ["a"])
    keys = [Key(epoch, 0, SIDE, SIDE, False) for epoch in range(200)]
    moved = [LessonPictures(one, 4, 7)[key][0] for key in keys]
    steps = {int(image[0, 0, SIDE // 2]) - SIDE // 2 for image in moved}
    assert steps == set(range(-4, 5))
    for image in moved:
        step = int(image[0, 0, SIDE // 2]) - SIDE // 2
        assert torch.equal(image, (columns[0].int() + step).clamp(0, SIDE - 1).byte())  # the edge goes on
    assert all(torch.equal(image, LessonPictures(one, 4, 7)[key][0]) for image, key in zip(moved, keys, strict=True))
    assert torch.equal(LessonPictures(one, 0, 7)[keys[0]][0], columns[0])
