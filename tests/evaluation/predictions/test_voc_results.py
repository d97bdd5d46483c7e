from pathlib import Path

import pytest

from reprolens.errors import DataError
from reprolens.evaluation.predictions import Form, read_predictions
from reprolens.voc import Record

CLASSES = ("car", "police_car", "tv/set")
RECORDS = [Record("2007_000027", "2007_000027.jpg", 200, 100), Record("a b", "a b.jpg", 200, 100)]


def _folder(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / f"{name.replace('SLASH', '%2F')}.txt").write_text(text)
    return tmp_path


def test_a_file_holds_the_results_of_a_class_in_pixels_from_1(tmp_path: Path) -> None:
    folder = _folder(
        tmp_path,
        comp3_det_test_car="2007_000027 0.9 10 20 30 40\na b -3 1 1 200 100\n",
        comp3_det_test_police_car="a b 0.25 5.5 6 7 8\n",
        README="not results",
    )
    found, notes = read_predictions(folder, RECORDS, CLASSES)
    assert found[0].boxes.tolist() == [[9, 19, 30, 40]]
    assert found[1].boxes.tolist() == [[0, 0, 200, 100], [4.5, 5, 7, 8]]
    assert (found[1].labels.tolist(), found[1].scores.tolist()) == ([0, 1], [-3, 0.25])
    assert notes[:3] == (
        "boxes are VOC's corners in pixels, the first of which is 1",
        "1 of 3 classes have no file, so no detections",
        "README.txt left out: the kit's results are called comp3_det_test_CLASS.txt",
    )
    assert read_predictions(folder, RECORDS, CLASSES, Form(first_pixel=0))[0][0].boxes.tolist() == [[10, 20, 30, 40]]


def test_an_empty_file_is_a_class_without_detections(tmp_path: Path) -> None:
    found, _ = read_predictions(_folder(tmp_path, comp4_det_val_car=""), RECORDS, CLASSES)
    assert [len(item) for item in found] == [0, 0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2007_000027 0.5 1 2 3", "line 2: .* a line is: id score xmin ymin xmax ymax"),
        ("2007_000027 0.5 1 2 3 x", "line 2: .* a line is: id score"),
        ("2007_000027 nan 1 2 3 4", "line 2: .* must be finite numbers"),
        ("2007_000027 0.5 1 2 1e200 4", r"line 2: .* reaches further than 1e\+100; leave it out"),
        ("2007_000027 0.5 9 2 3 4", "line 2: .* has a box of negative width or height"),
        ("2007_000028 0.5 1 2 3 4", r"line 2: '2007_000028' is no picture of the split; did you mean 2007_000027\?"),
        (
            f"{'x' * 100_000} 0.5 1 2 3 4",
            r"line 2: 'x+\.\.\.x+' is no picture of the split; leave it out, or give the .{1,60}$",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    folder = _folder(tmp_path, comp3_det_test_car=f"2007_000027 0.9 10 20 30 40\n{line}\n")
    with pytest.raises(DataError, match=said) as caught:
        read_predictions(folder, RECORDS, CLASSES)
    assert str(caught.value).startswith(f"{folder / 'comp3_det_test_car.txt'}, line 2: ")


def test_files_of_no_class_or_of_one_class_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"its class 'cat' is not in labels.txt; did you mean car\?"):
        read_predictions(_folder(tmp_path, comp3_det_test_cat=""), RECORDS, CLASSES)
    (tmp_path / "comp3_det_test_cat.txt").unlink()
    with pytest.raises(DataError, match=r"comp4_det_test_car.txt: is of the same class as .*comp3_det_test_car.txt"):
        read_predictions(_folder(tmp_path, comp3_det_test_car="", comp4_det_test_car=""), RECORDS, CLASSES)
