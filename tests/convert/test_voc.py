"""Laws of reading a VOC folder: what it says arrives, whatever its files are called."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from reprolens.config import Voc
from reprolens.convert import convert
from reprolens.errors import DataError
from reprolens.voc import Folder, read_folder

Make = Callable[..., Voc]
Annotate = Callable[..., None]
Tree = Callable[[Path], dict[str, bytes]]


def _places(folder: Folder) -> dict[str, str]:
    """Return the picture of each id."""
    return {record.id: record.file for split in folder.splits for record in folder.records(split)}


def _boxes_in(annotation: Path) -> list[tuple[str, float, float, float, float]]:
    """Return the boxes of an annotation by another reader of XML, 0-based as in memory."""
    boxes = []
    for item in ElementTree.parse(annotation).getroot().iter("object"):
        xmin, ymin, xmax, ymax = (float(item.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax"))
        boxes.append((item.findtext("name", ""), xmin - 1, ymin - 1, xmax, ymax))
    return boxes


# ---- real data sets


def test_bccd_arrives_whole_but_for_its_two_boxes_of_one_pixel(
    shared_data: Path, voc_config: Make, tmp_path: Path
) -> None:
    root = shared_data / "bccd_voc" / "BCCD"
    report = convert(voc_config(root), 1, tmp_path / "voc")
    assert (report["images"], report["boxes"], report["problems"]) == (364, 4886, 2)
    dropped = [(Path(problem["place"]).stem, problem["kind"], problem["action"]) for problem in report["problem_list"]]
    assert dropped == [("BloodImage_00338", "tiny_box", "drop"), ("BloodImage_00343", "tiny_box", "drop")]

    folder = read_folder(tmp_path / "voc")
    assert folder.classes == ("Platelets", "RBC", "WBC")
    for split in ("train", "val", "test"):
        named = (root / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
        assert sorted(folder.splits[split]) == sorted(named)
        for record in folder.records(split):
            expected = _boxes_in(root / "Annotations" / f"{record.id}.xml")
            if record.id in ("BloodImage_00338", "BloodImage_00343"):
                expected = [box for box in expected if box[3] - box[1] > 1]
            assert [(item.name, *item.box) for item in record.objects] == expected
            assert folder.image(record).read_bytes() == (root / "JPEGImages" / record.file).read_bytes()


def test_100_voc_photographs_arrive_whole(shared_data: Path, voc_config: Make, tmp_path: Path) -> None:
    database = shared_data / "voc100_multiformat" / "data" / "database"
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "Annotations").symlink_to(database / "gts" / "pascalvoc_format")
    (tmp_path / "source" / "JPEGImages").symlink_to(database / "images")
    report = convert(voc_config(tmp_path / "source"), 1, tmp_path / "voc")
    assert (report["images"], report["boxes"], len(report["classes"]), report["problems"]) == (100, 273, 20, 0)
    assert [report[f"images/{split}"] for split in ("train", "val", "test")] == [70, 10, 20]
    # A class that the draw left out of train could not be learnt; of 20 classes in 100 pictures, many are rare.
    assert all(row["train"] > 0 for row in report["classes"])


def test_a_picture_set_without_annotations_for_test_says_so(
    shared_data: Path, voc_config: Make, tmp_path: Path
) -> None:
    root = shared_data / "format_fixtures" / "assets" / "voc_dataset" / "voc_dataset1"
    with pytest.raises(
        DataError, match=r"test.txt: no picture that it names, such as '2007_000002', has an annotation"
    ):
        convert(voc_config(root), 1, tmp_path / "voc")


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
    "[1] (2) & 'q'",
    "-1",
    "100%",
]


def test_names_suffixes_and_subfolders_survive(voc_config: Make, annotate: Annotate, tmp_path: Path) -> None:
    suffixes = [".jpg", ".JPG", ".png", ".webp", ".tif", ".bmp", ".jpeg"]
    expected = {}
    for number, name in enumerate(NAMES):
        suffix = suffixes[number % len(suffixes)]
        annotate(tmp_path / "source", name, suffix=suffix)
        expected[name] = f"{name}{suffix}"
    report = convert(voc_config(tmp_path / "source"), 1, tmp_path / "voc")
    folder = read_folder(tmp_path / "voc")
    assert (report["images"], report["problems"]) == (len(NAMES), 0)
    assert _places(folder) == expected
    for file in expected.values():
        source, copy = (tmp_path / root / "JPEGImages" / file for root in ("source", "voc"))
        assert source.read_bytes() == copy.read_bytes()


@pytest.mark.parametrize(
    ("name", "id"), [("a\nb", "a%0Ab"), (" a", "%20a"), ("a ", "a%20"), ("caf\udce9", "caf%E9"), ("a%0Ab", "a%250Ab")]
)
def test_a_name_that_no_image_set_can_hold_gets_an_id_that_it_can(
    name: str, id: str, voc_config: Make, annotate: Annotate, tmp_path: Path
) -> None:
    for other in ("x", "y"):
        annotate(tmp_path / "source", other)
    annotate(tmp_path / "source", name, filename="a.jpg")
    report = convert(voc_config(tmp_path / "source"), 1, tmp_path / "voc")
    assert report["images"] == 3
    assert _places(read_folder(tmp_path / "voc"))[id] == f"{id}.jpg"
    assert (tmp_path / "voc" / "JPEGImages" / f"{id}.jpg").is_file()


def test_files_of_one_name_in_several_folders_keep_their_own_pictures(
    voc_config: Make, annotate: Annotate, tmp_path: Path
) -> None:
    for name in ("x", "a/x", "b/x", "b/c/x"):
        annotate(tmp_path / "source", name, boxes=[(name.replace("/", "-"), "2", "2", "9", "9")], filename="x.jpg")
    convert(voc_config(tmp_path / "source", class_not_in_train="drop"), 1, tmp_path / "voc")
    assert _places(read_folder(tmp_path / "voc")) == {name: f"{name}.jpg" for name in ("x", "a/x", "b/x", "b/c/x")}
    for name in ("x", "a/x", "b/x", "b/c/x"):
        source, copy = (tmp_path / root / "JPEGImages" / f"{name}.jpg" for root in ("source", "voc"))
        assert source.read_bytes() == copy.read_bytes()


def test_pictures_that_differ_in_suffix_only_go_by_filename_and_the_other_is_reported(
    voc_config: Make, annotate: Annotate, source: Callable[..., Path], tmp_path: Path
) -> None:
    root = source(4)
    annotate(root, "00", suffix=".png", filename="00.png")  # beside 00.jpg
    report = convert(voc_config(root), 1, tmp_path / "voc")
    assert _places(read_folder(tmp_path / "voc"))["00"] == "00.png"
    assert [(problem["kind"], problem["file"]) for problem in report["problem_list"]] == [
        ("missing_annotation", "00.jpg")
    ]


def test_a_picture_that_could_be_two_is_refused(
    voc_config: Make, annotate: Annotate, source: Callable[..., Path], tmp_path: Path
) -> None:
    root = source(4)
    annotate(root, "00", suffix=".png", filename="photo")
    with pytest.raises(DataError, match=r"00\.xml: its picture could be 00\.jpg or 00\.png"):
        convert(voc_config(root), 1, tmp_path / "voc")


def test_a_stale_filename_does_not_lead_to_the_picture_of_another(
    voc_config: Make, source: Callable[..., Path], tmp_path: Path
) -> None:
    root = source(4)
    for path in (root / "Annotations").iterdir():  # all copied from one template
        path.write_text(path.read_text().replace(f"{path.stem}.jpg", "00.jpg"))
    convert(voc_config(root), 1, tmp_path / "voc")
    for name in ("00", "01", "02", "03"):
        copy = tmp_path / "voc" / "JPEGImages" / f"{name}.jpg"
        assert copy.read_bytes() == (root / "JPEGImages" / f"{name}.jpg").read_bytes()


def test_a_pictures_own_name_goes_before_filename(
    voc_config: Make, annotate: Annotate, source: Callable[..., Path], tmp_path: Path
) -> None:
    root = source(4)
    annotate(root, "05", suffix=".png", filename="04.jpg")
    (root / "JPEGImages" / "00.jpg").rename(root / "JPEGImages" / "04.jpg")
    report = convert(voc_config(root, missing_image="drop"), 1, tmp_path / "voc")
    assert _places(read_folder(tmp_path / "voc"))["05"] == "05.png"
    reported = [(problem["kind"], problem["file"]) for problem in report["problem_list"]]
    assert reported == [("missing_image", "00.jpg"), ("missing_annotation", "04.jpg")]


def test_a_missing_picture_is_not_replaced_by_that_of_a_namesake(
    voc_config: Make, annotate: Annotate, tmp_path: Path
) -> None:
    root = tmp_path / "source"
    for name in ("a/x", "b/x", "c/y", "c/z"):
        annotate(root, name)
    (root / "JPEGImages" / "a" / "x.jpg").unlink()
    report = convert(voc_config(root, missing_image="drop"), 1, tmp_path / "voc")
    assert sorted(_places(read_folder(tmp_path / "voc"))) == ["b/x", "c/y", "c/z"]
    assert [(problem["kind"], problem["file"]) for problem in report["problem_list"]] == [("missing_image", "a/x.jpg")]


def test_a_picture_that_only_filename_names_is_found(
    voc_config: Make, source: Callable[..., Path], tmp_path: Path
) -> None:
    root = source(4)
    (root / "JPEGImages" / "sub").mkdir()
    (root / "JPEGImages" / "03.jpg").rename(root / "JPEGImages" / "sub" / "IMG_7.jpg")
    (root / "Annotations" / "03.xml").write_text(
        (root / "Annotations" / "03.xml").read_text().replace("03.jpg", r"C:\photos\IMG_7.jpg")
    )
    report = convert(voc_config(root), 1, tmp_path / "voc")
    assert report["problems"] == 0
    copy = tmp_path / "voc" / "JPEGImages" / "03.jpg"
    assert copy.read_bytes() == (root / "JPEGImages" / "sub" / "IMG_7.jpg").read_bytes()


def test_two_annotations_of_one_picture_are_refused(
    voc_config: Make, source: Callable[..., Path], tmp_path: Path
) -> None:
    root = source(4)
    text = (root / "Annotations" / "03.xml").read_text()
    (root / "JPEGImages" / "03.jpg").rename(root / "JPEGImages" / "photo.jpg")
    for name in ("03", "04"):
        (root / "Annotations" / f"{name}.xml").write_text(text.replace("03.jpg", "photo.jpg"))
    with pytest.raises(DataError, match=r"04\.xml: its picture photo\.jpg is that of .*03\.xml too"):
        convert(voc_config(root), 1, tmp_path / "voc")


def test_annotations_that_differ_in_the_case_of_their_suffix_are_refused(
    voc_config: Make, source: Callable[..., Path], tmp_path: Path
) -> None:
    root = source(4)
    (root / "Annotations" / "00.XML").write_text((root / "Annotations" / "00.xml").read_text())
    with pytest.raises(DataError, match=r"00\.xml: 00\.XML is beside it"):
        convert(voc_config(root), 1, tmp_path / "voc")


def test_hidden_files_are_no_part_of_a_data_set(voc_config: Make, source: Callable[..., Path], tmp_path: Path) -> None:
    root = source(4)
    (root / "Annotations" / "._00.xml").write_bytes(b"\x00\x05\x16\x07")
    (root / "JPEGImages" / "._00.jpg").write_bytes(b"\x00\x05\x16\x07")
    (root / "JPEGImages" / ".thumbnails").mkdir()
    Image.new("RGB", (2, 2)).save(root / "JPEGImages" / ".thumbnails" / "00.jpg")
    report = convert(voc_config(root), 1, tmp_path / "voc")
    assert (report["images"], report["problems"]) == (4, 0)


# ---- image sets


ALL = {"train": [0, 1, 2, 3, 4, 5], "val": [6, 7], "test": [8, 9]}


@pytest.mark.parametrize(
    "written",
    [
        "{id}\n",
        "{id}\r\n",
        "{id}  1\n",
        "{id} -1\n",
        "{id}.jpg\n",
        "VOC2007/JPEGImages/{id}.jpg\n",
        "\n  {id}  \n\n",
        "\ufeff{id}\n",
    ],
)
def test_lines_of_image_sets_are_read_as_people_and_tools_write_them(
    written: str, voc_config: Make, source: Callable[..., Path], tmp_path: Path
) -> None:
    root = source(10, ALL)
    for split, numbers in ALL.items():
        lines = [written.format(id=f"{number:02d}") for number in numbers]
        text = lines[0] + "".join(line.removeprefix("\ufeff") for line in lines[1:])
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(text, encoding="utf-8", newline="")
    report = convert(voc_config(root), 1, tmp_path / "voc")
    assert report["problems"] == 0
    splits = read_folder(tmp_path / "voc").splits
    assert splits == {split: tuple(f"{number:02d}" for number in numbers) for split, numbers in ALL.items()}


def test_ids_with_spaces_and_folders_are_kept_in_their_splits(
    voc_config: Make, annotate: Annotate, tmp_path: Path
) -> None:
    sets = {"train": ["a 1", "sub/a 1", "a"], "val": ["a -1"], "test": ["sub/a"]}
    root = tmp_path / "source"
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for split, names in sets.items():
        for name in names:
            annotate(root, name)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    convert(voc_config(root), 1, tmp_path / "voc")
    splits = read_folder(tmp_path / "voc").splits
    assert {split: set(ids) for split, ids in splits.items()} == {split: set(names) for split, names in sets.items()}


def test_what_an_image_set_names_without_annotation_is_reported(
    voc_config: Make, source: Callable[..., Path], tmp_path: Path
) -> None:
    root = source(10, ALL)
    (root / "Annotations" / "05.xml").unlink()
    report = convert(voc_config(root), 1, tmp_path / "voc")
    assert report["images"] == 9
    found = {(problem["kind"], problem["file"], Path(problem["place"]).name) for problem in report["problem_list"]}
    assert found == {("missing_annotation", "05", "train.txt"), ("missing_annotation", "05.jpg", "05.jpg")}


# ---- the same again


def test_the_same_source_converts_to_the_same_bytes(
    voc_config: Make, source: Callable[..., Path], tree: Tree, tmp_path: Path
) -> None:
    root = source(10)
    reports = [convert(voc_config(root), 7, tmp_path / name) for name in ("a", "b")]
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert reports[0] == reports[1]
    convert(voc_config(root), 8, tmp_path / "c")
    assert read_folder(tmp_path / "c").splits != read_folder(tmp_path / "a").splits


def test_the_order_in_which_the_disk_lists_files_changes_nothing(
    voc_config: Make, annotate: Annotate, tree: Tree, tmp_path: Path
) -> None:
    names = ["b", "a", "sub/c", "d e"]
    for root, order in (("first", names), ("second", names[::-1])):
        for name in order:
            annotate(tmp_path / root, name)
        convert(voc_config(tmp_path / root), 1, tmp_path / f"{root}_voc")
    assert tree(tmp_path / "first_voc") == tree(tmp_path / "second_voc")


def test_a_converted_folder_converts_to_itself(
    voc_config: Make, annotate: Annotate, tree: Tree, tmp_path: Path
) -> None:
    boxes = [("dog", "1.5", "2", "9.25", "7"), ("cat/x", "0.1", "3", "12", "11.999")]
    for number, name in enumerate(NAMES):
        annotate(tmp_path / "source", name, boxes=boxes[: 1 + number % 2], suffix=(".jpg", ".png")[number % 2])
    convert(voc_config(tmp_path / "source"), 1, tmp_path / "once")
    report = convert(voc_config(tmp_path / "once"), 2, tmp_path / "twice")
    assert report["problems"] == 0
    assert tree(tmp_path / "once") == tree(tmp_path / "twice")


def test_the_source_stays_as_it_was(voc_config: Make, source: Callable[..., Path], tree: Tree, tmp_path: Path) -> None:
    root = source(4)
    before = tree(root)
    convert(voc_config(root), 1, tmp_path / "voc")
    assert tree(root) == before
    copy = tmp_path / "voc" / "JPEGImages" / "00.jpg"
    assert not copy.samefile(root / "JPEGImages" / "00.jpg")
