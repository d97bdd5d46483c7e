"""Pictures with masks beside them, for semantic segmentation: images/ and masks/, train/ and trainannot/, 7_mask.png.

A mask shows classes as numbers (grey or palette PNG), as colours (with a label map that says whose they are), or it is
black and white and shows one class. What label maps look like is told in `mask_labels`, which mask belongs to which
picture in `mask_pairs`.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePosixPath

from reprolens.config.data import Action, Labelled, Masks
from reprolens.convert.documents import read_lines
from reprolens.convert.formats.mask_labels import (
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_TRAIN,
    SYNTHIA,
    LabelMap,
    find_label_map,
)
from reprolens.convert.formats.mask_meaning import Found, Given, is_noisy, meaning_of
from reprolens.convert.formats.mask_pairs import Pair, Pairs, find_pairs
from reprolens.convert.formats.mask_pixels import Counts, Meaning, colors_of_palette, count, header_size, read_mask
from reprolens.convert.picture import shown_size
from reprolens.convert.source import Problem, Source, SourceImage, split_named
from reprolens.convert.tree import Tree
from reprolens.errors import DataError
from reprolens.progress import track
from reprolens.voc import Record

WEAK = True
"""Folders of masks lie beside the annotations of other formats too: this format is asked last."""

LOOKED_AT = 3
"""How many masks are opened to know the format."""

MOST_IN_A_MASK = 64
"""Classes in one mask; grey pictures have more levels."""

UNCLEAR = 0.01
"""Share of a black and white mask's pixels that may lie in the middle half between the two, untold."""

# What folders, and ends of names, of masks are called, which names no class.
_PLAIN = re.compile(
    "(binary|train|test|val|pixel|1st|gt)?[ _-]?(mask|label|gt|annot|annotation|ann|seg|segmentation|semantic|semseg"
    "|target|ground[ _-]?truth|manual1?)[ _-]?(image|img|mask|label|map|png)?s?|segmentationclass.*|gt(fine|left)",
    re.IGNORECASE,
)


@dataclass
class _Scan:
    """What all masks together hold; `unclear` are the black and white ones with many greys, and their share."""

    counts: Counter[int] = field(default_factory=Counter)
    colored: bool = False
    unclear: dict[str, float] = field(default_factory=dict)


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like pictures and masks, or None."""
    pairs = find_pairs(tree)
    masks = len(pairs.pairs) + len(pairs.lost) + len(pairs.second)
    if not pairs.pairs or 2 * len(pairs.pairs) < masks or any("_parts_" in file for file in tree.pictures):
        return None
    if not all(_is_mask(tree, pair) for pair in pairs.pairs[:LOOKED_AT]):
        return None
    first = pairs.pairs[0]
    return f"{len(pairs.pairs)} pictures have a mask of the same name, such as {first.picture} and {first.mask}"


def read(tree: Tree, options: Labelled) -> Source:
    """Open pictures with masks; all masks are looked through, unless a label map tells their colours.

    Raises DataError if there are no masks, or if it cannot be known what they show.
    """
    given = _given(options)
    pairs = find_pairs(tree, options.annotations)
    if not pairs.pairs:
        advice = "put pictures in images/ and masks of the same names in masks/"
        raise DataError(f"{tree.root}: no picture has a mask; {advice}")
    known = find_label_map(tree) or _known_layout(pairs.pairs)
    scan = _scan(tree, pairs.pairs, known)
    if not scan.counts:
        raise DataError(
            f"{tree.path(pairs.pairs[0].mask)}: no mask shows classes, this one first of all; are they photos?"
        )
    name = _name_of(pairs.pairs[0])
    found = Found(scan.counts, scan.colored, name, colors_of_palette(tree.path(pairs.pairs[0].mask)))
    try:
        meaning, classes = meaning_of(found, known, given)
    except DataError as error:
        raise DataError(f"{tree.root}: {error}") from None
    if pairs.pairs[0].ids == "instanceids" and meaning.kind == "numbers":
        meaning = replace(meaning, kind="cityscapes")
    unclear = scan.unclear if meaning.kind == "binary" and meaning.top == 255 else {}
    return Source(_images(tree, pairs, meaning, unclear), classes, "segmentation", pairs.others)


def _images(tree: Tree, pairs: Pairs, meaning: Meaning, unclear: dict[str, float]) -> Iterator[SourceImage | Problem]:
    for file in pairs.lost:
        yield Problem("missing_image", file, tree.place(file), "no one picture belongs to the mask")
    owners = {pair.picture: pair.mask for pair in pairs.pairs}
    for pair in pairs.second:
        reason = f"is a second mask of {pair.picture}, beside {owners[pair.picture]}; choose with data.annotations"
        yield Problem("unreadable_mask", pair.mask, tree.place(pair.mask), reason)
    listed = _listed_splits(tree, pairs.pairs) if not any(pair.split for pair in pairs.pairs) else {}
    for pair in pairs.pairs:
        if pair.mask in unclear:
            reason = f"{unclear[pair.mask]:.1%} of the mask is neither black nor white; it was taken for the nearer one"
            yield Problem("unclear_mask", pair.mask, tree.place(pair.mask), reason, Action.fix)
        path, picture = tree.path(pair.mask), tree.images.path(pair.picture)
        size = header_size(path)
        if size not in (shown_size(picture), header_size(picture)):
            size = None  # the mask is refused for it; the picture's size is not what is wrong
        record = Record("", pair.picture, *(size or (0, 0)))
        split = pair.split or listed.get(pair.picture)
        yield SourceImage(record, split, picture, place=str(path), mask=partial(read_mask, path, picture, meaning))


def _given(options: Labelled) -> Given:
    if not isinstance(options, Masks):
        return Given()
    classes = None if options.classes is None else tuple(options.classes)
    return Given(classes, options.background, options.void)


def _is_mask(tree: Tree, pair: Pair) -> bool:
    try:
        counts = count(tree.path(pair.mask))
    except DataError:
        return True  # that it is damaged is for the report
    return counts is not None and (counts.colored or len(counts.counts) <= MOST_IN_A_MASK or is_noisy(counts.counts))


def _scan(tree: Tree, pairs: list[Pair], known: LabelMap | None) -> _Scan:
    """Count what is in the masks: in all of them, or in the first if it is coloured and a label map names colours."""
    scan = _Scan()
    for pair in track(pairs, "look through the masks"):
        try:
            found = count(tree.path(pair.mask))
        except DataError:
            continue  # told when it is read
        if found is None:
            continue
        if found.colored and known is not None and known.colored:
            return _Scan(found.counts, True)
        _add(scan, found, pair)
    return scan


def _add(scan: _Scan, found: Counts, pair: Pair) -> None:
    counts = found.counts
    if pair.ids == "instanceids":
        counts = Counter({value // 1000 if value >= 1000 else value: number for value, number in counts.items()})
    if found.colored and not scan.colored:
        scan.counts = Counter({value * 0x010101: number for value, number in scan.counts.items()})
        scan.colored = True
    elif scan.colored and not found.colored:
        counts = Counter({value * 0x010101: number for value, number in counts.items()})
    scan.counts.update(counts)
    share = sum(number for value, number in found.counts.items() if 64 <= value < 192) / found.counts.total()
    if share > UNCLEAR and not found.colored:
        scan.unclear[pair.mask] = share


def _known_layout(pairs: list[Pair]) -> LabelMap | None:
    """Return the label map of a well-known data set that comes without one, if its folders and names are used here."""
    path = PurePosixPath(pairs[0].mask)
    folders = {part.lower() for part in path.parent.parts}
    pictures = {part.lower() for part in PurePosixPath(pairs[0].picture).parent.parts}
    if pairs[0].ids:
        return CITYSCAPES_TRAIN if pairs[0].ids == "labeltrainids" else CITYSCAPES
    if folders & {"trainannot", "valannot", "testannot"} or path.stem.endswith("_L"):
        return CAMVID
    if "gtleft" in folders and "rgbleft" in pictures:
        return CITYSCAPES  # SYNTHIA-SF is labelled as Cityscapes is
    return SYNTHIA if folders & {"gt", "semseg"} and "rgb" in pictures else None


def _name_of(pair: Pair) -> str:
    """Return what black and white masks show: their folder in the singular, unless that only says that it is masks."""
    folder = PurePosixPath(pair.mask).parent.name
    beside = PurePosixPath(pair.picture).parent.name
    if folder in ("", beside) or _PLAIN.fullmatch(folder) or split_named(folder):
        return "object"
    return folder[:-1] if folder.endswith("s") and not folder.endswith("ss") else folder


def _listed_splits(tree: Tree, pairs: list[Pair]) -> dict[str, str]:
    """Return the splits that train.txt, val.txt and test.txt give pictures, by the first word of each line."""
    names: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        path = PurePosixPath(pair.picture)
        for name in (pair.picture, path.name, path.stem):
            names[name].add(pair.picture)
    splits: dict[str, str] = {}
    for file in tree.ending(".txt"):
        split = split_named(PurePosixPath(file).stem)
        if split is None:
            continue
        for line in read_lines(tree.path(file)):
            name = line.split()[0].lstrip("./")
            found = names.get(name) or names.get(PurePosixPath(name).name, set())
            splits |= dict.fromkeys(found if len(found) == 1 else (), split)
    return splits
