"""VOC back to YOLO: source -> VOC -> source is exact, to the digits that are printed."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from convert.sources import POLICY
from reprolens.config.data import Yolo
from reprolens.convert.export_yolo import write_yolo
from reprolens.convert.formats.yolo import read
from reprolens.convert.source import SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError
from reprolens.voc import Folder, Object, Record, read_folder, write_folder

WIDTH, HEIGHT = 487, 333


def voc(root: Path, splits: dict[str, list[Record]], classes: tuple[str, ...] = ("cat", "dog")) -> Folder:
    """Return a VOC folder of some records, with their pictures."""
    write_folder(root, classes, {"train": [], "val": [], "test": [], **splits})
    for record in (record for records in splits.values() for record in records):
        picture = root / "JPEGImages" / record.file
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (record.width, record.height)).save(picture, format="PNG")
    return read_folder(root)


def record(id: str, *objects: Object, suffix: str = ".png", size: tuple[int, int] = (WIDTH, HEIGHT)) -> Record:
    return Record(id, f"{id}{suffix}", *size, objects=objects)


def read_back(root: Path) -> dict[str, SourceImage]:
    """Return the pictures of a YOLO folder by their places below images/."""
    options = Yolo("yolo", str(root), None, None, [0.7, 0.1, 0.2], None, POLICY, None)
    images = list(read(open_tree(root), options).images)
    assert all(isinstance(item, SourceImage) for item in images), images
    return {item.record.file.removeprefix("images/"): item for item in images}  # type: ignore[union-attr]


def boxes(image: SourceImage) -> list[tuple[str, Any]]:
    return [(item.name, item.box) for item in image.record.objects]


def lines(root: Path, name: str) -> list[list[str]]:
    return [line.split() for line in (root / "labels" / name).read_text().splitlines()]


WHOLE = st.tuples(*[st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1)] * 2).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]) + 1, max(c[1], c[3]) + 1)
)
HUNDREDTHS = WHOLE.flatmap(
    lambda c: st.tuples(*[st.integers(0, 99)] * 4).map(
        lambda d: tuple(
            (100 * edge + more * (0 < edge < WIDTH and edge < HEIGHT)) / 100 for edge, more in zip(c, d, strict=True)
        )
    )
).filter(lambda c: c[0] < c[2] and c[1] < c[3])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(whole=st.lists(WHOLE, max_size=6), broken=st.lists(HUNDREDTHS, max_size=6))
@example(whole=[], broken=[(0.0, 0.0, 71.0, 1.7), (3.25, 4.5, 487.0, 333.0), (0.0, 0.1, 487.0, 333.0)])
def test_every_box_reads_back_as_it_is(tmp_path: Path, whole: list[Any], broken: list[Any]) -> None:
    objects = [Object("dog", tuple(map(float, box))) for box in whole + broken]
    folder = voc(tmp_path / "voc", {"train": [record("a", *objects)]})
    counts = write_yolo(folder, tmp_path / "out")
    assert (counts["boxes"], counts["inexact"], counts["form"]) == (len(objects), 0, "boxes")
    assert boxes(read_back(tmp_path / "out")["train/a.png"]) == [(item.name, item.box) for item in objects]
    for line in lines(tmp_path / "out", "train/a.txt")[: len(whole)]:
        assert {len(number.partition(".")[2]) for number in line[1:]} == {6}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    decimals=st.sampled_from([4, 6, 8, 12]),
    rows=st.lists(st.tuples(st.integers(0, 1), *[st.floats(0.01, 0.45)] * 4), min_size=1, max_size=6),
)
def test_yolo_to_voc_to_yolo_keeps_every_digit(tmp_path: Path, decimals: int, rows: list[tuple[Any, ...]]) -> None:
    source = tmp_path / "source"
    for kind in ("images", "labels"):
        (source / kind / "train").mkdir(parents=True, exist_ok=True)
    Image.new("L", (WIDTH, HEIGHT)).save(source / "images" / "train" / "a.png")
    (source / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")
    text = ""
    for index, x, y, w, h in rows:
        numbers = (x + w / 2, y + h / 2, w, h)
        text += " ".join((str(index), *(f"{number:.{decimals}f}" for number in numbers))) + "\n"
    (source / "labels" / "train" / "a.txt").write_text(text)
    found = read_back(source)["train/a.png"].record
    folder = voc(tmp_path / "voc", {"train": [record("a", *found.objects)]})
    write_yolo(folder, tmp_path / "out", decimals=decimals)
    assert (tmp_path / "out" / "labels" / "train" / "a.txt").read_text() == text


@pytest.mark.parametrize("decimals", [None, 6])
def test_objects_of_one_polygon_are_written_as_segments(tmp_path: Path, decimals: int | None) -> None:
    polygons = ["[[1,2,30,4,20,33]]", "[[0.5,0.25,486.5,0.25,100.125,332.75,7,9]]", "[[0,0,487,0,487,333,0,333]]"]
    hulls = [(1.0, 2.0, 30.0, 33.0), (0.5, 0.25, 486.5, 332.75), (0.0, 0.0, 487.0, 333.0)]
    items = [Object("cat", box, segmentation=text) for text, box in zip(polygons, hulls, strict=True)]
    counts = write_yolo(voc(tmp_path / "voc", {"val": [record("a", *items)]}), tmp_path / "out", decimals)
    assert counts["form"] == "segments"
    assert [len(line) for line in lines(tmp_path / "out", "val/a.txt")] == [7, 9, 9]
    found = read_back(tmp_path / "out")["val/a.png"].record.objects
    if decimals is None:
        assert counts["inexact"] == 0
        assert [item.box for item in found] == hulls
    else:
        assert counts["inexact"] == 1
        assert [found[0].box, found[2].box] == [hulls[0], hulls[2]]


@pytest.mark.parametrize(
    "segmentation",
    ["", "[[1,2,3,2,3,4],[1,2,3,2,3,3]]", "[[1,2,3,4]]", '{"size":[1,2],"counts":"02"}', "[[0,0,9,0,9,9]]"],
)
def test_one_object_that_is_no_polygon_makes_all_of_them_boxes(tmp_path: Path, segmentation: str) -> None:
    items = [Object("cat", (1.0, 2.0, 3.0, 4.0), segmentation=text) for text in ("[[1,2,3,2,3,4]]", segmentation)]
    splits = {"train": [record("a", items[0])], "val": [record("b", items[1])]}
    assert write_yolo(voc(tmp_path / "voc", splits), tmp_path / "out")["form"] == "boxes"
    assert [item.box for image in read_back(tmp_path / "out").values() for item in image.record.objects] == [
        (1.0, 2.0, 3.0, 4.0)
    ] * 2


def test_splits_classes_and_nested_names_come_back(tmp_path: Path) -> None:
    classes = ("cat", "Straße: #1", "%0A%20", "yes", "12")
    item = Object("%0A%20", (1.0, 2.0, 30.0, 40.0))
    splits = {"train": [record("x/a b", item), record("ü", suffix=".PNG")], "val": [record("x/a c")]}
    counts = write_yolo(voc(tmp_path / "voc", splits, classes), tmp_path / "out")
    assert (counts["images"], counts["renamed"], counts["classes"]) == (3, 0, 5)
    content = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text(encoding="utf-8"))
    assert content == {
        "train": "images/train",
        "val": "images/val",
        "names": {0: "cat", 1: "Straße: #1", 2: "\n ", 3: "yes", 4: "12"},
    }
    found = read_back(tmp_path / "out")
    assert {name: image.split for name, image in found.items()} == {
        "train/x/a b.png": "train",
        "train/ü.PNG": "train",
        "val/x/a c.png": "val",
    }
    assert boxes(found["train/x/a b.png"]) == [("\n ", item.box)]


def test_pictures_whose_label_files_would_be_one_are_renamed(tmp_path: Path) -> None:
    first, second = Object("cat", (1.0, 2.0, 3.0, 4.0)), Object("dog", (5.0, 6.0, 7.0, 8.0))
    pictures = [record("a.png", first, suffix=""), record("a.jpg", second, suffix=""), record("images/b", first)]
    counts = write_yolo(voc(tmp_path / "voc", {"train": pictures}), tmp_path / "out")
    found = read_back(tmp_path / "out")
    assert {name: [item.name for item in image.record.objects] for name, image in found.items()} == {
        "train/a.png": ["cat"],
        "train/a~2.jpg": ["dog"],
        "train/b.png": ["cat"],
    }
    assert counts["renamed"] == 1


def test_marks_that_yolo_cannot_say_are_counted(tmp_path: Path) -> None:
    box = (1.0, 2.0, 3.0, 4.0)
    items = (Object("cat", box), Object("cat", box, difficult=True), Object("dog", box, crowd=True, pose="Left"))
    assert write_yolo(voc(tmp_path / "voc", {"train": [record("a", *items)]}), tmp_path / "out")["lost"] == 2


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    folder = voc(tmp_path / "voc", {"train": [record("a"), record("b")]})
    write_yolo(folder, tmp_path / "out")
    (tmp_path / "voc" / "JPEGImages" / "b.png").unlink()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=r"b\.png"):
        write_yolo(folder, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before
