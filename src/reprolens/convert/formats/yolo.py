"""YOLO: a text a picture, a line an object, numbers relative to the picture's size; and DOTA's boxes in pixels.

Boxes `c cx cy w h`, segments and oriented boxes `c x y x y ...` (Ultralytics v5 to v11, darknet, CVAT, Label Studio,
Roboflow); Roboflow's and DOTA's labelTxt `x1 y1 ... x4 y4 name difficult`. A picture without a label file has no
objects, as YOLO itself takes it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from reprolens.config.data import Action, Labelled
from reprolens.convert.documents import read_text
from reprolens.convert.formats.relative import corners_of, printed
from reprolens.convert.formats.yolo_folder import (
    Pair,
    Settings,
    key,
    keys_of,
    label_files,
    listed_names,
    pairs,
    repeated,
    settings,
)
from reprolens.convert.formats.yolo_label import Size, is_dota, is_label, parse_dota, parse_label
from reprolens.convert.picture import shown_size
from reprolens.convert.source import Problem, Source, SourceImage
from reprolens.convert.tree import Tree
from reprolens.errors import DataError
from reprolens.voc import Object, Record

__all__ = ["corners_of", "detect", "printed", "read"]

SAMPLES = 8
"""Label files that `detect` opens at most."""


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like YOLO's, or None."""
    tree = _around(tree)
    try:
        given = settings(tree)
    except DataError:
        given = Settings()
    if given.file:
        kind = "the names and pictures" if not given.file.endswith(".data") else "darknet's settings"
        return f"{given.file} gives {kind} of a YOLO data set"
    pictures = keys_of(tree)
    for file in label_files(tree, pictures)[:SAMPLES]:
        if not (key(file) in pictures or _among_labels(file)):
            continue
        try:
            lines = [line.split() for line in read_text(tree.path(file)).split("\n") if _says(line)]
        except DataError:
            continue
        if lines and all(map(is_dota, lines)):
            return f"{file} has lines of four corners, a class and a flag, as DOTA has"
        if lines and all(map(is_label, lines)):
            return f"{file} has lines of a class index and relative coordinates, as YOLO has"
        if lines:
            return None
    return None


def read(tree: Tree, options: Labelled) -> Source:
    """Open a YOLO data set. Raises DataError if there is no label file, or lists of classes contradict each other."""
    tree = _around(tree)
    chosen = getattr(options, "classes", None)
    given = settings(tree)
    pictures = keys_of(tree)
    labels = label_files(tree, pictures, options.annotations)
    if not labels:
        raise DataError(f"{tree.root}: holds no label file (.txt) of a YOLO data set; set data.path or data.format")
    names = {str(i): name for i, name in enumerate(chosen)} if chosen else given.names or listed_names(tree)
    dota = names is None and _holds_dota(tree, labels)
    if names is None:
        names = {} if dota else _numbered(tree, labels)
    found = list(pairs(tree, labels, pictures, given))
    problems: list[Problem] = []
    if not dota:
        names, problems = _complete(tree, names)
    classes = None if dota else tuple(dict.fromkeys(names.values()))
    problems += _told(tree, found, given)
    return Source(chain(problems, _images(tree, found, names, given.keypoints)), classes)


def _complete(tree: Tree, names: Mapping[str, str]) -> tuple[dict[str, str], list[Problem]]:
    """Return the names without holes, so that no class changes its number, and what is odd about them."""
    numbers = [int(index) for index in names if index.isdigit() and len(index) < 6]
    if max(numbers, default=0) > 2 * len(numbers) + 100:
        numbers = []  # numbers from another list, such as COCO's: to keep them would make classes of what is none
    holes = {str(number): str(number) for number in range(max(numbers, default=-1)) if str(number) not in names}
    whole = {**names, **holes}
    whole = {index: whole[index] for index in sorted(whole, key=lambda text: (len(text), text))}
    problems: list[Problem] = []
    for index, name in whole.items():
        first = next(other for other, like in whole.items() if like == name)
        if first != index:
            reason = f"classes {first} and {index} are both {name[:40]!r}: they become one class"
            problems.append(Problem("duplicate_class", "", str(tree.root), reason, Action.fix))
    return whole, problems


def _told(tree: Tree, found: Sequence[Pair], given: Settings) -> list[Problem]:
    """Return what YOLO's customs settle without a word: pictures without labels, and poses."""
    problems = []
    bare = [pair.picture for pair in found if pair.picture and not pair.label]
    if bare:
        reason = f"{len(bare)} pictures have no label file and count as pictures without objects, such as {bare[0]}"
        problems.append(Problem("unlabelled_pictures", "", str(tree.root), reason, Action.keep))
    if twice := repeated(tree, given):
        reason = f"{len(twice)} pictures are in two splits, such as {twice[0]}; each stays in the one named first"
        problems.append(Problem("repeated_pictures", "", str(tree.root), reason, Action.fix))
    if given.keypoints:
        problems.append(
            Problem("not_kept", given.file, tree.place(given.file), "key points: VOC has no place for them")
        )
    return problems


def _around(tree: Tree) -> Tree:
    """Return the files around a data.yaml or obj.data that was given in its folder's stead, as YOLO's tools take it."""
    alone = len(tree.files) == 1 and tree.files[0].lower().endswith((".yaml", ".yml", ".data"))
    return replace(tree, files=tree.images.files) if alone and tree.images.root == tree.root else tree


def _images(
    tree: Tree, found: Iterable[Pair], names: Mapping[str, str], keypoints: int
) -> Iterator[SourceImage | Problem]:
    for pair in found:
        try:
            text = read_text(tree.path(pair.label)) if pair.label else ""
        except DataError as error:
            yield Problem("unreadable_annotation", pair.picture or pair.name, tree.place(pair.label), _reason(error))
            continue
        picture = tree.images.path(pair.picture) if pair.picture else None
        size = (picture is not None and shown_size(picture)) or (0, 0)
        file = pair.picture or pair.name
        objects: list[Object] = []
        for item in _objects(text, names, size, keypoints):
            if isinstance(item, Object):
                objects.append(item)
            else:
                number, kind, reason = item
                yield Problem(kind, file, tree.place(pair.label, f"line {number}"), reason)
        record = Record("", file, *size, objects=tuple(objects))
        if not pair.picture and pair.label and tree.images.find(pair.name):  # the one so called is another label's own
            picture = tree.images.path(f"{pair.label}.missing")
        yield SourceImage(record, pair.split, picture, place=tree.place(pair.label) if pair.label else "")


def _objects(
    text: str, names: Mapping[str, str], size: Size, keypoints: int
) -> Iterator[Object | tuple[int, str, str]]:
    """Yield the objects of a label file, and for what is none its line number, the problem's kind and the reason."""
    for number, line in enumerate(text.split("\n"), 1):
        if not _says(line):
            continue
        fields = line.split()
        item = parse_dota(fields, names) if is_dota(fields) else parse_label(fields, names, size, keypoints)
        yield item if isinstance(item, Object) else (number, *item)


def _says(line: str) -> bool:
    """Return whether a line holds an object: not blank, nor one of the two that head a file of DOTA."""
    return bool(line.strip()) and not line.startswith(("imagesource:", "gsd:"))


def _among_labels(file: str) -> bool:
    return any(part.lower() in ("labels", "labeltxt", "obj_train_data") for part in file.split("/")[:-1])


def _reason(error: DataError) -> str:
    return str(error).partition(": ")[2] or str(error)


def _lines(tree: Tree, labels: list[str]) -> Iterator[str]:
    """Yield the lines of all label files that can be read."""
    for file in labels:
        try:
            text = read_text(tree.path(file))
        except DataError:
            continue
        yield from (line for line in text.split("\n") if _says(line))


def _holds_dota(tree: Tree, labels: list[str]) -> bool:
    """Return whether the first line of the data set has the form of DOTA's, which names the class itself."""
    return next((is_dota(line.split()) for line in _lines(tree, labels)), False)


def _numbered(tree: Tree, labels: list[str]) -> dict[str, str]:
    """Return the classes "0", "1", ... up to the largest index that a label file has."""
    largest = -1
    for line in _lines(tree, labels):
        index = line.split(maxsplit=1)[0]
        if index.isascii() and index.isdecimal() and len(index) < 5:
            largest = max(largest, int(index))
    return {str(index): str(index) for index in range(largest + 1)}
