"""How a YOLO data set is laid out: the names of its classes, its splits, and which label file belongs to which picture.

Three customs exist side by side: Ultralytics' data.yaml, darknet's obj.data with obj.names and lists of pictures, and
bare folders. Label files bear their picture's name; the folders around them differ only in the word for their content
(images/train and labels/train, train/images and train/labels, Images and Annotations, or one folder for both).
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import yaml

from reprolens.convert.documents import read_lines, read_text
from reprolens.convert.source import split_named, split_of_folder
from reprolens.convert.tree import PICTURES, Tree
from reprolens.errors import DataError

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "trainval": "trainval"}
"""The keys of data.yaml and obj.data that name pictures."""

FOLDERS = frozenset(
    {"images", "image", "imgs", "img", "labels", "label", "labeltxt", "annotations", "annotation", "jpegimages", "txt"}
)
"""Folders named for what is in them, which the paths of a picture and its labels do not share; in lower case."""

_OTHER_TEXTS = re.compile(
    r"classes|class_?names|names|labels?|obj|_?darknet|predefined_classes|readme.*|licen[sc]e.*|notes?|info|requirements|"
    r"autosplit_.*|.*_list|backup|data|changelog",
    re.IGNORECASE,
)
LARGEST_YAML = 2**18
"""Bytes of a data.yaml at most; with 1,203 names it has 40,000."""
_YAML_NAMES = ("data", "dataset")
_SAYS_NAMES = re.compile(r"(?m)^[\s{\"']*(names|nc)\b")


@dataclass(frozen=True)
class Settings:
    """What data.yaml or obj.data says: `names` by index as text, or None; how many `keypoints` numbers follow a box."""

    file: str = ""
    names: Mapping[str, str] | None = None
    splits: tuple[tuple[str, str], ...] = ()  # (split, the folder or list as written)
    keypoints: int = 0


@dataclass(frozen=True)
class Pair:
    """A picture with its label file; either may be missing (""). `name`: what a missing picture is called."""

    picture: str
    label: str
    split: str | None
    name: str = ""


@dataclass
class _Lists:
    """The pictures that lists and data.yaml name, with their splits; `missing` are those that lie nowhere."""

    pictures: dict[str, str] = field(default_factory=dict)
    folders: list[tuple[str, str]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    repeated: list[str] = field(default_factory=list)

    def split(self, picture: str) -> str | None:
        if picture in self.pictures:
            return self.pictures[picture]
        return next((split for folder, split in self.folders if picture.startswith(folder)), None)


# ---- settings and names


def settings(tree: Tree) -> Settings:
    """Return what the data set's own file says of it. Raises DataError if two such files disagree."""
    found = [parsed for file in _yaml_files(tree) if (parsed := _from_yaml(tree, file))]
    if found:
        if any(other.names != found[0].names for other in found[1:]):
            listed = " and ".join(tree.place(one.file) for one in found[:2])
            raise DataError(f"{listed} give different names; keep one of them, or set data.classes")
        return found[0]
    return next((_from_obj_data(tree, file) for file in tree.ending(".data")), Settings())


def _yaml_files(tree: Tree) -> list[str]:
    """Return the YAML files of the outermost folder that has any."""
    files = [file for file in tree.ending(".yaml", ".yml") if tree.path(file).stat().st_size <= LARGEST_YAML]
    least = min((file.count("/") for file in files), default=0)
    return [file for file in files if file.count("/") == least][:8]


def _from_yaml(tree: Tree, file: str) -> Settings | None:
    """Return the settings of a data.yaml, or None if the file is another YAML file."""
    try:
        text = read_text(tree.path(file))
        # All scalars stay texts: names such as `no`, `1` or `1e3` are names. libyaml, faster, crashes on deep nesting.
        content = yaml.load(text, Loader=yaml.BaseLoader) if _SAYS_NAMES.search(text) else None
    except (yaml.YAMLError, RecursionError, ValueError, DataError) as error:
        if PurePosixPath(file).stem.lower() not in _YAML_NAMES:
            return None
        raise DataError(f"{tree.place(file)}: cannot be read as YAML ({' '.join(str(error).split())[:100]})") from None
    if not isinstance(content, dict) or not {"names", "nc"} & content.keys():
        return None
    if not {"path", *SPLITS} & content.keys() and PurePosixPath(file).stem.lower() not in _YAML_NAMES:
        return None
    places: list[tuple[str, str]] = []
    base = content["path"] if isinstance(content.get("path"), str) else ""
    for key, split in SPLITS.items():
        entries = content.get(key)
        for entry in entries if isinstance(entries, list) else [entries]:
            if isinstance(entry, str) and entry:
                places.append((split, f"{base}/{entry}" if base and not entry.startswith("/") else entry))
    return Settings(file, _names_of(content), tuple(places), _keypoints(content.get("kpt_shape")))


def _names_of(content: Mapping[Any, Any]) -> dict[str, str] | None:
    names = content.get("names")
    # What is nested in a name is no name; its text could fill the memory, for YAML's aliases multiply.
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return {str(index): name for index, name in enumerate(names)}
    if isinstance(names, dict) and all(isinstance(part, str) for entry in names.items() for part in entry):
        numbered = {_index(index): name for index, name in names.items()}
        if numbered and -1 not in numbered:
            return {str(index): numbered[index] for index in sorted(numbered)}
    count = _index(content.get("nc"))
    return {str(index): str(index) for index in range(count)} if count > 0 else None


def _index(text: Any) -> int:
    """Return a class index or a count, or -1 for what is none."""
    return int(text) if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 5 else -1


def _keypoints(shape: Any) -> int:
    """Return how many numbers a pose adds to a box: kpt_shape is [points, numbers each]."""
    if not isinstance(shape, list) or len(shape) != 2:
        return 0
    points, each = (_index(value) for value in shape)
    return points * each if points > 0 and each > 0 else 0


def _from_obj_data(tree: Tree, file: str) -> Settings:
    """Return the settings of darknet's obj.data: lines `key = value`."""
    try:
        lines = read_lines(tree.path(file))
    except DataError:
        return Settings()
    pairs = {key.strip().lower(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    places = tuple((split, pairs[key]) for key, split in SPLITS.items() if pairs.get(key))
    return Settings(file, None, places) if places or "names" in pairs or "classes" in pairs else Settings()


def listed_names(tree: Tree) -> dict[str, str] | None:
    """Return the classes of obj.names, classes.txt and the like, by index. Raises DataError if two of them differ."""
    wanted = [
        file
        for file in tree.files
        if file.lower().endswith(".names")
        or PurePosixPath(file).name.lower() in ("classes.txt", "names.txt", "_darknet.labels", "predefined_classes.txt")
    ]
    found: dict[str, list[str]] = {}
    for file in wanted:
        try:
            found[file] = read_lines(tree.path(file))
        except DataError:
            continue
    found = {file: names for file, names in found.items() if names}
    if not found:
        return None
    (first, names), *others = found.items()
    for other, others_names in others:
        if others_names != names:
            raise DataError(f"{tree.place(first)} and {tree.place(other)} give different names; set data.classes")
    return {str(index): name for index, name in enumerate(names)}


# ---- label files and their pictures


def key(file: str) -> str:
    """Return what a picture and its label file share: the path without suffix and without folders named for content."""
    *folders, name = file.split("/")
    stem = name.rpartition(".")[0] or name
    return "/".join([folder for folder in folders if folder.lower() not in FOLDERS] + [stem])


def keys_of(tree: Tree) -> dict[str, list[str]]:
    """Return the pictures by their keys."""
    pictures: dict[str, list[str]] = defaultdict(list)
    for file in tree.images.pictures:
        pictures[key(file)].append(file)
    return pictures


def label_files(tree: Tree, pictures: Mapping[str, list[str]], pattern: str | None = None) -> list[str]:
    """Return the label files: texts that have a picture, or that lie among such and are not named for another use."""
    texts = [file for file in tree.ending(".txt") if pattern is None or PurePosixPath(file).match(pattern)]
    paired = {file for file in texts if key(file) in pictures and not _is_list(file, tree)}
    if pattern is not None:
        return [file for file in texts if file in paired or not _is_other(file, tree)]
    folders = {file.rpartition("/")[0] for file in paired}
    return [file for file in texts if file in paired or _may_be_label(file, folders, tree)]


def _may_be_label(file: str, folders: set[str], tree: Tree) -> bool:
    if _is_other(file, tree):
        return False
    folder = file.rpartition("/")[0]
    return folder in folders or not folders or not _LABEL_FOLDERS.isdisjoint(folder.lower().split("/"))


_LABEL_FOLDERS = frozenset({"labels", "label", "labeltxt", "annotations", "obj_train_data"})


def _is_other(file: str, tree: Tree) -> bool:
    return bool(_OTHER_TEXTS.fullmatch(PurePosixPath(file).stem)) or _is_list(file, tree)


def _is_list(file: str, tree: Tree) -> bool:
    """Return whether a text named for a split, such as train.txt, lists pictures (or nothing)."""
    stem = file.rpartition("/")[2][:-4]
    if split_named(stem.removeprefix("autosplit_")) is None:
        return False
    try:
        lines = read_lines(tree.path(file))
    except DataError:
        return False
    return not lines or lines[0].lower().endswith(PICTURES)


def pairs(tree: Tree, labels: list[str], pictures: Mapping[str, list[str]], given: Settings) -> Iterator[Pair]:
    """Yield every picture with its label file: pictures in order, then label files and list entries without a picture.

    A picture without a label file counts if it is listed, or lies where pictures with labels or images/ lie.
    """
    lists = _lists(tree, given)
    owners, homeless = _owners(tree, labels, pictures)
    near = {picture.rpartition("/")[0] for picture in owners}
    for picture in tree.images.pictures:
        label, split = owners.get(picture, ""), lists.split(picture)
        if label or split or picture.rpartition("/")[0] in near:
            yield Pair(picture, label, split or split_of_folder(picture) or split_of_folder(label))
    missing = dict(lists.missing)
    by_stem = {PurePosixPath(name).stem: name for name in reversed(missing)}
    for label in homeless:
        name = by_stem.pop(PurePosixPath(label).stem, "")
        yield Pair("", label, missing.pop(name, None) or split_of_folder(label), name or key(label))
    for name, split in missing.items():
        yield Pair("", "", split, name)


def _owners(tree: Tree, labels: list[str], pictures: Mapping[str, list[str]]) -> tuple[dict[str, str], list[str]]:
    """Return the label file of each picture, and the label files that have none."""
    owners: dict[str, str] = {}
    left: list[str] = []
    for label in labels:
        own = pictures.get(key(label), []) or pictures.get(key(key(label)), [])  # 1.txt, or 1.jpg.txt
        free = [picture for picture in own if picture not in owners]
        owners.update(dict.fromkeys(free, label))
        if not free:
            left.append(label)
    homeless: list[str] = []
    for label in left:  # elsewhere by its name alone, but not in another split
        found = [picture for picture in tree.images.find(PurePosixPath(label).stem) if picture not in owners]
        agreeing = len(found) == 1 and len({split_of_folder(found[0]), split_of_folder(label), None}) < 3
        if agreeing and PurePosixPath(found[0]).stem.lower() == PurePosixPath(label).stem.lower():
            owners[found[0]] = label
        else:
            homeless.append(label)
    return owners, homeless


def _lists(tree: Tree, given: Settings) -> _Lists:
    """Return what data.yaml, obj.data or the lists of pictures say about splits; the first to name a picture wins."""
    lists = _Lists()
    for split, place in given.splits:
        if place.lower().endswith(".txt"):
            if file := _ending_in(tree.files, place):
                _add_list(tree, file, split, lists)
        elif folder := _folder(tree, given.file, place):
            lists.folders.append((folder, split))
    lists.folders.sort(key=lambda entry: -len(entry[0]))  # images/val before images
    for file in tree.ending(".txt"):
        split_of = split_named(PurePosixPath(file).stem.removeprefix("autosplit_"))
        if split_of and file not in lists.files and _is_list(file, tree) and "ImageSets/" not in file:
            _add_list(tree, file, split_of, lists)
    return lists


def repeated(tree: Tree, given: Settings) -> list[str]:
    """Return the pictures that data.yaml or lists put into two splits."""
    lists = _lists(tree, given)
    folders = [folder for folder, _ in lists.folders]
    twice = tuple(folder for folder in folders if folders.count(folder) > 1)
    return [*lists.repeated, *(picture for picture in tree.images.pictures if twice and picture.startswith(twice))]


def _add_list(tree: Tree, file: str, split: str, lists: _Lists) -> None:
    lists.files.add(file)
    near = file.rpartition("/")[0]
    for line in read_lines(tree.path(file)):
        found = tree.images.find(line, near)
        if len(found) == 1:
            first = lists.pictures.setdefault(found[0], split)
            if first != split and "trainval" not in (first, split):
                lists.repeated.append(found[0])
        elif line.lower().endswith(PICTURES):
            lists.missing.setdefault(line.replace("\\", "/"), split)


def _ending_in(files: tuple[str, ...], place: str) -> str:
    """Return the file that a path from another machine means: the one that shares the longest end with it."""
    parts = [part for part in place.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for first in range(len(parts)):
        end = "/".join(parts[first:])
        if found := [file for file in files if file == end or file.endswith(f"/{end}")]:
            return min(found, key=len)
    return ""


def _folder(tree: Tree, file: str, place: str) -> str:
    """Return the folder of pictures, with a `/` behind, that data.yaml means by a path, which may be another machine's.

    Roboflow writes ../train/images for train/images; Ultralytics puts its own data sets' folder first. Of a path,
    leading parts may go until what is left is a folder here, but never so far that only a word such as images is left.
    """
    parts = [part for part in place.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    base = PurePosixPath(file).parent
    for first in range(len(parts)):
        rest = parts[first:]
        if first and len(rest) == 1 and split_named(rest[0]) is None:
            break
        for folder in dict.fromkeys((str(base.joinpath(*rest)), "/".join(rest))):
            if any(picture.startswith(f"{folder}/") for picture in tree.images.pictures):
                return f"{folder}/"
    return ""
