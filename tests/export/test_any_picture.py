"""Whatever kind of file a picture is, the exported model sees in it what the trained one does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from inference.picture_files import encoded, exif, trained_on
from reprolens.evaluation import Detections
from reprolens.export.gate.numbers import difference
from reprolens.inference.predict import predict
from reprolens.inference.seen import Seen
from reprolens.inference.sources import find_pictures

Pixels = NDArray[np.uint8]


def files(pixels: Pixels) -> dict[str, bytes]:
    """Return a picture as files that are unlike each other in all but what they show, and one of a single pixel."""
    picture = Image.fromarray(pixels)
    clear = picture.copy()
    clear.putalpha(Image.fromarray(pixels[..., 0]))
    deep = Image.fromarray(pixels[..., 1].astype(np.uint16) * 257)
    made = {f"turned-{number}.png": encoded(picture, "PNG", exif=exif(number)) for number in range(1, 9)}
    return made | {
        "plain.jpg": encoded(picture, "JPEG"),
        "ink.jpg": encoded(picture.convert("CMYK"), "JPEG"),
        "grey.png": encoded(picture.convert("L"), "PNG"),
        "clear.png": encoded(clear, "PNG"),
        "grey-clear.png": encoded(clear.convert("LA"), "PNG"),
        "palette.gif": encoded(picture.convert("P"), "GIF"),
        "bits.bmp": encoded(picture.convert("1"), "BMP"),
        "deep.png": encoded(deep, "PNG"),
        "deeper.tif": encoded(deep, "TIFF"),
        "dot.png": encoded(Image.new("RGB", (1, 1), (200, 30, 90)), "PNG"),
    }


@pytest.mark.parametrize("name", ["fcos_mobilenet_v2"])
def test_any_picture_file_is_seen_alike(
    name: str, exported: Callable[[str], Any], pictures: list[Pixels], tmp_path: Path
) -> None:
    content = files(pictures[1])
    (tmp_path / "in").mkdir()
    for file, data in content.items():
        (tmp_path / "in" / file).write_bytes(data)
    it, expected = exported(name), trained_on(content, tmp_path)
    options, found = it.trained.options, 0
    seen = list(predict(it.model, find_pictures([tmp_path / "in"]), batch=4))
    assert {item.name for item in seen} == set(content)
    for item in seen:
        assert isinstance(item, Seen)
        image = torch.from_numpy(expected[item.name].copy()).permute(2, 0, 1) / 255
        with torch.inference_mode():
            [said] = it.trained.module([image])
        torchs = Detections(said["boxes"].numpy(), said["scores"].numpy(), said["labels"].numpy() - 1)
        gap = difference(torchs, item.found, options.score_threshold, options.detections_per_image, 1e-3)
        assert gap.unmatched == 0, item.name
        assert gap.box < 0.1, item.name
        assert gap.score < 1e-3, item.name
        found += gap.matched
    assert found > 5 * len(content)
