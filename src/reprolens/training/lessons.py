"""What a backbone learns from before it learns to detect: objects cut out of their pictures, or pictures with a class.

Everything is held in memory at the size that the backbone sees: 12 KiB a picture of 64 x 64.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from reprolens.config import Labelled, Policy
from reprolens.config.data import Action
from reprolens.convert import convert
from reprolens.errors import DataError
from reprolens.loading import Key, open_index, open_rgb
from reprolens.loading.decode import resized_rgb
from reprolens.loading.index import beside
from reprolens.progress import track
from reprolens.voc import Folder, Record, read_folder

SHARES = [0.8, 0.1, 0.1]
"""Of a data set without splits of its own; nothing looks at the last, as where others say what is for tests."""

_OTHERS = {
    "exif_rotation": Action.fix,
    "size_mismatch": Action.fix,
    "wrong_suffix": Action.keep,
    "duplicate_image": Action.keep,
    "near_duplicate": Action.keep,
    "similar_classes": Action.keep,
}
_POLICY = Policy(**{field.name: _OTHERS.get(field.name, Action.drop) for field in fields(Policy)})
"""What cannot be read is left out and counted: one damaged picture of a million must not cost the rest."""


@dataclass(frozen=True)
class Pictures:
    """Pictures `(N, 3, side, side)` uint8, their classes `(N,)` int64, and what to call each in an error."""

    images: Tensor
    labels: Tensor
    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Lessons:
    """What is learnt, and what decides which epoch learnt it best.

    `shift` is by how many pixels a picture is moved at most, either way, each time that it is learnt from. `origin` is
    what reports/pretrain.json says of it.
    """

    classes: int
    train: Pictures
    val: Pictures
    shift: int
    origin: dict[str, Any]


class LessonPictures(Dataset[tuple[Tensor, dict[str, Tensor], str]]):
    """Pictures with their classes, moved by up to `shift` pixels either way: how far, seed, epoch and index decide."""

    def __init__(self, pictures: Pictures, shift: int, seed: int) -> None:
        self._pictures, self._shift, self._seed = pictures, shift, seed

    def __getitem__(self, key: Key) -> tuple[Tensor, dict[str, Tensor], str]:
        image, target = self._pictures.images[key.index], {"label": self._pictures.labels[key.index]}
        if self._shift:
            chance = np.random.default_rng((self._seed, key.epoch, key.index))
            down, right = chance.integers(-self._shift, self._shift, 2, endpoint=True).tolist()
            image = _moved(image, down, right)
        return image, target, self._pictures.ids[key.index]


def crop_lessons(folder: Folder, side: int) -> Lessons:
    """Return the objects of a VOC folder, each cut out by its box and resized. Nothing moves them: boxes are tight.

    Raises DataError if the train split has fewer than two.
    """
    train = _crops(folder, "train", side)
    if len(train) < 2:  # BatchNorm needs two
        raise DataError(f"{folder.root}: its train split has {len(train)} objects, too few for pretrain: classify")
    return Lessons(len(folder.classes), train, _crops(folder, "val", side), 0, {"crops": len(train)})


def picture_lessons(path: str, side: int, seed: int, folder: Folder) -> Lessons:
    """Return the pictures of a classification data set in any format that convert reads, resized whole.

    Its own splits are kept; where it has none, `seed` makes them. They are moved by up to an eighth of their side, as
    He et al., 2015 (arXiv:1512.03385, section 4.2) do; not mirrored as there, because a mirrored digit is none.
    The data set is converted beside `folder`, the detector's, and removed again. Pictures with several classes are left
    out. Raises DataError if there is no such data set, or it cannot teach to tell classes apart.
    """
    if not Path(path).exists():
        raise DataError(f"pretrain.data: {path}: there is no such file or folder; null takes the objects instead")
    scratch = beside(folder.root) / "classify"  # a fixed place, so that a killed stage's is found and replaced
    try:
        report = convert(Labelled("auto", path, None, None, SHARES, None, _POLICY), seed, scratch)
        return _lessons(path, read_folder(scratch), side, report)
    except DataError as error:
        # What convert advises is about knobs of the detector's data set, which this one has not.
        plain, *advice = re.split(r"[.;] (?:Choose|set data\.)", str(error))
        instead = "; put each class's pictures in a folder with its name, of two classes at least" if advice else ""
        raise DataError(f"pretrain.data: {plain}{instead}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _lessons(path: str, folder: Folder, side: int, report: Mapping[str, Any]) -> Lessons:
    records = {split: [record for record in folder.records(split) if record.labels] for split in folder.splits}
    single = {split: [record for record in found if len(record.labels) == 1] for split, found in records.items()}
    source, count = report["source"][0], sum(map(len, records.values()))
    if not count:
        raise DataError(
            f"{path}: no picture has a class as a whole (it is {source['format']}, for {source['task']}); put each "
            "class's pictures in a folder, or set pretrain.data to null to learn from the objects"
        )
    shown = {record.labels[0] for record in single["train"]}
    if len(shown) < 2:
        raise DataError(
            f"{path}: its train split has {len(single['train'])} pictures of one class each, of {len(shown)} classes; "
            "to tell classes apart takes two"
        )
    left_out = count - sum(map(len, single.values()))
    origin = {
        "data": path,
        "format": source["format"],
        "digest": _digest(folder, records),
        "classes": len(folder.classes),
        "pictures": len(single["train"]),
        "pictures/val": len(single["val"]),
        "pictures/several_classes": left_out,
        "problems": report["problems"],
        "problem_kinds": report["problem_kinds"],
    }
    train, val = (_resized(folder, single[split], side) for split in ("train", "val"))
    return Lessons(len(folder.classes), train, val, side // 8, origin)


def _digest(folder: Folder, records: Mapping[str, Sequence[Record]]) -> str:
    """Return a SHA-256 of splits, classes and pictures; the index's own does not see the classes of whole pictures."""
    labels = {record.id: record.labels for found in records.values() for record in found}
    return hashlib.sha256((open_index(folder).digest() + json.dumps(labels)).encode()).hexdigest()


def _resized(folder: Folder, records: Sequence[Record], side: int) -> Pictures:
    places = {name: place for place, name in enumerate(folder.classes)}
    images = torch.empty(len(records), 3, side, side, dtype=torch.uint8)
    for row, record in enumerate(track(records, "read pictures")):
        images[row] = _tensor(resized_rgb(folder, record, (side, side)))
    labels = torch.tensor([places[record.labels[0]] for record in records], dtype=torch.int64)
    return Pictures(images, labels, [record.file for record in records])


def _crops(folder: Folder, split: str, side: int) -> Pictures:
    crops, labels = [torch.empty(0, 3, side, side, dtype=torch.uint8)], list[int]()
    for record in folder.records(split):
        picture = open_rgb(folder, record)
        for item in record.objects:
            if not item.crowd:
                crops.append(_tensor(picture.resize((side, side), Image.Resampling.BILINEAR, box=item.box))[None])
                labels.append(folder.classes.index(item.name))
    ids = [f"crop {number}" for number in range(len(labels))]
    return Pictures(torch.cat(crops), torch.tensor(labels, dtype=torch.int64), ids)


def _tensor(picture: Image.Image) -> Tensor:
    """Return an RGB picture as `(3, H, W)` uint8."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _moved(image: Tensor, down: int, right: int) -> Tensor:
    """Return a picture `(3, H, W)` moved by whole pixels; what comes into view goes on as the edge is."""
    rows = (torch.arange(image.shape[1]) - down).clamp_(0, image.shape[1] - 1)
    columns = (torch.arange(image.shape[2]) - right).clamp_(0, image.shape[2] - 1)
    return image[:, rows][:, :, columns]
