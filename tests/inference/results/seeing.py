"""Pictures with what was found in them, as `inference.predict` gives them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from reprolens.inference.model import Found
from reprolens.inference.seen import Seen

CLASSES = ("cat", "traffic light", "Hündin & 猫 <x>")
SIZE = (480, 640)
"""Height and width."""


def seen(
    name: str = "a.jpg",
    rows: Sequence[tuple[float, float, float, float, float, int]] = (),
    size: tuple[int, int] = SIZE,
    frame: int | None = None,
) -> Seen:
    """Return a grey picture; a row is x0 y0 x1 y1, score and class."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    boxes, scores, labels = np.split(table, [4, 5], axis=1)
    found = Found(boxes.astype(np.float32), scores[:, 0].astype(np.float32), labels[:, 0].astype(np.int64))
    return Seen(name, Path("/elsewhere") / name, frame, np.full((*size, 3), 128, np.uint8), found)


_x, _y = (st.floats(0, side, width=32) for side in (SIZE[1], SIZE[0]))


@st.composite
def _row(draw: st.DrawFn) -> tuple[float, float, float, float, float, int]:
    (x0, x1), (y0, y1) = (sorted(draw(st.tuples(edge, edge))) for edge in (_x, _y))
    return x0, y0, x1, y1, draw(st.floats(0, 1, width=32)), draw(st.integers(0, len(CLASSES) - 1))


rows = st.lists(_row(), max_size=5)
"""Rows of `seen`: any float32 boxes within the picture."""
