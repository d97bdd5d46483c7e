"""Laws of masks that are bad, or bad to read."""

import io
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convert.formats.mask_sets import COLORS, PLAN, load, options, pair, photo, save, shown
from reprolens.convert.formats.masks import detect, read
from reprolens.convert.source import SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

# ---- bad masks


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    root = pair(tmp_path, PLAN)
    photo(root / "images" / "1.jpg", (8, 6))
    _, pictures, _ = load(root)
    image = pictures["images/1.jpg"]
    assert (image.record.width, image.record.height) == (0, 0)
    with pytest.raises(DataError, match=r"4 x 3 pixels, its picture 1\.jpg is 8 x 6"):
        shown(image)


def test_a_mask_may_be_drawn_on_the_picture_as_shown_or_as_stored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    root = pair(tmp_path, PLAN)
    save(root / "images" / "1.jpg", np.zeros((3, 4, 3), np.uint8), exif=exif)
    pair(root, PLAN.T.copy(), "images/2.jpg", "masks/2.png")
    save(root / "images" / "2.jpg", np.zeros((3, 4, 3), np.uint8), exif=exif)
    _, pictures, _ = load(root)
    assert [(image.record.width, shown(image).shape) for image in pictures.values()] == [(4, (3, 4)), (3, (4, 3))]


def test_a_damaged_mask_loses_itself_alone(tmp_path: Path) -> None:
    root = pair(tmp_path, PLAN)
    pair(root, PLAN, "images/2.jpg", "masks/2.png")
    whole = (root / "masks" / "2.png").read_bytes()
    (root / "masks" / "2.png").write_bytes(whole[: len(whole) // 2])
    _, pictures, _ = load(root)
    assert np.array_equal(shown(pictures["images/1.jpg"]), PLAN)
    with pytest.raises(DataError, match="does not decode"):
        shown(pictures["images/2.jpg"])


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    root = pair(tmp_path, PLAN)
    photo(root / "images" / "2.jpg")
    Image.new("1", (20_000, 10_000)).save(root / "masks" / "2.png")
    _, pictures, _ = load(root)
    with pytest.raises(DataError, match="decompression bomb"):
        shown(pictures["images/2.jpg"])


def test_coloured_masks_with_mere_names_are_refused(tmp_path: Path) -> None:
    root = pair(tmp_path, COLORS[PLAN])
    with pytest.raises(DataError, match=r"label_colors\.txt"):
        load(root, classes=["background", "cat", "dog"])


def test_photographs_instead_of_masks_are_refused(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "1.png", (64, 64))
    photo(tmp_path / "masks" / "1.png", (64, 64))
    with pytest.raises(DataError, match="photos"):
        load(tmp_path)


def test_a_folder_without_masks_is_refused_with_advice(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "1.png")
    with pytest.raises(DataError, match="masks/"):
        load(tmp_path)


def test_reading_a_mask_can_be_sent_to_another_process(tmp_path: Path) -> None:
    image = load(pair(tmp_path, COLORS[PLAN]))[1]["images/1.jpg"]
    assert len(pickle.dumps(image.mask)) < 2000


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_numbers_come_back_as_their_classes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("numbers")
    values = data.draw(st.lists(st.integers(0, 254), min_size=12, max_size=12))
    plan = np.array(values, np.uint8).reshape(3, 4)
    source, pictures, _ = load(pair(root, plan))
    names = ("0", *(source.classes or ()))
    found = shown(pictures["images/1.jpg"])
    if source.classes == ("object",):
        assert np.array_equal(found, plan > 0) or len(np.unique(plan)) > 2
    else:
        assert [names[index] for index in found.ravel()] == [str(value) for value in values]


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_mutated_mask_or_label_map_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = pair(tmp_path_factory.mktemp("mutated"), COLORS[PLAN])
    buffer = io.BytesIO()
    Image.fromarray(COLORS[PLAN]).save(buffer, "PNG")
    contents = {
        "masks/1.png": buffer.getvalue(),
        "label_colors.txt": b"0 0 0 background\n200 10 10 cat\n10 200 10 dog\n",
        "dataset_meta.json": b'{"label_map": {"0": "none", "1": "cat"}, "segmentation_colors": [[0, 0, 0], [9, 9, 9]]}',
    }
    chosen = data.draw(st.sampled_from(sorted(contents)))
    content = bytearray(contents[chosen])
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 6))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"9", b"[", b'"'])
        )
    (root / chosen).write_bytes(content)
    detect(open_tree(root))
    with suppress(DataError):
        for item in read(open_tree(root), options(root)).images:
            if isinstance(item, SourceImage):
                shown(item)
