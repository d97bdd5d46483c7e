"""The command line on a data set: `reprolens inspect` and `reprolens convert-back`, as a user types them."""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from convert.small_sets import CLASSES, SETS, Files
from reprolens.__main__ import main
from reprolens.convert import convert
from reprolens.convert.formats import labelled
from reprolens.voc import Box, read_folder

ROOT = Path(__file__).parents[2]
Write = Callable[[str], Path]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Return a writer of a small data set."""

    def write(name: str) -> Path:
        _write(SETS[name][1](), tmp_path / "set")
        return tmp_path / "set"

    return write


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a runner of a command at the root of the repository: exit status, output, errors."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "120")

    def typed(*arguments: str | Path) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return typed


def _write(files: Files, root: Path) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def _bad_box(root: Path) -> None:
    table = root / "labels.csv"
    table.write_bytes(table.read_bytes().replace(b"1,2,10,9", b"1,2,99,9", 1))


def _listing(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_the_command_answers_as_a_process_of_its_own(written: Write) -> None:
    command = [sys.executable, "-m", "reprolens", "inspect", str(written("coco")), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert (values["images"], values["boxes"], values["problems"]) == (4, 8, 0)
    assert [entry["name"] for entry in values["classes"]] == list(CLASSES)


def test_inspect_prints_what_a_data_set_holds_and_what_is_wrong_with_it(written: Write, run: Run) -> None:
    root = written("tf_csv")
    _bad_box(root)
    before = _listing(root)
    status, out, err = run("inspect", root)
    assert (status, err) == (0, "")
    assert "tf_csv, detection (labels.csv has the columns" in out
    assert "4 images, most of 16 x 12 pixels; 8 boxes, 2 classes; 0 images without objects, 1 problems" in out
    assert all(name in out for name in CLASSES)
    assert "box_outside" in out and "fix" in out and "labels.csv, line 2" in out and "'cat'" in out
    assert _listing(root) == before


def test_json_says_all_that_the_table_says_and_where(written: Write, run: Run) -> None:
    root = written("tf_csv")
    _bad_box(root)
    status, out, err = run("inspect", root, "--json")
    values = json.loads(out)
    assert (status, err) == (0, "")
    assert (values["images"], values["boxes"], values["problems"]) == (4, 8, 1)
    assert values["classes"] == [{"name": "cat", "unassigned": 4}, {"name": "dog", "unassigned": 4}]
    (problem,) = values["problem_list"]
    assert (problem["kind"], problem["file"], problem["action"]) == ("box_outside", "p0.png", "fix")
    assert problem["place"] == f"{root / 'labels.csv'}, line 2" and "99" in problem["reason"]
    assert values["source"][0]["format"] == "tf_csv" and values["source"][0]["path"] == str(root)


def test_json_holds_names_that_are_no_ascii_or_no_unicode_at_all(tmp_path: Path, run: Run) -> None:
    data = next(iter(SETS["class_folders"][1]().values()))
    for folder in ("Katze 🐱", "käse", os.fsdecode(b"\xff")):
        _write({f"{folder}/{number}.png": data for number in range(2)}, tmp_path / "set")
    status, out, _ = run("inspect", tmp_path / "set", "--json")
    assert status == 0
    assert sorted(entry["name"] for entry in json.loads(out)["classes"]) == ["%FF", "Katze 🐱", "käse"]


@pytest.mark.parametrize("spelled", ["coco", "COCO", "auto"])
def test_the_sheet_shows_the_pictures_with_their_boxes(spelled: str, written: Write, run: Run, tmp_path: Path) -> None:
    sheet = tmp_path / "sheets" / "sheet.png"
    status, out, _ = run("inspect", written("coco"), "--sheet", sheet, "--format", spelled)
    assert status == 0 and "8 boxes" in out
    with Image.open(sheet) as picture:
        assert picture.format == "PNG" and min(picture.size) > 100


def test_pictures_may_lie_elsewhere(written: Write, run: Run, tmp_path: Path) -> None:
    root = written("coco")
    status, out, _ = run("inspect", root / "annotations", "--json")
    values = json.loads(out)
    assert status == 0 and {entry["kind"] for entry in values["problem_list"]} == {"missing_image"}
    assert values["problems"] == 4 and (values["images"], values["boxes"]) == (4, 8)
    (root / "images").rename(tmp_path / "elsewhere")
    for path in (root, root / "annotations", root / "annotations" / "instances.json"):
        status, out, _ = run("inspect", path, "--images", tmp_path / "elsewhere", "--json")
        values = json.loads(out)
        assert status == 0 and (values["images"], values["boxes"], values["problems"]) == (4, 8, 0)


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("voc", "Pascal-VOC"),
        ("voc", "pascal_voc"),
        ("voc", "VOC"),
        ("open_images", "OpenImages"),
        ("open_images", "open-images"),
        ("label_studio", "Label Studio"),
        ("labelme", "LabelMe"),
        ("tfrecord", "TFRecord"),
        ("tf_csv", "csv"),
        ("createml", "CreateML"),
        ("kitti", "KITTI"),
        ("yolo", "Darknet"),
        ("class_folders", "class-folders"),
    ],
)
def test_a_format_is_known_by_the_names_that_people_have_for_it(
    name: str, spelled: str, written: Write, run: Run
) -> None:
    status, out, err = run("inspect", written(name), "--format", spelled, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["source"][0]["format"] == SETS[name][0]


def _refused(done: tuple[int, str, str], *parts: str) -> None:
    status, out, err = done
    assert status == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert all(part in err for part in parts), err


def test_what_cannot_be_inspected_ends_in_one_line_that_helps(written: Write, run: Run, tmp_path: Path) -> None:
    root = written("coco")
    _refused(run("inspect", tmp_path / "nowhere"), f"{tmp_path / 'nowhere'}: there is no such file or folder")
    _refused(run("inspect", root, "--format", "coko"), "'coko' is no format", "did you mean coco?")
    _refused(run("inspect", root, "--format", "zzz"), "'zzz' is no format", "valid: auto, ", "yolo")
    _refused(run("inspect", root, "--images", tmp_path / "nowhere"), f"{tmp_path / 'nowhere'}: there is no such folder")
    _refused(run("inspect", root, "--format", "kitti"), str(root), "label_2")
    _refused(run("inspect", root / "images"), "in none of the formats known", "p0.png")
    (tmp_path / "empty").mkdir()
    _refused(run("inspect", tmp_path / "empty"), "the folder is empty")


def test_a_folder_that_could_be_several_lists_them_and_says_how_to_choose(
    written: Write, run: Run, tmp_path: Path
) -> None:
    root = written("coco")
    _write(SETS["voc"][1](), root)
    _refused(run("inspect", root), "could be voc: ", "; or coco: annotations/instances.json has", "--format")
    assert run("inspect", root, "--format", "coco")[0] == 0


def test_a_sheet_that_cannot_be_written_ends_in_one_line(written: Write, run: Run, tmp_path: Path) -> None:
    root = written("coco")
    (tmp_path / "file").write_text("")
    _refused(run("inspect", root, "--sheet", tmp_path / "sheet.jpg"), "sheet.jpg", ".png")
    _refused(run("inspect", root, "--sheet", tmp_path / "file" / "sheet.png"), "sheet.png")
    (tmp_path / "folder.png").mkdir()
    _refused(run("inspect", root, "--sheet", tmp_path / "folder.png"), "folder.png")
    _write(SETS["coco"][1](), tmp_path / "again")
    for picture in (tmp_path / "again" / "images").iterdir():
        picture.write_bytes(b"text")
    _refused(run("inspect", tmp_path / "again", "--sheet", tmp_path / "s.png"), "no picture decodes")


def test_inspect_looks_at_what_convert_wrote_by_itself(
    written: Write, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(labelled("voc", str(written("voc")), None, ROOT), 1, tmp_path / "data" / "voc")
    monkeypatch.chdir(tmp_path)
    status, out, _ = run("inspect", "--json")
    values = json.loads(out)
    assert status == 0 and (values["images"], values["boxes"], values["problems"]) == (4, 8, 0)
    assert (values["images/train"], values["images/val"], values["images/test"]) == (2, 1, 1)


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_convert_back_writes_a_data_set_that_inspect_finds_whole(
    form: str, written: Write, run: Run, tmp_path: Path
) -> None:
    convert(labelled("voc", str(written("voc")), None, ROOT), 1, tmp_path / "voc")
    out = tmp_path / "back"
    status, text, err = run("convert-back", form, out, "--voc", tmp_path / "voc")
    assert (status, err) == (0, "")
    assert text.startswith(f"convert-back: {out}, 4 images, 8 boxes") and text.count("\n") == 1
    status, text, _ = run("inspect", out, "--json")
    values = json.loads(text)
    assert status == 0 and values["source"][0]["format"] == form
    assert (values["images"], values["boxes"], values["problems"]) == (4, 8, 0)
    assert [values[f"images/{split}"] for split in ("train", "val", "test")] == [2, 1, 1]
    convert(labelled(form, str(out), None, ROOT), 1, tmp_path / "again")
    boxes = [_boxes(tmp_path / name) for name in ("voc", "again")]
    assert boxes[0] == boxes[1]


def _boxes(root: Path) -> list[tuple[str, list[tuple[str, Box]]]]:
    folder = read_folder(root)
    return [
        (split, sorted((item.name, item.box) for item in record.objects))
        for split in folder.splits
        for record in folder.records(split)
    ]


def test_convert_back_prints_as_many_decimals_as_asked(written: Write, run: Run, tmp_path: Path) -> None:
    convert(labelled("voc", str(written("voc")), None, ROOT), 1, tmp_path / "voc")
    out = tmp_path / "back"
    assert run("convert-back", "yolo", out, "--voc", tmp_path / "voc", "--decimals", "3")[0] == 0
    lines = next((out / "labels" / "train").rglob("*.txt")).read_text().splitlines()
    assert lines[0] == "0 0.344 0.458 0.562 0.583"


def test_convert_back_without_a_data_set_ends_in_one_line(run: Run, tmp_path: Path) -> None:
    _refused(run("convert-back", "coco", tmp_path / "out", "--voc", tmp_path / "voc"), "labels.txt", "dvc repro")
    assert not (tmp_path / "out").exists()


def test_an_archive_is_inspected_as_the_folder_in_it(run: Run, tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in SETS["yolo"][1]().items():
            archive.writestr(name, content)
    (tmp_path / "set.zip").write_bytes(data.getvalue())
    status, out, _ = run("inspect", tmp_path / "set.zip", "--json")
    values = json.loads(out)
    assert status == 0 and (values["images"], values["boxes"], values["problems"]) == (4, 8, 0)
    assert values["source"][0]["path"] == str(tmp_path / "set.zip")
