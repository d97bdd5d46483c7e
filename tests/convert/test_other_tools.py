"""Laws of interchange: what convert writes says the same to the tools that people have."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from globox import AnnotationSet
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from torchvision.datasets import VOCDetection, VOCSegmentation

from convert.small_sets import BOXES, SETS, Files
from reprolens.config.data import Action
from reprolens.convert import convert
from reprolens.convert.export_coco import write_coco
from reprolens.convert.formats import labelled
from reprolens.voc import Folder, read_folder

ROOT = Path(__file__).parents[2]
YEARS = {"train": "2012", "val": "2012", "test": "2007"}
Make = Callable[[str], Folder]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """Return a converter of one of the small data sets."""

    def make(name: str) -> Folder:
        format, files = SETS[name]
        _write(_with_jpegs(files()), tmp_path / "source")
        convert(labelled(format, str(tmp_path / "source"), None, ROOT), 1, tmp_path / "voc")
        return read_folder(tmp_path / "voc")

    return make


@pytest.fixture(scope="module")
def photographs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Return a hundred real photographs, converted from COCO, with some numbers that are not whole."""
    database = shared_data / "voc100_multiformat" / "data" / "database"
    content = json.loads((database / "gts" / "coco_format_v2" / "instances_v2.json").read_text())
    for number, annotation in enumerate(content["annotations"]):
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, width - 0.1 * (number % 7), height - 1 / 3 * (number % 2)]
        annotation["segmentation"] = []
    place = tmp_path_factory.mktemp("photographs")
    (place / "instances.json").write_text(json.dumps(content))
    options = labelled("coco", str(place / "instances.json"), str(database / "images"), ROOT)
    convert(options, 1, place / "voc")
    return read_folder(place / "voc")


def _with_jpegs(files: Files) -> Files:
    """Return a data set with JPEG pictures, the only ones that torchvision looks for."""
    found = {}
    for name, data in files.items():
        if name.endswith(".png") and not name.startswith("masks/"):
            picture = io.BytesIO()
            Image.open(io.BytesIO(data)).save(picture, "JPEG")
            found[f"{name[:-4]}.jpg"] = picture.getvalue()
        else:
            found[name] = data if name.startswith("masks/") else data.replace(b".png", b".jpg")
    return found


def _write(files: Files, root: Path) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def _linked(folder: Folder, place: Path) -> Path:
    """Return a root in which torchvision finds a folder as VOC2012, and as VOC2007, the one that has a test split."""
    (place / "VOCdevkit").mkdir(parents=True)
    for year in ("2007", "2012"):
        (place / "VOCdevkit" / f"VOC{year}").symlink_to(folder.root.resolve(), target_is_directory=True)
    return place


def test_torchvision_reads_the_same_boxes_pictures_and_splits(photographs: Folder, tmp_path: Path) -> None:
    root = _linked(photographs, tmp_path / "root")
    images = boxes = 0
    for split in photographs.splits:
        data = VOCDetection(str(root), year=YEARS[split], image_set=split)
        assert len(data) == len(photographs.splits[split])
        for (picture, target), record in zip(data, photographs.records(split), strict=True):
            found = target["annotation"]
            assert found["filename"] == record.file
            assert picture.size == (record.width, record.height)
            assert (int(found["size"]["width"]), int(found["size"]["height"])) == picture.size
            numbers = [
                (item["name"], *(float(item["bndbox"][key]) for key in ("xmin", "ymin", "xmax", "ymax")))
                for item in found.get("object", [])
            ]
            assert [(name, x1, y1) for name, _, _, x1, y1 in numbers] == [
                (item.name, *item.box[2:]) for item in record.objects
            ]
            mine = [item.box[:2] for item in record.objects]
            assert np.allclose([(x0 - 1, y0 - 1) for _, x0, y0, _, _ in numbers], mine, rtol=0, atol=1e-12)
            images, boxes = images + 1, boxes + len(numbers)
    assert (images, boxes) == (100, 273)


def test_globox_reads_the_same_boxes(photographs: Folder) -> None:
    read = AnnotationSet.from_pascal_voc(photographs.root / "Annotations")
    records = {record.file: record for split in photographs.splits for record in photographs.records(split)}
    assert set(read.image_ids) == set(records)
    for annotation in read:
        record = records[annotation.image_id]
        assert annotation.image_size == (record.width, record.height)
        # globox takes VOC's numbers as they stand: it does not know that they count from 1.
        found = sorted((box.label, box.xmin - 1, box.ymin - 1, box.xmax, box.ymax) for box in annotation.boxes)
        wanted = sorted((item.name, *item.box) for item in record.objects)
        assert [row[0] for row in found] == [row[0] for row in wanted]
        assert np.allclose([row[1:] for row in found], [row[1:] for row in wanted], rtol=0, atol=1e-12)
    assert sum(len(annotation.boxes) for annotation in read) == 273


def test_pycocotools_reads_the_same_boxes(photographs: Folder, tmp_path: Path) -> None:
    write_coco(photographs, tmp_path / "coco")
    boxes = 0
    for split in photographs.splits:
        read = COCO(str(tmp_path / "coco" / "annotations" / f"instances_{split}.json"))
        names = {entry["id"]: entry["name"] for entry in read.loadCats(read.getCatIds())}
        assert tuple(names[id] for id in sorted(names)) == photographs.classes
        images = {entry["file_name"]: entry for entry in read.loadImgs(read.getImgIds())}
        for record in photographs.records(split):
            image = images[record.file]
            assert (image["width"], image["height"]) == (record.width, record.height)
            assert (tmp_path / "coco" / "images" / image["file_name"]).is_file()
            found = read.loadAnns(read.getAnnIds(imgIds=image["id"]))
            corners = [(x, y, x + width, y + height) for x, y, width, height in (item["bbox"] for item in found)]
            assert [names[item["category_id"]] for item in found] == [item.name for item in record.objects]
            assert np.allclose(corners, [item.box for item in record.objects], rtol=0, atol=1e-9)
            boxes += len(found)
        assert len(images) == len(photographs.splits[split])
    assert boxes == 273


def test_pycocotools_draws_the_same_outlines_and_sees_the_crowds(made: Make, tmp_path: Path) -> None:
    folder = made("coco")
    write_coco(folder, tmp_path / "coco")
    seen = 0
    for split in folder.splits:
        read = COCO(str(tmp_path / "coco" / "annotations" / f"instances_{split}.json"))
        for item in read.loadAnns(read.getAnnIds()):
            seen += 1
            if item["iscrowd"]:  # the run-length code, of the whole picture
                assert coco_mask.area(read.annToRLE(item)) == 16 * 12 == item["area"]
            else:  # the polygon, which is its box
                x, y, width, height = map(int, item["bbox"])
                drawn = read.annToMask(item)
                assert drawn.sum() == width * height == item["area"]
                assert drawn[y : y + height, x : x + width].all()
    assert seen == 8


@pytest.mark.parametrize("name", ["masks", "coco"])
def test_torchvision_reads_the_same_masks(name: str, made: Make, tmp_path: Path) -> None:
    folder = made(name)
    root = _linked(folder, tmp_path / "root")
    x0, y0, x1, y1 = BOXES["cat"]
    cat = folder.classes.index("cat") + 1
    count = 0
    for split in folder.splits:
        data = VOCSegmentation(str(root), year=YEARS[split], image_set=split)
        for picture, mask in data:
            values = np.asarray(mask)
            count += 1
            assert mask.mode == "P" and mask.size == picture.size
            assert mask.getpalette()[: 3 * 3] == [0, 0, 0, 128, 0, 0, 0, 128, 0]  # VOC's own colours
            shown = set(np.unique(values)) - {255}
            assert shown <= set(range(len(folder.classes) + 1))
            assert values[y0, x0] == cat  # the dog begins lower and further right
            if name == "masks":
                expected = np.zeros((12, 16), np.uint8)
                expected[y0:y1, x0:x1] = 1
                expected[4:11, 3:12] = 2
                assert np.array_equal(values, expected)
                assert values[y1 - 1, x1 - 1] == 2
    assert count == 4
    assert len(list((folder.root / "SegmentationClass").rglob("*.png"))) == 4


def test_the_per_class_image_sets_say_what_the_devkit_says(made: Make) -> None:
    folder = made("voc")  # every dog in it is difficult
    sets = folder.root / "ImageSets" / "Main"
    for split, ids in folder.splits.items():
        assert (sets / f"cat_{split}.txt").read_text() == "".join(f"{id}  1\n" for id in ids)
        assert (sets / f"dog_{split}.txt").read_text() == "".join(f"{id}  0\n" for id in ids)


def test_a_picture_is_the_sources_byte_for_byte(made: Make) -> None:
    folder = made("voc")
    for split in folder.splits:
        for record in folder.records(split):
            with Image.open(folder.image(record)) as picture:
                assert picture.size == (record.width, record.height)
            assert folder.image(record).read_bytes() == _with_jpegs(SETS["voc"][1]())[f"JPEGImages/{record.file}"]


def test_a_box_over_the_edge_is_where_every_tool_expects_it(tmp_path: Path) -> None:
    files = SETS["tf_csv"][1]()
    files["labels.csv"] = files["labels.csv"].replace(b"1,2,10,9", b"-5,2,99,9")
    _write(files, tmp_path / "source")
    options = labelled("tf_csv", str(tmp_path / "source"), None, ROOT)
    assert options.policy.box_outside == Action.fix
    convert(replace(options, group_by=None), 1, tmp_path / "voc")
    data = AnnotationSet.from_pascal_voc(tmp_path / "voc" / "Annotations")
    cats = [box for annotation in data for box in annotation.boxes if box.label == "cat"]
    assert {(box.xmin, box.ymin, box.xmax, box.ymax) for box in cats} == {(1, 3, 16, 9)}
