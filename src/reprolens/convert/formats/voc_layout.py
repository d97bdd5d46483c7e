"""Where a VOC data set keeps what: annotations, pictures and masks that belong together, and its image sets.

An annotation and its picture have the same key: their place, without suffix, and without the folder that holds the one
or the other (`VOC2007/Annotations/a/x.xml` and `VOC2007/JPEGImages/a/x.jpg`: `VOC2007/a/x`).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from reprolens.convert.documents import read_lines
from reprolens.convert.source import Problem, split_named
from reprolens.convert.tree import PICTURES, Listing, Tree
from reprolens.errors import DataError
from reprolens.voc.folder import original_name

_BESIDE = ("xml", "xmls", "annotation", "ann", "anns", "labels")
"""Folders of XML files that are not called Annotations, or lie in one, in lower case."""

_PICTURES = ("images", "image", "imgs", "img", "pictures", "photos", "jpegs", "jpgs", "jpg", "png")
"""Folders of pictures that are not called JPEGImages, in lower case."""

_MASKS = ("segmentationclass", "segmentationobject")


@dataclass(frozen=True)
class Entry:
    """Something said about one picture: in which year or part of the source (`root`), its name there, and its file."""

    root: str
    name: str
    file: str

    @property
    def key(self) -> str:
        return _joined(self.root, self.name)


@dataclass(frozen=True)
class ImageSet:
    """A file of ImageSets/: `kind` is its folder there (main, segmentation, cls-loc, ... or ""), `name` a class's."""

    root: str
    kind: str
    split: str | None
    name: str
    file: str


@dataclass(frozen=True)
class Pictures:
    """The pictures by their keys and by their bare names; `claims` are the keys for which there is an annotation."""

    listing: Listing
    masks: frozenset[str]
    named: Mapping[str, Sequence[str]]
    by_stem: Mapping[str, Sequence[str]]
    folders: Mapping[str, str]
    claims: Mapping[str, Entry]

    def free(self, file: str, entry: Entry) -> bool:
        """Return whether a picture may belong to an annotation: it does not if another one bears its name."""
        return self.claims.get(_picture_key(file), entry) == entry


@dataclass(frozen=True)
class Found:
    """A picture as a `SourceImage` has it: the source's name for it, its file, and where convert is to look."""

    name: str
    image: Path | None
    near: str = ""


def entry_of(file: str) -> Entry:
    """Return what an XML file is about."""
    folders, stem = _split(file)
    lower = [folder.lower() for folder in folders]
    at = lower.index("annotations") if "annotations" in lower else len(folders)
    root, below = folders[:at], folders[at + 1 :]
    if at == len(folders):
        root = [folder for folder in folders if folder.lower() not in _BESIDE]
    elif below and below[0].lower() in _BESIDE:
        below = below[1:]
    if at == len(folders) and root == folders:
        return Entry("", "/".join([*folders, stem]), file)
    return Entry("/".join(root), "/".join([*below, stem]), file)


def mask_entries(tree: Tree) -> dict[str, Entry]:
    """Return the masks of SegmentationClass/ by their keys."""
    found: dict[str, Entry] = {}
    for file in tree.pictures:
        folders, stem = _split(file)
        lower = [folder.lower() for folder in folders]
        if _MASKS[0] in lower:
            at = lower.index(_MASKS[0])
            entry = Entry("/".join(folders[:at]), "/".join([*folders[at + 1 :], stem]), file)
            found.setdefault(entry.key, entry)
    return found


def list_pictures(tree: Tree, entries: Iterable[Entry]) -> Pictures:
    """Return the pictures of a source, and which of them have an annotation of their own."""
    masks: set[str] = set()
    named: dict[str, list[str]] = defaultdict(list)
    by_stem: dict[str, list[str]] = defaultdict(list)
    folders: dict[str, str] = {}
    for file in tree.images.pictures:
        parts, stem = _split(file)
        lower = [part.lower() for part in parts]
        if any(name in lower for name in _MASKS):
            masks.add(file)
            continue
        if "jpegimages" in lower:
            at = lower.index("jpegimages")
            folders.setdefault("/".join(parts[:at]), "/".join(parts[: at + 1]))
        named[_picture_key(file)].append(file)
        by_stem[stem.casefold()].append(file)
    claims: dict[str, Entry] = {}
    for entry in entries:
        claims.setdefault(entry.key, entry)
    return Pictures(tree.images, frozenset(masks), named, by_stem, folders, claims)


def resolve(pictures: Pictures, entry: Entry, filename: str) -> Found:
    """Return the picture that an annotation is about.

    Its own key goes first, then <filename>, then the bare names of both; the picture of another annotation is never
    taken. Where several could be meant, or none, convert says so: it gets a name that leads it to all, or to nothing.
    """
    filename = filename.replace("\\", "/")
    suffix = PurePosixPath(filename).suffix
    suffix = suffix if suffix.lower() in PICTURES else ""
    for candidates in _guesses(pictures, entry, filename, suffix):
        found = [file for file in dict.fromkeys(candidates) if pictures.free(file, entry)]
        if len(found) > 1:
            found = [file for file in found if suffix and file.endswith(suffix)] or found
            shared = [_shared(file, entry) for file in found]
            found = [file for file, count in zip(found, shared, strict=True) if count == max(shared)]
        if len(found) == 1:
            return Found(f"{entry.name}{PurePosixPath(found[0]).suffix}", pictures.listing.path(found[0]))
        if found:
            folders, stem = _split(found[0])
            return Found(stem, None, "/".join(folders))
    if ".." in filename.split("/") or filename.startswith("/"):
        return Found(filename, None)  # convert knows what to say of it
    name, folder = f"{entry.name}{suffix or '.jpg'}", pictures.folders.get(entry.root, entry.root)
    if not pictures.listing.find(name, folder):
        return Found(name, None)
    return Found(name, pictures.listing.path(_joined(folder, name)))  # where it should be, not where a namesake is


def folder_split(entry: Entry) -> str | None:
    """Return the split that the folders of an annotation name, the nearest first."""
    return next((split for part in _split(entry.file)[0][::-1] if (split := split_named(part))), None)


def image_sets(tree: Tree) -> list[ImageSet]:
    """Return the image sets of all years: `ImageSets/Main/train.txt`, `.../cat_train.txt`, `CLS-LOC/train_cls.txt`."""
    sets = []
    for file in tree.ending(".txt"):
        folders, stem = _split(file)
        lower = [folder.lower() for folder in folders]
        if "imagesets" not in lower:
            continue
        at = lower.index("imagesets")
        root, kind = "/".join(folders[:at]), "/".join(lower[at + 1 :])
        first, _, last = stem.rpartition("_")
        if (split := split_named(stem)) is None and first and (split := split_named(last)) is not None:
            sets.append(ImageSet(root, kind, split, original_name(first), file))
        elif split is None and last.lower() in ("cls", "loc", "det"):
            sets.append(ImageSet(root, kind, split_named(first), "", file))
        else:
            sets.append(ImageSet(root, kind, split, "", file))
    background = ("background", "ignored")
    return [item for item in sets if item.name.lower() not in background]


def split_sets(tree: Tree, kinds: Sequence[str]) -> list[ImageSet]:
    """Return the sets of whole splits, in each year those of the first kind that it has, train, val and test first."""
    sets = [item for item in image_sets(tree) if not item.name and item.split is not None]
    chosen: list[ImageSet] = []
    for root in dict.fromkeys(item.root for item in sets):
        own = [item for item in sets if item.root == root]
        kind = next((kind for kind in kinds if any(item.kind == kind for item in own)), None)
        chosen += [item for item in own if item.kind == kind]
    return sorted(chosen, key=lambda item: (item.split == "trainval", item.file))


def place_splits(
    tree: Tree, entries: Sequence[Entry], sets: Sequence[ImageSet], pictures: Pictures
) -> tuple[dict[str, str], list[Problem]]:
    """Return the split of every annotation (its file) that an image set names, and the lines that name none.

    Raises DataError if one is in two splits, or if a set names nothing that the source has.
    """
    names = {root: _names_below(root, entries) for root in dict.fromkeys(item.root for item in sets)}
    splits: dict[str, str] = {}
    problems: list[Problem] = []
    for item in sets:
        assert item.split is not None
        place = tree.place(item.file)
        # Trainval comes last and says less than train and val, which it repeats.
        agreeing = ("train", "val", "trainval") if item.split == "trainval" else (item.split,)
        known, lines = names[item.root], read_lines(tree.path(item.file))
        found = [known.find(line) for line in lines]
        lines_found = [(line, file) for line, file in zip(lines, found, strict=True) if file or line[0] != "#"]
        pictured = any(file or _pictured(pictures, item.root, line) for line, file in lines_found)
        if lines_found and not pictured:
            raise DataError(
                f"{place}: nothing that it names, such as {lines_found[0][0][:40]!r}, has an annotation or a picture; "
                f"mend or remove it"
            )
        for line, file in lines_found:
            if file is None:
                reason = "an image set names it, but it has no annotation"
                problems.append(Problem("missing_annotation", line, place, reason))
            elif splits.setdefault(file, item.split) not in agreeing:
                raise DataError(f"{place}: {file} is in the set {splits[file]} too; a picture belongs to one split")
    return splits, problems


def bare_names(line: str) -> list[str]:
    """Return what a line of an image set may call a picture: with VOC's or ImageNet's number behind, or a suffix."""
    names = dict.fromkeys((line, re.sub(r"\s+-?\d+$", "", line)))
    bare = [name.rpartition(".")[0] if name.lower().endswith(PICTURES) else name for name in names]
    return list(dict.fromkeys([*names, *bare]))


@dataclass(frozen=True)
class _Names:
    """The annotations below a folder of image sets, by their names there and by their bare names; None: several."""

    files: Mapping[str, str | None]
    stems: Mapping[str, str | None]

    def find(self, line: str) -> str | None:
        """Return the annotation's file that a line of an image set names."""
        names = bare_names(line)
        found = next((file for name in names if (file := self.files.get(name))), None)
        return found or next((file for name in names if (file := self.stems.get(name.rpartition("/")[2]))), None)


def _names_below(root: str, entries: Iterable[Entry]) -> _Names:
    files: dict[str, str | None] = {}
    stems: dict[str, str | None] = {}
    for entry in entries:
        if root and not entry.key.startswith(f"{root}/"):
            continue
        name = entry.key[len(root) + 1 :] if root else entry.key
        stem = name.rpartition("/")[2]
        files[name] = None if name in files else entry.file
        stems[stem] = None if stem in stems else entry.file
    return _Names(files, stems)


def _pictured(pictures: Pictures, root: str, line: str) -> bool:
    return any(
        _joined(root, name) in pictures.named or name.rpartition("/")[2].casefold() in pictures.by_stem
        for name in bare_names(line)
    )


def _guesses(pictures: Pictures, entry: Entry, filename: str, suffix: str) -> Iterable[Sequence[str]]:
    """Yield the pictures that an annotation may be about, surest first."""
    bare = filename[: -len(suffix)] if suffix else filename
    yield pictures.named.get(entry.key, ())
    yield pictures.named.get(entry.name, ())
    for key in (_joined(entry.root, bare), bare):
        yield [file for file in pictures.named.get(key, ()) if file.endswith(suffix)]
    for stem in (entry.name.rpartition("/")[2], bare.rpartition("/")[2]):
        known = pictures.by_stem.get(stem.casefold(), ())
        same = [file for file in known if _split(file)[1] == stem]
        yield [file for file in same if suffix and file.endswith(suffix)]
        yield same
        yield known


def _shared(file: str, entry: Entry) -> int:
    """Return how many folders a picture and an annotation have in common."""
    return len({*_picture_key(file).split("/")[:-1]} & {*entry.key.split("/")[:-1]})


def _picture_key(file: str) -> str:
    """Return a picture's place without suffix and without the folder that holds the pictures."""
    folders, stem = _split(file)
    lower = [folder.lower() for folder in folders]
    if "jpegimages" in lower:
        del folders[lower.index("jpegimages")]
    elif folders[:1] == ["Data"]:  # ImageNet's
        del folders[0]
    elif places := [at for at, folder in enumerate(lower) if folder in _PICTURES]:
        del folders[places[-1]]
    return "/".join([*folders, stem])


def _split(file: str) -> tuple[list[str], str]:
    """Return the folders and the bare name of a file."""
    *folders, name = file.split("/")
    stem, _, suffix = name.rpartition(".")
    return folders, stem or suffix


def _joined(root: str, name: str) -> str:
    return f"{root}/{name}" if root else name
