import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hotcoco import mask

from reprolens.errors import DataError
from reprolens.evaluation.predictions import Form, read_predictions
from reprolens.evaluation.predictions.coco_files import GroundTruth, read_truth
from reprolens.evaluation.predictions.coco_results import read_results
from reprolens.evaluation.predictions.picture_names import picture_names
from reprolens.evaluation.predictions.result_ids import Table, find_pictures
from reprolens.voc import Record

CLASSES = ("cat", "dog", "two words")
RECORDS = [Record(name, f"sub/{name}.jpg", 100, 80) for name in ("alpha", "beta", "gamma")]
NUMBERED = [Record(f"{number:012d}", f"{number:012d}.jpg", 100, 80) for number in (397133, 2, 52)]


def _row(image: Any, category: Any = 1, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": [1, 2, 3, 4], "score": 0.5, **more}


def _read(
    tmp_path: Path, content: Any, records: list[Record] = RECORDS, annotations: Any = None, truth: Any = None
) -> tuple[list[int], list[int], list[str]]:
    path = tmp_path / "found.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    if annotations is not None:
        (tmp_path / "instances.json").write_text(json.dumps(annotations))
        annotations = tmp_path / "instances.json"
    rows, notes = read_results(path, records, CLASSES, annotations, truth=truth)
    return rows.place.tolist(), rows.labels.tolist(), notes


LISTED = {
    "images": [{"id": 7, "file_name": "gamma.jpg"}, {"id": 8, "file_name": "/somewhere/alpha.jpg"}],
    "categories": [{"id": 1, "name": "dog"}, {"id": 5, "name": "cat"}],
}


def test_boxes_become_corners_and_keep_their_order(tmp_path: Path) -> None:
    rows = [_row(3, bbox=[12.1, 2, 3.2, 4], score=1), _row(1, 2), _row(3, 3, score=-7)]
    path = tmp_path / "found.json"
    path.write_text(json.dumps(rows))
    found, notes = read_predictions(path, RECORDS, CLASSES)
    assert [len(item) for item in found] == [1, 0, 2]
    assert found[2].boxes.tolist() == [[12.1, 2, 15.3, 6], [1, 2, 4, 6]]
    assert (found[2].scores.tolist(), found[2].labels.tolist(), found[0].labels.tolist()) == ([1, -7], [0, 2], [1])
    assert notes[-1] == "scores are from -7 to 1, which are no probabilities, so the calibration is undefined"
    shifted, _ = read_predictions(path, RECORDS, CLASSES, Form(first_pixel=1))
    assert shifted[2].boxes.tolist() == [[11.1, 1, 15.3, 6], [0, 1, 4, 6]]


def test_no_detections_are_an_empty_list(tmp_path: Path) -> None:
    for text in ("[]", '{"annotations": [], "images": [], "categories": []}'):
        (tmp_path / "found.json").write_text(text)
        found, notes = read_predictions(tmp_path / "found.json", RECORDS, CLASSES)
        assert [len(item) for item in found] == [0, 0, 0]
        assert notes == ()


def test_ids_are_those_of_the_annotations_given_before_all_else(tmp_path: Path) -> None:
    own = {"images": [{"id": 7, "file_name": "beta.jpg"}], "categories": LISTED["categories"]}
    content = {**own, "annotations": [_row(7, 1), _row(7, 5)]}
    assert _read(tmp_path, content, annotations=LISTED)[:2] == ([2, 2], [1, 0])
    places, labels, notes = _read(tmp_path, content)
    assert (places, labels) == ([1, 1], [1, 0])
    assert notes == ["image_id is the id in found.json", "category_id is the id in found.json"]


def test_the_truth_beside_the_predictions_says_what_their_ids_are(tmp_path: Path) -> None:
    (tmp_path / "ground_truth.json").write_text(json.dumps(LISTED))
    places, labels, notes = _read(tmp_path, [_row(7), _row(8, 5)])
    assert (places, labels) == ([2, 0], [1, 0])
    assert notes == ["image_id is the id in ground_truth.json", "category_id is the id in ground_truth.json"]
    assert _read(tmp_path, [_row("alpha", 1), _row("beta", 2)])[:2] == ([0, 1], [0, 1])  # it knows none of them
    with pytest.raises(DataError, match=r"row 1 is of image 1, which ground_truth.json does not list"):
        _read(tmp_path, [_row(7), _row(1)])
    (tmp_path / "ground_truth.json").write_text(
        json.dumps({"images": [{"id": 1, "file_name": "other.jpg"}], "categories": []})
    )
    with pytest.raises(DataError, match=r"row 0: 'other.jpg' is no picture of the split"):
        _read(tmp_path, [_row(1)])


def test_ids_may_be_those_of_the_coco_file_that_is_measured_against(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({**LISTED, "annotations": []}))
    truth: GroundTruth = read_truth(path)
    records = list(truth.records)
    found = tmp_path / "found.json"
    found.write_text(json.dumps([_row(8, 5), _row(7, 1)]))
    rows, notes = read_results(found, records, truth.classes, truth=truth)
    assert (rows.place.tolist(), rows.labels.tolist()) == ([1, 0], [1, 0])
    assert notes[0] == "image_id is the id in the truth"
    found.write_text(json.dumps([_row("alpha.jpg", 5)]))
    assert read_results(found, records, truth.classes, truth=truth)[0].place.tolist() == [1]


@pytest.mark.parametrize("name", ["beta", "beta.jpg", "sub/beta.jpg", "sub/beta", "C:\\pictures\\beta.jpg"])
def test_text_ids_and_file_names_are_names_of_pictures(tmp_path: Path, name: str) -> None:
    assert _read(tmp_path, [_row(name), _row("alpha")])[0] == [1, 0]
    places, _, notes = _read(tmp_path, [_row(77, file_name=name), _row(78, file_name="alpha.jpg")])
    assert places == [1, 0]
    assert notes[0] == "file_name is the name of the picture's file"


def test_numbers_are_names_of_files_where_all_are(tmp_path: Path) -> None:
    places, _, notes = _read(tmp_path, [_row(52), _row(397133), _row(52.0)], NUMBERED)
    assert places == [2, 0, 2]
    assert notes[0] == "image_id is the number in the file's name"
    assert _read(tmp_path, [_row("000000000052"), _row("397133")], NUMBERED)[0] == [2, 0]
    old = [Record("x", "COCO_val2014_000000000009.jpg", 9, 9)]
    assert _read(tmp_path, [_row(9)], old)[0] == [0]
    with pytest.raises(DataError, match="row 2 is of image 53, the name of no picture of the split"):
        _read(tmp_path, [_row(52), _row(397133), _row(53)], NUMBERED)


def test_other_numbers_are_places_in_the_split_from_1(tmp_path: Path) -> None:
    places, _, notes = _read(tmp_path, [_row(3), _row(1)])
    assert places == [2, 0]
    assert notes[0] == "image_id is the place in the split's image set, from 1"
    for wrong in (0, 4, -1):
        with pytest.raises(
            DataError, match=rf"row 1 is of image {wrong}, neither .* from 1 to 3 .* give --annotations"
        ):
            _read(tmp_path, [_row(1), _row(wrong)])


@pytest.mark.parametrize("kind", ["names", "numbers", "listed"])
def test_many_different_ids_take_hardly_longer_than_few(kind: str) -> None:
    count = 40_000
    names = picture_names([Record(f"p{number:05d}x", f"p{number:05d}x.jpg", 9, 9) for number in range(count)])
    ids: list[Any] = [f"p{number:05d}x.jpg" if kind == "names" else number + 1 for number in range(count)]
    listed = {number + 1: f"p{number:05d}x" for number in range(count)} if kind == "listed" else {}
    start = time.process_time()
    places, _ = find_pictures(Path("found.json"), ids, names, count, Table("truth.json", listed, {}))
    assert places == list(range(count))
    assert time.process_time() - start < 2  # 0.1 s; searching each id's first row among all took ten


def test_numbers_with_two_readings_are_refused(tmp_path: Path) -> None:
    assert _read(tmp_path, [_row(2)], NUMBERED)[0] == [1]  # the name of the second file: both say the same
    with pytest.raises(DataError, match=r"could be numbers in the files' names or places .* give --annotations"):
        _read(tmp_path, [_row(2)], NUMBERED[1:])
    in_order = [Record(str(number), f"{number}.jpg", 9, 9) for number in (1, 2, 3)]
    assert _read(tmp_path, [_row(1), _row(3)], in_order)[0] == [0, 2]


def test_classes_are_names_or_places_from_1_or_from_0_where_a_0_occurs(tmp_path: Path) -> None:
    assert _read(tmp_path, [_row(1, 1), _row(1, 3)])[1:] == (
        [0, 2],
        ["image_id is the place in the split's image set, from 1", "category_id is the place in labels.txt, from 1"],
    )
    _, labels, notes = _read(tmp_path, [_row(1, 0), _row(1, 2)])
    assert (labels, notes[1]) == ([0, 2], "category_id is the place in labels.txt, from 0")
    assert _read(tmp_path, [_row(1, "dog"), _row(1, "two words")])[1] == [1, 2]
    for content, said in (
        ([_row(1, 1), _row(1, 4)], "row 1 has the category_id 4, but labels.txt has 3 classes, counted from 1"),
        ([_row(1, 0), _row(1, 3)], "row 1 has the category_id 3, but labels.txt has 3 classes, counted from 0"),
        ([_row(1, "dogs")], "row 0 is of class 'dogs', which is not in labels.txt; did you mean dog?"),
    ):
        with pytest.raises(DataError, match=said):
            _read(tmp_path, content)


def test_a_category_that_the_file_lists_but_the_data_set_lacks_is_refused_only_if_it_is_used(tmp_path: Path) -> None:
    listed = {**LISTED, "categories": [*LISTED["categories"], {"id": 9, "name": "bird"}]}
    assert _read(tmp_path, [_row(7, 5)], annotations=listed)[1] == [0]
    with pytest.raises(DataError, match=r"row 0 is of class 'bird', which is not in labels.txt"):
        _read(tmp_path, [_row(7, 9)], annotations=listed)
    with pytest.raises(DataError, match=r"row 0 is of category 10, which instances.json does not list"):
        _read(tmp_path, [_row(7, 10)], annotations=listed)
    with pytest.raises(DataError, match="lists no images; --annotations is"):
        _read(tmp_path, [_row(7, 10)], annotations={"categories": []})


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty; a detector that found nothing writes"),
        ("not json", "not valid JSON"),
        (DEEP, "not as this format has it|nested too deeply"),
        ('[{"x": ' + DEEP + "}]", "nested too deeply"),
        ("3", "not as this format has it"),
        ("[1, 2]", r"not as this format has it .*\$\[0\].*COCO results are a list"),
        ('{"a": 1}', "holds no list of detections; COCO results are"),
        (
            [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
            "no row has a score, as in the truth of a data set",
        ),
        ([_row(1), {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}], "row 1 has no score"),
        ([_row(1), {"score": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}], "row 1 has no image_id"),
        ([_row(1), {"score": 1, "image_id": 1, "bbox": [1, 2, 3, 4]}], "row 1 has no category_id"),
        ([_row(1), {"score": 1, "image_id": 1, "category_id": 1}], "row 1 has neither a bbox nor a segmentation"),
        ([_row(1), _row(1, bbox=[1, 2, 3])], "row 1 has a bbox of 3 numbers, not left, top, width, height"),
        ([_row(1), _row(1, bbox=[1, 2, -3, 4])], r"row 1 has the bbox \[1.0, 2.0, -3.0, 4.0\], whose width or height"),
        ([_row(1), _row(1, bbox=[1, float("nan"), 3, 4])], r"row 1 has the bbox \[1.0, NaN, 3.0, 4.0\].* finite"),
        ([_row(1), _row(1, bbox=[1, None, 3, 4])], r"row 1 has the bbox \[1.0, null, 3.0, 4.0\].* finite"),
        ([_row(1), _row(1, score=float("inf"))], "row 1 has the score Infinity, which must be finite numbers"),
        ([_row(1), _row(1, score="0.5")], 'row 1 has the score "0.5", but "0.5" in quotes is text, not a number'),
        (
            [_row(1), _row(1, bbox=["1", 2, 3, 4])],
            r'row 1 has the bbox \["1", 2.0, 3.0, 4.0\], but "1" in quotes is text',
        ),
        (
            [_row(1), _row(1, bbox=["9" * 100_000, 2, 3, 4])],
            r'row 1 has the bbox \["9+\.\.\., but "9+\.\.\. in quotes is text',
        ),
        (
            [_row(1), _row(1, bbox=[1, 2, 1e101, 4])],
            r"row 1 has the bbox .*, which reaches further than 1e\+100; leave",
        ),
        ([_row(1), _row(1, score=-1e300)], r"row 1 has the score -1e\+300, which reaches further than 1e\+100"),
        ([_row(1), _row(1, score=[])], r"not as this format has it .*\$\[1\].score"),
        ('[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1e999}]', r"out of range.*\$\[0\].score"),
        ([_row("alpha"), _row("omega")], "row 1: 'omega' is no picture of the split"),
        ([_row("alpha"), _row("alpho")], "row 1: 'alpho' is no picture of the split; did you mean alpha?"),
        ([_row(1), _row(1, segmentation=[[1, 2, 3]])], "row 1: its segmentation has a polygon of 3 numbers"),
        *(
            ([_row(1), _row(1, segmentation={"size": [80, 100], "counts": counts})], f"row 1: its segmentation {said}")
            for counts, said in (
                ([-5, 8005], "has a run of -5 pixels, and none is below 0"),
                ([10, 7991], "is a damaged run-length code .* total counts 8001 exceed h.w=8000"),
                ([0.5], "is neither polygons nor a run-length code"),
            )
        ),
    ],
)
def test_bad_results_are_one_clear_line(tmp_path: Path, content: Any, said: str) -> None:
    if "segmentation" in said and "neither a bbox" not in said:
        content[0]["segmentation"] = [[1, 2, 3, 4, 5, 6]]
    with pytest.raises(DataError, match=said) as caught:
        _read(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'found.json'}: ")
    assert "\n" not in str(caught.value)


def test_an_error_quotes_no_more_of_a_long_name_than_its_ends(tmp_path: Path) -> None:
    for length in (900, 100_000):
        for row in (_row("x" * length), _row(1, "x" * length), _row(1, file_name="x" * length)):
            with pytest.raises(DataError, match="row 0") as caught:
                _read(tmp_path, [row])
            assert len(str(caught.value)) < 1200


def test_the_annotations_that_are_given_are_read_even_for_no_detections(tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text("[]")
    (tmp_path / "damaged.json").write_text("{")
    for name, said in (("nowhere.json", "nowhere.json: cannot be read"), ("damaged.json", "damaged.json: not valid")):
        with pytest.raises(DataError, match=said):
            read_predictions(tmp_path / "found.json", RECORDS, CLASSES, Form(annotations=tmp_path / name))


@pytest.mark.parametrize("empty", ["[ ]", "[ [ ] ]", "{ }", "null", "[\n]"])
def test_a_row_of_an_empty_outline_has_none(tmp_path: Path, empty: str) -> None:
    square = json.dumps(_row(1, segmentation=[[10, 10, 30, 10, 30, 40]]))
    _, _, notes = _read(tmp_path, f'[{square}, {json.dumps(_row(1))[:-1]}, "segmentation": {empty}}}]')
    assert notes[-1] == "1 of 2 detections have outlines, so boxes alone are measured"


def test_behind_the_last_run_of_a_code_nothing_is_the_objects(tmp_path: Path) -> None:
    rows = [_row(1, segmentation={"size": [80, 100], "counts": counts}) for counts in ([5, 80], [5, 80, 7915], "5`2")]
    (tmp_path / "found.json").write_text(json.dumps([*rows, _row(1, segmentation={"size": [80, 100], "counts": []})]))
    found, _ = read_predictions(tmp_path / "found.json", RECORDS, CLASSES)
    assert found[0].masks is not None
    short, whole, coded, empty = found[0].masks
    assert short == whole == coded
    assert mask.area({"size": [80, 100], "counts": whole}) == 80
    assert mask.area({"size": [80, 100], "counts": empty}) == 0


def test_a_name_of_two_pictures_is_refused(tmp_path: Path) -> None:
    twins = [Record("a/x", "a/x.jpg", 9, 9), Record("b/x", "b/x.jpg", 9, 9)]
    assert _read(tmp_path, [_row("b/x.jpg"), _row("a/x")], twins)[0] == [1, 0]
    with pytest.raises(DataError, match=r"row 1: 'x.jpg' is the name of several pictures"):
        _read(tmp_path, [_row("a/x"), _row("x.jpg")], twins)


def test_outlines_become_masks_where_every_row_has_one(tmp_path: Path) -> None:
    drawn = np.zeros((80, 100), np.uint8, "F")
    drawn[10:40, 10:30] = 1
    code = bytes(mask.encode(drawn)["counts"])
    runs = [10 * 80 + 10, *[30, 50] * 19, 30, 80 * 100]
    runs[-1] -= sum(runs[:-1])
    path = tmp_path / "found.json"
    outlines = [{"size": [80, 100], "counts": code.decode()}, {"size": [80, 100], "counts": runs}]
    outlines.append([[10, 10, 30, 10, 30, 40, 10, 40]])  # type: ignore[arg-type]
    rows = [_row(1, segmentation=outline) for outline in outlines]
    del rows[2]["bbox"]
    path.write_text(json.dumps(rows))
    found, notes = read_predictions(path, RECORDS, CLASSES)
    assert found[0].masks == (code,) * 3
    assert found[0].boxes[2].tolist() == [10, 10, 30, 40]
    assert found[1].masks == ()
    path.write_text(json.dumps([*rows, _row(1)]))
    found, notes = read_predictions(path, RECORDS, CLASSES)
    assert found[0].masks is None
    assert notes[-1] == "3 of 4 detections have outlines, so boxes alone are measured"
    path.write_text(json.dumps([_row(1, segmentation={"size": [9, 9], "counts": code.decode()})]))
    with pytest.raises(DataError, match="row 0: its segmentation is 9 x 9 pixels, the picture 100 x 80"):
        read_predictions(path, RECORDS, CLASSES)
