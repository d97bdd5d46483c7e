"""Detections as one COCO file, coco.json: `images`, `categories`, and `annotations` that have a `score`.

Its `annotations` are COCO results (https://cocodataset.org/#format-results): pycocotools takes them in `loadRes`, and
`reprolens evaluate` the whole file, in which `images` say whose they are. Boxes are left, top, width and height in
pixels, 0-based and continuous; `category_id` is a class's 1-based place, `image_id` a picture's.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from reprolens.files import atomic
from reprolens.inference.results.detections import Detection, detections_of
from reprolens.inference.results.names import picture_name
from reprolens.inference.seen import Seen

FILE = "coco.json"


@contextmanager
def write_coco(out: Path, classes: Sequence[str]) -> Iterator[Callable[[Seen], None]]:
    """Give what takes one picture after another, and write coco.json at the end; neither part is held in memory."""
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    images = detections = 0
    # In files' names there are bytes that are not UTF-8, as halves of surrogate pairs: \udcXX in JSON too.
    how: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace", "newline": "\n"}
    with (
        atomic(out / FILE) as temporary,
        temporary.open("w", **how) as file,
        tempfile.TemporaryFile("w+", dir=out, **how) as rows,
    ):
        file.write('{"images": [\n')

        def write(seen: Seen) -> None:
            nonlocal images, detections
            height, width = seen.pixels.shape[:2]
            image = {"id": images + 1, "file_name": picture_name(seen), "width": width, "height": height}
            file.write((",\n" if images else "") + _line(image))
            images += 1
            for found in detections_of(seen):
                rows.write((",\n" if detections else "") + _line(_annotation(found, detections + 1, images)))
                detections += 1

        yield write
        file.write('\n],\n"annotations": [\n')
        rows.seek(0)
        shutil.copyfileobj(rows, file)
        file.write('\n],\n"categories": [\n' + ",\n".join(map(_line, categories)) + "\n]}\n")


def _annotation(found: Detection, number: int, image: int) -> dict[str, Any]:
    x0, y0, x1, y1 = found.box
    width, height = _less(x1, x0), _less(y1, y0)
    return {
        "id": number,
        "image_id": image,
        "category_id": found.label + 1,
        "bbox": [x0, y0, width, height],
        "area": width * height,
        "iscrowd": 0,
        "score": found.score,
    }


def _less(one: float, other: float) -> float:
    """Return a difference in decimal arithmetic, which keeps 15.3 - 12.1 at 3.2."""
    return float(Decimal(repr(one)) - Decimal(repr(other)))


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
