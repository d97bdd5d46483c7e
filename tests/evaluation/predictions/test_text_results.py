import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from reprolens.errors import DataError
from reprolens.evaluation.predictions import Form, read_predictions
from reprolens.evaluation.predictions.coco_files import read_truth
from reprolens.voc import Record

CLASSES = ("cat", "dog", "potted plant")
RECORDS = [Record(name, f"{name}.jpg", 200, 100) for name in ("one", "two", "three")]


def _folder(tmp_path: Path, **files: str) -> Path:
    folder = tmp_path / "found"
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


FOUND_OUT = Form()


def _boxes(folder: Path, form: Form = FOUND_OUT, records: list[Record] = RECORDS) -> list[list[float]]:
    found, _ = read_predictions(folder, records, CLASSES, form)
    return [box for item in found for box in item.boxes.tolist()]


def test_a_line_is_class_score_and_box_and_a_picture_without_a_file_has_none(tmp_path: Path) -> None:
    folder = _folder(tmp_path, one="dog 0.5 11 21 131 41\n\n  cat 0.25 1 31 180 95  \n", two="")
    found, notes = read_predictions(folder, RECORDS, CLASSES)
    assert [len(item) for item in found] == [2, 0, 0]
    assert found[0].boxes.tolist() == [[10, 20, 131, 41], [0, 30, 180, 95]]
    assert (found[0].scores.tolist(), found[0].labels.tolist()) == ([0.5, 0.25], [1, 0])
    assert notes == (
        "1 of 3 pictures have no file, so no detections",
        "boxes are left, top, right, bottom, in pixels, the first of which is 1",
    )
    assert _boxes(folder, Form(first_pixel=0))[0] == [11, 21, 131, 41]


def test_text_without_a_line_is_no_detections(tmp_path: Path) -> None:
    found, _ = read_predictions(_folder(tmp_path, one="\n", two=""), RECORDS, CLASSES)
    assert [len(item) for item in found] == [0, 0, 0]


def test_the_first_pixel_is_shifted_as_decimals_are(tmp_path: Path) -> None:
    assert _boxes(_folder(tmp_path, one="cat 0.5 12.3 14.1 180.7 95"))[0] == [11.3, 13.1, 180.7, 95]


def test_corners_are_known_by_boxes_that_would_leave_the_picture_as_left_and_width(tmp_path: Path) -> None:
    folder = _folder(tmp_path, one="cat 0.5 10 20 30 40", two="cat 0.5 150 10 190 20")
    assert _boxes(folder, Form(first_pixel=0)) == [[10, 20, 30, 40], [150, 10, 190, 20]]


def test_left_and_width_are_known_by_boxes_that_would_be_inverted_as_corners(tmp_path: Path) -> None:
    folder = _folder(tmp_path, one="cat 0.5 10 20 30 40", two="cat 0.5 150 10 40.5 20")
    assert _boxes(folder, Form(first_pixel=0)) == [[10, 20, 40, 60], [150, 10, 190.5, 30]]
    assert _boxes(folder)[0] == [9, 19, 40, 60]  # xmax = left + width, as the older tools have it


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["cat 0.5 10 20 30 40"], r"xyxy or xywh cannot be told \(both fit all lines\); give --boxes"),
        (["cat 0.5 10 20 9 40", "cat 0.5 150 10 190 20"], "cannot be told .*line 1 is no xyxy, .*line 2 leaves"),
    ],
)
def test_boxes_that_could_be_both_are_refused_unless_their_form_is_given(
    tmp_path: Path, lines: list[str], said: str
) -> None:
    folder = _folder(tmp_path, one="\n".join(lines))
    with pytest.raises(DataError, match=said):
        _boxes(folder)
    assert _boxes(folder, Form("xywh", 0))[0][:2] == [10, 20]


def test_relative_boxes_are_centres_in_shares_of_the_picture(tmp_path: Path) -> None:
    folder = _folder(tmp_path, one="cat 0.9 0.5 0.25 0.1 0.2\ncat 0.95 0.25 0.5 0.5 1.0")
    np.testing.assert_allclose(_boxes(folder), [[90, 15, 110, 35], [0, 0, 100, 100]], rtol=0, atol=1e-9)
    _, notes = read_predictions(folder, RECORDS, CLASSES)
    assert notes[-1] == "boxes are centre, width, height, relative"
    np.testing.assert_allclose(_boxes(folder, Form("xywh"))[0], [100, 25, 120, 45], rtol=0, atol=1e-9)
    with pytest.raises(DataError, match="relative to pictures' sizes, which --data does not say"):
        _boxes(folder, records=[Record("one", "one.jpg", 0, 0)])


def test_a_score_behind_the_box_is_known_by_boxes_that_would_leave_the_picture(tmp_path: Path) -> None:
    folder = _folder(tmp_path, one="0 0.5 0.25 0.1 0.2 0.9\n1 0.25 0.5 0.5 1.0 0.6")
    found, notes = read_predictions(folder, RECORDS, CLASSES)
    np.testing.assert_allclose(found[0].boxes, [[90, 15, 110, 35], [0, 0, 100, 100]], rtol=0, atol=1e-9)
    assert (found[0].scores.tolist(), found[0].labels.tolist()) == ([0.9, 0.6], [0, 1])
    assert notes[-1] == "boxes are centre, width, height, then the score, relative"


def test_a_score_that_could_be_before_or_behind_is_refused_unless_it_is_said(tmp_path: Path) -> None:
    folder = _folder(tmp_path, one="0 0.4 0.4 0.4 0.3 0.4")
    with pytest.raises(DataError, match=r"give --boxes cxcywh \(before\) or yolo \(after\)"):
        _boxes(folder)
    np.testing.assert_allclose(_boxes(folder, Form("yolo")), [[40, 25, 120, 55]], rtol=0, atol=1e-9)
    np.testing.assert_allclose(_boxes(folder, Form("cxcywh")), [[50, 20, 110, 60]], rtol=0, atol=1e-9)


def test_an_absolute_box_before_its_score_is_not_taken_for_another(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the last number of each line looks like its score"):
        _boxes(_folder(tmp_path, one="cat 10 20 30 40 0.9\ncat 12 3 55 44 0.8"))


def test_classes_are_names_with_blanks_or_underscores_or_places_from_0(tmp_path: Path) -> None:
    line = " 0.5 150 1 180 95\n"

    def labels(*names: str, **more: str) -> list[int]:
        folder = _folder(tmp_path, one="".join(name + line for name in names), **more)
        return read_predictions(folder, RECORDS, CLASSES)[0][0].labels.tolist()

    assert labels("potted plant", "dog", "potted_plant") == [2, 1, 2]
    assert labels("2", "0") == [2, 0]
    for names, said in (
        (["cat", "bird"], "line 2: class 'bird' is not in labels.txt; valid: cat, dog, potted plant"),
        (["cat", "1"], "line 2: class '1' is not in labels.txt|line 1: class 'cat' is not"),
        (["0", "3"], "line 2: class 3, but there are 3 classes, counted from 0"),
    ):
        with pytest.raises(DataError, match=said):
            labels(*names)
    assert labels("1", "2", classes="bird\ndog\ncat\n") == [1, 0]
    with pytest.raises(DataError, match=r"line 1: class 'bird' is not in labels.txt, although classes.txt has it as 0"):
        labels("0", classes="bird\ndog\ncat\n")


def test_a_note_says_what_class_numbers_were_read_as(tmp_path: Path) -> None:
    line = " 0.5 150 1 180 95\n"
    folder = _folder(tmp_path, one=f"0{line}")

    def read(annotations: Path | None = None) -> tuple[list[int], str]:
        found, notes = read_predictions(folder, RECORDS, CLASSES, Form(annotations=annotations))
        return found[0].labels.tolist(), next(note for note in notes if note.startswith("class numbers"))

    assert read() == ([0], "class numbers are places in labels.txt, from 0: 0 is cat")
    (tmp_path / "voc.names").write_text("dog\ncat\n")
    assert read() == ([1], "class numbers are places in voc.names beside the folder, from 0: 0 is dog")
    (folder / "obj.names").write_text("potted plant\ncat\n")
    assert read() == ([2], "class numbers are places in obj.names, from 0: 0 is potted plant")
    categories = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]
    (tmp_path / "instances.json").write_text(json.dumps({"categories": categories}))
    words = "class numbers are places in the categories of instances.json, from 0: 0 is dog"
    assert read(tmp_path / "instances.json") == ([1], words)
    (folder / "classes.txt").write_text("cat\n")
    with pytest.raises(DataError, match=r"obj.names: lists other classes than .*classes.txt; keep the one"):
        read()
    (folder / "obj.names").unlink()
    (folder / "classes.txt").write_text("\n")
    with pytest.raises(DataError, match=r"classes.txt: lists no class; write one name a line"):
        read()
    (tmp_path / "instances.json").write_text("{}")
    for name, said in (("instances.json", "lists no categories"), ("nowhere.json", "cannot be read")):
        with pytest.raises(DataError, match=said):
            read(tmp_path / name)


def test_class_numbers_have_no_meaning_by_themselves_where_the_truth_is_a_coco_file(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    images = [{"id": 1, "file_name": "one.jpg", "width": 200, "height": 100}]
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "cat"}]
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": []}))
    truth = read_truth(path)

    def labels(line: str, annotations: Path | None = None) -> list[int]:
        folder = _folder(tmp_path, one=f"{line} 0.5 150 1 180 95\n")
        found, _ = read_predictions(folder, truth.records, truth.classes, Form(annotations=annotations), truth)
        return found[0].labels.tolist()

    assert labels("cat") == [1]
    with pytest.raises(
        DataError, match=r"one.txt, line 1: its class is a number, .* put a classes.txt .* --annotations"
    ):
        labels("0")
    with pytest.raises(DataError, match=r"class 'dog' is not in the categories of the COCO file; valid: cat, person"):
        labels("dog")
    assert labels("0", path) == [0]
    (tmp_path / "found" / "classes.txt").write_text("cat\nperson\n")
    assert labels("0") == [1]
    assert labels("0", path) == [0]  # what is said goes before what lies there


def test_numbers_that_are_names_of_classes_too_are_refused_if_they_differ(tmp_path: Path) -> None:
    folder = _folder(tmp_path, one="1 0.5 150 1 180 95\n")
    assert read_predictions(folder, RECORDS, ("0", "1"))[0][0].labels.tolist() == [1]
    with pytest.raises(DataError, match=r"whether '1' is a class's name or its place in labels.txt cannot be told"):
        read_predictions(folder, RECORDS, ("1", "2"))


def test_pictures_may_be_in_folders_and_files_called_after_their_suffix(tmp_path: Path) -> None:
    line = "cat 0.5 150 1 180 95"
    records = [Record("a/x", "a/x.jpg", 200, 100), Record("b/x", "b/x.jpg", 200, 100), Record("y", "y.png", 200, 100)]
    folder = _folder(tmp_path, b__x=line, **{"labels__y.png": line})
    assert [len(item) for item in read_predictions(folder, records, CLASSES)[0]] == [0, 1, 1]
    _folder(tmp_path, y=line)
    with pytest.raises(DataError, match=r"y.txt: is of the same picture as .*y.png.txt; leave one of them out"):
        read_predictions(folder, records, CLASSES)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "cat 10 20 30 40",
            r"line 2: 5 values, one too few: has it no score\?; a line is: class score and four numbers",
        ),
        ("cat 0.5", "line 2: 2 values; a line is"),
        ("cat 0.5 1 2 x 4", "line 2: 'cat 0.5 1 2 x 4': a line is: class score and four numbers"),
        ("cat nan 1 2 3 4", r"line 2: \[nan, 1.0, 2.0, 3.0, 4.0\] must be finite numbers"),
        ("cat 0.5 1 2 inf 4", "line 2: .* must be finite numbers"),
        ("cat 0.5 1 2 1e200 4", r"line 2: .* reaches further than 1e\+100; leave it out"),
        (f"{'x' * 100_000} 0.5 1 2 3 4", r"line 2: class 'x+\.\.\.x+' is not in labels.txt; valid: .{,40}$"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    folder = _folder(tmp_path, one=f"cat 0.5 150 1 180 95\n{line}\n")
    with pytest.raises(DataError, match=said) as caught:
        _boxes(folder)
    assert str(caught.value).startswith(f"{folder / 'one.txt'}, line 2: ")


@pytest.mark.parametrize(
    ("boxes", "line"), [("xyxy", "0.5 10 2 9 4"), ("xywh", "0.5 10 2 -9 4"), ("yolo", "0.5 0.5 0.1 -0.1 0.4")]
)
def test_a_negative_width_is_named(tmp_path: Path, boxes: str, line: str) -> None:
    with pytest.raises(DataError, match=r"one.txt, line 1: the box .* has a negative width or height"):
        _boxes(_folder(tmp_path, one=f"cat {line}"), Form(boxes))


def test_numbers_as_large_as_are_taken_make_no_noise(tmp_path: Path) -> None:
    folder = _folder(tmp_path, one="cat 0.5 -1e100 -1e100 1e100 1e100")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for boxes in ("xyxy", "xywh", "cxcywh"):
            assert np.isfinite(_boxes(folder, Form(boxes))).all()


def test_a_file_of_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"thre.txt: 'thre' is no picture of the split; did you mean three\?"):
        _boxes(_folder(tmp_path, thre=""))
    with pytest.raises(DataError, match="holds no text file of a picture"):
        _boxes(_folder(tmp_path / "other", classes="cat"))
