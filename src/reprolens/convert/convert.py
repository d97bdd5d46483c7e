"""A source data set to the VOC folder that every later stage reads, with a report of what it holds and what was wrong."""

import io
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from reprolens.config import Data, Policy, Voc
from reprolens.config.schema import Action
from reprolens.convert.digits import CLASSES, read_digits
from reprolens.convert.source import Problem, SourceImage
from reprolens.convert.voc import read_voc
from reprolens.errors import DataError
from reprolens.files import atomic_folder
from reprolens.progress import track
from reprolens.voc import Box, Object, Record, write_folder
from reprolens.voc.folder import SPLITS

FORMATS: Mapping[str, Callable[[Any, int], Iterator[SourceImage]]] = {"digits": read_digits, "voc": read_voc}
"""Every source format by its name in conf/data/: a function of its configuration and the seed."""

# What was made here has no problems; the policy of a made source only has to refuse everything.
_STRICT = Policy(
    missing_image=Action.fail,
    undecodable_image=Action.fail,
    size_mismatch=Action.fail,
    empty_box=Action.fail,
    tiny_box=Action.fail,
    box_outside=Action.fail,
    class_not_in_train=Action.fail,
)


def convert(config: Data, seed: int, out: Path) -> dict[str, Any]:
    """Write the source as a VOC folder at `out` and return the report for reports/dataset.json.

    Raises DataError for a problem whose policy is `fail`; `out` then stays as it was.
    """
    policy = config.policy if isinstance(config, Voc) else _STRICT
    problems: list[Problem] = []
    images: list[SourceImage] = []
    with atomic_folder(out) as folder:
        (folder / "JPEGImages").mkdir()
        for image, found in _placed(FORMATS[config.format](config, seed), folder / "JPEGImages", policy):
            problems += found
            if image is not None:
                images.append(image)
        if not images:
            raise DataError(f"{config.path}: no picture is left to convert; see the problems above")
        splits = _split(images, config, seed)
        classes, splits = _classes(config, splits, policy, problems)
        write_folder(folder, classes, splits)
    return _report(config, classes, splits, problems)


def _placed(
    images: Iterator[SourceImage], folder: Path, policy: Policy
) -> Iterator[tuple[SourceImage | None, list[Problem]]]:
    """Check the pictures and put them in `folder`, on as many threads as there are cores, in their order."""

    def place(image: SourceImage) -> tuple[SourceImage | None, list[Problem]]:
        problems: list[Problem] = []
        checked = _checked(image, policy, problems)
        if checked is not None:
            target = folder / checked.record.file
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(checked.image, bytes):
                target.write_bytes(checked.image)
            else:
                shutil.copyfile(checked.image, target)
            checked = replace(checked, image=target)  # lets go of the bytes
        return checked, problems

    with ThreadPoolExecutor() as pool:
        yield from track(pool.map(place, images), "convert")


def _checked(image: SourceImage, policy: Policy, problems: list[Problem]) -> SourceImage | None:
    """Return the picture with what was wrong about it mended, or None if it is to be left out."""

    def problem(kind: str, reason: str) -> Action:
        action: Action = getattr(policy, kind)
        if action == Action.fail:
            raise DataError(f"{image.place or record.id}: {reason} (data.policy.{kind} is fail)")
        problems.append(Problem(kind, record.file, image.place, reason, action))
        return action

    record = image.record
    size = _decoded_size(image.image)
    if size is None:
        problem("missing_image", f"its picture {image.image} does not exist")
        return None
    if isinstance(size, str):
        problem("undecodable_image", f"its picture {image.image} does not decode ({size})")
        return None
    if size != (record.width, record.height):
        reason = f"says {record.width} x {record.height}, but the picture is {size[0]} x {size[1]} pixels"
        if problem("size_mismatch", reason) == Action.drop:
            return None
        record = replace(record, width=size[0], height=size[1])
    objects = [_checked_object(item, record, problem) for item in record.objects]
    return replace(image, record=replace(record, objects=tuple(item for item in objects if item is not None)))


def _checked_object(item: Object, record: Record, problem: Callable[[str, str], Action]) -> Object | None:
    x0, y0, x1, y1 = item.box
    if x1 <= x0 or y1 <= y0:
        problem("empty_box", f"a box of {item.name!r} has no area: {_on_disk(item.box)}")
        return None
    if min(x1 - x0, y1 - y0) <= 1:
        reason = f"a box of {item.name!r} is at most one pixel wide or high: {_on_disk(item.box)}"
        if problem("tiny_box", reason) == Action.drop:
            return None
    inside: Box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(record.width)), min(y1, float(record.height)))
    if inside == item.box:
        return item
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        problem("empty_box", f"a box of {item.name!r} lies wholly outside the picture: {_on_disk(item.box)}")
        return None
    reason = f"a box of {item.name!r} reaches over the picture's edge: {_on_disk(item.box)}"
    return None if problem("box_outside", reason) == Action.drop else replace(item, box=inside)


def _on_disk(box: Box) -> str:
    """Write a box as the annotation file has it, so that a user finds it there."""
    return f"xmin {box[0] + 1:g}, ymin {box[1] + 1:g}, xmax {box[2]:g}, ymax {box[3]:g}"


def _decoded_size(image: Path | bytes) -> tuple[int, int] | str | None:
    """Return width and height once the whole picture was decoded, why it does not decode, or None if it is missing."""
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as picture:
            picture.load()
            return picture.size
    except FileNotFoundError:
        return None
    except UnidentifiedImageError:
        return "no known image format"
    except Exception as error:  # Pillow's decoders raise many kinds, SyntaxError and struct.error among them
        return " ".join(str(error).split()) or type(error).__name__


def _split(images: list[SourceImage], config: Data, seed: int) -> dict[str, list[Record]]:
    """Keep the splits that the source gives; share out by ratio, seeded, the pictures of which it says nothing.

    A source with image sets for train and val only lends its val pictures to no other split: `test` is drawn from the
    pictures that no set names, and it is an error if there are none.
    """
    splits: dict[str, list[Record]] = {split: [] for split in SPLITS}
    loose = []
    for image in images:
        if image.split is None:
            loose.append(image.record)
        else:
            splits[image.split].append(image.record)
    if loose:
        ratios = dict(zip(SPLITS, config.ratios if isinstance(config, Voc) else (1.0, 0.0, 0.0), strict=True))
        empty = [split for split in SPLITS if not splits[split]]
        random.Random(seed).shuffle(loose)
        total, start = sum(ratios[split] for split in empty), 0
        for number, split in enumerate(empty):
            rest = len(loose) - start
            count = rest if number == len(empty) - 1 else min(rest, max(1, round(len(loose) * ratios[split] / total)))
            splits[split] = sorted(loose[start : start + count], key=lambda record: record.id)
            start += count
    for split, records in splits.items():
        if not records:
            raise DataError(f"{config.path}: no picture is left for the split {split!r}; add pictures or image sets")
    return splits


def _classes(
    config: Data, splits: dict[str, list[Record]], policy: Policy, problems: list[Problem]
) -> tuple[tuple[str, ...], dict[str, list[Record]]]:
    """Return the class names in index order, and the splits without the objects of classes that train lacks."""
    names = {split: {item.name for record in splits[split] for item in record.objects} for split in SPLITS}
    known = set(CLASSES) if config.format == "digits" else names["train"]
    if not known:
        raise DataError(f"{config.path}: the train split shows no object at all")
    for split in SPLITS:
        for name in sorted(names[split] - known):
            reason = f"the class {name!r} is in {split} but not in train, so it cannot be learnt"
            if policy.class_not_in_train == Action.fail:
                raise DataError(f"{config.path}: {reason} (data.policy.class_not_in_train is fail)")
            problems.append(Problem("class_not_in_train", "", split, reason, policy.class_not_in_train))
        splits[split] = [
            replace(record, objects=tuple(item for item in record.objects if item.name in known))
            for record in splits[split]
        ]
    return tuple(sorted(known)), splits


def _report(
    config: Data, classes: tuple[str, ...], splits: dict[str, list[Record]], problems: list[Problem]
) -> dict[str, Any]:
    boxes = {split: Counter(item.name for record in splits[split] for item in record.objects) for split in SPLITS}
    report: dict[str, Any] = {
        "images": sum(len(records) for records in splits.values()),
        "boxes": sum(counter.total() for counter in boxes.values()),
    }
    report |= {f"images/{split}": len(splits[split]) for split in SPLITS}
    report |= {f"boxes/{split}": boxes[split].total() for split in SPLITS}
    report["problems"] = len(problems)
    # Lists, because DVC's table of metrics shows every single value but skips lists.
    report["classes"] = [{"name": name, **{split: boxes[split][name] for split in SPLITS}} for name in classes]
    report["problem_list"] = [asdict(problem) for problem in problems]
    report["source"] = [{"format": config.format, "path": config.path}]
    return report
