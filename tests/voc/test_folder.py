"""Laws of a VOC folder as later stages read it."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from reprolens.errors import DataError
from reprolens.voc import Object, Record, read_folder, write_folder
from reprolens.voc.folder import plain_name

CAT = Object("cat", (0.5, 1, 7.25, 6))
HARD_CAT = Object("cat", (0, 0, 2, 2), difficult=True)
DOG = Object("dog/puppy", (1, 1, 3, 3), crowd=True)


def _record(id: str, *objects: Object) -> Record:
    return Record(id, f"{id}.jpg", 8, 6, 3, objects)


SPLITS = {
    "train": [_record("b/zwei drei", CAT, DOG), _record("a", HARD_CAT)],
    "val": [_record("später", HARD_CAT, CAT)],
    "test": [_record("empty")],
}


def test_what_is_written_is_read_back_in_its_order(tmp_path: Path) -> None:
    write_folder(tmp_path, ["dog/puppy", "cat"], SPLITS)
    folder = read_folder(tmp_path)
    assert folder.classes == ("dog/puppy", "cat")
    assert {split: list(folder.records(split)) for split in folder.splits} == SPLITS


NAMES = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufffe\uffff"),
    min_size=1,
    max_size=20,
).filter(lambda text: text == text.strip())


@settings(max_examples=30)
@given(st.sets(NAMES, min_size=1, max_size=5))
@example({"a/b", "a_b", "a\\b", "a%2Fb", "..", "train", "ß", "x\u1680x"})
def test_classes_of_any_name_stay_apart(names: set[str]) -> None:
    records = [_record(str(number), Object(name, (0, 0, 2, 2))) for number, name in enumerate(sorted(names))]
    with tempfile.TemporaryDirectory() as root:
        write_folder(Path(root), sorted(names), {"train": records, "val": [], "test": []})
        folder = read_folder(Path(root))
        assert folder.classes == tuple(sorted(names))
        assert [record.objects[0].name for record in folder.records("train")] == sorted(names)
        assert len(list((Path(root) / "ImageSets/Main").iterdir())) == 3 + 3 * len(names)


def test_class_sets_say_1_for_shown_0_for_only_difficult_and_minus_1_for_absent(tmp_path: Path) -> None:
    write_folder(tmp_path, ["dog/puppy", "cat"], SPLITS)
    sets = tmp_path / "ImageSets" / "Main"
    assert (sets / "cat_train.txt").read_text() == "b/zwei drei  1\na  0\n"
    assert (sets / "cat_val.txt").read_text() == "später  1\n"
    assert (sets / "dog%2Fpuppy_train.txt").read_text() == "b/zwei drei  1\na -1\n"
    assert (sets / "cat_test.txt").read_text() == "empty -1\n"


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_folder(tmp_path / name, ["dog/puppy", "cat"], SPLITS)
    files = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*.*"))
    assert len(files) == 4 + 3 + 6 + 1
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_torchvision_reads_the_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    voc = tmp_path / "voc"
    write_folder(voc, ["dog/puppy", "cat"], SPLITS)
    for records in SPLITS.values():
        for record in records:
            path = voc / "JPEGImages" / record.file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 6)).save(path)
    (tmp_path / "VOCdevkit").mkdir()
    (tmp_path / "VOCdevkit" / "VOC2012").symlink_to(voc)
    read = datasets.VOCDetection(str(tmp_path), year="2012", image_set="train")
    assert len(read) == 2
    picture, target = read[0]
    assert picture.size == (8, 6)
    first, second = target["annotation"]["object"]
    assert first["name"] == "cat"
    assert first["bndbox"] == {"xmin": "1.5", "ymin": "2", "xmax": "7.25", "ymax": "6"}
    assert second["name"] == "dog/puppy"


@pytest.mark.parametrize("file", ["../secret.jpg", "/etc/passwd", "a/../../../secret.jpg", ".."])
def test_no_picture_is_looked_for_outside_the_folder(file: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "voc", ["cat"], SPLITS)
    with pytest.raises(DataError, match="outside"):
        read_folder(tmp_path / "voc").image(Record("a", file, 8, 6))


@pytest.mark.parametrize("id", ["../../secret", "/etc/passwd", "a/../../../secret"])
def test_no_annotation_is_looked_for_outside_the_folder(id: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "voc", ["cat"], SPLITS)
    (tmp_path / "secret.xml").write_text("<annotation/>")
    with pytest.raises(DataError, match="outside"):
        read_folder(tmp_path / "voc").record(id)


def test_a_picture_may_be_a_link_into_a_cache(tmp_path: Path) -> None:
    write_folder(tmp_path / "voc", ["cat"], SPLITS)
    cached = tmp_path / "cache" / "files" / "0a1b2c"
    cached.parent.mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(cached, "JPEG")
    (tmp_path / "voc" / "JPEGImages").mkdir()
    (tmp_path / "voc" / "JPEGImages" / "a.jpg").symlink_to(cached)
    folder = read_folder(tmp_path / "voc")
    with Image.open(folder.image(folder.record("a"))) as picture:
        assert picture.size == (8, 6)


@pytest.mark.parametrize(
    "file", ["labels.txt", "ImageSets/Main/train.txt", "ImageSets/Main/test.txt", "Annotations/a.xml"]
)
@pytest.mark.parametrize("damage", ["missing", "not text"])
def test_a_missing_or_damaged_file_is_named_in_one_line(file: str, damage: str, tmp_path: Path) -> None:
    write_folder(tmp_path, ["cat"], SPLITS)
    (tmp_path / file).unlink()
    if damage == "not text":
        (tmp_path / file).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError) as caught:
        list(read_folder(tmp_path).records("train"))
    assert str(caught.value).startswith(f"{tmp_path / file}: ")
    assert "\n" not in str(caught.value)


def test_an_id_that_no_file_can_bear_is_a_data_error(tmp_path: Path) -> None:
    write_folder(tmp_path, ["cat"], SPLITS)
    with pytest.raises(DataError):
        read_folder(tmp_path).record("a\0b")


FILE_NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name).map(
    lambda name: name.decode("utf-8", "surrogateescape")
)  # fmt: skip


@given(FILE_NAMES, FILE_NAMES)
@example("a\nb", "a%0Ab")
@example("caf\udce9", "caf%E9")
@example(" a", "%20a")
def test_plain_names_are_lines_and_stay_different(first: str, second: str) -> None:
    for name in (first, second):
        plain = plain_name(name)
        assert plain.encode("utf-8")
        assert plain.splitlines() == [plain] == [plain.strip()]
    assert (plain_name(first) == plain_name(second)) == (first == second)


@given(st.text("xyzäöß日本 _-.()[]+%", min_size=1).filter(lambda name: name == name.strip()))
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert plain_name(name) == name
