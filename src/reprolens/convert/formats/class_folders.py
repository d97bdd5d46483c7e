"""Folders of pictures, one a class: `cat/1.jpg`, or below the folders of splits `train/cat/1.jpg`.

A folder in a class's folder is a class of its own, by its path: `label_1/label_1_1`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from reprolens.config.data import Labelled
from reprolens.convert.formats import masks
from reprolens.convert.source import Source, SourceImage, split_named
from reprolens.convert.tree import Tree
from reprolens.errors import DataError
from reprolens.voc import Record

WEAK = True
"""Pictures in folders are found in every data set: this format is asked last."""

# What people call folders that hold pictures of all classes, or none: their names say nothing about a picture's class.
_NOT_CLASSES = re.compile(
    "(image|img|pic|picture|photo|label|mask|annotation|instance|frame|thumbnail|dataset)s?|jpegimages|data|all|raw|png"
    "|jpe?g|annot|gt|depth|rgb|[lh]r|upsampled|query|gallery"
    "|scribbles?|bounding_box.*|(image|instance|cam(era)?)s?[_-]?[0-9]+",
    re.IGNORECASE,
)
_PART = re.compile(r"(images?|img|pictures?|photos?|data|dataset|part|batch)([\W_].*)?", re.IGNORECASE)
# Folders beside the splits whose pictures nobody has labelled.
_UNLABELLED = frozenset({"unlabelled", "unlabeled", "unsup", "pred", "predict", "prediction"})


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture's place below the pictures' folder, the folders of it that are not read yet, and its split."""

    file: str
    folders: tuple[str, ...]
    split: str | None = None


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like pictures in folders of classes, or None."""
    pictures = _sorted_in(tree.images.pictures)
    labelled = [picture for picture in pictures if picture.folders]
    classes = natural({_class(picture) for picture in labelled})
    heads = {picture.folders[0] for picture in labelled}
    # As many annotations as pictures: the data set's meaning lies in them, whatever their format is.
    annotations = len(tree.ending(".xml", ".json", ".txt", ".csv", ".mat", ".npy"))
    annotations += sum(
        "." not in file.rpartition("/")[2] for file in tree.files
    )  # Stanford Dogs has XML without suffix
    if len(classes) < 2 or 2 * len(labelled) < len(pictures) or 2 * annotations > len(pictures):
        return None
    if all(map(_NOT_CLASSES.fullmatch, heads)) or masks.detect(tree) is not None:
        return None
    shown = ", ".join(classes[:3]) + (", ..." if len(classes) > 3 else "")
    return f"{len(labelled)} pictures lie in {len(classes)} folders, one a class: {shown}"


def read(tree: Tree, options: Labelled) -> Source:
    """Open folders of classes. `options` has nothing for them, for there are no annotation files.

    Raises DataError if no picture lies in a folder.
    """
    pictures = _sorted_in(tree.images.pictures)
    classes = natural({_class(picture) for picture in pictures if picture.folders})
    if not classes:
        what = "holds no pictures" if not pictures else "holds no folders of pictures, one a class"
        raise DataError(f"{tree.images.root}: {what}; put every class's pictures in a folder with the class's name")
    return Source(_images(tree, pictures), classes, "classification")


def natural(names: set[str]) -> tuple[str, ...]:
    """Return names in the order that people count in: "2" before "10"."""

    def key(name: str) -> tuple[list[tuple[int, int, str]], str]:
        parts = re.findall(r"[0-9]+|[^0-9]+", name)
        return [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts], name

    return tuple(sorted(names, key=key))


def _images(tree: Tree, pictures: list[_Picture]) -> Iterator[SourceImage]:
    """Yield the pictures that have a class; convert finds the others to be without annotation."""
    for picture in pictures:
        if picture.folders:
            path = tree.images.path(picture.file)
            record = Record("", picture.file, 0, 0, labels=(_class(picture),))
            yield SourceImage(record, picture.split, path, place=str(path))


def _class(picture: _Picture) -> str:
    return "/".join(picture.folders)


def _sorted_in(files: tuple[str, ...]) -> list[_Picture]:
    """Take off the pictures' folders, from the top, all that name no class: what holds everything, and splits."""
    pictures = [_Picture(file, tuple(file.split("/")[:-1])) for file in files]
    split_yet = False
    while True:
        heads = {picture.folders[0] for picture in pictures if picture.folders}
        deep = any(len(picture.folders) > 1 for picture in pictures)
        direct = any(len(picture.folders) == 1 for picture in pictures)
        splits = {} if split_yet else _splits(pictures, heads)
        if splits:
            pictures = [_without_split(picture, splits) for picture in pictures]
            split_yet = True
        elif deep and not direct and (len(heads) == 1 or _are_parts(heads)):
            pictures = [_Picture(picture.file, picture.folders[1:], picture.split) for picture in pictures]
        else:
            return pictures


def _splits(pictures: list[_Picture], heads: set[str]) -> dict[str, str | None]:
    """Return the split of each top folder, None for those of unlabelled pictures; nothing where these are no splits.

    They are if all of them are, or if train is among them and holds folders (a train that holds pictures beside a bus
    that does is a class); named bare, or with one other word to all: `seg_train`, `seg_test`.
    """
    found: dict[str, str | None] = {}
    others = set()
    for head in sorted(heads):
        words = [word for word in re.split(r"[\W_]+", head.lower()) if word]
        named = [split for split in map(split_named, words) if split]
        if len(named) == 1:
            found[head] = named[0]
            others.add(tuple(word for word in words if not split_named(word)))
        elif _UNLABELLED & set(words):
            found[head] = None
    real = {split for split in found.values() if split}
    alike = len(others) == 1 and (others == {()} or len(real) > 1)
    if not real or not alike:
        return {}
    direct = sum(len(picture.folders) == 1 for picture in pictures if picture.folders and picture.folders[0] in found)
    deep = sum(len(picture.folders) > 1 for picture in pictures if picture.folders and picture.folders[0] in found)
    return found if len(found) == len(heads) or (real & {"train", "trainval"} and deep > direct) else {}


def _without_split(picture: _Picture, splits: dict[str, str | None]) -> _Picture:
    if not picture.folders or picture.folders[0] not in splits:
        return picture
    head, split = picture.folders[0], splits[picture.folders[0]]
    if split is None:
        return _Picture(picture.file, ())
    repeated = sum(1 for _ in takewhile(lambda folder: folder == head, picture.folders))  # seg_train/seg_train/street
    return _Picture(picture.file, picture.folders[repeated:], split)


def _are_parts(heads: set[str]) -> bool:
    """Say whether folders are numbered parts of one set that was cut for its size: `images_part1`, `images_part2`."""
    stems = {re.sub(r"[\W_]*[0-9]+$", "", head) for head in heads}
    return len(stems) == 1 and bool(_PART.fullmatch(stems.pop()))
