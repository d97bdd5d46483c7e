"""Detections as JSON lines, a picture a line, written as they come: for pipes."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from reprolens.files import atomic
from reprolens.inference.results.detections import detections_of
from reprolens.inference.results.names import picture_name
from reprolens.inference.seen import Seen


def json_line(seen: Seen, classes: Sequence[str]) -> str:
    """Return what was found in a picture as one line of JSON, in ASCII.

    `image` is the picture's name, `frame` the index of a video's frame, from 0, else null; `width` and `height` are
    pixels; `detections` have the class's name as `label`, its place as `class`, `score`, and `box`: x0 y0 x1 y1 in
    pixels, 0-based and continuous.
    """
    height, width = seen.pixels.shape[:2]
    found = [
        {"label": classes[one.label], "class": one.label, "score": one.score, "box": list(one.box)}
        for one in detections_of(seen)
    ]
    content = {"image": picture_name(seen), "frame": seen.frame, "width": width, "height": height, "detections": found}
    return json.dumps(content, allow_nan=False)


@contextmanager
def write_json_lines(target: Path | TextIO, classes: Sequence[str]) -> Iterator[Callable[[Seen], None]]:
    """Give what writes a picture's line, at once to a stream; a file is there only when all pictures are."""
    with ExitStack() as stack:
        if isinstance(target, Path):
            temporary = stack.enter_context(atomic(target))
            target = stack.enter_context(temporary.open("w", encoding="ascii", newline="\n"))
        stream = target

        def write(seen: Seen) -> None:
            stream.write(json_line(seen, classes) + "\n")
            stream.flush()

        yield write
