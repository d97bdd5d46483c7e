"""The same hundred photographs in nine forms: one data set, whatever the form, to the last digit."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from reprolens.config import Voc
from reprolens.convert import convert
from reprolens.convert.formats import labelled
from reprolens.convert.inspection import inspect
from reprolens.files import sha256
from reprolens.voc import Box, read_folder

ROOT = Path(__file__).parents[2]
FORMS = {
    "coco_format_v1": "coco",
    "coco_format_v2": "coco",
    "cvat_format": "cvat",
    "imagenet_format": "voc",
    "labelme_format": "labelme",
    "openimages_format": "open_images",
    "pascalvoc_format": "voc",
    "tfrecord_format": "tfrecord",
    "yolo_format": "yolo",
}
"""The folders, and the format of each."""

SHIFTED = ("imagenet_format", "pascalvoc_format")
"""The forms whose makers copied 0-based numbers into files that count pixels from 1."""

Boxes = dict[str, list[tuple[str, Box]]]
"""Of each picture the objects' classes and boxes, in order."""


@dataclass(frozen=True)
class Converted:
    """What `convert` made of one form: the objects, the pictures' hashes, the classes, and whether digits were lost."""

    boxes: Boxes
    pictures: dict[str, str]
    classes: frozenset[str]
    exact: bool
    difficult: int


@pytest.fixture(scope="module")
def database(shared_data: Path) -> Path:
    return shared_data / "voc100_multiformat" / "data" / "database"


@pytest.fixture(scope="module")
def converted(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Converted]:
    """Return what is made of a form, each time the same."""
    known: dict[tuple[str, int], Converted] = {}

    def make(form: str, first_pixel: int = 0) -> Converted:
        if (form, first_pixel) not in known:
            options = labelled(FORMS[form], str(database / "gts" / form), str(database / "images"), ROOT)
            if isinstance(options, Voc):
                options = replace(options, first_pixel=first_pixel)
            out = tmp_path_factory.mktemp("out") / "voc"
            convert(options, 1, out)
            known[form, first_pixel] = _read(out)
        return known[form, first_pixel]

    return make


def _read(out: Path) -> Converted:
    folder = read_folder(out)
    records = [record for split in folder.splits for record in folder.records(split)]
    items = [item for record in records for item in record.objects]
    return Converted(
        boxes={record.id: sorted((item.name, item.box) for item in record.objects) for record in records},
        pictures={record.id: sha256(folder.image(record)) for record in records},
        classes=frozenset(folder.classes),
        exact=all(item.exact is None for item in items),
        difficult=sum(item.difficult for item in items),
    )


@pytest.mark.parametrize("form", FORMS)
def test_inspect_finds_the_format_and_counts_the_same_in_every_form(form: str, database: Path) -> None:
    values = inspect(labelled("auto", str(database / "gts" / form), str(database / "images"), Path()))
    assert values["source"][0]["format"] == FORMS[form]
    assert (values["images"], values["boxes"], len(values["classes"])) == (100, 273, 20)
    assert values["problem_list"] == []
    assert sum(sum(count for key, count in entry.items() if key != "name") for entry in values["classes"]) == 273


@pytest.mark.parametrize("form", FORMS)
def test_every_form_becomes_the_same_folder(form: str, converted: Callable[..., Converted], database: Path) -> None:
    made, reference = converted(form), converted("coco_format_v2")
    assert made.exact
    assert made.boxes == reference.boxes  # equal floats: the difference is 0
    assert made.classes == reference.classes and len(made.classes) == 20
    assert sum(map(len, made.boxes.values())) == 273
    assert made.pictures == {path.stem: sha256(path) for path in (database / "images").iterdir()}
    assert len(made.pictures) == 100


@pytest.mark.parametrize("form", SHIFTED)
def test_a_form_read_as_if_it_counted_from_1_lies_one_pixel_up_and_left(
    form: str, converted: Callable[..., Converted]
) -> None:
    made, reference = converted(form, first_pixel=1), converted("coco_format_v2")
    moved = {
        id: sorted((name, (x0 - 1, y0 - 1, x1, y1)) for name, (x0, y0, x1, y1) in items)
        for id, items in reference.boxes.items()
    }
    assert made.boxes == moved


def test_the_form_that_marks_difficult_objects_keeps_the_marks(converted: Callable[..., Converted]) -> None:
    assert converted("pascalvoc_format").difficult == 38
