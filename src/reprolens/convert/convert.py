"""A source data set to the VOC folder that every later stage reads, and a report of its content and its problems."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from reprolens.config import Data, Policy, Voc
from reprolens.config.schema import Action
from reprolens.convert.digits import CLASSES, read_digits
from reprolens.convert.picture import decode
from reprolens.convert.source import Problem, SourceImage
from reprolens.convert.split import split
from reprolens.convert.voc import read_voc
from reprolens.errors import DataError
from reprolens.files import atomic_folder
from reprolens.progress import track
from reprolens.voc import Box, Object, Record, write_folder
from reprolens.voc.folder import SPLITS

FORMATS: Mapping[str, Callable[[Any, int], Iterator[SourceImage | Problem]]] = {"digits": read_digits, "voc": read_voc}
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
    if Path(config.path).resolve().is_relative_to(out.resolve()):
        raise DataError(f"{config.path}: data.path is in {out}, which is written anew; move your data set elsewhere")
    problems: list[Problem] = []
    images: list[SourceImage] = []
    with atomic_folder(out) as folder:
        (folder / "JPEGImages").mkdir()
        for image, found in _placed(FORMATS[config.format](config, seed), folder / "JPEGImages", policy):
            problems += found
            if image is not None:
                images.append(image)
        if not images:
            raise DataError(f"{config.path}: every picture has a problem, {problems[0].place}: {problems[0].reason}")
        splits = split(images, config.ratios if isinstance(config, Voc) else (1.0, 0.0, 0.0), seed, problems)
        for name, records in splits.items():
            if not records:
                raise DataError(f"{config.path}: no picture is left for the split {name!r}; add pictures or image sets")
        classes, splits = _classes(config, splits, policy, problems)
        _remove_unused(folder / "JPEGImages", images, splits)
        try:
            write_folder(folder, classes, splits)
        except OSError as error:
            raise DataError(f"{out}: cannot be written ({error.strerror}: {Path(str(error.filename)).name})") from None
    return _report(config, classes, splits, problems)


def _placed(
    images: Iterable[SourceImage | Problem], folder: Path, policy: Policy
) -> Iterator[tuple[SourceImage | None, list[Problem]]]:
    """Check the pictures and put them in `folder`, on as many threads as there are cores, in their order."""

    def place(image: SourceImage | Problem) -> tuple[SourceImage | None, list[Problem]]:
        if isinstance(image, Problem):
            return None, [image]
        problems: list[Problem] = []
        checked = _checked(image, policy, problems)
        if checked is not None:
            target = folder / checked.record.file
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(checked.image, bytes):
                    target.write_bytes(checked.image)
                else:
                    shutil.copyfile(checked.image, target)
            except OSError as error:
                raise DataError(f"{image.place}: its picture cannot be copied ({error.strerror})") from None
            checked = replace(checked, image=target)  # lets go of the bytes
        return checked, problems

    with ThreadPoolExecutor() as pool:
        try:
            yield from track(pool.map(place, images), "convert")
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an error must not wait for all the other pictures
            raise


def _checked(image: SourceImage, policy: Policy, problems: list[Problem]) -> SourceImage | None:
    """Return the picture with what was wrong about it mended, or None if it is to be left out."""

    def problem(kind: str, reason: str) -> Action:
        action: Action = getattr(policy, kind)
        if action == Action.fail:
            advice = f"mend it, or set data.policy.{kind} to drop" if image.place else "this is a fault of Reprolens"
            raise DataError(f"{image.place or record.id}: {reason}; {advice}")
        problems.append(Problem(kind, record.file, image.place, reason, action))
        return action

    record = image.record
    file = image.image if isinstance(image.image, Path) else record.file
    decoded = decode(image.image, (record.width, record.height))
    if decoded is None:
        problem("missing_image", f"its picture {file} does not exist")
        return None
    if isinstance(decoded, str):
        problem("undecodable_image", f"its picture {file} does not decode ({decoded})")
        return None
    if decoded.upright is not None:
        reason = "EXIF says to turn the picture before it is shown; it was turned and written anew"
        problems.append(Problem("exif_orientation", record.file, image.place, reason, Action.fix))
        image = replace(image, image=decoded.upright)
    if (decoded.width, decoded.height) != (record.width, record.height):
        real = f"{decoded.width} x {decoded.height}"
        reason = f"says {record.width} x {record.height}, but the picture is {real} pixels"
        if problem("size_mismatch", reason) == Action.drop:
            return None
        record = replace(record, width=decoded.width, height=decoded.height)
    objects = [_checked_object(item, record, problem) for item in record.objects]
    return replace(image, record=replace(record, objects=tuple(item for item in objects if item is not None)))


def _checked_object(item: Object, record: Record, problem: Callable[[str, str], Action]) -> Object | None:
    x0, y0, x1, y1 = item.box
    if x1 <= x0 or y1 <= y0:
        problem("empty_box", f"a box of {item.name!r} has no area: {_on_disk(item.box)}")
        return None
    inside: Box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(record.width)), min(y1, float(record.height)))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        problem("empty_box", f"a box of {item.name!r} lies wholly outside the picture: {_on_disk(item.box)}")
        return None
    if inside != item.box:
        reason = f"a box of {item.name!r} reaches over the picture's edge: {_on_disk(item.box)}"
        if problem("box_outside", reason) == Action.drop:
            return None
        item = replace(item, box=inside)
    # One pixel, but for what float64 adds: 2.2 - 1.2 is 1.0000000000000002.
    if min(inside[2] - inside[0], inside[3] - inside[1]) <= 1 + 1e-6:
        reason = f"a box of {item.name!r} is at most one pixel wide or high: {_on_disk(inside)}"
        if problem("tiny_box", reason) == Action.drop:
            return None
    return item


def _on_disk(box: Box) -> str:
    """Write a box as the annotation file has it, so that a user finds it there."""
    return f"xmin {box[0] + 1:g}, ymin {box[1] + 1:g}, xmax {box[2]:g}, ymax {box[3]:g}"


def _remove_unused(folder: Path, images: list[SourceImage], splits: dict[str, list[Record]]) -> None:
    """Remove the pictures that no split has got."""
    used = {record.file for records in splits.values() for record in records}
    for image in images:
        if image.record.file not in used:
            (folder / image.record.file).unlink()


def _classes(
    config: Data, splits: dict[str, list[Record]], policy: Policy, problems: list[Problem]
) -> tuple[tuple[str, ...], dict[str, list[Record]]]:
    """Return the class names in index order, and the splits without the objects of classes that train lacks."""
    names = {part: {item.name for record in splits[part] for item in record.objects} for part in SPLITS}
    known = set(CLASSES) if config.format == "digits" else names["train"]
    if not known:
        raise DataError(f"{config.path}: the train split shows no object at all")
    for part in SPLITS:
        for name in sorted(names[part] - known):
            reason = f"the class {name!r} is in {part} but not in train, so it cannot be learnt"
            if policy.class_not_in_train == Action.fail:
                raise DataError(f"{config.path}: {reason}; mend it, or set data.policy.class_not_in_train to drop")
            problems.append(Problem("class_not_in_train", "", part, reason, policy.class_not_in_train))
        splits[part] = [
            replace(record, objects=tuple(item for item in record.objects if item.name in known))
            for record in splits[part]
        ]
    return tuple(sorted(known)), splits


def _report(
    config: Data, classes: tuple[str, ...], splits: dict[str, list[Record]], problems: list[Problem]
) -> dict[str, Any]:
    boxes = {part: Counter(item.name for record in splits[part] for item in record.objects) for part in SPLITS}
    report: dict[str, Any] = {
        "images": sum(len(records) for records in splits.values()),
        "boxes": sum(counter.total() for counter in boxes.values()),
    }
    report |= {f"images/{part}": len(splits[part]) for part in SPLITS}
    report |= {f"boxes/{part}": boxes[part].total() for part in SPLITS}
    report["problems"] = len(problems)
    # Lists, because DVC's table of metrics shows every single value but skips lists.
    report["classes"] = [{"name": name, **{part: boxes[part][name] for part in SPLITS}} for name in classes]
    report["problem_list"] = [asdict(problem) for problem in problems]
    report["source"] = [{"format": config.format, "path": config.path}]
    return report
