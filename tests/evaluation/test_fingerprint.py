"""Laws of a split's hash, and of what training and selection must not have seen."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reprolens.errors import DataError
from reprolens.evaluation.fingerprint import check_leaks, fingerprint
from reprolens.voc import Folder, Object, Record, read_folder, write_folder

CAT = Object("cat", (1.0, 2.5, 10.0, 9.0))
DOG = Object("dog", (0.0, 0.0, 4.0, 4.0), difficult=True, segmentation="[[0, 0, 4, 0, 4, 4]]")
SETS = {"train": ("a", "b"), "val": ("c",), "test": ("d", "e")}


def record(id: str, *objects: Object) -> Record:
    return Record(id, f"{id}.jpg", 16, 12, objects=objects or (CAT, DOG))


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Folder]:
    """Return a writer of a VOC folder: its name, its records by split, its classes; pictures are any bytes."""

    def write(
        name: str = "voc",
        splits: Mapping[str, Sequence[Record]] | None = None,
        classes: Sequence[str] = ("cat", "dog"),
        contents: Mapping[str, bytes] | None = None,
    ) -> Folder:
        root = tmp_path / name
        shutil.rmtree(root, ignore_errors=True)
        splits = splits or {split: [record(id) for id in ids] for split, ids in SETS.items()}
        write_folder(root, classes, splits)
        for item in (item for records in splits.values() for item in records):
            path = root / "JPEGImages" / item.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((contents or {}).get(item.id, item.id.encode() * 5000))
        return read_folder(root)

    return write


# ---- the hash


def test_a_split_has_the_same_hash_wherever_it_lies_and_whatever_the_other_splits_hold(
    folder: Callable[..., Folder],
) -> None:
    one = folder()
    splits = {split: [record(id) for id in ids] for split, ids in SETS.items()}
    other = folder("other", splits | {"train": [record("z", CAT)], "test": splits["test"][::-1]})
    assert fingerprint(one, "test") == fingerprint(other, "test")
    assert fingerprint(one, "val") == fingerprint(other, "val")
    assert fingerprint(one, "train") != fingerprint(other, "train")
    assert len({fingerprint(one, split) for split in SETS}) == 3
    assert len(fingerprint(one, "test")) == 64


def test_the_order_of_objects_in_an_annotation_decides_nothing(folder: Callable[..., Folder]) -> None:
    splits = {split: [record(id) for id in ids] for split, ids in SETS.items()}
    turned = splits | {"test": [record("d", DOG, CAT), record("e")]}
    assert fingerprint(folder(), "test") == fingerprint(folder("other", turned), "test")


CHANGES: dict[str, Record] = {
    "an object less": record("d", CAT),
    "an object twice": record("d", CAT, DOG, DOG),
    "another class": record("d", CAT, replace(DOG, name="cat")),
    "a box moved by a hair": record("d", replace(CAT, box=(1.0, 2.5, 10.0, 9.000001)), DOG),
    "not difficult": record("d", CAT, replace(DOG, difficult=False)),
    "a crowd": record("d", replace(CAT, crowd=True), DOG),
    "another outline": record("d", CAT, replace(DOG, segmentation="[[0, 0, 4, 0, 4, 3]]")),
    "another size": replace(record("d"), width=17),
    "a label": replace(record("d"), labels=("cat",)),
    "another name": replace(record("d"), file="f.jpg"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_the_truth_changes_the_hash(change: str, folder: Callable[..., Folder]) -> None:
    splits = {split: [record(id) for id in ids] for split, ids in SETS.items()}
    changed = folder("other", splits | {"test": [CHANGES[change], record("e")]})
    assert fingerprint(folder(), "test") != fingerprint(changed, "test")


def test_every_change_of_a_picture_the_classes_or_a_mask_changes_the_hash(folder: Callable[..., Folder]) -> None:
    before = fingerprint(folder(), "test")
    assert fingerprint(folder(contents={"d": b"d" * 4999 + b"e"}), "test") != before
    assert fingerprint(folder(contents={"d": b"e" + b"d" * 4999}), "test") != before
    assert fingerprint(folder(contents={"c": b"other"}), "test") == before  # of val
    assert fingerprint(folder(classes=("dog", "cat")), "test") != before
    masked = folder()
    (masked.root / "SegmentationClass").mkdir()
    assert fingerprint(masked, "test") == before
    (masked.root / "SegmentationClass" / "d.png").write_bytes(b"mask")
    assert fingerprint(masked, "test") != before


def test_a_picture_that_cannot_be_read_is_named(folder: Callable[..., Folder]) -> None:
    broken = folder()
    (broken.root / "JPEGImages" / "d.jpg").unlink()
    with pytest.raises(DataError, match=r"JPEGImages/d\.jpg: cannot be read; run the convert stage again"):
        fingerprint(broken, "test")


# ---- leaks


def test_splits_without_a_picture_in_common_pass(folder: Callable[..., Folder]) -> None:
    clean = folder()
    for split in SETS:
        check_leaks(clean, split)


CASES = {
    (
        "d",
        "a",
        "test",
    ): "1 of 2 pictures of test are in train too, byte for byte (d.jpg = a.jpg), and the model was tra",
    (
        "d",
        "c",
        "test",
    ): "1 of 2 pictures of test are in val too, byte for byte (d.jpg = c.jpg), and the model was chose",
    ("c", "b", "val"): "1 of 1 pictures of val are in train too, byte for byte (c.jpg = b.jpg), and the model was trai",
}


@pytest.mark.parametrize(("one", "other", "split"), CASES)
def test_a_picture_that_training_or_selection_saw_is_refused(
    one: str, other: str, split: str, folder: Callable[..., Folder]
) -> None:
    leaking = folder(contents={one: b"same", other: b"same"})
    with pytest.raises(DataError) as caught:
        check_leaks(leaking, split)
    message = str(caught.value)
    assert CASES[one, other, split] in message
    assert message.startswith(f"{leaking.root}: ")
    assert "\n" not in message
    assert "dvc repro -f convert" in message
    for clean in {"train", "val", "test"} - {split}:
        check_leaks(leaking, clean)


def test_all_of_them_are_counted_and_the_first_is_named(folder: Callable[..., Folder]) -> None:
    leaking = folder(contents=dict.fromkeys("abde", b"same"))
    with pytest.raises(DataError, match=r"2 of 2 pictures of test are in train too.*\(d\.jpg = a\.jpg and 1 more\)"):
        check_leaks(leaking, "test")


def test_pictures_that_differ_in_one_byte_anywhere_are_different(folder: Callable[..., Folder]) -> None:
    picture = bytearray(np.random.default_rng(0).bytes(20_000))
    for place in (0, 10_000, 19_999):
        other = picture.copy()
        other[place] ^= 1
        check_leaks(folder(contents={"a": bytes(picture), "d": bytes(other)}), "test")


def test_a_picture_listed_in_two_image_sets_is_refused(folder: Callable[..., Folder]) -> None:
    splits = {split: [record(id) for id in ids] for split, ids in SETS.items()}
    with pytest.raises(DataError, match=r"1 of 3 pictures of test are in train too, byte for byte \(a\)"):
        check_leaks(folder("voc", splits | {"test": [*splits["test"], record("a")]}), "test")


def test_pictures_that_no_split_names_and_those_twice_in_a_split_are_no_leak(folder: Callable[..., Folder]) -> None:
    loose = folder(contents={"d": b"same", "e": b"same"})
    shutil.copy2(loose.root / "JPEGImages" / "d.jpg", loose.root / "JPEGImages" / "unlisted.jpg")
    check_leaks(loose, "test")


def test_pictures_in_folders_and_behind_links_are_compared_too(folder: Callable[..., Folder]) -> None:
    splits = {split: [replace(record(id), file=f"{split}/x/{id}.jpg") for id in ids] for split, ids in SETS.items()}
    leaking = folder("voc", splits, contents={"a": b"same", "d": b"same"})
    path = leaking.root / "JPEGImages" / "train" / "x" / "a.jpg"
    os.replace(path, leaking.root / "cached")  # noqa: PTH105
    path.symlink_to(leaking.root / "cached")
    with pytest.raises(DataError, match=r"\(test/x/d\.jpg = train/x/a\.jpg\)"):
        check_leaks(leaking, "test")
