"""Masks of single objects: they lie on what they outline, whatever is done to the picture, and nobody else pays."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from reprolens.config import Augment
from reprolens.config.compose import compose
from reprolens.convert.mask_files import write_masks
from reprolens.errors import DataError
from reprolens.loading import Key, TrainingPictures, build_augmentation, open_index
from reprolens.loading.masks import check_outlines, mask_file, masks_digest, object_masks
from reprolens.voc import Folder, Object, Record, read_folder, write_folder

SIZE = (64, 96)
WIDTH, HEIGHT = 120, 80
COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
NONE = compose(Path(__file__).parents[2], ["augment=none"]).augment
GEOMETRY = {"crop": 0.5, "zoom_out": 0.5, "affine": 0.8, "max_rotation": 10.0, "max_translation": 0.2}
STRONG = replace(NONE, horizontal_flip=0.5, mosaic=0.5, mixup=0.3, copy_paste=0.3, **GEOMETRY)
PLAIN_MIX = replace(NONE, horizontal_flip=0.5, mosaic=0.5, copy_paste=0.3, **GEOMETRY)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def triangles(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Return a VOC folder of triangles of pure colours on grey: train has four pictures and one without objects."""
    root = tmp_path_factory.mktemp("triangles")
    (root / "JPEGImages").mkdir()
    records = [_picture(root, f"train_{number}", number) for number in range(4)]
    records.append(_picture(root, "empty", None))
    write_folder(root, sorted(COLOURS), {"train": records, "val": [], "test": []}, [item.id for item in records[:4]])
    write_masks(root, {"train": records}, {}, {}, sorted(COLOURS), [], [])
    return read_folder(root)


def _picture(root: Path, id: str, number: int | None) -> Record:
    """Write a picture of three triangles and a crowd (drawn as ground); of none where there is no number."""
    pixels, objects = np.full((HEIGHT, WIDTH, 3), 127, np.uint8), []
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for third, name in enumerate(COLOURS if number is not None else ()):
        x0, y0 = third * 40 + 4 + (number or 0), 10 + 5 * (number or 0)
        x1, y1 = x0 + 30, y0 + 40
        pixels[(rows < y1) & (columns > x0) & ((rows - y0) / 40 > (columns - x0) / 30)] = COLOURS[name]
        outline = json.dumps([[x0, y0, x1, y1, x0, y1]])
        objects.append(Object(name, (x0, y0, x1, y1), segmentation=outline))
    if number is not None:
        band = json.dumps([[0, 70, WIDTH, 70, WIDTH, 80, 0, 80]])
        objects.insert(1, Object("red", (0, 70, WIDTH, 80), crowd=True, segmentation=band))
    Image.fromarray(pixels).save(root / "JPEGImages" / f"{id}.png")
    return Record(id, f"{id}.png", WIDTH, HEIGHT, 3, tuple(objects))


def _pictures(folder: Folder, augment: Augment = NONE, masks: bool = True) -> TrainingPictures:
    return TrainingPictures(open_index(folder), "train", SIZE, build_augmentation(augment), 5, None, masks)


def _key(epoch: int, index: int) -> Key:
    return Key(epoch, index, *SIZE, mix=True)


def _copy(folder: Folder, target: Path) -> Folder:
    shutil.copytree(folder.root, target)
    return read_folder(target)


def _shows(image: Tensor, label: int) -> Tensor:
    """Return where a picture `(3, H, W)` shows the colour of a label: blue, green and red are 1, 2 and 3."""
    channel = 3 - label
    others = image[[place for place in range(3) if place != channel]].amax(0)
    return image[channel].int() - others.int() > 100


def test_a_mask_is_the_shape_that_its_object_has_in_the_picture(triangles: Folder) -> None:
    pictures = _pictures(triangles)
    for index in range(4):
        image, target, _ = pictures[_key(1, index)]
        assert target["masks"].dtype == torch.uint8
        assert target["masks"].shape == (3, *SIZE)  # none for the crowd
        assert target["labels"].tolist() == [1, 2, 3]
        for label, mask in zip(target["labels"].tolist(), target["masks"].bool(), strict=True):
            shape = _shows(image, label)
            assert int((mask & shape).sum()) > 0.9 * int((mask | shape).sum())


def test_masks_follow_every_augmentation(triangles: Folder) -> None:
    pictures, seen = _pictures(triangles, PLAIN_MIX), 0
    for epoch in range(8):
        for index in range(5):
            image, target, _ = pictures[_key(epoch, index)]
            assert len(target["masks"]) == len(target["boxes"]) == len(target["labels"])
            for box, label, mask in zip(
                target["boxes"].tolist(), target["labels"], target["masks"].bool(), strict=True
            ):
                rows, columns = torch.nonzero(mask, as_tuple=True)
                assert len(rows) > 0
                # Masks are resized pixel by pixel, twice here, and enlarged by half.
                assert box[0] - 3 <= columns.min() and columns.max() + 1 <= box[2] + 3
                assert box[1] - 3 <= rows.min() and rows.max() + 1 <= box[3] + 3
                if len(rows) > 60:
                    assert _shows(image, int(label))[mask].float().mean() > 0.8
                    seen += 1
    assert seen > 40


def test_a_picture_without_objects_has_no_masks_and_needs_no_file(triangles: Folder) -> None:
    _, target, id = _pictures(triangles)[_key(1, 4)]
    assert id == "empty"
    assert not mask_file(triangles, Record("empty", "", 0, 0)).exists()
    assert target["masks"].shape == (0, *SIZE)


def test_pictures_are_the_same_with_and_without_masks(triangles: Folder) -> None:
    moved = replace(PLAIN_MIX, copy_paste=0.0)  # which cuts objects out by their masks
    with_masks, without = _pictures(triangles, moved), _pictures(triangles, moved, masks=False)
    for index in range(4):
        first, second = with_masks[_key(2, index)], without[_key(2, index)]
        assert torch.equal(first[0], second[0])
        boxes = {tuple(box) for box in second[1]["boxes"].tolist()}
        assert {tuple(box) for box in first[1]["boxes"].tolist()} <= boxes  # less what shows no pixel


def test_who_wants_no_masks_reads_none(triangles: Folder, tmp_path: Path) -> None:
    folder = _copy(triangles, tmp_path / "voc")
    shutil.rmtree(folder.root / "SegmentationObject")
    for index in range(5):
        assert set(_pictures(folder, STRONG, masks=False)[_key(1, index)][1]) == {"boxes", "labels"}


def test_an_object_that_others_cover_is_left_out_but_has_an_outline(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    square = json.dumps([[10, 10, 50, 10, 50, 50, 10, 50]])
    objects = tuple(Object(name, (10, 10, 50, 50), segmentation=square) for name in ("red", "blue"))
    record = Record("one", "one.png", WIDTH, HEIGHT, 3, objects)
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "JPEGImages" / "one.png")
    write_folder(tmp_path, sorted(COLOURS), {"train": [record], "val": [], "test": []}, ["one"])
    write_masks(tmp_path, {"train": [record]}, {}, {}, sorted(COLOURS), [], [])
    folder = read_folder(tmp_path)
    index = open_index(folder)
    check_outlines(folder, index.records("train"), "train")
    assert _pictures(folder)[_key(1, 0)][1]["labels"].tolist() == [1]  # blue, drawn last


def test_objects_beyond_those_that_a_file_can_tell_apart_have_no_pixels() -> None:
    numbers = np.array([[0, 1], [254, 255]], np.uint8)
    masks = object_masks(numbers, [1, 2, 254, 255, 256], (2, 2))
    assert masks.reshape(5, 4).tolist() == [[0, 1, 0, 0], [0] * 4, [0, 0, 1, 0], [0] * 4, [0] * 4]


def test_objects_without_outline_are_counted_before_training(triangles: Folder, tmp_path: Path) -> None:
    folder = _copy(triangles, tmp_path / "voc")
    check_outlines(folder, open_index(folder).records("train"), "train")
    mask_file(folder, folder.record("train_1")).unlink()
    path = folder.root / "Annotations" / "train_2.xml"
    text = path.read_text(encoding="utf-8")
    start, end = text.index("\t\t<segmentation>"), text.index("</segmentation>\n") + len("</segmentation>\n")
    path.write_text(text[:start] + text[end:], encoding="utf-8")
    numbers = mask_file(folder, folder.record("train_2"))
    with Image.open(numbers) as mask:
        Image.fromarray(np.where(np.array(mask) == 1, 0, np.array(mask)).astype(np.uint8)).save(numbers)
    with pytest.raises(DataError, match=r"^train: 4 of 12 objects have no outline \(the first in train_1\)") as caught:
        check_outlines(folder, open_index(folder).records("train"), "train")
    assert "fasterrcnn" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b"\x89PNG but no more"), r"train_0\.png: does not decode"),
        (lambda path: Image.new("P", (7, 9)).save(path), r"train_0\.png: 7 x 9 pixels, mode P: .* 120 x 80"),
        (lambda path: Image.new("RGB", (WIDTH, HEIGHT)).save(path), r"train_0\.png: .* mode RGB: .* one byte a pixel"),
    ],
    ids=["no picture", "another size", "colours"],
)
def test_a_damaged_mask_is_named(damage: object, message: str, triangles: Folder, tmp_path: Path) -> None:
    folder = _copy(triangles, tmp_path / "voc")
    damage(mask_file(folder, folder.record("train_0")))  # type: ignore[operator]
    with pytest.raises(DataError, match=message) as caught:
        _pictures(folder)[_key(1, 0)]
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=message):
        check_outlines(folder, open_index(folder).records("train"), "train")


def test_the_digest_of_masks_changes_with_any_of_them_and_not_with_the_place(triangles: Folder, tmp_path: Path) -> None:
    folder = _copy(triangles, tmp_path / "voc")
    records = open_index(folder).records("train")
    first = masks_digest(folder, records)
    assert first == masks_digest(triangles, open_index(triangles).records("train"))
    path = mask_file(folder, folder.record("train_3"))
    with Image.open(path) as mask:
        changed = np.array(mask)
    changed[0, 0] = 1
    Image.fromarray(changed).save(path)
    second = masks_digest(folder, records)
    path.unlink()
    assert len({first, second, masks_digest(folder, records)}) == 3
