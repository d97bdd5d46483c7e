"""Annotations/*.xml are VOC's: this project's own strict reader gives back what was found."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from lxml import etree

from inference.results.seeing import CLASSES, rows, seen
from reprolens.inference.results.voc import write_voc
from reprolens.inference.seen import Seen
from reprolens.voc import Record
from reprolens.voc.annotation import parse_annotation


def written(out: Path, picture: Seen) -> Path:
    with write_voc(out, CLASSES) as write:
        write(picture)
    (path,) = out.glob("Annotations/**/*.xml")
    return path


def read(path: Path) -> Record:
    return parse_annotation(path.read_bytes(), path.name)


@settings(deadline=None, max_examples=50)
@given(rows)
def test_boxes_and_classes_come_back_to_the_bit(found: list) -> None:
    picture = seen(rows=found)
    with TemporaryDirectory() as out:
        record = read(written(Path(out), picture))
    boxes = np.array([item.box for item in record.objects], dtype=np.float32).reshape(-1, 4)
    assert (boxes == picture.found.boxes).all()
    assert [item.name for item in record.objects] == [CLASSES[label] for label in picture.found.labels]
    assert (record.width, record.height) == (640, 480)


def test_pixels_are_counted_from_1_and_decimals_kept(tmp_path: Path) -> None:
    path = written(tmp_path, seen(rows=[(0, 9.5, 100, 110.125, 0.75, 1)]))
    box = etree.parse(path).getroot().find("object/bndbox")
    assert [(edge.tag, edge.text) for edge in box] == [
        *(("xmin", "1"), ("ymin", "10.5"), ("xmax", "100"), ("ymax", "110.125"))
    ]


def test_each_object_has_its_score(tmp_path: Path) -> None:
    root = etree.parse(written(tmp_path, seen(rows=[(0, 0, 9, 9, 0.9, 1), (0, 0, 9, 9, 1e-7, 0)]))).getroot()
    assert [float(score.text) for score in root.iterfind("object/score")] == [0.9, 1e-7]


def test_classes_are_listed_in_their_order(tmp_path: Path) -> None:
    written(tmp_path, seen())
    assert (tmp_path / "labels.txt").read_text(encoding="utf-8").splitlines() == list(CLASSES)


def test_picture_without_a_detection_has_an_annotation_without_objects(tmp_path: Path) -> None:
    assert read(written(tmp_path, seen())).objects == ()


def test_names_keep_their_letters_and_what_xml_lacks_is_spelled_out(tmp_path: Path) -> None:
    for name, read_back in [("b/ü & <猫>'\".jpg", "b/ü & <猫>'\".jpg"), ("a\x07\n\udcff.jpg", r"a\x07\n\udcff.jpg")]:
        with TemporaryDirectory(dir=tmp_path) as out:
            assert read(written(Path(out), seen(name))).file == read_back
