"""Everything that a source says, with every picture found and named; nothing of it judged yet but by the policy."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from reprolens.config import Policy
from reprolens.config.data import Action
from reprolens.convert.check import judged
from reprolens.convert.naming import names
from reprolens.convert.source import Problem, Source, SourceImage, split_of_folder
from reprolens.convert.split import TRAINVAL
from reprolens.convert.tree import Listing, Tree
from reprolens.errors import DataError
from reprolens.progress import bar
from reprolens.voc import Object, Record
from reprolens.voc.folder import original_name, plain_name


@dataclass(frozen=True)
class Collected:
    """A source's pictures in the order of their ids, the classes that it declares, and the problems met so far.

    `mask_names` are the classes that a mask's values 1, 2, ... stand for.
    """

    images: list[SourceImage]
    classes: tuple[str, ...] | None
    mask_names: tuple[str, ...]
    problems: list[Problem]


def collect(tree: Tree, source: Source, policy: Policy, spool: Path) -> Collected:
    """Read a source to its end. Pictures that it holds as bytes are laid down in `spool`.

    Several annotations of one picture become one. A picture that is not found stays, with None for its file, so that
    what it would have shown can be counted. Raises DataError if one picture is in two splits.
    """
    problems: list[Problem] = []
    found: list[SourceImage] = []
    places: list[str] = []
    for item in _read(source.images):
        if isinstance(item, Problem):
            problems.append(judged(item, policy))
            continue
        image, place = _located(item, tree.images, problems, policy)
        if isinstance(image.image, bytes):
            path = spool / f"{len(found):08d}"
            path.write_bytes(image.image)
            image = replace(image, image=path)
        found.append(image)
        places.append(place)
    for file in _without_annotation(tree.images, places, source):
        reason = "a picture without an annotation"
        problem = judged(Problem("missing_annotation", file, str(tree.images.path(file)), reason), policy)
        problems.append(problem)
        if problem.action == Action.keep:
            path = tree.images.path(file)
            found.append(SourceImage(Record("", file, 0, 0), split_of_folder(file), path, place=str(path)))
            places.append(file)
    images = list(_plain(_merged(found, places)))
    classes = None if source.classes is None else tuple(map(plain_name, source.classes))
    mask_names = classes or ()
    if renamed := _alike(images, classes or (), problems, policy):
        images = [replace(image, record=_renamed(image.record, renamed)) for image in images]
        mask_names = tuple(renamed.get(name, name) for name in mask_names)
        classes = None if classes is None else tuple(dict.fromkeys(mask_names))
    if classes is not None:
        images = list(_known(images, frozenset(classes), problems, policy))
    return Collected(sorted(images, key=lambda image: image.record.id), classes, mask_names, problems)


def _read(items: Iterable[SourceImage | Problem]) -> Iterator[SourceImage | Problem]:
    with bar("read") as line:
        for item in items:
            yield item
            line.advance()


def _located(image: SourceImage, pictures: Listing, problems: list[Problem], policy: Policy) -> tuple[SourceImage, str]:
    """Return the image with its picture's file, and the picture's place in the listing ("" if it is not from there)."""
    if isinstance(image.image, bytes):
        return image, ""
    if image.image is not None:
        inside = image.image.is_relative_to(pictures.root)
        return image, image.image.relative_to(pictures.root).as_posix() if inside else ""
    name = image.record.file
    found = pictures.find(name, image.near)
    if len(found) > 1 and image.split is not None:
        found = [file for file in found if split_of_folder(file) == image.split] or found
    if len(found) == 1:
        return replace(image, image=pictures.path(found[0])), found[0]
    if found:
        listed = " or ".join(found[:3]) + (" or ..." if len(found) > 3 else "")
        problem = Problem("ambiguous_image", name, image.place, f"its picture {name} could be {listed}")
    elif PurePosixPath(name.replace("\\", "/")).is_absolute() or ".." in PurePosixPath(name.replace("\\", "/")).parts:
        reason = f"its picture {name} would lie outside the data set, and none of that name is in it"
        problem = Problem("path_outside", name, image.place, reason)
    else:
        problem = Problem("missing_image", name, image.place, f"its picture {name} does not exist")
    problems.append(judged(problem, policy))
    return image, ""


def _without_annotation(pictures: Listing, places: list[str], source: Source) -> list[str]:
    known = {*places, *source.not_pictures}
    return [file for file in pictures.pictures if file not in known]


def _merged(images: list[SourceImage], places: list[str]) -> list[SourceImage]:
    """Return the images, named, with several annotations of one picture made into one."""
    by_place: dict[str, list[int]] = defaultdict(list)
    for number, place in enumerate(places):
        by_place[place or f"\0{number}"].append(number)
    kept: list[SourceImage] = []
    for numbers in by_place.values():
        first = images[numbers[0]]
        for other in (images[number] for number in numbers[1:]):
            said = {first.split, other.split} - {None}
            agreed = said - {TRAINVAL} if said <= {TRAINVAL, "train", "val"} else said
            if len(agreed) > 1:
                raise DataError(
                    f"{other.place}: its picture {other.record.file} is in {other.split}, but in {first.split} in "
                    f"{first.place}; a picture belongs to one split: choose the files to read with data.annotations"
                )
            record = first.record
            record = replace(
                record,
                width=record.width or other.record.width,
                height=record.height or other.record.height,
                objects=record.objects + (() if other.record.objects == record.objects else other.record.objects),
                labels=tuple(dict.fromkeys(record.labels + other.record.labels)),
            )
            split = next(iter(agreed or said), None)
            first = replace(first, record=record, split=split, mask=first.mask or other.mask)
        kept.append(first)
    asked = [(images[numbers[0]].record.file, places[numbers[0]]) for numbers in by_place.values()]
    named = names(asked)
    return [
        replace(image, record=replace(image.record, id=id, file=file))
        for image, (id, file) in zip(kept, named, strict=True)
    ]


def _plain(images: Iterable[SourceImage]) -> Iterator[SourceImage]:
    """Give classes the names that VOC's files can hold."""
    known: dict[str, str] = {}
    changed: dict[str, str] = {}
    for image in images:
        record = image.record
        for name in (*(item.name for item in record.objects), *record.labels):
            if name not in known:
                known[name] = plain_name(name)
                if known[name] != name:
                    changed[name] = known[name]
        yield replace(image, record=_renamed(record, changed)) if changed else image


def _renamed(record: Record, names: dict[str, str]) -> Record:
    objects = tuple(
        replace(item, name=names[item.name]) if names.get(item.name, item.name) != item.name else item
        for item in record.objects
    )
    return replace(record, objects=objects, labels=tuple(dict.fromkeys(names.get(x, x) for x in record.labels)))


def _alike(
    images: Iterable[SourceImage], classes: tuple[str, ...], problems: list[Problem], policy: Policy
) -> dict[str, str]:
    """Find class names that differ only by case or blanks; return what the policy wants renamed."""
    counts = Counter(dict.fromkeys(classes, 0))
    for image in images:
        counts.update(item.name for item in image.record.objects)
        counts.update(image.record.labels)
    groups: dict[str, list[str]] = defaultdict(list)
    for name in counts:
        groups["".join(original_name(name).replace("_", " ").split()).casefold()].append(name)
    renamed: dict[str, str] = {}
    for group in groups.values():
        if len(group) > 1:
            listed = " and ".join(f"{name!r} ({counts[name]})" for name in group)
            reason = f"class names that differ by case or blanks only: {listed}"
            problems.append(judged(Problem("similar_classes", "", "", reason), policy))
            if problems[-1].action == Action.fix:
                commonest = max(group, key=lambda name: counts[name])
                renamed |= {name: commonest for name in group if name != commonest}
    return renamed


def _known(
    images: Iterable[SourceImage], classes: frozenset[str], problems: list[Problem], policy: Policy
) -> Iterator[SourceImage]:
    """Leave out objects and labels of classes that the source does not declare."""
    for image in images:
        record = image.record
        unknown = [item for item in record.objects if item.name not in classes]
        strange = [name for name in record.labels if name not in classes]
        for name in dict.fromkeys([*(item.name for item in unknown), *strange]):
            reason = f"the class {name!r} is not in the data set's own list"
            problems.append(judged(Problem("unknown_class", record.file, image.place, reason), policy))
        if unknown or strange:
            objects: tuple[Object, ...] = tuple(item for item in record.objects if item.name in classes)
            record = replace(record, objects=objects, labels=tuple(x for x in record.labels if x in classes))
            image = replace(image, record=record)
        yield image
