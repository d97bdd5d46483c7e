"""The contact sheet of augmentation, as `reprolens inspect --augment` writes it."""

import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reprolens.__main__ import main
from reprolens.config.compose import compose
from reprolens.errors import DataError
from reprolens.loading import open_index
from reprolens.loading.sheet import TILE, draw_sheet, draw_training_sheets
from reprolens.voc import Folder

ROOT = Path(__file__).parents[2]
NONE = compose(ROOT, ["augment=none"]).augment
FLIP = replace(NONE, horizontal_flip=1.0)


def test_there_is_a_row_for_each_choice_and_a_column_for_each_draw(rectangles: Folder, tmp_path: Path) -> None:
    sizes = []
    for name, choices in {"one": {"none": NONE}, "two": {"none": NONE, "flip": FLIP}}.items():
        path = tmp_path / f"{name}.png"
        draw_sheet(open_index(rectangles), choices, (64, 96), 1, path, columns=3)
        sizes.append(Image.open(path).size)
    assert sizes[0][0] == sizes[1][0] > 3 * TILE
    assert sizes[1][1] == 2 * sizes[0][1] > 2 * TILE * 64 / 96


def test_rows_show_the_same_pictures_and_a_mirrored_row_their_mirror_image(rectangles: Folder, tmp_path: Path) -> None:
    draw_sheet(open_index(rectangles), {"none": NONE, "flip": FLIP}, (64, 96), 1, tmp_path / "sheet.png", columns=1)
    sheet = np.array(Image.open(tmp_path / "sheet.png")).astype(int)
    plain, mirrored = np.split(sheet, 2)
    middle = slice(60, 200)  # below the heading and the names of the classes
    strong = [half[middle, 10:310, 0] - half[middle, 10:310, 1] > 200 for half in (plain, mirrored)]
    assert strong[0].any()
    assert (strong[0] == strong[1][:, ::-1]).mean() > 0.95


def test_the_same_seed_draws_the_same_bytes_and_another_does_not(rectangles: Folder, tmp_path: Path) -> None:
    choices = {"mosaic": replace(NONE, mosaic=1.0)}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        draw_sheet(open_index(rectangles), choices, (64, 64), seed, tmp_path / f"{name}.png", columns=2)
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_a_data_set_without_training_pictures_is_refused(rectangles: Folder, tmp_path: Path) -> None:
    empty = replace(rectangles, splits={**rectangles.splits, "train": ()})
    with pytest.raises(DataError, match="no pictures in its train split"):
        draw_sheet(open_index(empty), {"none": NONE}, (64, 64), 1, tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


def test_fewer_pictures_than_columns_are_drawn_again(rectangles: Folder, tmp_path: Path) -> None:
    two = replace(rectangles, splits={**rectangles.splits, "train": rectangles.splits["train"][:2]})
    draw_sheet(open_index(two), {"none": NONE}, (64, 64), 1, tmp_path / "sheet.png", columns=5)
    assert Image.open(tmp_path / "sheet.png").width > 5 * TILE


def test_a_training_is_shown_its_pictures_as_they_are_and_as_it_is_fed_them(rectangles: Folder, tmp_path: Path) -> None:
    draw_training_sheets(open_index(rectangles), FLIP, (64, 96), 1, tmp_path / "sheets", pictures=4)
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == ["augmentation.jpg", "data.jpg"]
    plain, mirrored = (Image.open(tmp_path / "sheets" / f"{name}.jpg") for name in ("data", "augmentation"))
    assert plain.format == mirrored.format == "JPEG"
    assert plain.size == mirrored.size == (4 * (TILE + 10) + 10, 34 + TILE * 2 // 3)
    middle = slice(60, 190)  # below the heading and the names of the classes
    pixels = [np.array(sheet).astype(int)[middle] for sheet in (plain, mirrored)]
    strong = [part[:, 10:310, 0] - part[:, 10:310, 1] > 150 for part in pixels]
    assert strong[0].any()
    assert (strong[0] == strong[1][:, ::-1]).mean() > 0.95


def test_training_sheets_have_rows_of_four_and_no_picture_twice(rectangles: Folder, tmp_path: Path) -> None:
    draw_training_sheets(open_index(rectangles), NONE, (64, 96), 1, tmp_path, pictures=12)  # there are ten
    assert Image.open(tmp_path / "data.jpg").size == (4 * (TILE + 10) + 10, 34 + 20 + 3 * TILE * 2 // 3)


def test_drawing_training_sheets_neither_takes_from_the_global_generators_nor_depends_on_them(
    rectangles: Folder, tmp_path: Path
) -> None:
    def states() -> tuple[object, ...]:
        numpy = np.random.get_state()
        return random.getstate(), numpy[1].tobytes(), numpy[2], torch.get_rng_state().numpy().tobytes()

    choice = replace(compose(ROOT, ["augment=mosaic"]).augment, mixup=1.0, copy_paste=1.0, photometric=1.0)
    for seed, name in enumerate(("a", "b")):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        before = states()
        draw_training_sheets(open_index(rectangles), choice, (64, 96), 1, tmp_path / name)
        assert states() == before
    for sheet in ("data.jpg", "augmentation.jpg"):
        assert (tmp_path / "a" / sheet).read_bytes() == (tmp_path / "b" / sheet).read_bytes()


def test_the_command_writes_the_sheet_and_says_where(
    rectangles: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    out = tmp_path / "new" / "sheet.png"
    asked = ["inspect", str(rectangles.root), "--augment", "--choice", "none", "mosaic", "--seed", "3"]
    assert main([*asked, "--out", str(out)]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert Image.open(out).width > 5 * TILE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--augment", "--choice", "mosiac"], "did you mean mosaic"),
        (["--augment", "--out", "sheet.jpg"], r"ends in \.png"),
        (["--augment", "--seed", "-1"], "must be at least 0"),
        (["--augment", "--choice", "none"], "not found; run the convert stage"),
    ],
)
def test_what_cannot_be_shown_ends_in_one_line(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["inspect", str(tmp_path / "voc"), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(message, error)
