"""Models that find colours, and films, where a test wants them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import colours


@pytest.fixture
def write_colours(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes a model that finds colours under a name in `tmp_path`; `changes` are of its contract."""

    def write(name: str = "model.onnx", **changes: Any) -> Path:
        return colours.write_colours(tmp_path / name, **changes)

    return write


@pytest.fixture
def write_film() -> Callable[..., Path]:
    """Return what writes a video of `count` frames of 64 x 48 pixels: frame 0 black, each 12 greys lighter, with a
    white top left quarter and noise below it. It is shown turned by `degrees` counterclockwise.
    """
    av = pytest.importorskip("av")

    def write(path: Path, count: int = 10, codec: str = "libx264", degrees: int = 0) -> Path:
        rng = np.random.default_rng(count)
        with av.open(path, "w") as container:
            stream = container.add_stream(codec, rate=10, width=64, height=48, pix_fmt="yuv420p")
            if degrees:
                stream.set_display_rotation(degrees)
            for index in range(count):
                pixels = np.full((48, 64, 3), 12 * index, dtype=np.uint8)
                pixels[:24, :32] = 255
                pixels[24:, :32] = rng.integers(0, 200, (24, 32, 3))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write
