"""A picture of any kind goes through the exported model and through torch alike."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands.repository import Repository
from reprolens.__main__ import main

BOX, SCORE = 0.1, 1e-3
"""By how many pixels, and by how much of a score, a detection may differ."""


def write_kinds(folder: Path, scene: Image.Image) -> int:
    """Write a picture of every kind that goes wrong somewhere, and return how many."""
    folder.mkdir()
    grey = scene.convert("L")
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        scene.save(folder / f"orientation-{orientation}.jpg", exif=exif, quality=95)
    grey.save(folder / "grey.jpg")
    Image.fromarray(np.asarray(grey, dtype=np.uint16) * 257).save(folder / "16-bit.png")
    transparent = scene.copy()
    transparent.putalpha(grey)
    transparent.save(folder / "rgba.png")
    scene.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.png")
    grey.convert("LA").save(folder / "grey-alpha.png")
    grey.convert("1").save(folder / "1-bit.png")
    scene.convert("CMYK").save(folder / "cmyk.jpg")
    scene.save(folder / "animated.gif", save_all=True, append_images=[scene.rotate(180)])
    scene.crop((10, 10, 11, 11)).save(folder / "1x1.png")
    scene.resize((1, 90)).save(folder / "1x90.png")
    scene.resize((300, 2)).save(folder / "300x2.png")
    return len(list(folder.iterdir()))


def found(model: Path, pictures: Path, out: Path) -> dict[str, dict[str, Any]]:
    assert main(["predict", str(model), str(pictures), "--json", str(out), "--threads", "1"]) == 0
    return {line["image"]: line for line in map(json.loads, out.read_text().splitlines())}


def unmatched(ones: list[dict[str, Any]], others: list[dict[str, Any]], least: float) -> list[dict[str, Any]]:
    """Return those of `ones`, from a score of `least` up, that no further one of `others` is like."""
    free, lonely = list(others), []
    for one in ones:
        like = [
            other
            for other in free
            if other["label"] == one["label"]
            and abs(other["score"] - one["score"]) <= SCORE
            and np.abs(np.subtract(other["box"], one["box"])).max() <= BOX
        ]
        if like:
            free.remove(like[0])
        elif one["score"] >= least:
            lonely.append(one)
    return lonely


@pytest.mark.parametrize("name", ["fcos_mobilenet_v2", "fasterrcnn_mobilenet_v3_large_fpn"])
def test_every_kind_of_picture_goes_through_the_exported_model_and_torch_alike(
    name: str,
    repository_of: Callable[[str], Repository],
    scene: Callable[[int, int], Image.Image],
    tmp_path: Path,
) -> None:
    repository = repository_of(name)
    count = write_kinds(tmp_path / "pictures", scene(120, 90))
    exported = found(repository.exported, tmp_path / "pictures", tmp_path / "exported.jsonl")
    torch = found(repository.weights, tmp_path / "pictures", tmp_path / "torch.jsonl")
    assert exported.keys() == torch.keys() and len(exported) == count
    total = 0
    for picture, one in exported.items():
        other = torch[picture]
        assert (one["width"], one["height"]) == (other["width"], other["height"]), picture
        # Beyond the lowest of a full list, which of them are in it is a matter of rounding.
        least = max(min((found["score"] for found in side["detections"]), default=0) for side in (one, other)) + SCORE
        for first, second in ((one, other), (other, one)):
            assert unmatched(first["detections"], second["detections"], least) == [], picture
        total += len(one["detections"])
    assert total > 5 * count
    assert (exported["orientation-6.jpg"]["width"], exported["orientation-6.jpg"]["height"]) == (90, 120)


def test_turned_pictures_are_seen_upright(
    repository_of: Callable[[str], Repository], scene: Callable[[int, int], Image.Image], tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    upright = scene(120, 90)
    upright.save(tmp_path / "pictures" / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "pictures" / "turned.png", exif=exif)
    lines = found(repository_of("fcos_mobilenet_v2").exported, tmp_path / "pictures", tmp_path / "out.jsonl")
    assert lines["turned.png"] | {"image": ""} == lines["upright.png"] | {"image": ""}
    assert lines["upright.png"]["detections"]
