"""Laws of VOC's classes and masks: lists of classes, image sets of each class, numbers and colours."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.formats.voc_files import (
    detected,
    images_of,
    open_voc,
    write,
    write_pair,
    write_picture,
    xml,
)
from reprolens.convert.formats.voc_masks import CLASSES, voc_color
from reprolens.convert.source import Problem, SourceImage
from reprolens.errors import DataError

# ---- classes


LABELMAP = (
    "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndog:10,20,30::\na:b:1,2,3:head,tail:\nignored:224,224,192::\n"
)


@pytest.mark.parametrize(
    ("file", "text", "classes"),
    [
        ("labelmap.txt", LABELMAP, ("dog", "a:b")),
        ("labels.txt", "dog\ncat\nnever seen\n", ("dog", "cat", "never seen")),
        ("VOC2007/labels.txt", "background\ndog\n", ("dog",)),
    ],
)
def test_a_list_of_classes_gives_their_order_also_of_unused_ones(
    file: str, text: str, classes: tuple[str, ...], tmp_path: Path
) -> None:
    write_pair(tmp_path / "VOC2007", "x")
    write(tmp_path / file, text)
    assert open_voc(tmp_path).classes == classes


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("labelmap.txt", "1 cat\n", "'1 cat' is not a class"),
        ("labels.txt", "cat\ncat\n", "names the class 'cat' twice"),
    ],
)
def test_a_list_of_classes_that_is_none_is_refused(file: str, text: str, message: str, tmp_path: Path) -> None:
    write_pair(tmp_path, "x")
    write(tmp_path / file, text)
    with pytest.raises(DataError, match=message):
        open_voc(tmp_path)


def test_image_sets_of_classes_are_labels_where_nothing_is_annotated(tmp_path: Path) -> None:
    sets = {
        "cat_train": "a  1\nb -1\n",
        "cat_val": "c  0\n",
        "a b%2Fc_train": "a  1\nb  1\n",
        "a b%2Fc_val": "c -1\n",
        "cat_trainval": "a  1\nb -1\nc  0\n",
        "train": "a\nb\n",
    }
    for name, text in sets.items():
        write(tmp_path / "ImageSets" / "Main" / f"{name}.txt", text)
    for name in "abc":
        write_picture(tmp_path / "JPEGImages" / f"{name}.png")
    source = open_voc(tmp_path)
    assert detected(tmp_path)
    assert (source.task, source.classes) == ("classification", ("a b/c", "cat"))
    assert [(image.record.file, image.split, image.record.labels) for image in images_of(source)] == [
        ("a.png", "train", ("a b/c", "cat")),
        ("b.png", "train", ("a b/c",)),
        ("c.png", "val", ()),
    ]
    write_pair(tmp_path, "a")  # with an annotation, they say no more than it does
    assert open_voc(tmp_path).task == "detection"


# ---- masks


def _mask(path: Path, values: Sequence[Sequence[int]], colors: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.array(values, np.uint8))
    if colors:
        picture = Image.fromarray(np.array([[voc_color(value) for value in row] for row in values], np.uint8))
    else:
        picture = picture.convert("P")
        picture.putpalette([part for index in range(256) for part in voc_color(index)])
    picture.save(path)


def _read_mask(root: Path) -> list[list[int]]:
    (image,) = images_of(open_voc(root))
    assert image.mask is not None
    return image.mask().tolist()


def test_the_palette_is_that_of_the_devkit() -> None:
    expected = {0: (0, 0, 0), 1: (128, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {index: voc_color(index) for index in expected} == expected


@pytest.mark.parametrize("colors", [False, True])
def test_masks_without_a_list_have_the_classes_of_voc(colors: bool, tmp_path: Path) -> None:
    write_pair(tmp_path, "x")
    _mask(tmp_path / "SegmentationClass" / "x.png", [[0, 8, 255], [20, 1, 0]], colors)
    source = open_voc(tmp_path)
    assert source.classes == CLASSES
    assert _read_mask(tmp_path) == [[0, 8, 255], [20, 1, 0]]


def test_masks_go_by_the_order_of_labels_txt(tmp_path: Path) -> None:
    write_pair(tmp_path, "x")
    write(tmp_path / "labels.txt", "dog\ncat\n")
    _mask(tmp_path / "SegmentationClass" / "x.png", [[0, 1, 2, 255]])
    assert (open_voc(tmp_path).classes, _read_mask(tmp_path)) == (("dog", "cat"), [[0, 1, 2, 255]])


def test_masks_go_by_the_colours_of_labelmap_txt(tmp_path: Path) -> None:
    write_pair(tmp_path, "x")
    write(tmp_path / "labelmap.txt", "sky:128,128,0::\nbackground:0,0,0::\ncat:128,0,0::\n")
    for colors in (False, True):  # 1 is (128, 0, 0) and 3 is (128, 128, 0) in the palette
        _mask(tmp_path / "SegmentationClass" / "x.png", [[0, 1, 3, 255]], colors)
        assert _read_mask(tmp_path) == [[0, 2, 1, 255]]


def test_a_mask_that_cannot_be_meant_says_so_when_it_is_read(tmp_path: Path) -> None:
    write_pair(tmp_path, "x")
    write(tmp_path / "labels.txt", "cat\n")
    path = tmp_path / "SegmentationClass" / "x.png"
    for colors, message in (
        (False, "the number 7, but labels.txt names no such"),
        (True, r"the colour \(128, 128, 128\)"),
    ):
        _mask(path, [[7]], colors)
        with pytest.raises(DataError, match=message):
            _read_mask(tmp_path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"x\.png: the mask does not decode"):
        _read_mask(tmp_path)


def test_numbers_of_unknown_classes_are_a_problem_and_cost_only_the_masks(tmp_path: Path) -> None:
    write_pair(tmp_path, "x")
    write(tmp_path / "Annotations" / "x.xml", xml([("zebra", "1", "2", "3", "4")]))
    _mask(tmp_path / "SegmentationClass" / "x.png", [[1]])
    items = list(open_voc(tmp_path).images)
    assert [(item.kind, "labels.txt" in item.reason) for item in items if isinstance(item, Problem)] == [
        ("unreadable_mask", True)
    ]
    assert [item.mask for item in items if isinstance(item, SourceImage)] == [None]


def test_masks_alone_are_a_data_set_for_segmentation(tmp_path: Path) -> None:
    for name in ("a", "sub/b"):
        write_picture(tmp_path / "JPEGImages" / f"{name}.jpg")
        _mask(tmp_path / "SegmentationClass" / f"{name}.png", [[0, 2]])
    write(tmp_path / "labels.txt", "dog\ncat\n")
    write(tmp_path / "ImageSets" / "Segmentation" / "train.txt", "a\n")
    write(tmp_path / "ImageSets" / "Segmentation" / "val.txt", "sub/b\n")
    source = open_voc(tmp_path)
    images = images_of(source)
    assert detected(tmp_path)
    assert (source.task, source.classes, len(source.not_pictures)) == ("segmentation", ("dog", "cat"), 2)
    assert [(image.record.file, image.split, image.mask is not None) for image in images] == [
        ("a.jpg", "train", True),
        ("sub/b.jpg", "val", True),
    ]
    for name in ("a", "sub/b"):  # as Reprolens itself writes them: each with an annotation that shows nothing
        write(tmp_path / "Annotations" / f"{name}.xml", xml([]))
    assert open_voc(tmp_path).task == "segmentation"
    write(tmp_path / "Annotations" / "a.xml", xml([], more="<label>cat</label>"))
    assert open_voc(tmp_path).task == "classification"
