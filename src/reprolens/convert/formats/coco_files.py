"""Which files of a COCO data set are read, what each describes, and where its pictures lie.

COCO describes one split in several files, `annotations/instances_train2017.json` beside `captions_train2017.json` and
others; tools that export COCO write one file, or one a split or folder.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, TypeVar

import msgspec

from reprolens.config.data import Action
from reprolens.convert.documents import read_json
from reprolens.convert.source import Problem, split_named
from reprolens.convert.tree import Tree
from reprolens.errors import DataError

# What COCO calls its files, the best first where several describe the same pictures; a name of the user's own, such as
# train.json, comes after instances.
_KINDS = ("instances", "", "person_keypoints", "panoptic", "stuff", "labels", "image_info", "captions")
_NAME = re.compile(rf"({'|'.join(filter(None, _KINDS))})(?:_(.*))?", re.IGNORECASE)

# The key that tells what the annotations are; quotes within a caption have a backslash before them.
_TELLING = re.compile(rb'"(bbox|segmentation|segments_info|keypoints|caption)"\s*:')

T = TypeVar("T", bound=msgspec.Struct)


class Header(msgspec.Struct):
    """The parts of a file, not decoded yet."""

    images: msgspec.Raw = msgspec.Raw(b"")
    annotations: msgspec.Raw = msgspec.Raw(b"[]")
    categories: msgspec.Raw = msgspec.Raw(b"[]")


class _Category(msgspec.Struct):
    id: Any = None
    name: Any = None
    supercategory: Any = None


@dataclass(frozen=True)
class AnnotationFile:
    """One file to read: its place in the source, what it holds, its split, where its pictures lie, and its classes.

    `content` is objects, panoptic, labels, captions or image_info. `names` are the classes by category id, in order;
    `unclear` says why a category cannot be used. `look` tells that some pictures lie in folders named for splits.
    `extra` marks a list of pictures beside a better file of the same split.
    """

    file: str
    content: str
    split: str | None
    near: str
    names: Mapping[Any, str]
    unclear: Mapping[Any, str]
    look: bool
    extra: bool = False


def identity(value: Any) -> int | str | None:
    """Return an id as both sides of a reference have it, "7" being 7; None for what is no id."""
    if type(value) is int:
        return value
    if isinstance(value, str):
        return int(value) if re.fullmatch("0|[1-9][0-9]{0,17}", value) else value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def entries(data: msgspec.Raw, kind: type[T]) -> list[T | str]:
    """Return the entries of a list as structs; one that is none, or damaged, is the reason instead.

    Raises DataError if it is no list.
    """
    try:
        return msgspec.json.decode(data, type=list[kind])  # type: ignore[valid-type]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        parts = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"is no list ({error})") from None
    return [_entry(part, kind) for part in parts]


def _entry(data: msgspec.Raw, kind: type[T]) -> T | str:
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError:
        return "nested too deeply"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return str(error)


def find_files(tree: Tree, pattern: str | None) -> tuple[list[AnnotationFile], list[Problem]]:
    """Return the files to read, in order, and what is wrong with others.

    Raises DataError if there is none to read.
    """
    problems: list[Problem] = []
    groups: dict[tuple[PurePosixPath, str], list[tuple[int, AnnotationFile]]] = {}
    folders = _picture_folders(tree)
    for file in tree.ending(".json"):
        if pattern is not None and not PurePath(file).match(pattern):
            continue
        found = _open(tree, file, folders)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            path = PurePosixPath(file)
            kind, tail = _named(path.stem)
            if not kind and found.content != "objects":
                kind = found.content
            groups.setdefault((path.parent, tail.lower()), []).append((_KINDS.index(kind), found))
            problems += _unclear(tree, found)
    if not groups:
        which = f"that {pattern} (data.annotations) matches " if pattern else ""
        reason = "; ".join(f"{problem.file}: {problem.reason}" for problem in problems[:3]) or "there is no .json file"
        raise DataError(f"{tree.root}: no COCO file {which}in it ({reason}); set data.path to the data set")
    chosen = [_chosen(tree, group, problems) for group in groups.values()]
    return [file for group in chosen for file in group], problems


def looks_like_coco(path: Path) -> str | None:
    """Return what in a file's first and last quarter of a megabyte tells that it is COCO; None if nothing does."""
    size = 256 * 1024
    try:
        with path.open("rb") as stream:
            head = stream.read(size)
            stream.seek(max(path.stat().st_size - size, 0))
            tail = stream.read(size)
    except OSError:
        return None
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] != b"{":
        return None
    text = head if tail in head else head + tail
    keys = [key for key in ("images", "annotations", "categories") if re.search(rb'"%s"\s*:\s*\[' % key.encode(), text)]
    names, owners = b'"file_name"' in text, b'"image_id"' in text
    pictures = "images" in keys and names and (len(keys) > 1 or owners)
    if pictures or ("annotations" in keys and owners and "categories" in keys):
        return " and ".join((", ".join(keys[:-1]), keys[-1])) if len(keys) > 1 else keys[0]
    return None


def _open(tree: Tree, file: str, folders: frozenset[str]) -> AnnotationFile | Problem:
    """Return what a file describes, or why it is not read."""
    path = tree.path(file)
    place = tree.place(file)
    try:
        header = read_json(path, Header | list[msgspec.Raw])
    except DataError as error:
        return Problem("unreadable_annotation", file, place, str(error).removeprefix(f"{path}: "))
    if isinstance(header, list):
        return Problem("file_not_read", file, place, "holds a list, such as a detector's results, and no data set")
    if not header.images:
        return Problem("file_not_read", file, place, "has no images, and so is not of COCO's format")
    try:
        entries(header.images, _Category)
        names, unclear = _classes(header)
        found = _TELLING.search(header.annotations)
    except DataError as error:
        return Problem("unreadable_annotation", file, place, f"its categories or images: {error}")
    told = found[1].decode() if found else ""
    content = {"": "image_info", "caption": "captions", "segments_info": "panoptic"}.get(told, "objects")
    if not told and re.search(rb'"category_id"\s*:', header.annotations):
        content = "labels"
    split = next(filter(None, map(_split_of, reversed(PurePosixPath(file).with_suffix("").parts))), None)
    look = split is None and any(map(picture_split, (f"{folder}/" for folder in folders)))
    return AnnotationFile(file, content, split, _near(file, split, folders), names, unclear, look)


def _classes(header: Header) -> tuple[dict[int | str, str], dict[int | str, str]]:
    """Return the names of categories by id, in the order of the ids, and why some ids cannot be used."""
    names: dict[int | str, str] = {}
    unclear: dict[int | str, str] = {}
    categories = [entry for entry in entries(header.categories, _Category) if not isinstance(entry, str)]
    for category in categories:
        id, name = identity(category.id), category.name
        name = str(name) if isinstance(name, str | int | float) and not isinstance(name, bool) else ""
        if id is None:
            continue
        if not name.strip():
            unclear[id] = f"category {id} has no name"
        elif names.setdefault(id, name) != name:
            unclear[id] = f"category {id} is both {names[id][:40]!r} and {name[:40]!r}"
    root = _roboflow_root(categories, header)
    ids = [id for id in names if id not in unclear and id != root]
    if all(isinstance(id, int) for id in ids):
        ids.sort()
    return {id: names[id] for id in ids}, unclear


def _roboflow_root(categories: list[_Category], header: Header) -> int | None:
    """Return the id 0 that Roboflow gives to the project itself, above its classes, where no object has it."""
    first = categories[0] if len(categories) > 1 else _Category()
    if first.id != 0 or first.supercategory != "none" or any(c.supercategory != first.name for c in categories[1:]):
        return None
    return None if re.search(rb'"category_id"\s*:\s*0\b', header.annotations) else 0


def _unclear(tree: Tree, file: AnnotationFile) -> Iterator[Problem]:
    """Yield what is odd about a file's classes and yet loses nothing: two ids with one name."""
    first: dict[str, int | str] = {}
    for id, name in file.names.items():
        if first.setdefault(name, id) != id:
            reason = f"categories {first[name]} and {id} are both {name[:40]!r}: they become one class"
            yield Problem("duplicate_class", file.file, tree.place(file.file, f"category {id}"), reason, Action.fix)


def _chosen(tree: Tree, group: list[tuple[int, AnnotationFile]], problems: list[Problem]) -> list[AnnotationFile]:
    """Return the best of the files that describe the same pictures, and the one that only lists pictures."""

    def order(ranked: tuple[int, AnnotationFile]) -> tuple[bool, int, str]:
        rank, file = ranked
        return file.content == "image_info", rank, file.file  # a file without annotations only lists pictures

    (_, best), *others = sorted(group, key=order)
    chosen = [best]
    for _, other in others:
        if other.content == "image_info":
            chosen.append(replace(other, extra=True))
        elif (other.content, best.content) == ("labels", "objects") and other.names == best.names:
            chosen.append(other)  # the classes of whole pictures, beside their objects
        else:
            name = PurePosixPath(best.file).name
            reason = f"describes the pictures of {name}, which is read; data.annotations chooses another"
            problems.append(Problem("file_not_read", other.file, tree.place(other.file), reason))
    return chosen


def _named(stem: str) -> tuple[str, str]:
    """Return the kind that a file's name tells, "" if none, and the rest of the name: `instances`, `train2017`."""
    found = _NAME.fullmatch(stem)
    return (found[1].lower(), found[2] or "") if found else ("", stem)


def _split_of(name: str) -> str | None:
    """Return the split that a file's or folder's name tells: `train2017`, `my_valid_set`, `test-dev2017`."""
    words = re.findall(r"[a-z]+", name.lower())
    found = {split_named(word) for word in words if word != "dev" or len(words) == 1} - {None}
    if found == {"train", "val"}:
        return "trainval"
    return found.pop() if len(found) == 1 else None


def picture_split(file: str) -> str | None:
    """Return the split that the folders of a picture tell, the innermost first."""
    folders = file.replace("\\", "/").split("/")[:-1]
    return next(filter(None, map(_split_of, reversed(folders))), None) if folders else None


def _picture_folders(tree: Tree) -> frozenset[str]:
    parents = {PurePosixPath(file).parent for file in tree.images.pictures}
    return frozenset(str(folder) for parent in parents for folder in (parent, *parent.parents))


def _near(file: str, split: str | None, folders: frozenset[str]) -> str:
    """Return the folder where a file's pictures most likely lie, "" for the root."""
    path = PurePosixPath(file)
    bases = list(dict.fromkeys((path.parent, path.parent.parent, PurePosixPath())))
    own = dict.fromkeys(name for name in (_named(path.stem)[1], path.stem, split) if name)
    places = [base / sub / name for name in own for base in bases for sub in ("", "images")]
    places += [path.parent] if path.name.lower() == "_annotations.coco.json" else []
    places += [base / name for base in bases for name in ("images", "data", "img")]
    found = next((str(place) for place in places if str(place) in folders), str(path.parent))
    return "" if found == "." else found
