"""Data sets that datumaro reads, where it is installed; how it is missed, where it is not."""

import json
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from convert.sources import ASSETS, POLICY
from reprolens.config.data import Imported
from reprolens.convert.formats.datumaro import detect, read
from reprolens.convert.source import Problem, Source, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

installed = pytest.mark.skipif(find_spec("datumaro") is None, reason="datumaro is not installed")
real = pytest.mark.skipif(not ASSETS.exists(), reason="the shared data is not here")


def opened(root: Path, importer: str | None = None, annotations: str | None = None) -> Source:
    options = Imported("datumaro", str(root), None, annotations, [0.7, 0.1, 0.2], None, POLICY, importer)
    return read(open_tree(root), options)


def pictures(source: Source) -> list[SourceImage]:
    return [item for item in source.images if isinstance(item, SourceImage)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("x")
    return tmp_path


def test_folder_is_never_claimed(folder: Path) -> None:
    assert detect(open_tree(folder)) is None


def test_missing_package_is_an_error_that_says_how_to_install_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datumaro", None)  # what Python itself keeps for a package that is not there
    with pytest.raises(DataError, match=r"pip install 'reprolens\[datumaro\]'"):
        opened(folder)


def test_choice_of_annotation_files_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"data\.annotations"):
        opened(folder, annotations="*.json")


@installed
def test_unknown_importer_is_an_error_that_names_near_ones(folder: Path) -> None:
    with pytest.raises(DataError, match="coco"):
        opened(folder, "cocoo")


@installed
def test_unknown_format_is_an_error(folder: Path) -> None:
    with pytest.raises(DataError, match="datumaro cannot read it"):
        opened(folder)


@installed
@real
def test_boxes_polygons_and_crowds_of_coco_are_kept() -> None:
    # 2 pictures: one box alone; a polygon, and a crowd as run-length code
    found = pictures(opened(ASSETS / "coco_dataset" / "coco_instances", "coco_instances"))
    assert [(item.record.file, item.split) for item in found] == [
        ("images/train/a.jpg", "train"),
        ("images/val/b.jpg", "val"),
    ]
    by_box = {o.box: o for item in found for o in item.record.objects}
    assert set(by_box) == {(2, 2, 5, 3), (0, 0, 1, 9), (0, 0, 1, 2)}
    assert by_box[0, 0, 1, 9].crowd
    assert "counts" in json.loads(by_box[0, 0, 1, 9].segmentation)
    assert json.loads(by_box[0, 0, 1, 2].segmentation) == [[0, 0, 1, 0, 1, 2, 0, 2]]


@installed
@real
def test_keypoints_are_reported_and_their_boxes_kept() -> None:
    found = list(opened(ASSETS / "coco_dataset" / "coco_person_keypoints", "coco_person_keypoints").images)
    kinds = Counter(item.kind for item in found if isinstance(item, Problem))
    assert kinds == {"unsupported_shape": 3}
    assert sum(len(item.record.objects) for item in found if isinstance(item, SourceImage)) == 3


@installed
@real
@pytest.mark.parametrize(
    ("place", "importer", "task", "images", "boxes", "labels"),
    [
        ("camvid_dataset", "camvid", "segmentation", 4, 0, 0),
        ("cifar10_dataset", "cifar", "classification", 5, 0, 5),
        ("imagenet_subsets_dataset", "imagenet_with_subset_dirs", "classification", 12, 0, 9),
        ("dota_dataset", "dota", "detection", 3, 4, 0),
        ("widerface_dataset", "wider_face", "detection", 3, 6, 3),
        ("labelme_dataset", "label_me", "detection", 1, 7, 0),
        ("mots_dataset", "mots", "detection", 3, 5, 0),
    ],
)
def test_formats_that_only_datumaro_knows_are_read(
    place: str, importer: str, task: str, images: int, boxes: int, labels: int
) -> None:
    source = opened(ASSETS / place, importer)
    found = pictures(source)
    assert source.task == task
    assert len(found) == images
    assert sum(len(item.record.objects) for item in found) == boxes
    assert sum(len(item.record.labels) for item in found) == labels
    assert all(item.image is not None for item in found)


@installed
@real
def test_masks_hold_the_index_of_a_class_plus_one() -> None:
    source = opened(ASSETS / "camvid_dataset", "camvid")
    assert source.classes is not None
    drawn = {item.record.file: item.mask() for item in pictures(source) if item.mask is not None}
    assert len(drawn) == 4
    assert all(
        mask.dtype == np.uint8 and mask.ndim == 2 and mask.max() <= len(source.classes) for mask in drawn.values()
    )
