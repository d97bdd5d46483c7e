"""VOC back to COCO: source -> VOC -> source is exact."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert.sources import POLICY
from reprolens.config.data import Labelled
from reprolens.convert.export_coco import write_coco
from reprolens.convert.formats.coco import read
from reprolens.convert.source import SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError
from reprolens.voc import Folder, Object, Record, read_folder, write_folder
from reprolens.voc.folder import plain_name

MARKS = {"difficult": True, "truncated": True, "occluded": True, "crowd": True, "pose": "Left"}


def read_back(root: Path) -> list[SourceImage]:
    options = Labelled("coco", str(root), None, None, [0.7, 0.1, 0.2], None, POLICY)
    return [item for item in read(open_tree(root), options).images if isinstance(item, SourceImage)]


def voc(root: Path, splits: dict[str, list[Record]], classes: tuple[str, ...] = ("cat", "dog")) -> Folder:
    """Return a VOC folder of some records, with a few bytes for every picture."""
    write_folder(root, classes, {"train": [], "val": [], "test": [], **splits})
    for record in (record for records in splits.values() for record in records):
        picture = root / "JPEGImages" / record.file
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(record.id.encode())
    return read_folder(root)


def record(id: str, *objects: Object, suffix: str = ".jpg", **values: Any) -> Record:
    return Record(id, f"{id}{suffix}", 640, 480, objects=objects, **values)


@st.composite
def sources(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a COCO file: any boxes within any pictures, any names."""
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
    folded = draw(st.lists(text.filter(lambda name: name.strip()), min_size=1, max_size=4, unique=True))
    name = text.filter(lambda name: "/" not in name and "\\" not in name and name.strip(". ")).map(
        lambda name: name[:12]
    )
    files = draw(st.lists(name, min_size=1, max_size=3, unique_by=lambda name: name.casefold()))
    images, annotations = [], []
    for number, file in enumerate(files, 1):
        width, height = draw(st.integers(1, 5000)), draw(st.integers(1, 5000))
        suffix = draw(st.sampled_from([".jpg", ".JPG", ".png", ".webp"]))
        images.append({"id": number, "file_name": f"{number}/{file}{suffix}", "width": width, "height": height})
        for _ in range(draw(st.integers(0, 3))):
            x = draw(st.floats(0, width, exclude_max=True, allow_subnormal=False))
            y = draw(st.floats(0, height, exclude_max=True, allow_subnormal=False))
            box = [x, y, draw(st.floats(0, width - x)), draw(st.floats(0, height - y))]
            segmentation = draw(st.sampled_from([[], [[1.5, 2.0, 3, 4, 5.125, 0.1]], {"size": [1, 2], "counts": "02"}]))
            category, crowd = draw(st.integers(1, len(folded))), draw(st.integers(0, 1))
            item = {"bbox": box, "segmentation": segmentation, "category_id": category, "iscrowd": crowd}
            annotations.append({"id": len(annotations) + 1, "image_id": number, **item})
    categories = [{"id": number, "name": name} for number, name in enumerate(folded, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(source=sources())
def test_coco_to_voc_to_coco_is_exact(tmp_path: Path, source: dict[str, Any]) -> None:
    original = tmp_path / "source"
    original.mkdir(exist_ok=True)
    (original / "annotations.json").write_text(json.dumps(source))
    pictures = read_back(original)
    records = []
    for picture in pictures:
        name = plain_name(picture.record.file)
        objects = tuple(
            Object(plain_name(x.name), x.box, crowd=x.crowd, segmentation=x.segmentation, exact=x.exact)
            for x in picture.record.objects
        )
        id = name.rpartition(".")[0]
        records.append(Record(id, name, picture.record.width, picture.record.height, objects=objects))
    classes = tuple(plain_name(category["name"]) for category in source["categories"])
    counts = write_coco(voc(tmp_path / "voc", {"train": records}, classes), tmp_path / "out")
    found = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text())
    for image in source["images"]:
        assert (tmp_path / "out" / "images" / image["file_name"]).is_file()
    assert [{**category, "supercategory": ""} for category in source["categories"]] == found["categories"]
    assert source["images"] == found["images"]
    wanted = sorted(source["annotations"], key=lambda item: (item["image_id"], item["id"]))
    for before, after in zip(wanted, found["annotations"], strict=True):
        assert {key: after[key] for key in before if key != "id"} == {key: before[key] for key in before if key != "id"}
    assert (counts["images"], counts["boxes"]) == (len(source["images"]), len(source["annotations"]))


def test_marks_and_splits_come_back(tmp_path: Path) -> None:
    marked = Object("dog", (1.0, 2.0, 3.5, 4.25), segmentation="[[1,2,3.5,2,3.5,4.25]]", **MARKS)  # type: ignore[arg-type]
    splits = {"train": [record("a", marked)], "val": [record("b", Object("cat", (0.0, 0.0, 0.1, 0.3)))]}
    folder = voc(tmp_path / "voc", {**splits, "test": [record("c")]})
    write_coco(folder, tmp_path / "out")
    back = {picture.split: picture.record for picture in read_back(tmp_path / "out")}
    assert {split: [back[split].objects] for split in back} == {
        split: [record.objects for record in folder.records(split)] for split in ("train", "val", "test")
    }
    assert {split: back[split].file for split in back} == {"train": "a.jpg", "val": "b.jpg", "test": "c.jpg"}


def test_labels_of_pictures_come_back(tmp_path: Path) -> None:
    folder = voc(tmp_path / "voc", {"train": [record("a", labels=("dog", "cat")), record("b", labels=("cat",))]})
    write_coco(folder, tmp_path / "out")
    back = {picture.record.file: picture.record.labels for picture in read_back(tmp_path / "out")}
    assert back == {"a.jpg": ("dog", "cat"), "b.jpg": ("cat",)}


def test_people_s_own_tools_read_it(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    items = (Object("dog", (10.0, 20.0, 30.5, 40.25)), Object("cat", (0, 0, 4, 4), segmentation="[[0,0,4,0,4,4,0,4]]"))
    write_coco(voc(tmp_path / "voc", {"train": [record("a", *items)]}), tmp_path / "out")
    found = COCO(str(tmp_path / "out" / "annotations" / "instances_train.json"))
    assert [found.anns[n]["bbox"] for n in (1, 2)] == [[10, 20, 20.5, 20.25], [0, 0, 4, 4]]
    assert [found.anns[n]["area"] for n in (1, 2)] == [20.5 * 20.25, 16]
    assert found.annToMask(found.anns[2]).sum() == 16


def test_pictures_are_copies(tmp_path: Path) -> None:
    folder = voc(tmp_path / "voc", {"train": [record("x/a b", suffix=".PNG")]})
    write_coco(folder, tmp_path / "out")
    copy = tmp_path / "out" / "images" / "x" / "a b.PNG"
    assert copy.read_bytes() == b"x/a b"
    copy.write_bytes(b"edited")
    assert (tmp_path / "voc" / "JPEGImages" / "x" / "a b.PNG").read_bytes() == b"x/a b"


def test_a_name_that_leads_out_is_never_followed(tmp_path: Path) -> None:
    folder = voc(
        tmp_path / "voc", {"train": [record("%2E%2E/%2E%2E/evil"), record("%00"), record("a%41"), record("aA")]}
    )
    write_coco(folder, tmp_path / "out")
    written = {path.relative_to(tmp_path / "out" / "images").as_posix() for path in (tmp_path / "out").rglob("*.jpg")}
    assert written == {"%2E%2E/%2E%2E/evil.jpg", "%00.jpg", "aA.jpg", "aA~2.jpg"}
    assert not list(tmp_path.parent.glob("evil*"))


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    folder = voc(tmp_path / "voc", {"train": [record("a"), record("b")]})
    write_coco(folder, tmp_path / "out")
    (tmp_path / "voc" / "JPEGImages" / "b.jpg").unlink()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=r"b\.jpg"):
        write_coco(folder, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_class_that_is_not_in_the_list_is_an_error(tmp_path: Path) -> None:
    folder = voc(tmp_path / "voc", {"train": [record("a", Object("wolf", (0, 0, 1, 1)))]})
    with pytest.raises(DataError, match="wolf"):
        write_coco(folder, tmp_path / "out")
