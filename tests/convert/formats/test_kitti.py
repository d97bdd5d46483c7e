"""Laws of reading KITTI: every object of a label file arrives with its flags, and nothing else does."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convert.sources import DATA, POLICY
from reprolens.config.data import Labelled
from reprolens.convert.formats.kitti import detect, read
from reprolens.convert.source import Problem, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

TAIL = "-1 -1 -1 -1000 -1000 -1000 -10"
CAR = f"Car 0.00 0 1.85 387.63 181.54 423.81 203.12 {TAIL}\n"


def load(root: Path, annotations: str | None = None) -> list[SourceImage | Problem]:
    options = Labelled("kitti", str(root), None, annotations, [0.7, 0.1, 0.2], None, POLICY)
    return list(read(open_tree(root), options).images)


def folder(tmp_path: Path, text: str | bytes, name: str = "000001") -> Path:
    (tmp_path / "training" / "image_2").mkdir(parents=True, exist_ok=True)
    (tmp_path / "training" / "label_2").mkdir(exist_ok=True)
    Image.new("RGB", (1242, 375)).save(tmp_path / "training" / "image_2" / f"{name}.png")
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "training" / "label_2" / f"{name}.txt").write_bytes(data)
    return tmp_path


def test_the_detection_fixture_is_read_whole() -> None:
    if not DATA.is_dir():
        pytest.skip("the shared data sets are not here")
    root = DATA / "format_fixtures" / "assets" / "kitti_dataset" / "kitti_detection"
    assert detect(open_tree(root))
    first, second = load(root)
    assert isinstance(first, SourceImage) and isinstance(second, SourceImage)
    assert first.record.file == "training/image_2/000030_10.png" and first.split == "train"
    assert [(item.name, item.box, item.truncated, item.occluded) for item in second.record.objects] == [
        ("Van", (0, 0, 2, 2), True, True),
        ("Van", (4, 4, 6, 6), False, False),
        ("Van", (6, 6, 7, 9), False, True),
    ]
    assert [item.name for item in first.record.objects] == ["Truck", "Van"]


def test_no_other_format_is_taken_for_kitti() -> None:
    if not DATA.is_dir():
        pytest.skip("the shared data sets are not here")
    for root in sorted((DATA / "format_fixtures" / "assets").iterdir()):
        if root.is_dir() and root.name != "kitti_dataset":
            assert detect(open_tree(root)) is None, root


def test_coordinates_and_flags_stand_as_they_are(tmp_path: Path) -> None:
    lines = "".join(
        f"Car {t} {o} 0 1.5 2.25 3 4.125 {TAIL}\n" for t, o in (("0.00", 0), ("0.01", 1), ("0", 2), ("0", 3))
    )
    (item,) = load(folder(tmp_path, lines))
    assert isinstance(item, SourceImage)
    assert {found.box for found in item.record.objects} == {(1.5, 2.25, 3.0, 4.125)}
    assert [found.truncated for found in item.record.objects] == [False, True, False, False]
    assert [found.occluded for found in item.record.objects] == [False, True, True, False]


@pytest.mark.parametrize(
    ("line", "kind", "word"),
    [
        (f"DontCare -1 -1 -10 500 170 590 190 {TAIL}", "ignored_region", "DontCare"),
        (f"Car 0 0 0 1 2 3 4 {TAIL} 0.93", "unreadable_annotation", "score"),
        ("Car 0 0 0 1 2 3 4", "unreadable_annotation", "8 columns"),
        (f"Car 0 0 0 1 nan 3 4 {TAIL}", "invalid_box", "nan"),
        (f"Car x 0 0 1 2 3 4 {TAIL}", "invalid_box", "'x'"),
    ],
)
def test_what_is_no_object_is_a_problem_and_costs_no_other(tmp_path: Path, line: str, kind: str, word: str) -> None:
    problem, item = load(folder(tmp_path, f"{CAR}{line}\n{CAR}"))
    assert isinstance(problem, Problem) and isinstance(item, SourceImage)
    assert problem.kind == kind and word in problem.reason and problem.place.endswith("line 2")
    assert [found.box for found in item.record.objects] == [(387.63, 181.54, 423.81, 203.12)] * 2


def test_an_empty_label_file_is_a_picture_without_objects(tmp_path: Path) -> None:
    (item,) = load(folder(tmp_path, ""))
    assert isinstance(item, SourceImage) and item.record.objects == ()


def test_results_with_scores_are_no_labels(tmp_path: Path) -> None:
    folder(tmp_path, "Car 0 0 0 1 2 3 4\n")
    assert detect(open_tree(tmp_path)) is None


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 100))
def test_damaged_files_raise_nothing_but_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int
) -> None:
    text = CAR.encode() * 2
    root = folder(tmp_path_factory.mktemp("fuzz"), text[:place] + noise + text[place + len(noise) :])
    try:
        detect(open_tree(root))
        load(root)
    except DataError:
        pass
