"""Drawn pictures lie under their pictures' names, as JPEG or PNG."""

from pathlib import Path

import numpy as np
from PIL import Image

from inference.results.seeing import CLASSES, seen
from reprolens.colors import class_color
from reprolens.inference.results.images import write_images
from reprolens.inference.seen import Seen


def written(out: Path, *pictures: Seen, threshold: float = 0.0) -> list[str]:
    with write_images(out, CLASSES, threshold) as write:
        for picture in pictures:
            write(picture)
    return sorted(path.relative_to(out / "images").as_posix() for path in out.rglob("*") if path.is_file())


def test_jpegs_and_frames_stay_jpegs_and_all_others_become_png(tmp_path: Path) -> None:
    frame = seen("film.mp4/000003", frame=3)
    found = written(tmp_path, seen("a.JPG"), seen("b/a.png"), seen("b/a.tif"), seen("none"), frame)
    assert found == ["a.JPG", "b/a.png", "b/a.tif.png", "film.mp4/000003.jpg", "none.png"]
    kinds = {name: Image.open(tmp_path / "images" / name).format for name in found}
    assert kinds == {name: "JPEG" if name.lower().endswith(".jpg") else "PNG" for name in found}


def test_only_detections_from_the_threshold_up_are_drawn(tmp_path: Path) -> None:
    picture = seen("a.png", [(50, 50, 200, 200, 0.9, 0), (300, 300, 400, 400, 0.4, 1)])
    written(tmp_path, picture, threshold=0.5)
    pixels = np.asarray(Image.open(tmp_path / "images" / "a.png"))
    assert (pixels == class_color(0)).all(axis=-1).any() and not (pixels == class_color(1)).all(axis=-1).any()


def test_same_pictures_give_the_same_bytes(tmp_path: Path) -> None:
    picture = seen("a.jpg", [(50, 50, 200, 200, 0.9, 2)])
    for name in ("1", "2"):
        written(tmp_path / name, picture)
    first, second = ((tmp_path / name / "images" / "a.jpg").read_bytes() for name in ("1", "2"))
    assert first == second
