"""Laws of bad input: one clear line, and nothing left behind or lost."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from reprolens.config import Voc
from reprolens.convert import convert
from reprolens.errors import DataError

Make = Callable[..., Voc]
Source = Callable[..., Path]
Tree = Callable[[Path], dict[str, bytes]]

THREE = {"train": [0, 1, 2, 3], "val": [4, 5], "test": [6, 7]}
BOMB = "<!DOCTYPE annotation [<!ENTITY a 'lol'>" + "".join(
    f"<!ENTITY {name} '{f'&{before};' * 10}'>" for before, name in zip("abcdefghi", "bcdefghij", strict=True)
) + "]>"  # fmt: skip


def _no_folder(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))


def _a_file(root: Path) -> None:
    _no_folder(root)
    root.write_text("{}")


def _empty_folder(root: Path) -> None:
    _no_folder(root)
    root.mkdir()


def _coco(root: Path) -> None:
    _empty_folder(root)
    (root / "annotations").mkdir()
    (root / "annotations" / "instances.json").write_text("{}")
    (root / "train2017").mkdir()


def _no_annotation_files(root: Path) -> None:
    for path in (root / "Annotations").iterdir():
        path.rename(path.with_suffix(".txt"))


def _picture_missing(root: Path) -> None:
    (root / "JPEGImages" / "03.jpg").unlink()


def _truncated_picture(root: Path) -> None:
    path = root / "JPEGImages" / "03.jpg"
    Image.effect_noise((160, 120), 50).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def _text_as_picture(root: Path) -> None:
    (root / "JPEGImages" / "03.jpg").write_text("not a picture")


def _empty_picture(root: Path) -> None:
    (root / "JPEGImages" / "03.jpg").write_bytes(b"")


def _folder_as_picture(root: Path) -> None:
    (root / "JPEGImages" / "03.jpg").unlink()
    (root / "JPEGImages" / "03.jpg").mkdir()


def _change(root: Path, name: str, old: str, new: str) -> None:
    path = root / "Annotations" / f"{name}.xml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _entity_bomb(root: Path) -> None:
    path = root / "Annotations" / "03.xml"
    path.write_text(BOMB + path.read_text().replace("cat", "&j;"))


def _external_entity(root: Path) -> None:
    path = root / "Annotations" / "03.xml"
    declaration = '<!DOCTYPE annotation [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    path.write_text(declaration + path.read_text().replace("cat", "&e;"))


def _class_only_in_val(root: Path) -> None:
    _change(root, "04", "cat", "dog")


def _class_only_in_test(root: Path) -> None:
    _change(root, "06", "cat", "emu")


def _no_object_in_train(root: Path) -> None:
    for number in THREE["train"]:
        _change(root, f"{number:02d}", "object>", "thing>")


def _in_two_splits(root: Path) -> None:
    (root / "ImageSets/Main/test.txt").write_text("06\n07\n03\n")


def _in_val_and_test(root: Path) -> None:
    (root / "ImageSets/Main/test.txt").write_text("06\n07\n05\n")


def _in_trainval_and_test(root: Path) -> None:
    (root / "ImageSets/Main/trainval.txt").write_text("00\n06\n")


def _set_of_strangers(root: Path) -> None:
    (root / "ImageSets/Main/val.txt").write_text("img_4\nimg_5\n")


def _set_not_text(root: Path) -> None:
    (root / "ImageSets/Main/val.txt").write_text("04\n05\né\n", encoding="latin-1")


def _all_empty(root: Path) -> None:
    for path in (root / "JPEGImages").iterdir():
        path.write_bytes(b"")


@dataclass(frozen=True)
class Case:
    """What is wrong with a folder of eight pictures, and the words that the error has to hold."""

    spoil: Callable[[Path], None]
    words: tuple[str, ...]
    policy: tuple[tuple[str, str], ...] = ()


CASES = {
    "missing folder": Case(_no_folder, ("source: there is no such file or folder", "data.path")),
    "a file for the folder": Case(_a_file, ("not a VOC folder", "found source", "set data to the right format")),
    "empty folder": Case(_empty_folder, ("source: the folder is empty", "data.path")),
    "another format": Case(_coco, ("not a VOC folder", "found annotations", "set data to the right format")),
    "no annotation": Case(_no_annotation_files, ("not a VOC folder", "no .xml annotation")),
    "annotation without picture": Case(
        _picture_missing, ("03.xml", "03.jpg does not exist", "data.policy.missing_image")
    ),
    "truncated JPEG": Case(_truncated_picture, ("03.xml", "03.jpg does not decode", "data.policy.undecodable_image")),
    "text as JPEG": Case(_text_as_picture, ("03.jpg does not decode (no known image format)",)),
    "empty JPEG": Case(_empty_picture, ("03.jpg does not decode",)),
    "folder as JPEG": Case(_folder_as_picture, ("03.xml", "03.jpg does not exist")),
    "every picture bad": Case(_all_empty, ("source: every picture has a problem",), (("undecodable_image", "drop"),)),
    "entity bomb": Case(_entity_bomb, ("03.xml: ", "ntit")),
    "external entity": Case(_external_entity, ("03.xml: declares a document type or entities",)),
    "class in val that is not in train": Case(_class_only_in_val, ("class 'dog' is in val but not in train", "policy")),
    "class in test that is not in train": Case(_class_only_in_test, ("class 'emu' is in test but not in train",)),
    "nothing in train": Case(_no_object_in_train, ("the train split shows no object at all",)),
    "picture in train and test": Case(_in_two_splits, ("train.txt: Annotations/03.xml is in the set test too",)),
    "picture in val and test": Case(_in_val_and_test, ("val.txt: Annotations/05.xml is in the set test too",)),
    "picture in trainval and test": Case(
        _in_trainval_and_test, ("trainval.txt: Annotations/06.xml is in the set test too",)
    ),
    "image set of another data set": Case(_set_of_strangers, ("val.txt: nothing that it names, such as 'img_4'",)),
    "image set in Latin-1": Case(_set_not_text, ("val.txt: cannot be read as UTF-8",)),
}


@pytest.mark.parametrize("earlier", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("case", CASES)
def test_bad_input_ends_in_one_line_and_leaves_what_was_there(
    case: str, earlier: bool, source: Source, voc_config: Make, tree: Tree, tmp_path: Path
) -> None:
    root, out = source(8, THREE), tmp_path / "data" / "voc"
    out.parent.mkdir()
    if earlier:
        convert(voc_config(root), 1, out)
    before = tree(tmp_path / "data")
    CASES[case].spoil(root)
    with pytest.raises(DataError) as caught:
        convert(voc_config(root, **dict(CASES[case].policy)), 1, out)
    message = str(caught.value)
    assert [word for word in CASES[case].words if word not in message] == [], message
    assert "\n" not in message
    assert "root:" not in message  # the content of /etc/passwd
    assert tree(tmp_path / "data") == before
    assert out.exists() == earlier
    assert [path.name for path in (tmp_path / "data").iterdir()] == (["voc"] if earlier else [])


@pytest.mark.parametrize("inside", ["", "extracted"])
def test_a_source_inside_the_folder_that_is_written_is_refused_before_it_is_lost(
    inside: str, source: Source, voc_config: Make, tree: Tree, tmp_path: Path
) -> None:
    out = tmp_path / "data" / "voc"
    (out / inside).parent.mkdir(parents=True)
    source(8, THREE).rename(out / inside)
    before = tree(out)
    with pytest.raises(DataError, match="move your data set elsewhere"):
        convert(voc_config(out / inside), 1, out)
    assert tree(out) == before


def test_a_failing_stage_says_one_line_with_status_2_and_keeps_the_earlier_report(
    repository: Path, tmp_path: Path
) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "DVC_ROOT"} | {"PYTHONPATH": "src"}
    (repository / "reports").mkdir(exist_ok=True)
    (repository / "reports" / "dataset.json").write_text("{}")
    params = (repository / "params.yaml").read_text().replace("data: digits ", "data: voc ")
    (repository / "params.yaml").write_text(params.replace("path: data/digits", f"path: {tmp_path / 'nowhere'}"))
    for stage, status in (("compose", 0), ("convert", 2)):
        command = [sys.executable, "-m", f"pipelines.{stage}"]
        done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith(
        "nowhere: there is no such file or folder; set data.path in params.yaml to the data set\n"
    )
    assert done.stderr.count("\n") == 1
    assert (repository / "reports" / "dataset.json").read_text() == "{}"


def test_conversion_needs_no_torch() -> None:
    code = "import sys, reprolens.convert; print([name for name in ('torch', 'wandb', 'dvc') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
