"""Pascal VOC: one XML file a picture, as the challenge, ImageNet, LabelImg, CVAT, Roboflow and Reprolens write it.

The devkit (VOC2012, section 10) has `Annotations/*.xml`, `JPEGImages/`, `ImageSets/Main/*.txt` and `SegmentationClass/`
in a folder for each year; ImageNet has the same with `Data/` and folders of its own below; others put the XML beside
the pictures. Classification and segmentation data may have no XML at all: only image sets of each class, or masks.
"""

import decimal
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path, PurePath

import numpy as np

from reprolens.config.data import Action, Labelled
from reprolens.convert.documents import read_bytes, read_lines
from reprolens.convert.formats.voc_layout import (
    Entry,
    Pictures,
    bare_names,
    entry_of,
    folder_split,
    image_sets,
    list_pictures,
    mask_entries,
    place_splits,
    resolve,
    split_sets,
)
from reprolens.convert.formats.voc_masks import CLASSES, Legend, label_file, named, read_instances, read_legend
from reprolens.convert.source import Problem, Source, SourceImage, Task, make_object
from reprolens.convert.tree import Tree
from reprolens.errors import DataError
from reprolens.voc import Object, Record, parse_annotation

# Wide enough for whatever parse_annotation lets pass, so that adding 1 never rounds.
_EXACT = decimal.Context(prec=1100)
_HEAD = 1 << 16
_SAMPLES = 5

# The kinds of image sets that say the splits, the first that there is: ImageNet's folders have VOC's Main's part.
_KINDS = ("main", "cls-loc", "det", "vid", "")


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like Pascal VOC, or None."""
    files = _annotation_files(tree, None)
    heads = [(file, _head(tree, file)) for file in files[:_SAMPLES]]
    for file, head in heads:
        if "<bndbox" in head:
            return f"{file} is a VOC annotation: <annotation> with <bndbox>"
    if files:  # pictures without objects are VOC's too, but LabelMe's XML has another size, and outlines
        plain = [file for file, head in heads if head and "<imagesize" not in head and "<object" not in head]
        return f"{plain[0]} is a VOC annotation without objects" if len(plain) == len(heads) else None
    sets = image_sets(tree)
    if mask_entries(tree) and (any(item.kind == "segmentation" for item in sets) or label_file(tree)):
        return "SegmentationClass/ holds masks, and ImageSets/Segmentation or labelmap.txt says of what"
    if any(item.name for item in sets) and any("/jpegimages/" in f"/{file.lower()}" for file in tree.images.pictures):
        return "JPEGImages/ and an image set of each class in ImageSets/Main"
    return None


def read(tree: Tree, options: Labelled) -> Source:
    """Open a VOC folder, or one annotation file, with as many years or splits in it as there are.

    Pictures go by the place of their annotation: that of `Annotations/a/x.xml` is `JPEGImages/a/x.*`; only where there
    is none, <filename> and the bare file name are tried, and never lead to the picture of another annotation.

    `options.first_pixel` 1 takes the numbers as the devkit does, 1-based; 0 as they stand, for tools that wrote 0-based
    ones. Raises DataError if there is nothing of VOC in the folder, if an image set has nothing to do with what lies
    there, or if it puts a picture in two splits.
    """
    files = _annotation_files(tree, options.annotations)
    masks = mask_entries(tree)
    if not files and options.annotations is not None:
        raise DataError(f"{tree.root}: no .xml file is called {options.annotations!r}; set data.annotations to null")
    if not files and not masks:
        return _classification(tree)
    entries = list(map(entry_of, files)) if files else list(masks.values())
    kinds = (*_KINDS, "segmentation") if files else ("segmentation", *_KINDS)
    pictures = list_pictures(tree, entries)
    splits, problems = place_splits(tree, entries, split_sets(tree, kinds), pictures)
    legend = read_legend(tree)
    if masks and legend is None:
        legend = _voc_legend(tree, files, problems)
    reader = _Reader(tree, pictures, splits, masks, legend, getattr(options, "first_pixel", 1))
    return Source(
        reader.annotated(entries, problems) if files else reader.masked(entries, problems),
        legend.classes if legend is not None else None,
        _task(tree, files, bool(masks)),
        pictures.masks,
    )


@dataclass(frozen=True)
class _Reader:
    """What is known of a source before its annotations are read, which happens one by one."""

    tree: Tree
    pictures: Pictures
    splits: Mapping[str, str]
    masks: Mapping[str, Entry]
    legend: Legend | None
    first_pixel: int

    def annotated(self, entries: Iterable[Entry], problems: Iterable[Problem]) -> Iterator[SourceImage | Problem]:
        """Yield the picture of each annotation, then what was found before, then what is odd about them all."""
        owners: dict[str, str] = {}
        at_zero = 0
        for entry in entries:
            place = self.tree.place(entry.file)
            wrong: list[str] = []
            try:
                record = parse_annotation(read_bytes(self.tree.path(entry.file)), place, wrong)
            except DataError as error:
                yield Problem("unreadable_annotation", entry.file, place, str(error).removeprefix(f"{place}: "))
                continue
            image = self._placed(record, entry, place)
            if isinstance(image.image, Path) and (owner := owners.setdefault(str(image.image), place)) != place:
                reason = f"its picture {image.image} is that of {owner} too; keep one of the two"
                yield Problem("unreadable_annotation", image.record.file, place, reason)
                continue
            yield from (Problem(_kind(reason), image.record.file, place, reason) for reason in wrong)
            at_zero += sum(-1 <= min(item.box[0], item.box[1]) < 0 for item in record.objects)
            if self.first_pixel == 0:
                objects = tuple(map(_from_zero, record.objects))
                image = replace(image, record=replace(image.record, objects=objects))
            yield image
        yield from problems
        if self.first_pixel == 1 and at_zero:
            yield _pixel_origin(self.tree, at_zero)

    def masked(self, entries: Iterable[Entry], problems: Iterable[Problem]) -> Iterator[SourceImage | Problem]:
        """Yield the picture of each mask, where there is no XML."""
        for entry in entries:
            yield self._placed(Record("", "", 0, 0), entry, self.tree.place(entry.file))
        yield from problems

    def _placed(self, record: Record, entry: Entry, place: str) -> SourceImage:
        found = resolve(self.pictures, entry, record.file)
        mask = self.masks.get(entry.key)
        return SourceImage(
            replace(record, file=found.name),
            self.splits.get(entry.file) or folder_split(entry),
            found.image,
            found.near,
            place,
            partial(self.legend.read, self.tree.path(mask.file)) if mask and self.legend else None,
            self._instances(mask) if mask and self.legend else None,
        )

    def _instances(self, mask: Entry) -> Callable[[], np.ndarray] | None:
        """Return what reads the mask of objects beside a mask of classes, if there is one."""
        file = re.sub("(?i)SegmentationClass(?=/)", "SegmentationObject", mask.file)
        return partial(read_instances, self.tree.path(file)) if file != mask.file and file in self.tree else None


def _annotation_files(tree: Tree, pattern: str | None) -> list[str]:
    """Return the XML files, of those that `pattern` names: the ones below an Annotations/ if there is one, else all."""
    files = [file for file in tree.ending(".xml") if pattern is None or PurePath(file).match(pattern)]
    below = [file for file in files if "/annotations/" in f"/{file.lower()}"]
    return below or files


def _head(tree: Tree, file: str) -> str:
    """Return the beginning of an XML file if its root element is VOC's <annotation>, else ""."""
    try:
        with tree.path(file).open("rb") as stream:
            data = stream.read(_HEAD)
    except OSError:
        return ""
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", errors="replace")
    while True:
        text = text.lstrip()
        if text.startswith("<?"):
            text = text.partition("?>")[2]
        elif text.startswith("<!--"):
            text = text.partition("-->")[2]
        else:
            break
    return text if text.startswith(("<annotation>", "<annotation ", "<annotation\n", "<annotation\t")) else ""


def _task(tree: Tree, files: Sequence[str], masks: bool) -> Task:
    """Return what the first annotation that says something is about; where none does, what the masks are."""
    for file in files:
        try:
            record = parse_annotation(read_bytes(tree.path(file)), file, [])
        except DataError:
            continue
        if record.objects:
            return "detection"
        if record.labels:
            return "classification"
    return "segmentation" if masks else "detection"


def _voc_legend(tree: Tree, files: Iterable[str], problems: list[Problem]) -> Legend | None:
    """Return VOC's own classes for masks of which nothing says what they show, unless an annotation has others."""
    for file in files:
        try:
            record = parse_annotation(read_bytes(tree.path(file)), file, [])
        except DataError:
            continue
        if other := next((item.name for item in record.objects if item.name not in CLASSES), None):
            reason = (
                f"nothing says what the numbers in SegmentationClass/ stand for ({other[:40]!r} is no class of VOC's); "
                f"write the names into labels.txt, one a line, in the order of the numbers from 1"
            )
            problems.append(Problem("unreadable_mask", "", str(tree.root), reason))
            return None
    return named(CLASSES, "")


def _kind(reason: str) -> str:
    """Return the kind of problem that parse_annotation tells of an object."""
    if "<bndbox>" in reason:
        return "unsupported_shape"
    return "invalid_box" if "number" in reason else "unreadable_annotation"


def _from_zero(item: Object) -> Object:
    """Return an object whose numbers were 0-based as they stood, exactly."""
    x0, y0, x1, y1 = item.box
    if item.exact is None and x0.is_integer() and y0.is_integer() and max(abs(x0), abs(y0)) < 2**53:
        return replace(item, box=(x0 + 1, y0 + 1, x1, y1))
    corners = item.exact or [Decimal(repr(edge)) for edge in item.box]
    left, top = (_EXACT.add(corner, Decimal(1)) for corner in corners[:2])
    moved = make_object(item.name, (left, top, corners[2], corners[3]))
    return replace(item, box=moved.box, exact=moved.exact)


def _pixel_origin(tree: Tree, count: int) -> Problem:
    boxes = "1 box begins" if count == 1 else f"{count} boxes begin"
    reason = f"{boxes} at 0, but VOC counts pixels from 1; if its tool counts from 0, set data.first_pixel to 0"
    return Problem("pixel_origin", "", str(tree.root), reason, Action.keep)


def _classification(tree: Tree) -> Source:
    """Read `ImageSets/Main/cat_train.txt` and the like: each line a picture and 1, 0 (hard to tell) or -1.

    Raises DataError if there are none, or if one picture is in two splits.
    """
    sets = [item for item in image_sets(tree) if item.name and item.kind in ("main", "")]
    if not sets:
        inside = ", ".join(dict.fromkeys(file.partition("/")[0] for file in tree.files[:2000]))
        raise DataError(
            f"{tree.root}: not a VOC folder (no .xml annotation, no masks in SegmentationClass/, no image set of a "
            f"class; found {inside[:80]}); set data to the right format"
        )
    shown: dict[str, tuple[Entry, str | None, list[str]]] = {}
    problems: list[Problem] = []
    for item in sorted(sets, key=lambda item: (item.split == "trainval", item.file)):
        place = tree.place(item.file)
        for line in read_lines(tree.path(item.file)):
            name, flag = [*line.rsplit(maxsplit=1), ""][:2]
            if flag not in ("1", "0", "-1"):
                reason = f"{line[:40]!r} is not the name of a picture and 1, 0 or -1"
                problems.append(Problem("unreadable_annotation", item.file, place, reason))
                continue
            entry = Entry(item.root, bare_names(name)[-1], item.file)
            _, split, labels = shown.setdefault(entry.key, (entry, item.split, []))
            if split != item.split and not (item.split == "trainval" and split in ("train", "val")):
                raise DataError(f"{place}: {name[:40]} is in the set {split} too; a picture belongs to one split")
            if flag == "1" and item.name not in labels:
                labels.append(item.name)
    legend = read_legend(tree)
    classes = legend.classes if legend else tuple(sorted({item.name for item in sets}))
    pictures = list_pictures(tree, [entry for entry, _, _ in shown.values()])
    return Source(_shown(tree, pictures, list(shown.values()), problems), classes, "classification", pictures.masks)


def _shown(
    tree: Tree, pictures: Pictures, shown: Sequence[tuple[Entry, str | None, list[str]]], problems: list[Problem]
) -> Iterator[SourceImage | Problem]:
    for entry, split, labels in shown:
        found = resolve(pictures, entry, "")
        record = Record("", found.name, 0, 0, labels=tuple(labels))
        yield SourceImage(record, split, found.image, found.near, tree.place(entry.file))
    yield from problems
