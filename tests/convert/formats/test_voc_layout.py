"""Laws of VOC's folders: pictures are found wherever they lie and whatever they are called, and so are splits."""

from pathlib import Path

import pytest

from convert.formats.voc_files import (
    detected,
    images_of,
    open_voc,
    places,
    problems_of,
    write,
    write_pair,
    write_picture,
    xml,
)
from reprolens.convert.source import Problem, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

# ---- layouts


def test_all_years_of_a_devkit_are_read_each_with_its_own_sets(tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit"
    for year, name in (("VOC2007", "a"), ("VOC2007", "b"), ("VOC2012", "a"), ("VOC2012", "c")):
        write_pair(root / year, name)
    write(root / "VOC2007" / "ImageSets" / "Main" / "trainval.txt", "a\n")
    write(root / "VOC2007" / "ImageSets" / "Main" / "test.txt", "b\n")
    write(root / "VOC2012" / "ImageSets" / "Main" / "val.txt", "a\n")
    images = images_of(open_voc(root))
    assert places(root, images) == {
        f"{year}/Annotations/{name}.xml": f"{year}/JPEGImages/{name}.jpg"
        for year, name in (("VOC2007", "a"), ("VOC2007", "b"), ("VOC2012", "a"), ("VOC2012", "c"))
    }
    assert [image.split for image in images] == ["trainval", "test", "val", None]
    assert detected(root)


def test_imagenets_folders_are_read(tmp_path: Path) -> None:
    for place in ("train/n01/n01_1", "train/n01/n01_2", "train/n02/n02_1", "val/ILSVRC2012_val_00000001"):
        write_picture(tmp_path / "Data" / "CLS-LOC" / f"{place}.JPEG")
        write(tmp_path / "Annotations" / "CLS-LOC" / f"{place}.xml", xml(filename=Path(place).name))
    write(tmp_path / "ImageSets" / "CLS-LOC" / "train_loc.txt", "n01/n01_1 1\nn02/n02_1 2\n")
    write(tmp_path / "ImageSets" / "CLS-LOC" / "val.txt", "ILSVRC2012_val_00000001 1\n")
    source = open_voc(tmp_path)
    items = list(source.images)
    images = [item for item in items if isinstance(item, SourceImage)]
    assert len(items) == 4 and all(
        isinstance(image.image, Path)
        and image.image.relative_to(tmp_path / "Data").with_suffix("")
        == Path(image.place).relative_to(tmp_path / "Annotations").with_suffix("")
        for image in images
    )
    assert [image.split for image in images] == ["train", "train", "train", "val"]  # the second by its folder


@pytest.mark.parametrize(
    ("annotation", "picture", "split"),
    [
        ("x.xml", "x.jpg", None),
        ("train/x.xml", "train/x.jpg", "train"),
        ("valid/annotations/x.xml", "valid/images/x.png", "val"),
        ("annotations/test/x.xml", "images/test/x.webp", "test"),
        ("annotations/xmls/x.xml", "images/x.jpg", None),  # the Oxford-IIIT pets
        ("xml/x.xml", "img/x.JPG", None),
        ("deep/down/Annotations/x.xml", "deep/down/JPEGImages/x.tif", None),
        ("labels/a b/größe.xml", "images/a b/größe.jpg", None),
        ("Annotations/x.xml", "anywhere/else/x.bmp", None),
    ],
)
def test_pictures_are_found_wherever_people_put_them(
    annotation: str, picture: str, split: str | None, tmp_path: Path
) -> None:
    write_picture(tmp_path / picture)
    write(tmp_path / annotation, xml())
    images = images_of(open_voc(tmp_path))
    assert places(tmp_path, images) == {annotation: picture}
    assert images[0].split == split
    assert detected(tmp_path)


def test_one_annotation_file_is_a_source(tmp_path: Path) -> None:
    write_pair(tmp_path, "x")
    source = open_voc(tmp_path / "Annotations" / "x.xml", tmp_path / "JPEGImages")
    assert [image.image for image in images_of(source)] == [tmp_path / "JPEGImages" / "x.jpg"]


def test_annotations_limits_what_is_read(tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        write_pair(tmp_path / year, "x")
    images = images_of(open_voc(tmp_path, annotations="VOC2007/Annotations/*.xml"))
    assert [Path(image.place).parts[-3] for image in images] == ["VOC2007"]
    with pytest.raises(DataError, match=r"no \.xml file is called 'y\*'"):
        open_voc(tmp_path, annotations="y*")


# ---- names


NAMES = [
    "plain",
    "with space",
    "größe",
    "日本",
    "a.b.c",
    "x.jpg",
    "sub/plain",
    "sub/deep/plain",
    "[1] & 'q'",
    "-1",
    "#1",
]


def test_names_suffixes_and_subfolders_survive(tmp_path: Path) -> None:
    suffixes = [".jpg", ".JPG", ".png", ".webp", ".tif", ".bmp", ".jpeg"]
    expected = {}
    for number, name in enumerate(NAMES):
        write_pair(tmp_path, name, suffixes[number % len(suffixes)], filename="")
        expected[f"Annotations/{name}.xml"] = f"JPEGImages/{name}{suffixes[number % len(suffixes)]}"
    images = images_of(open_voc(tmp_path))
    assert places(tmp_path, images) == expected
    assert {f"JPEGImages/{image.record.file}" for image in images} == set(expected.values())


def test_files_of_one_name_in_several_folders_keep_their_own_pictures(tmp_path: Path) -> None:
    names = ("x", "a/x", "b/x", "b/c/x")
    for name in names:
        write_pair(tmp_path, name, filename="x.jpg")
    expected: dict[str, str | None] = {f"Annotations/{name}.xml": f"JPEGImages/{name}.jpg" for name in names}
    assert places(tmp_path, images_of(open_voc(tmp_path))) == expected


def test_pictures_that_differ_in_suffix_only_go_by_filename(tmp_path: Path) -> None:
    write_pair(tmp_path, "00", ".png")
    write_picture(tmp_path / "JPEGImages" / "00.jpg")
    assert places(tmp_path, images_of(open_voc(tmp_path))) == {"Annotations/00.xml": "JPEGImages/00.png"}


def test_a_picture_that_could_be_two_is_left_for_convert_to_refuse(tmp_path: Path) -> None:
    write_pair(tmp_path, "00", ".png", filename="photo")
    write_picture(tmp_path / "JPEGImages" / "00.jpg")
    (image,) = images_of(open_voc(tmp_path))
    assert image.image is None
    assert open_tree(tmp_path).images.find(image.record.file, image.near) == ["JPEGImages/00.jpg", "JPEGImages/00.png"]


def test_a_stale_filename_does_not_lead_to_the_picture_of_another(tmp_path: Path) -> None:
    for name in ("00", "01", "02"):  # all copied from one template
        write_pair(tmp_path, name, filename="00.jpg")
    expected = {f"Annotations/{name}.xml": f"JPEGImages/{name}.jpg" for name in ("00", "01", "02")}
    assert places(tmp_path, images_of(open_voc(tmp_path))) == expected


def test_a_pictures_own_name_goes_before_filename(tmp_path: Path) -> None:
    write_pair(tmp_path, "05", ".png", filename="04.jpg")
    write_picture(tmp_path / "JPEGImages" / "04.jpg")
    assert places(tmp_path, images_of(open_voc(tmp_path))) == {"Annotations/05.xml": "JPEGImages/05.png"}


def test_a_missing_picture_is_not_replaced_by_that_of_a_namesake(tmp_path: Path) -> None:
    for name in ("a/x", "b/x"):
        write_pair(tmp_path, name)
    (tmp_path / "JPEGImages" / "a" / "x.jpg").unlink()
    first, second = images_of(open_voc(tmp_path))
    assert isinstance(first.image, Path) and not first.image.exists()
    assert (first.record.file, second.image) == ("a/x.jpg", tmp_path / "JPEGImages" / "b" / "x.jpg")


@pytest.mark.parametrize(
    "filename", [r"C:\photos\IMG_7.jpg", "/home/me/IMG_7.jpg", "IMG_7", "sub/IMG_7.jpg", "img_7.JPG"]
)
def test_a_picture_that_only_filename_names_is_found(filename: str, tmp_path: Path) -> None:
    write_pair(tmp_path, "02")
    write_picture(tmp_path / "JPEGImages" / "sub" / "IMG_7.jpg")
    write(tmp_path / "Annotations" / "03.xml", xml(filename=filename))
    assert places(tmp_path, images_of(open_voc(tmp_path)))["Annotations/03.xml"] == "JPEGImages/sub/IMG_7.jpg"


def test_a_filename_that_leads_out_of_the_source_is_left_for_convert_to_refuse(tmp_path: Path) -> None:
    write_picture(tmp_path / "secret.jpg")
    write(tmp_path / "root" / "Annotations" / "x.xml", xml(filename="../../secret.jpg"))
    (image,) = images_of(open_voc(tmp_path / "root"))
    assert (image.image, image.record.file) == (None, "../../secret.jpg")


@pytest.mark.parametrize("second", ["04.xml", "03.XML"])
def test_the_second_annotation_of_one_picture_is_a_problem(second: str, tmp_path: Path) -> None:
    write_picture(tmp_path / "JPEGImages" / "photo.jpg")
    for name in ("03.xml", second):
        write(tmp_path / "Annotations" / name, xml(filename="photo.jpg"))
    items = list(open_voc(tmp_path).images)
    (problem,) = (item for item in items if isinstance(item, Problem))
    assert len(items) == 2 and problem.kind == "unreadable_annotation"
    assert "photo.jpg is that of" in problem.reason


# ---- image sets


ALL = {"train": ["0", "1", "2"], "val": ["3"], "test": ["4"]}


@pytest.mark.parametrize(
    "written",
    ["{}\n", "{}\r\n", "{}  1\n", "{} -1\n", "{} 128\n", "{}.jpg\n", "VOC2007/JPEGImages/{}.jpg\n", "\n # \n {} \n\n"],
)
def test_lines_of_image_sets_are_read_as_people_and_tools_write_them(written: str, tmp_path: Path) -> None:
    for split, names in ALL.items():
        for name in names:
            write_pair(tmp_path, name)
        text = "\ufeff" + "".join(written.format(name) for name in names)
        write(tmp_path / "ImageSets" / "Main" / f"{split}.txt", text)
    items = list(open_voc(tmp_path).images)
    assert [item.split for item in items if isinstance(item, SourceImage)] == ["train"] * 3 + ["val", "test"]
    assert len(items) == 5


def test_ids_with_spaces_and_folders_are_kept_in_their_splits(tmp_path: Path) -> None:
    sets = {"train": ["a 1", "sub/a 1", "a"], "val": ["a -1"], "test": ["sub/a"]}
    for split, names in sets.items():
        for name in names:
            write_pair(tmp_path, name)
        write(tmp_path / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{name}\n" for name in names))
    found = {image.record.file.removesuffix(".jpg"): image.split for image in images_of(open_voc(tmp_path))}
    assert found == {name: split for split, names in sets.items() for name in names}


def test_a_test_set_without_annotations_is_reported_line_by_line(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    for name in ("b", "c"):
        write_picture(tmp_path / "JPEGImages" / f"{name}.jpg")
    write(tmp_path / "ImageSets" / "Main" / "train.txt", "a\n")
    write(tmp_path / "ImageSets" / "Main" / "test.txt", "b\nc\n")
    found = [(problem.kind, problem.file) for problem in problems_of(open_voc(tmp_path))]
    assert found == [("missing_annotation", "b"), ("missing_annotation", "c")]


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({"train": ["other"]}, r"train\.txt: nothing that it names, such as 'other', has an annotation or a picture"),
        ({"train": ["a"], "val": ["a"]}, r"val\.txt: Annotations/a\.xml is in the set train too"),
        ({"test": ["a"], "trainval": ["a"]}, r"trainval\.txt: Annotations/a\.xml is in the set test too"),
    ],
)
def test_sets_that_cannot_be_meant_are_refused(sets: dict[str, list[str]], message: str, tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    for split, names in sets.items():
        write(tmp_path / "ImageSets" / "Main" / f"{split}.txt", "\n".join(names))
    with pytest.raises(DataError, match=message):
        open_voc(tmp_path)


@pytest.mark.parametrize("files", [["notes.txt"], ["a/b.jpg"], ["JPEGImages/a.jpg", "ImageSets/Main/train.txt"]])
def test_a_folder_without_anything_of_voc_is_refused_and_not_claimed(files: list[str], tmp_path: Path) -> None:
    for file in files:
        write(tmp_path / file, "a\n")
    assert detected(tmp_path) is None
    with pytest.raises(DataError, match=r"not a VOC folder \(no \.xml annotation"):
        open_voc(tmp_path)


def test_hidden_files_are_no_part_of_a_data_set(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    (tmp_path / "Annotations" / "._a.xml").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "JPEGImages" / "._a.jpg").write_bytes(b"\x00\x05\x16\x07")
    assert len(list(open_voc(tmp_path).images)) == 1
