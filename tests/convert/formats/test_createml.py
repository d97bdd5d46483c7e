"""CreateML JSON: a real export, and every variant written here."""

import copy
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert.sources import ASSETS, POLICY
from reprolens.config.data import Labelled
from reprolens.convert.formats.createml import detect, read
from reprolens.convert.source import Problem, Source, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

BOX = {"label": "cat", "coordinates": {"x": 10, "y": 20.5, "width": 5, "height": 7}}
ENTRY: dict[str, Any] = {"image": "a.jpg", "annotations": [BOX]}


def options(root: Path, annotations: str | None = None) -> Labelled:
    return Labelled("createml", str(root), None, annotations, [0.7, 0.1, 0.2], None, POLICY)


def opened(root: Path, annotations: str | None = None) -> Source:
    return read(open_tree(root), options(root, annotations))


def write(root: Path, name: str, value: Any) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def only(root: Path, entry: Any) -> SourceImage:
    write(root, "a.json", [entry])
    (item,) = opened(root).images
    assert isinstance(item, SourceImage)
    return item


# ---- a real file


@pytest.mark.skipif(not ASSETS.exists(), reason="the shared data is not here")
def test_real_export_has_3_pictures_and_4_boxes_about_their_centres() -> None:
    root = ASSETS / "roboflow_dataset" / "createml"
    assert "Create ML" in (detect(open_tree(root)) or "")
    found = [item for item in opened(root).images if isinstance(item, SourceImage)]
    assert [(item.record.file, item.split, item.near) for item in found] == [
        ("train_001.jpg", "train", "train"),
        ("train_002.jpg", "train", "train"),
        ("val_001.jpg", "val", "val"),
    ]
    assert [(o.name, o.box) for item in found for o in item.record.objects] == [
        ("label_0", (0.5, 0.5, 3.5, 1.5)),
        ("label_1", (-1, -2, 1, 2)),
        ("label_0", (-0.5, -1, 0.5, 1)),
        ("label_1", (-4.5, -0.5, 4.5, 0.5)),
    ]


# ---- variants


@pytest.mark.parametrize(
    "entry",
    [
        ENTRY,
        {"imagefilename": "a.jpg", "annotation": [BOX]},
        {"image": "a.jpg", "annotations": [{**BOX, "confidence": 1}], "verified": True},
        {"image": "a.jpg", "annotation": BOX},
    ],
)
def test_box_is_about_its_centre_in_every_spelling(tmp_path: Path, entry: Any) -> None:
    item = only(tmp_path, entry)
    assert detect(open_tree(tmp_path)) is not None
    assert item.record.file == "a.jpg"
    assert [(o.name, o.box) for o in item.record.objects] == [("cat", (7.5, 17, 12.5, 24))]


@pytest.mark.parametrize("annotations", [[{"label": "cat"}], ["cat"], "cat"])
def test_label_without_coordinates_is_of_the_whole_picture(tmp_path: Path, annotations: Any) -> None:
    write(tmp_path, "a.json", [{"image": "b.jpg", "annotations": []}])
    write(tmp_path, "b.json", [{"image": "a.jpg", "annotation": annotations}])
    source = opened(tmp_path)
    assert source.task == "classification"
    assert [item.record.labels for item in source.images if isinstance(item, SourceImage)] == [(), ("cat",)]


def test_picture_without_annotations_has_no_objects(tmp_path: Path) -> None:
    assert only(tmp_path, {"image": "a.jpg", "annotations": []}).record.objects == ()


def test_split_is_in_the_name_of_the_folder_or_the_file(tmp_path: Path) -> None:
    write(tmp_path, "valid/_annotations.createml.json", [ENTRY])
    write(tmp_path, "train.createml.json", [ENTRY])
    found = [item for item in opened(tmp_path).images if isinstance(item, SourceImage)]
    assert [item.split for item in found] == ["train", "val"]


def test_other_json_files_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "a.json", [ENTRY])
    write(tmp_path, "labels.json", {"labels": ["cat"]})
    write(tmp_path, "list.json", ["cat"])
    assert [type(item) for item in opened(tmp_path).images] == [SourceImage]
    assert [type(item) for item in opened(tmp_path, "a.*").images] == [SourceImage]


# ---- damage


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        ({**BOX, "label": None}, "unknown_class"),
        ({**BOX, "label": " "}, "unknown_class"),
        ({**BOX, "coordinates": {"x": 1, "y": 2, "width": 3}}, "invalid_box"),
        ({**BOX, "coordinates": None}, "invalid_box"),
        ({**BOX, "coordinates": {"x": float("nan"), "y": 2, "width": 3, "height": 4}}, "invalid_box"),
        ({**BOX, "coordinates": {"x": "1e999999999", "y": 2, "width": 3, "height": 4}}, "invalid_box"),
        (7.5, None),
        ([], "unknown_class"),
    ],
)
def test_bad_annotation_loses_only_itself(tmp_path: Path, annotation: Any, kind: str | None) -> None:
    write(tmp_path, "a.json", [ENTRY, {"image": "b.jpg", "annotations": [BOX, annotation, BOX]}])
    found = list(opened(tmp_path).images)
    assert [item.kind for item in found if isinstance(item, Problem)] == ([kind] if kind else [])
    assert [len(item.record.objects) for item in found if isinstance(item, SourceImage)] == [1, 2]


def test_bad_entry_and_bad_file_lose_only_themselves(tmp_path: Path) -> None:
    write(tmp_path, "a.json", [ENTRY, None, {"annotations": []}, {"image": "c.jpg", "annotations": 7}, ENTRY])
    write(tmp_path, "b.json", json.dumps([ENTRY, ENTRY])[:-9])
    write(tmp_path, "c.json", "nonsense")
    found = list(opened(tmp_path).images)
    assert [(item.kind, item.file) for item in found if isinstance(item, Problem)] == [
        ("unreadable_annotation", file) for file in ("a.json", "a.json", "c.jpg", "b.json", "c.json")
    ]
    assert sum(isinstance(item, SourceImage) for item in found) == 2


@pytest.mark.parametrize(
    "value",
    [
        {"images": [], "annotations": [], "categories": []},
        [{"image": "/data/a.jpg", "id": 1, "label": [{"x": 1}], "annotator": 1}],
        [{"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": []}]}],
        [],
        "[" * 100_000,
    ],
)
def test_other_documents_are_not_claimed(tmp_path: Path, value: Any) -> None:
    write(tmp_path, "a.json", value)
    tree = open_tree(tmp_path)
    assert detect(tree) is None
    with pytest.raises(DataError, match="CreateML"):
        read(tree, options(tmp_path))


# ---- laws

NUMBER = st.decimals(-1000, 5000, places=4)


@given(NUMBER, NUMBER, NUMBER, NUMBER)
def test_centre_and_size_can_be_had_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, x: Decimal, y: Decimal, width: Decimal, height: Decimal
) -> None:
    numbers = {"x": float(x), "y": float(y), "width": float(width), "height": float(height)}
    root = tmp_path_factory.mktemp("exact")
    cat = only(root, {"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": numbers}]}).record.objects[0]
    x0, y0, x1, y1 = cat.exact or tuple(Decimal(repr(edge)) for edge in cat.box)
    assert ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0) == (x, y, width, height)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_mutated_files_never_end_in_another_exception(data: st.DataObject, tmp_path: Path) -> None:
    entries = [copy.deepcopy(ENTRY), copy.deepcopy(ENTRY)]
    places: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            places.append((node, key))
            if isinstance(value, dict | list):
                visit(value)

    visit(entries)
    for _ in range(data.draw(st.integers(1, 3))):
        node, key = data.draw(st.sampled_from(places))
        node[key] = data.draw(JSON)
    text = json.dumps(entries)
    write(tmp_path, "a.json", text[: data.draw(st.sampled_from([len(text), len(text) // 2]))])
    tree = open_tree(tmp_path)
    detect(tree)
    try:
        list(read(tree, options(tmp_path)).images)
    except DataError as error:
        assert "CreateML" in str(error)
