"""The index says exactly what the folder says, and is used only while it still does."""

import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reprolens.errors import DataError
from reprolens.loading.index import beside, open_index
from reprolens.voc import Folder, Object, Record, read_folder, write_folder

NAMES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
OBJECTS = st.builds(
    Object,
    name=NAMES,
    box=st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    difficult=st.booleans(),
    truncated=st.booleans(),
    occluded=st.booleans(),
    crowd=st.booleans(),
    pose=NAMES,
)
SIZES = st.integers(0, 10**6)
RECORDS = st.builds(Record, st.just(""), NAMES, SIZES, SIZES, SIZES, objects=st.lists(OBJECTS, max_size=4).map(tuple))


@pytest.fixture
def voc(tmp_path: Path) -> Folder:
    """Return a folder of six pictures, some of them in a sub-folder, with objects of every kind and with none."""
    cat, dog = Object("cat", (1, 2.5, 3, 4.25), difficult=True), Object("dog", (0, 0, 9, 9), crowd=True, pose="Left")
    train = [
        Record("a", "a.png", 20, 10, 3, (cat, dog)),
        Record("deep/er/b", "deep/er/b.png", 20, 10),
        Record("c ü %", "c ü %.png", 20, 10, 1, (dog,)),
        Record("d", "a.png", 20, 10, 3, (replace(cat, truncated=True, occluded=True),)),
    ]
    root = tmp_path / "place" / "voc"
    val, test = [Record("e", "e.png", 20, 10)], [Record("f", "f.png", 20, 10, 3, (dog, cat, dog))]
    write_folder(root, ["cat", "dog"], {"train": train, "val": val, "test": test})
    for record in (*train, *val, *test):
        path = root / "JPEGImages" / record.file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (len(record.id), 0, 0)).save(path)
    return read_folder(root)


def _file(folder: Folder) -> Path:
    return beside(folder.root) / "annotations.npz"


def _assert_faithful(folder: Folder) -> None:
    index = open_index(folder)
    for split in folder.splits:
        records = index.records(split)
        expected = list(folder.records(split))
        assert len(records) == len(expected)
        assert list(records) == expected
        assert [repr(record) for record in records] == [repr(record) for record in expected]  # types, and -0.0
        assert records[1:] == expected[1:]
        if expected:
            assert records[-1] == expected[-1]
        with pytest.raises(IndexError):
            records[len(expected)]


def test_the_second_opening_gives_every_record_as_the_folder_reads_it(voc: Folder) -> None:
    _assert_faithful(voc)
    written = _file(voc).stat()
    _assert_faithful(voc)
    assert _file(voc).stat().st_ino == written.st_ino, "the index was written again although nothing had changed"


@settings(max_examples=25, deadline=None)
@given(records=st.lists(RECORDS, max_size=5))
def test_any_record_comes_back_exactly(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> None:
    root = tmp_path_factory.mktemp("any") / "voc"
    train = [replace(record, id=str(number)) for number, record in enumerate(records)]
    write_folder(root, ["x"], {"train": train, "val": [], "test": train[:1]})
    _assert_faithful(read_folder(root))
    _assert_faithful(read_folder(root))
    assert list(open_index(read_folder(root)).records("train")) == train


def test_real_annotations_come_back_exactly(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "bccd_voc" / "BCCD"
    shutil.copytree(source / "Annotations", tmp_path / "voc" / "Annotations")
    ids = sorted(path.stem for path in (source / "Annotations").glob("*.xml"))
    folder = Folder(tmp_path / "voc", ("RBC", "WBC", "Platelets"), {"train": tuple(ids[::2]), "val": tuple(ids[:20])})
    _assert_faithful(folder)
    _assert_faithful(folder)


def _edit(voc: Folder) -> None:
    path = voc.root / "Annotations" / "deep" / "er" / "b.xml"
    path.write_text(path.read_text().replace("<width>20<", "<width>21<"))  # the same size


def _edit_at_the_same_time(voc: Folder) -> None:
    path = voc.root / "Annotations" / "a.xml"
    status = path.stat()
    text = path.read_text().replace("<width>20<", "<width>21<")
    path.rename(path.with_suffix(".old"))  # so that the new file cannot have the old one's inode
    path.write_text(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _swap(voc: Folder) -> None:
    a, d = voc.root / "Annotations" / "a.xml", voc.root / "Annotations" / "d.xml"
    a.rename(a.with_suffix(".new"))
    d.rename(a)
    a.with_suffix(".new").rename(d)


def _reorder(voc: Folder) -> None:
    path = voc.root / "ImageSets" / "Main" / "train.txt"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))


def _remove(voc: Folder) -> None:
    (voc.root / "Annotations" / "d.xml").unlink()
    (voc.root / "ImageSets" / "Main" / "train.txt").write_text("a\ndeep/er/b\n")


def _add(voc: Folder) -> None:
    shutil.copy(voc.root / "Annotations" / "f.xml", voc.root / "Annotations" / "g.xml")
    (voc.root / "ImageSets" / "Main" / "test.txt").write_text("f\ng\n")


def _move_between_splits(voc: Folder) -> None:
    (voc.root / "ImageSets" / "Main" / "val.txt").write_text("")
    (voc.root / "ImageSets" / "Main" / "test.txt").write_text("e\nf\n")


CHANGES = [_edit, _edit_at_the_same_time, _swap, _reorder, _remove, _add, _move_between_splits]


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_seen_at_the_next_opening(change: Callable[[Folder], None], voc: Folder) -> None:
    digest = open_index(voc).digest()
    change(voc)
    changed = read_folder(voc.root)
    _assert_faithful(changed)
    assert open_index(changed).digest() != digest


def test_an_edit_right_after_the_index_was_built_is_seen(voc: Folder) -> None:
    path = voc.root / "Annotations" / "a.xml"
    for width in range(10, 30):
        path.write_text(
            path.read_text().replace(f"<width>{open_index(voc).records('train')[0].width}<", f"<width>{width}<")
        )
        assert open_index(voc).records("train")[0].width == width


@pytest.mark.parametrize("label", ["cat\ndog\nemu\n", "dog\ncat\n"])
def test_other_labels_make_another_index_and_digest(label: str, voc: Folder) -> None:
    digest = open_index(voc).digest()
    (voc.root / "labels.txt").write_text(label)
    _assert_faithful(read_folder(voc.root))
    assert open_index(read_folder(voc.root)).digest() != digest


def test_a_removed_annotation_ends_as_the_folder_says(voc: Folder) -> None:
    open_index(voc)
    (voc.root / "Annotations" / "d.xml").unlink()
    with pytest.raises(DataError) as expected:
        voc.record("d")
    with pytest.raises(DataError) as error:
        open_index(voc)
    assert str(error.value) == str(expected.value)


@pytest.mark.parametrize("content", [b"<annotation", b"<annotation><size/></annotation>", b""])
def test_a_damaged_annotation_ends_as_the_folder_says(content: bytes, voc: Folder) -> None:
    open_index(voc)
    (voc.root / "Annotations" / "f.xml").write_bytes(content)
    with pytest.raises(DataError) as expected:
        voc.record("f")
    for _ in range(2):
        with pytest.raises(DataError) as error:
            open_index(voc)
        assert str(error.value) == str(expected.value)


@pytest.mark.parametrize("id", ["../voc/Annotations/../../outside", "/etc/passwd", "../../outside"])
def test_an_image_set_that_leads_out_of_the_folder_is_refused(id: str, voc: Folder) -> None:
    shutil.copy(voc.root / "Annotations" / "a.xml", voc.root.parent / "outside.xml")
    with pytest.raises(DataError, match="outside"):
        open_index(Folder(voc.root, voc.classes, {"train": (id,)}))


def test_an_absurd_size_is_refused_in_one_line(voc: Folder) -> None:
    path = voc.root / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace("<width>20<", f"<width>{10**30}<"))
    with pytest.raises(DataError, match=r"a\.xml: <size>"):
        open_index(voc)


def test_a_file_damaged_anywhere_is_built_again(voc: Folder) -> None:
    expected = list(open_index(voc).records("train"))
    whole = _file(voc).read_bytes()
    damaged = [b"", b"nothing", whole[: len(whole) // 2], whole[:-1]]
    damaged += [
        whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :]
        for place in range(0, len(whole), len(whole) // 60)
    ]
    for content in damaged:
        _file(voc).write_bytes(content)
        assert list(open_index(voc).records("train")) == expected
    assert list(open_index(voc).records("train")) == expected


def test_where_nothing_can_be_written_the_folder_is_read_all_the_same(voc: Folder) -> None:
    beside(voc.root).write_text("a file where the index's folder should be")
    _assert_faithful(voc)
    assert beside(voc.root).is_file()


def test_the_index_lies_beside_the_folder_and_leaves_it_as_it_was(voc: Folder) -> None:
    before = sorted(voc.root.rglob("*"))
    open_index(voc)
    assert sorted(voc.root.rglob("*")) == before
    assert [path.name for path in beside(voc.root).iterdir()] == ["annotations.npz"]
    assert beside(voc.root).parent == voc.root.parent


def test_an_index_pickles_for_spawned_workers(voc: Folder) -> None:
    records = open_index(voc).records("train")
    assert list(pickle.loads(pickle.dumps(records))) == list(records)


def _build_again_and_again(voc: Folder) -> None:
    for _ in range(15):
        _file(voc).unlink(missing_ok=True)
        _assert_faithful(voc)


def test_processes_that_build_at_once_do_not_disturb_each_other(voc: Folder) -> None:
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_build_again_and_again, args=(voc,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    _assert_faithful(voc)


def test_the_digest_depends_on_neither_place_nor_times(voc: Folder, tmp_path: Path) -> None:
    digest = open_index(voc).digest()
    assert open_index(voc).digest() == digest  # from the file
    copy = tmp_path / "elsewhere" / "data"
    shutil.copytree(voc.root, copy, copy_function=shutil.copyfile)
    assert open_index(read_folder(copy)).digest() == digest


def test_the_digest_changes_with_a_picture(voc: Folder) -> None:
    digest = open_index(voc).digest()
    path = voc.root / "JPEGImages" / "f.png"
    whole = path.read_bytes()
    path.write_bytes(whole + b"x")
    assert open_index(voc).digest() != digest
    Image.new("RGB", (20, 10), (200, 0, 0)).save(path)
    assert open_index(voc).digest() != digest
    path.write_bytes(whole)
    assert open_index(voc).digest() == digest


def test_the_digest_needs_every_picture(voc: Folder) -> None:
    (voc.root / "JPEGImages" / "e.png").unlink()
    with pytest.raises(DataError, match=r"e\.png: cannot be read"):
        open_index(voc).digest()
