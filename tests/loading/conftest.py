"""Pictures of which every pixel is known: rectangles of pure colours on grey, named by their colour."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reprolens.voc import Box, Folder, Object, Record, read_folder, write_folder

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
WIDTH, HEIGHT = 120, 80


@pytest.fixture(scope="session")
def rectangles(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Return a VOC folder whose ten train pictures show a red, a green and a blue rectangle each, and a crowd of red.

    The val picture shows nothing, the test picture one difficult rectangle.
    """
    root = tmp_path_factory.mktemp("rectangles")
    (root / "JPEGImages").mkdir()
    random = np.random.default_rng(2)
    train = [_picture(root, f"train_{number}", _objects(random)) for number in range(10)]
    val = _picture(root, "val_0", ())
    test = _picture(root, "test_0", (Object("green", (10, 20, 30, 50), difficult=True),))
    write_folder(root, sorted(COLOURS), {"train": train, "val": [val], "test": [test]})
    return read_folder(root)


def _objects(random: np.random.Generator) -> tuple[Object, ...]:
    """Return one rectangle in each third of the picture, in any order of colours, and a crowd over all of it."""
    objects = []
    for third, name in enumerate(random.permutation(list(COLOURS))):
        x, y = third * 40 + int(random.integers(2, 10)), int(random.integers(4, 30))
        box: Box = (x, y, x + int(random.integers(16, 28)), y + int(random.integers(20, 44)))
        objects.append(Object(str(name), box))
    return (*objects, Object("red", (0, 0, WIDTH, HEIGHT), crowd=True))


def _picture(root: Path, id: str, objects: tuple[Object, ...]) -> Record:
    pixels = np.full((HEIGHT, WIDTH, 3), 127, np.uint8)
    for item in objects:
        if not item.crowd:
            x0, y0, x1, y1 = (int(side) for side in item.box)
            pixels[y0:y1, x0:x1] = COLOURS[item.name]
    Image.fromarray(pixels).save(root / "JPEGImages" / f"{id}.png")
    return Record(id, f"{id}.png", WIDTH, HEIGHT, 3, objects)
