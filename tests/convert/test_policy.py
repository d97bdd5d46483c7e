"""Laws of data.policy: what is wrong is refused, left out, mended or kept as the user says, and always listed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reprolens.config import Voc
from reprolens.convert import convert
from reprolens.errors import DataError
from reprolens.files import write_json
from reprolens.voc import Box, read_folder

Make = Callable[..., Voc]
Source = Callable[..., Path]
GOOD = ("cat", "2", "3", "10", "9")
GOOD_BOX: Box = (1, 2, 10, 9)


@pytest.fixture
def converted(source: Source, voc_config: Make, annotate: Callable[..., None], tmp_path: Path) -> Callable[..., Any]:
    """Convert four pictures, the first with one more box or another size; return its record and the problems."""

    def run(box: tuple[str, ...] | None = None, size: tuple[int, int] = (16, 12), **policy: str) -> Any:
        root = source(4)
        annotate(root, "00", boxes=[GOOD, *([("cat", *box)] if box else [])], size=size)
        report = convert(voc_config(root, **policy), 1, tmp_path / "voc")
        folder = read_folder(tmp_path / "voc")
        records = {record.id: record for split in folder.splits for record in folder.records(split)}
        write_json(tmp_path / "dataset.json", report)
        assert report["problems"] == len(report["problem_list"])
        return records.get("00"), report["problem_list"]

    return run


# The corners of a box in a picture of 16 x 12; the kind of problem; the box that `fix` or `keep` leaves, if any.
BOXES: dict[str, tuple[tuple[str, ...], str, Box | None]] = {
    "no width": (("5", "2", "4", "9"), "empty_box", None),
    "inverted": (("9", "9", "3", "3"), "inverted_box", (3, 3, 8, 8)),
    "twice": (GOOD[1:], "duplicate_box", GOOD_BOX),
    "outside to the right": (("17", "2", "30", "9"), "empty_box", None),
    "outside to the left": (("-9", "2", "0", "9"), "empty_box", None),
    "one pixel": (("5", "5", "5", "5"), "tiny_box", (4, 4, 5, 5)),
    "one pixel high": (("2", "5", "12", "5"), "tiny_box", (1, 4, 12, 5)),
    "half a pixel": (("5.5", "2", "5", "9"), "tiny_box", (4.5, 1, 5, 9)),
    "over the right edge": (("9", "2", "17", "9"), "box_outside", (8, 1, 16, 9)),
    "over every edge": (("0", "-5", "99", "99.5"), "box_outside", (0, 0, 16, 12)),
}


@pytest.mark.parametrize("case", BOXES)
def test_a_bad_box_is_refused_left_out_mended_or_kept_and_listed(case: str, converted: Callable[..., Any]) -> None:
    box, kind, mended = BOXES[case]
    with pytest.raises(DataError, match=rf"00\.xml: .*'cat'.*data\.policy\.{kind}"):
        converted(box, **{kind: "fail"})

    record, problems = converted(box, **{kind: "drop"})
    assert [item.box for item in record.objects] == [GOOD_BOX]
    ((listed),) = problems
    assert (listed["kind"], listed["file"], listed["action"]) == (kind, "00.jpg", "drop")
    assert listed["place"].endswith("00.xml")
    assert f"xmin {box[0]}" in listed["reason"]

    if mended:
        action = "fix" if kind in ("box_outside", "inverted_box") else "keep"
        record, problems = converted(box, **{kind: action})
        assert [item.box for item in record.objects] == [GOOD_BOX, mended]
        assert [problem["action"] for problem in problems] == [action]


def test_a_box_of_one_pixel_is_one_whatever_binary_fractions_make_of_it(
    voc_config: Make, source: Source, annotate: Callable[..., None], tmp_path: Path
) -> None:
    root = source(3)
    annotate(root, "03", boxes=[GOOD, ("cat", "2.2", "2", "2.2", "9"), ("cat", "2", "2.7", "9", "2.7")])
    report = convert(voc_config(root, tiny_box="drop"), 1, tmp_path / "voc")
    assert [problem["kind"] for problem in report["problem_list"]] == ["tiny_box", "tiny_box"]
    assert 2.2 - 1.2 > 1  # what binary fractions make of it


def test_what_an_edge_leaves_of_a_box_is_judged_too(converted: Callable[..., Any]) -> None:
    record, problems = converted(("16", "2", "40", "9"), tiny_box="drop")  # one column of pixels is inside
    assert [item.box for item in record.objects] == [GOOD_BOX]
    assert [problem["kind"] for problem in problems] == ["box_outside", "tiny_box"]


def test_another_size_than_the_pictures_is_mended_refused_or_leaves_the_picture_out(
    converted: Callable[..., Any],
) -> None:
    with pytest.raises(DataError, match=r"00\.xml: says 32 x 12, but the picture is 16 x 12 pixels; .*size_mismatch"):
        converted(size=(32, 12), size_mismatch="fail")
    record, problems = converted(size=(32, 12), size_mismatch="fix")
    assert (record.width, record.height) == (16, 12)
    assert [(problem["kind"], problem["action"]) for problem in problems] == [("size_mismatch", "fix")]
    record, problems = converted(size=(32, 12), size_mismatch="drop")
    assert record is None
    assert [(problem["kind"], problem["action"]) for problem in problems] == [("size_mismatch", "drop")]


@pytest.mark.parametrize(("kind", "content"), [("missing_image", None), ("undecodable_image", b"text")])
def test_a_picture_that_cannot_be_used_is_left_out_and_listed(
    kind: str, content: bytes | None, source: Source, voc_config: Make, tmp_path: Path
) -> None:
    root = source(5)
    (root / "JPEGImages" / "02.jpg").unlink()
    if content is not None:
        (root / "JPEGImages" / "02.jpg").write_bytes(content)
    report = convert(voc_config(root, **{kind: "drop"}), 1, tmp_path / "voc")
    (problem,) = report["problem_list"]
    assert (problem["kind"], problem["file"], problem["action"]) == (kind, "02.jpg", "drop")
    assert report["images"] == 4
    names = {path.stem for path in (tmp_path / "voc").rglob("*.*") if path.parent.name in ("JPEGImages", "Annotations")}
    assert names == {"00", "01", "03", "04"}


def test_objects_of_a_class_that_train_lacks_are_left_out_and_listed(
    source: Source, voc_config: Make, annotate: Callable[..., None], tmp_path: Path
) -> None:
    root = source(6, {"train": [0, 1, 2, 3], "val": [4], "test": [5]})
    annotate(root, "04", boxes=[GOOD, ("dog", "2", "3", "10", "9")])
    report = convert(voc_config(root, class_not_in_train="drop"), 1, tmp_path / "voc")
    (problem,) = report["problem_list"]
    assert (problem["kind"], problem["place"], problem["action"]) == ("class_not_in_train", f"{root}, val", "drop")
    assert "'dog'" in problem["reason"]
    folder = read_folder(tmp_path / "voc")
    assert folder.classes == ("cat",)
    assert [[item.name for item in record.objects] for record in folder.records("val")] == [["cat"]]


def test_a_picture_without_objects_or_annotation_is_kept_or_listed(
    source: Source, voc_config: Make, annotate: Callable[..., None], tmp_path: Path
) -> None:
    root = source(4)
    annotate(root, "00", boxes=[])
    (root / "Annotations" / "01.xml").unlink()
    report = convert(voc_config(root), 1, tmp_path / "voc")
    assert (report["images"], report["boxes"]) == (3, 2)
    assert [(problem["kind"], problem["file"]) for problem in report["problem_list"]] == [
        ("missing_annotation", "JPEGImages/01.jpg")
    ]


def test_the_report_counts_what_was_written(
    source: Source, voc_config: Make, annotate: Callable[..., None], tmp_path: Path
) -> None:
    root = source(6, {"train": [0, 1, 2], "val": [3], "test": [4, 5]})
    annotate(root, "00", boxes=[GOOD, ("dog", "2", "3", "10", "9"), ("dog", "3", "3", "10", "9")])
    annotate(root, "05", boxes=[("dog", "2", "3", "10", "9")])
    report = convert(voc_config(root), 1, tmp_path / "voc")
    flat = {key: value for key, value in report.items() if isinstance(value, int)}
    assert flat == {
        "images": 6, "images/train": 3, "images/val": 1, "images/test": 2,
        "boxes": 8, "boxes/train": 5, "boxes/val": 1, "boxes/test": 2, "problems": 0,
        "images_without_objects": 0, "labels": 0, "masks": 0, "near_duplicates": 0,
    }  # fmt: skip
    assert report["classes"] == [
        {"name": "cat", "train": 3, "val": 1, "test": 1},
        {"name": "dog", "train": 2, "val": 0, "test": 1},
    ]
