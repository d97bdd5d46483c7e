"""Open Images V4 to V7: CSV tables of boxes, image-level labels, masks, pictures and class names, a file a split.

A table is known by its columns (storage.googleapis.com/openimages/web/download_v7.html): boxes have ImageID, LabelName,
XMin, XMax, YMin, YMax from 0 to 1; labels a Confidence, 1 for present, 0 for verified to be absent; masks a MaskPath
and the box that they belong to. Class descriptions turn machine names, such as /m/01g317, into words. Boxes were drawn
on pictures as they are stored, before any Rotation.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from reprolens.config.data import Labelled
from reprolens.convert.formats.open_images_mask import mask_text
from reprolens.convert.formats.relative import pixels
from reprolens.convert.formats.table import head, plain, rows
from reprolens.convert.picture import shown_size
from reprolens.convert.source import NotANumberError, Problem, Source, SourceImage, decimal, make_object, split_named
from reprolens.convert.tree import PICTURES, Tree
from reprolens.errors import DataError
from reprolens.voc import Object, Record

SAMPLES = 40
"""Files of which `detect` reads the first lines at most."""

MASK_TOLERANCE = 0.01
"""How far a mask's box may be from the box that it belongs to, in parts of the picture: tables round differently."""

_BOX = ("imageid", "labelname", "xmin", "xmax", "ymin", "ymax")
_MASK = ("imageid", "labelname", "boxxmin", "boxxmax", "boxymin", "boxymax", "maskpath")
_FLAGS = ("isoccluded", "istruncated", "isgroupof")
_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class _Table:
    """A file, what it holds (boxes, labels, masks, images or classes), and where its columns are."""

    file: str
    kind: str
    columns: Mapping[str, int]


@dataclass(slots=True)
class _Image:
    """What the tables say about one picture: rows as one text each, for there may be millions."""

    name: str
    split: str | None
    boxes: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like Open Images', or None."""
    for file in tree.ending(".csv")[:SAMPLES]:
        table = _table(tree, file)
        if table and table.kind != "classes":
            names = [name for name in head(tree.path(file), 1)[0] if plain(name) in table.columns]
            return f"{file} has Open Images' columns {', '.join(names[:6])}"
    return None


def read(tree: Tree, options: Labelled) -> Source:
    """Open an Open Images folder. Raises DataError if there is no table of it, or the class names cannot be read.

    `annotations` may leave out tables of boxes, labels, masks and pictures; class descriptions are always read.
    """
    found = [table for file in tree.ending(".csv") if (table := _table(tree, file))]
    wanted = options.annotations
    tables = [table for table in found if wanted is None or PurePosixPath(table.file).match(wanted)]
    tables = [table for table in tables if table.kind != "classes"]
    if not tables:
        reason = "holds no CSV of Open Images (ImageID, LabelName, ...)"
        raise DataError(f"{tree.root}: {reason}; set data.path or data.format")
    words: dict[str, str] = {}
    # The boxable classes come first: the other list has many thousand that only label whole pictures.
    for table in sorted((t for t in found if t.kind == "classes"), key=lambda t: "boxable" not in t.file.lower()):
        words.update((mid, word) for mid, word in _descriptions(tree, table.file) if mid not in words)
    masks = any(table.kind == "masks" for table in tables)
    hidden = [file for file in tree.images.pictures if masks and "mask" in str(PurePosixPath(file).parent).lower()]
    classes = tuple(dict.fromkeys(words.values())) or None
    return Source(_images(tree, tables, words), classes, not_pictures=frozenset(hidden))


def _table(tree: Tree, file: str) -> _Table | None:
    """Return what a CSV file is by its first rows, or None if it is nothing of Open Images'."""
    start = head(tree.path(file), 2)
    if not start:
        return None
    places = {plain(name): place for place, name in reversed(list(enumerate(start[0])))}
    names = places.keys()
    if names >= set(_MASK):
        return _Table(file, "masks", {name: places[name] for name in _MASK})
    if names >= set(_BOX):
        return _Table(file, "boxes", {name: places[name] for name in (*_BOX, *_FLAGS) if name in places})
    if {"imageid", "labelname"} <= names and {"confidence", "source"} & names:
        wanted = ("imageid", "labelname", "confidence")
        return _Table(file, "labels", {name: places[name] for name in wanted if name in places})
    if "imageid" in names and {"subset", "rotation", "originalurl", "thumbnail300kurl"} & names:
        return _Table(file, "images", {name: places[name] for name in ("imageid", "subset") if name in places})
    named = start[0] == ["LabelName", "DisplayName"] or re.match(r"/[a-z]+/\w+$", start[0][0])
    return _Table(file, "classes", {}) if named and len(start[0]) == 2 else None


def _descriptions(tree: Tree, file: str) -> Iterator[tuple[str, str]]:
    """Yield the machine name and the word of each class."""
    for _, row in rows(tree.path(file)):
        if len(row) >= 2 and row[0] and row[1] and row[0] != "LabelName":
            yield row[0], row[1]


def _images(tree: Tree, tables: Sequence[_Table], words: Mapping[str, str]) -> Iterator[SourceImage | Problem]:
    images: dict[str, _Image] = {}
    for kind in ("images", "boxes", "masks", "labels"):
        for number, table in enumerate(tables):
            if table.kind == kind:
                yield from _read_table(tree, number, table, images)
    for key in list(images):
        yield from _image(tree, tables, images.pop(key), words)


def _read_table(tree: Tree, number: int, table: _Table, images: dict[str, _Image]) -> Iterator[Problem]:
    """Sort a table's rows by their pictures."""
    split = _split(table.file)
    order = (*_MASK,) if table.kind == "masks" else (*_BOX, *_FLAGS)
    lines = rows(tree.path(table.file))
    try:
        next(lines, None)
        for line, row in lines:
            cells = {name: row[place] if place < len(row) else "" for name, place in table.columns.items()}
            name = cells["imageid"].replace("\\", "/")
            if not name:
                reason = "no picture is named"
                yield Problem("unreadable_annotation", "", tree.place(table.file, f"line {line}"), reason)
                continue
            key = name[: name.rindex(".")] if name.lower().endswith(PICTURES) else name
            image = images.get(key)
            if image is None:
                image = images[key] = _Image(name, split_named(cells.get("subset", "")) or split)
            if table.kind in ("boxes", "masks"):
                texts = (str(number), str(line), *(cells.get(column, "") for column in order))
                (image.boxes if table.kind == "boxes" else image.masks).append(_SEPARATOR.join(texts))
            elif table.kind == "labels" and _is_one(cells.get("confidence", "1")):
                image.labels.append(cells["labelname"])
    except DataError as error:
        yield Problem("unreadable_annotation", table.file, tree.place(table.file), str(error).partition(": ")[2])


def _split(file: str) -> str | None:
    """Return the split that a table's name says, such as oidv6-train-annotations-bbox.csv, else that of its folder."""
    *folders, name = PurePosixPath(file).with_suffix("").parts
    words = (*re.split(r"[\W_]+", name), *reversed(folders))
    return next((split for word in words if (split := split_named(word))), None)


def _image(
    tree: Tree, tables: Sequence[_Table], image: _Image, words: Mapping[str, str]
) -> Iterator[SourceImage | Problem]:
    near = _near(tree, image.split)
    found = tree.images.find(image.name, near)
    size = (len(found) == 1 and shown_size(tree.images.path(found[0]))) or (0, 0)
    objects: list[Object] = []
    fractions: list[tuple[str, list[float]]] = []  # of each object, to find its mask
    for text in image.boxes:
        number, line, *cells = text.split(_SEPARATOR)
        item = _object(cells, words, size)
        if isinstance(item, Object):
            objects.append(item)
            fractions.append((cells[1], list(map(_fraction, cells[2:6]))))
        else:
            yield Problem(item[0], image.name, tree.place(tables[int(number)].file, f"line {line}"), item[1])
    yield from _add_masks(tree, tables, image, words, size, objects, fractions)
    labels = dict.fromkeys(words.get(label, label) for label in image.labels if _known(label, words))
    for label in dict.fromkeys(image.labels):
        if not _known(label, words):
            reason = f"label {label[:40]!r} is not in the class descriptions"
            yield Problem("unknown_class", image.name, str(tree.root), reason)
    file = found[0] if len(found) == 1 else image.name
    record = Record("", file, *size, objects=tuple(objects), labels=tuple(labels))
    place = tree.place(tables[int(image.boxes[0].partition(_SEPARATOR)[0])].file, image.name) if image.boxes else ""
    yield SourceImage(record, image.split, near="" if len(found) == 1 else near, place=place)


def _near(tree: Tree, split: str | None) -> str:
    """Return the folder in which a split's pictures lie, as far as there is one of its name."""
    if split is None:
        return ""
    known = ("train", "validation", "val", "test")
    names = [name for name in known if split_named(name) == split]
    folders = [f"{base}{name}" for name in names for base in ("images/", "", "data/")]
    return next((folder for folder in folders if any(file.startswith(f"{folder}/") for file in tree.images.files)), "")


def _object(cells: Sequence[str], words: Mapping[str, str], size: tuple[int, int]) -> Object | tuple[str, str]:
    """Return the object of a row of boxes, in the order of `_BOX` and `_FLAGS`, or the kind and reason of a problem."""
    label = cells[1]
    if not _known(label, words):
        return "unknown_class", f"label {label[:40]!r} is not in the class descriptions"
    x0, x1, y0, y1 = (text.replace(",", ".") for text in cells[2:6])
    try:
        if all(size):
            left, top, right, bottom = pixels((x0, y0, x1, y1), (*size, *size))
        else:
            left, top, right, bottom = map(decimal, (x0, y0, x1, y1))
    except NotANumberError as error:
        return "invalid_box", str(error)
    occluded, truncated, crowd = map(_is_one, cells[6:9]) if len(cells) > 6 else (False, False, False)
    name = words.get(label, label)
    return make_object(name, (left, top, right, bottom), occluded=occluded, truncated=truncated, crowd=crowd)


def _is_one(text: str) -> bool:
    """Return whether a flag is set: 1, also as 1.0; 0 is not, and -1 is unknown."""
    return text in ("1", "1.0", "1,0")


def _known(label: str, words: Mapping[str, str]) -> bool:
    return bool(label) and (not words or label in words or label in words.values())


# ---- masks


def _add_masks(
    tree: Tree,
    tables: Sequence[_Table],
    image: _Image,
    words: Mapping[str, str],
    size: tuple[int, int],
    objects: list[Object],
    fractions: list[tuple[str, list[float]]],
) -> Iterator[Problem]:
    """Give each mask to the box that it was drawn in, or make an object of its own of it where there is none."""
    for text in image.masks:
        number, line, *cells = text.split(_SEPARATOR)
        place = tree.place(tables[int(number)].file, f"line {line}")
        item = _object(cells[:6], words, size)
        if not isinstance(item, Object):
            yield Problem(item[0], image.name, place, item[1])
            continue
        try:
            outline = mask_text(tree, cells[6], size)
        except DataError as error:
            yield Problem("unreadable_mask", image.name, place, str(error))
            continue
        own = _box_of(cells, objects, fractions)
        if own is None:
            objects.append(replace(item, segmentation=outline))
            fractions.append((cells[1], [2.0, 2.0, 2.0, 2.0]))
        else:
            objects[own] = replace(objects[own], segmentation=outline)


def _fraction(cell: str) -> float:
    """Return a number that has been read exactly before, as it is compared with a mask's."""
    return float(cell.replace(",", "."))


def _box_of(
    cells: Sequence[str], objects: Sequence[Object], fractions: Sequence[tuple[str, list[float]]]
) -> int | None:
    """Return the object, not yet masked, of a mask's class whose box is nearest to the mask's, if it is near at all."""
    edges = list(map(_fraction, cells[2:6]))
    found = [
        (max(abs(a - b) for a, b in zip(edges, own, strict=True)), place)
        for place, (label, own) in enumerate(fractions)
        if label == cells[1] and not objects[place].segmentation
    ]
    distance, place = min(found, default=(1.0, 0))
    return place if distance <= MASK_TOLERANCE else None
