"""A source data set to the VOC folder that every later stage reads, and a report of its content and its problems."""

import os
import tempfile
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from reprolens.config import Data, Labelled, Policy
from reprolens.config.data import Action
from reprolens.convert.archive import unpacked
from reprolens.convert.check import Checked, check, judged
from reprolens.convert.collect import Collected, collect
from reprolens.convert.digits import CLASSES, LICENCE, open_digits
from reprolens.convert.duplicates import near_duplicates, same_bytes
from reprolens.convert.formats import detect, module_of, options_of
from reprolens.convert.leaks import FINALITY, tied, without_leaks
from reprolens.convert.licence import stated_licence
from reprolens.convert.mask_files import write_masks
from reprolens.convert.placing import clear_stale, dvc_caches, place
from reprolens.convert.report import Origin, report
from reprolens.convert.source import Problem, Source, SourceImage
from reprolens.convert.split import Entry, groups, split
from reprolens.convert.tree import Tree, open_tree
from reprolens.errors import DataError
from reprolens.files import atomic_folder
from reprolens.progress import track
from reprolens.voc import Record, write_folder
from reprolens.voc.folder import SPLITS

T = TypeVar("T")
R = TypeVar("R")

STRICT = Policy(**dict.fromkeys((field.name for field in fields(Policy)), Action.fail))
"""What was made here has no problems."""

AHEAD = 256
"""Pictures that are worked on at once, at most, so that memory does not grow with the data set."""


def convert(config: Data, seed: int, out: Path) -> dict[str, Any]:
    """Write the source as a VOC folder at `out` and return the report for reports/dataset.json.

    Raises DataError for a problem whose policy is `fail`; `out` then stays as it was.
    """
    policy = config.policy if isinstance(config, Labelled) else STRICT
    if Path(config.path).resolve().is_relative_to(out.resolve()):
        raise DataError(f"{config.path}: data.path is in {out}, which is written anew; move your data set elsewhere")
    clear_stale(out)
    with opened(config, seed) as (tree, source, origin), atomic_folder(out) as folder:
        with tempfile.TemporaryDirectory(dir=folder) as spool:
            collected = collect(tree, source, policy, Path(spool))
            _stop(collected.problems, config.path)
            caches = dvc_caches(tree.images.root, Path.cwd())

            def work(image: SourceImage) -> Checked:
                checked = check(image, policy, collected.mask_names)
                return _placed(checked, folder / "JPEGImages", caches, own=Path(spool))

            images = list(parallel(work, collected.images, "convert"))
        problems = [*collected.problems, *(problem for image in images for problem in image.problems)]
        images = [image for image in images if image.picture is not None]
        if not images and problems:
            raise DataError(f"{config.path}: every picture has a problem, {problems[0].place}: {problems[0].reason}")
        tell_of_repeats(images, policy, problems)
        _stop(problems, config.path)
        splits = without_leaks(images, _split(images, config, seed, problems), policy, problems)
        _stop(problems, config.path)
        tell_of_look_alikes(images, splits, policy, problems)
        classes, splits = _classes(origin, collected, images, splits, policy, problems)
        _stop(problems, config.path)
        try:
            _remove_unused(folder / "JPEGImages", images, splits)
            masks = {image.image.record.id: image.image.mask for image in images if image.image.mask is not None}
            instances = {
                image.image.record.id: image.image.instances for image in images if image.image.instances is not None
            }
            shown = write_masks(folder, splits, masks, instances, classes, collected.mask_names, problems)
            write_folder(folder, classes, splits, segmented=shown)
        except OSError as error:
            raise DataError(f"{out}: cannot be written ({error.strerror}: {Path(str(error.filename)).name})") from None
        return report(origin, classes, splits, shown, problems)


@contextmanager
def opened(config: Data, seed: int) -> Iterator[tuple[Tree, Source, Origin]]:
    """Open the source that a configuration names; an archive is unpacked for as long as the block runs.

    Raises DataError if there is none, if it is in no format known, or if `auto` finds several that it could be.
    """
    if not isinstance(config, Labelled):
        source = open_digits(config, seed)
        origin = Origin(config.format, "made here", config.path, source.task, LICENCE)
        yield open_tree(Path(config.path)), source, origin
        return
    with unpacked(Path(config.path)) as path:
        tree = open_tree(path, None if config.images is None else Path(config.images))
        name, reason = detect(tree) if config.format == "auto" else (config.format, "as asked for")
        source = module_of(name).read(tree, options_of(name, config))
        yield tree, source, Origin(name, reason, config.path, source.task, stated_licence(tree))


def parallel(function: Callable[[T], R], items: Collection[T], label: str) -> Iterator[R]:
    """Yield the results in the order of the items, worked on by as many threads as there are cores.

    Threads are enough: decoding, hashing and copying all leave Python's lock alone.
    """
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for item in track(items, label):
                pending.append(pool.submit(function, item))
                if len(pending) >= AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an error must not wait for all the other pictures
            raise


def _placed(checked: Checked, folder: Path, caches: Sequence[Path], own: Path) -> Checked:
    """Put a picture into the folder: moved if it lies in `own`, which is ours; else as `place` does."""
    image, picture, source = checked.image, checked.picture, checked.image.image
    if picture is None or not isinstance(source, Path):
        return checked
    target = folder / image.record.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if picture.upright is not None:
            target.write_bytes(picture.upright)
        elif source.is_relative_to(own):
            source.replace(target)
            image = replace(image, image=target)
        else:
            place(source, target, caches)
    except OSError as error:
        raise DataError(f"{image.place}: its picture cannot be copied ({error.strerror})") from None
    return replace(checked, image=image, picture=replace(picture, upright=None))  # lets go of the bytes


def _stop(problems: Iterable[Problem], path: str) -> None:
    """Raise DataError with the first problem that must not be, if there is one."""
    failing = [problem for problem in problems if problem.action == Action.fail]
    if not failing:
        return
    first = failing[0]
    place = first.place or first.file or path
    advice = f"mend it, or set data.policy.{first.kind} to {_lenient(first.kind)}"
    if first.kind == "missing_image":
        advice = f"set data.images to the folder of the pictures, or data.policy.{first.kind} to drop"
    more = f" ({len(failing) - 1} more such problems; reprolens inspect lists all)" if len(failing) > 1 else ""
    raise DataError(f"{_cut(place)}: {_cut(first.reason)}; {advice}{more}")


def _cut(text: str) -> str:
    """Return a text as one can read it in a line: a damaged file may hold names without end."""
    return text if len(text) <= 1000 else f"{text[:1000]}…"


def _lenient(kind: str) -> str:
    return "keep" if kind in ("duplicate_image", "near_duplicate", "similar_classes") else "drop"


def tell_of_repeats(images: Sequence[Checked], policy: Policy, problems: list[Problem]) -> None:
    """Tell of pictures that are the same, byte for byte."""
    for group in same_bytes([image.picture.digest for image in images if image.picture is not None]):
        first = images[group[0]].image.record.file
        for image in (images[number].image for number in group[1:]):
            reason = f"the same picture as {first}, byte for byte"
            problems.append(judged(Problem("duplicate_image", image.record.file, image.place, reason), policy))


def tell_of_look_alikes(
    images: Sequence[Checked], splits: Mapping[str, Sequence[Record]], policy: Policy, problems: list[Problem]
) -> None:
    """Tell of pictures in different splits that look the same, so that what is measured is not new to the model.

    Those that are the same, byte for byte, are told of as leaks.
    """
    part = {record.id: name for name, records in splits.items() for record in records}
    known = [image for image in images if image.image.record.id in part]
    parts = [part[image.image.record.id] for image in known]
    alike: dict[int, list[int]] = defaultdict(list)
    hashes = [None if image.picture is None else image.picture.fingerprint for image in known]
    digests = [None if image.picture is None else image.picture.digest for image in known]
    for pair in near_duplicates(hashes, parts):
        if digests[pair[0]] == digests[pair[1]]:
            continue
        # Told of the one that measures: test before val before train.
        other, told = sorted(pair, key=lambda number: FINALITY.get(parts[number], -1))
        alike[told].append(other)
    for told, others in sorted(alike.items()):
        image = known[told].image
        first = f"{known[others[0]].image.record.file} in {parts[others[0]]}"
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        reason = f"in {parts[told]}, looks like {first}{more}"
        problems.append(judged(Problem("near_duplicate", image.record.file, image.place, reason), policy))


def _split(images: Sequence[Checked], config: Data, seed: int, problems: list[Problem]) -> dict[str, list[Record]]:
    group_by, ratios = (config.group_by, config.ratios) if isinstance(config, Labelled) else (None, (1.0, 0.0, 0.0))
    files = [(image.image.record.file, image.image.image) for image in images]
    grouped = tied(images, groups(files, group_by))
    entries = [
        Entry(said.record.id, said.split, checked.shown, group, said.record.file, said.place)
        for checked, group in zip(images, grouped, strict=True)
        for said in (checked.image,)
    ]
    ids = split(entries, ratios, seed, problems)
    records = {image.image.record.id: image.image.record for image in images}
    for name, part in ids.items():
        if not part:
            raise DataError(f"{config.path}: no picture is left for the split {name!r}; add pictures or image sets")
    return {name: [records[id] for id in part] for name, part in ids.items()}


def _remove_unused(folder: Path, images: Iterable[Checked], splits: Mapping[str, Sequence[Record]]) -> None:
    """Remove the pictures that no split has got."""
    used = {record.file for records in splits.values() for record in records}
    for image in images:
        if image.image.record.file not in used:
            (folder / image.image.record.file).unlink()


def _classes(
    origin: Origin,
    collected: Collected,
    images: Iterable[Checked],
    splits: dict[str, list[Record]],
    policy: Policy,
    problems: list[Problem],
) -> tuple[tuple[str, ...], dict[str, list[Record]]]:
    """Return the class names in index order, and the splits without what shows classes that train lacks."""
    shown = {image.image.record.id: image.shown for image in images}
    names = {part: {name for record in splits[part] for name in shown[record.id]} for part in SPLITS}
    if not names["train"]:
        raise DataError(f"{origin.path}: the train split shows no object at all")
    if origin.format == "digits":
        return CLASSES, splits  # what is made here has these, also where few scenes do not show them all
    for part in ("val", "test"):
        for name in sorted(names[part] - names["train"]):
            reason = f"the class {name!r} is in {part} but not in train, so it cannot be learnt"
            problems.append(judged(Problem("class_not_in_train", "", f"{origin.path}, {part}", reason), policy))
        splits[part] = [_without(record, names[part] - names["train"]) for record in splits[part]]
    classes = tuple(sorted(names["train"])) if collected.classes is None else collected.classes
    for name in [name for name in classes if name not in names["train"] | names["val"] | names["test"]]:
        problems.append(judged(Problem("unused_class", "", origin.path, f"the class {name!r} has no object"), policy))
        if problems[-1].action == Action.drop:
            classes = tuple(kept for kept in classes if kept != name)
    return classes, splits


def _without(record: Record, names: set[str]) -> Record:
    if names.isdisjoint([*(item.name for item in record.objects), *record.labels]):
        return record
    objects = tuple(item for item in record.objects if item.name not in names)
    return replace(record, objects=objects, labels=tuple(name for name in record.labels if name not in names))
