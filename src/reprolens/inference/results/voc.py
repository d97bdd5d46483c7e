"""Detections as PASCAL VOC's annotations, Annotations/*.xml and labels.txt, each object with a `<score>`.

Coordinates are VOC's 1-based pixels: xmin = x0 + 1, ymin = y0 + 1, xmax = x1, ymax = y1, decimals kept where there are
any, shifted in decimal arithmetic as `reprolens.voc` does. It is not used, because it stands on lxml.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Context, Decimal
from pathlib import Path

from reprolens.files import write_text
from reprolens.inference.results.detections import Detection, detections_of
from reprolens.inference.results.names import ResultFiles, picture_name
from reprolens.inference.seen import Seen

FOLDER, LABELS = "Annotations", "labels.txt"

_SHIFTS = {"xmin": 1, "ymin": 1, "xmax": 0, "ymax": 0}
_DECIMAL = Context(prec=120)
"""Wide enough for every float32, so that adding 1 never rounds."""

_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
"""Characters that XML lacks or that its readers change."""


@contextmanager
def write_voc(out: Path, classes: Sequence[str]) -> Iterator[Callable[[Seen], None]]:
    """Give what writes a picture's annotation; a picture in which nothing was found has one without objects."""
    write_text(out / LABELS, "".join(f"{name}\n" for name in classes))
    files = ResultFiles(out / FOLDER)

    def write(seen: Seen) -> None:
        name = picture_name(seen)
        write_text(files.place(name, ".xml"), _annotation(name, seen, classes))

    yield write


def _annotation(name: str, seen: Seen, classes: Sequence[str]) -> str:
    height, width = seen.pixels.shape[:2]
    root = ET.Element("annotation")
    _add(root, "filename", name)
    size = ET.SubElement(root, "size")
    for key, value in (("width", width), ("height", height), ("depth", 3)):
        _add(size, key, str(value))
    _add(root, "segmented", "0")
    for found in detections_of(seen):
        _add_object(root, found, classes[found.label])
    ET.indent(root, "\t")
    return ET.tostring(root, encoding="unicode") + "\n"


def _add_object(root: ET.Element, found: Detection, name: str) -> None:
    item = ET.SubElement(root, "object")
    for key, value in (("name", name), ("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0")):
        _add(item, key, value)
    box = ET.SubElement(item, "bndbox")
    for (key, shift), edge in zip(_SHIFTS.items(), found.box, strict=True):
        _add(box, key, _shifted(edge, shift))
    _add(item, "score", f"{Decimal(repr(found.score)):f}")


def _shifted(edge: float, shift: int) -> str:
    value = _DECIMAL.add(Decimal(repr(edge)), Decimal(shift))
    return f"{value.quantize(Decimal(1), context=_DECIMAL) if value == value.to_integral_value() else value:f}"


def _add(parent: ET.Element, name: str, text: str) -> None:
    r"""Add an element; a character that XML cannot say is written as in Python's texts: \n, \x07, \udc80."""
    ET.SubElement(parent, name).text = _UNWRITABLE.sub(lambda found: ascii(found[0])[1:-1], text)
