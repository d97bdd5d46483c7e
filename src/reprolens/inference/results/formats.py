"""The formats of results as data: how each is written, and which files and folders it writes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from reprolens.inference.results import coco, csv, images, voc, yolo
from reprolens.inference.seen import Seen

Writer = AbstractContextManager[Callable[[Seen], None]]
"""Gives what is called with every picture as it comes."""


@dataclass(frozen=True)
class Format:
    """`write` takes the folder to write into and the class names in index order; `targets` are what it writes there."""

    write: Callable[[Path, Sequence[str]], Writer]
    targets: tuple[str, ...]


FORMATS = {
    "images": Format(images.write_images, (images.FOLDER,)),
    "coco": Format(coco.write_coco, (coco.FILE,)),
    "voc": Format(voc.write_voc, (voc.FOLDER, voc.LABELS)),
    "yolo": Format(yolo.write_yolo, (yolo.FOLDER, yolo.CLASSES)),
    "csv": Format(csv.write_csv, (csv.FILE,)),
}
