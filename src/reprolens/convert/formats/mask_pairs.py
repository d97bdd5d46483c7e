"""Which picture a mask belongs to: by the folders (images/ and masks/, train/ and trainannot/) and names (7_mask.png).

A folder or a name is read as words of three kinds: those that say mask, those that say picture, and splits; what is
left once they are taken off is equal for a picture and its mask.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from reprolens.convert.source import split_named
from reprolens.convert.tree import Tree

_SPLIT = "train|training|tr|val|valid|validation|test|testing|ts|tst|trainval|dev"
_MASK = (
    "(gt|pedmask|mask|target|label|annot|annotation|ann|seg|segmentation|semantic|binary)[ _-]?"
    "(image|img|mask|label|map|png)?s?|ground[ _-]?truths?|segmentationclass(aug|ext)?|semseg|gt(fine|left)"
    "|(1st_?)?manual1?|pixel[ _-]?labels?|labelids"
)
_PICTURE = (
    "(image|img|pic|picture|photo|rgb|jpe?gimage|jpe?g|frame|input|original|raw|scan|src|source)s?|leftimg8bit|rgbleft"
    "|original[ _-]?images?|data"
)
# What lies beside masks and pictures in known data sets and is neither.
_OTHER = (
    "depth.*|instances?|instancemap|panoptic|segmentationobject|scribbles?|disparity|gtcoarse|overlays?|thumbnails?"
    "|visuali[sz]ations?|normals?"
)
_FOLDERS = {
    kind: re.compile(rf"(?:(?P<before>{_SPLIT})[ _-]?)?(?:{words})(?:[ _-]?(?P<after>{_SPLIT}))?", re.IGNORECASE)
    for kind, words in (("other", _OTHER), ("mask", _MASK), ("picture", _PICTURE))
}
_MASK_NAME = re.compile(
    r"(?P<rest>.+?)[ _.-](gtFine_(?P<ids>labelIds|labelTrainIds|instanceIds)|ground_?truth|(mask|label|annotation|annot"
    r"|segmentation|seg|gt|manual)s?[0-9]?|L)|(mask|label|annotation|annot|segmentation|seg|gt)s?[ _.-](?P<end>.+)",
    re.IGNORECASE,
)
_PICTURE_NAME = re.compile(
    r"(?P<rest>.+?)[ _.-](leftImg8bit|sat|image|img|rgb|orig)|(image|img|sat|rgb|photo|picture)s?[ _.-](?P<end>.+)",
    re.IGNORECASE,
)
# Cityscapes' coloured copies, and the part masks of ADE20K's full release, whose colours are codes of another kind.
_OTHER_NAME = re.compile(r".*_gt(Fine|Coarse)_color|.*_parts_[0-9]+", re.IGNORECASE)
_SEPARATOR = re.compile("[ _.-]")
_RANK = {"labelids": 0, "labeltrainids": 1, "instanceids": 2}


@dataclass(frozen=True, slots=True)
class Pair:
    """A mask (its place below the source), its picture's (below the pictures' folder), and their split.

    `ids` is labelids, labeltrainids or instanceids where the mask is one of Cityscapes.
    """

    mask: str
    picture: str
    split: str | None
    ids: str = ""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Masks with their pictures; masks without one, or with several it could be; and second masks of a picture.

    `others` are files that look like pictures and are none, as all masks are.
    """

    pairs: list[Pair]
    lost: list[str]
    second: list[Pair]
    others: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Place:
    """What a file's folders and name say: its kind, the folders that are left, the split, and the names to go by."""

    file: str
    kind: str
    folders: tuple[str, ...]
    split: str | None
    names: tuple[str, ...]
    ids: str = ""


def find_pairs(tree: Tree, pattern: str | None = None) -> Pairs:
    """Return which mask belongs to which picture; masks are only those that match `pattern`, if there is one."""
    same = tree.images.root == tree.root
    places = [_place(file) for file in tree.pictures]
    beside = {place.file for place in places if place.kind == "beside"}
    pictures = [_place(file) for file in tree.images.pictures] if not same else places
    by_name = _by_name(place for place in pictures if place.kind in ("picture", "") or not same)
    masks = [place for place in places if place.kind == "mask"]
    for place in (place for place in places if place.kind == "beside"):
        found = _partners(place, by_name)
        if any(other.folders == place.folders for other in found):
            masks.append(place)
        elif same:  # no mask after all: a picture whose name ends in `_L`
            by_name = _with(by_name, place)
    if not masks:
        masks = _siblings(places) if same else [place for place in places if not _is_in(tree, place.file)]
    every = {place.file for place in masks}
    if pattern is not None:
        masks = [place for place in masks if PurePosixPath(place.file).match(pattern)]
    best: dict[str, list[tuple[int, Pair]]] = defaultdict(list)
    lost = []
    for mask in sorted(masks, key=lambda place: place.file):
        found = [other for other in _partners(mask, by_name) if other.file not in every or not same]
        if len(found) == 1:
            pair = Pair(mask.file, found[0].file, mask.split or found[0].split, mask.ids)
            best[found[0].file].append((_RANK.get(mask.ids, 0), pair))
        else:
            lost.append(mask.file)
    pairs, second = [], []
    for ranked in best.values():
        first = min(rank for rank, _ in ranked)
        pairs.append(next(pair for rank, pair in ranked if rank == first))
        second += [pair for rank, pair in ranked if rank == first and pair != pairs[-1]]
    others = every | {place.file for place in places if place.kind == "other"} - beside
    return Pairs(pairs, lost, second, frozenset(others if same else ()))


def _is_in(tree: Tree, file: str) -> bool:
    """Say whether a file of the source lies in the pictures' folder."""
    return tree.path(file).is_relative_to(tree.images.root)


def _place(file: str) -> _Place:
    above, _, name = file.rpartition("/")
    stem = name.rpartition(".")[0] or name
    folders, kind, split = _folders(above)
    if kind == "other" or not _SEPARATOR.search(stem):  # most names are one word, and there are many
        return _Place(file, kind, folders, split, (stem,))
    if _OTHER_NAME.fullmatch(stem):
        return _Place(file, "other", folders, split, (stem,))
    marked = _MASK_NAME.fullmatch(stem)
    if marked:
        ids = (marked["ids"] or "").lower()
        names = (stem, marked["rest"] or marked["end"])
        return _Place(file, kind if kind == "mask" else "beside", folders, split, names, ids)
    picture = _PICTURE_NAME.fullmatch(stem) if kind != "mask" else None
    return _Place(file, kind, folders, split, (stem, picture["rest"] or picture["end"]) if picture else (stem,))


@lru_cache(maxsize=1 << 16)
def _folders(above: str) -> tuple[tuple[str, ...], str, str | None]:
    """Return what folders leave once the words are taken off, the kind that the deepest word says, and the split."""
    left: list[str] = []
    found, split = "", None
    for part in reversed(PurePosixPath(above).parts):
        kind, own = next(
            (
                (kind, match["before"] or match["after"] or "")
                for kind, words in _FOLDERS.items()
                if (match := words.fullmatch(part))
            ),
            ("", part),
        )
        own_split = "test" if own.lower() == "ts" else split_named(own)  # imagesTr, imagesTs
        split = split or own_split
        if not kind or own_split:
            left.append(own_split or part.lower())
        found = found or kind
    return tuple(reversed(left)), found, split


_Names = dict[str, list[_Place]]


def _by_name(pictures: Iterable[_Place]) -> tuple[_Names, _Names]:
    """Return pictures by their names, and by what is left of those."""
    whole: _Names = defaultdict(list)
    bare: _Names = defaultdict(list)
    for place in pictures:
        whole[place.names[0]].append(place)
        bare[place.names[-1]].append(place)
    return whole, bare


def _with(tables: tuple[_Names, _Names], place: _Place) -> tuple[_Names, _Names]:
    for table in tables:
        table[place.names[0]].append(place)
    return tables


def _partners(mask: _Place, tables: tuple[_Names, _Names]) -> list[_Place]:
    """Return the pictures that a mask can belong to: those of its name in folders that agree, best agreement first."""
    for name in dict.fromkeys(mask.names):
        for table in tables:
            found = [place for place in table.get(name, ()) if place.file != mask.file]
            same = [place for place in found if place.folders == mask.folders]
            fitting = same or [place for place in found if _within(place.folders, mask.folders)]
            if fitting:
                return fitting
    return []


def _within(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """Say whether the shorter of two rows of folders is what some folders taken out of the longer one leave."""
    short, long = sorted((a, b), key=len)
    rest = iter(long)
    return all(part in rest for part in short)


def _siblings(places: list[_Place]) -> list[_Place]:
    """Return the files of the one folder beside a folder of pictures that has the same names: images/ and vessels/."""
    folders: dict[str, list[_Place]] = defaultdict(list)
    for place in places:
        if place.kind != "other":
            folders[str(PurePosixPath(place.file).parent)].append(place)
    found = []
    for folder, inside in folders.items():
        if inside[0].kind != "picture":
            continue
        names = {place.names[0] for place in inside}
        beside = [
            own
            for other, own in folders.items()
            if PurePosixPath(other).parent == PurePosixPath(folder).parent
            and other != folder
            and own[0].kind != "picture"
            and {place.names[0] for place in own} <= names
        ]
        if len(beside) == 1:
            found += [_Place(place.file, "mask", place.folders[:-1], place.split, place.names) for place in beside[0]]
    return found
