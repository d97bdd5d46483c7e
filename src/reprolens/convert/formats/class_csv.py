"""Tables of a picture's file and its class: `1.jpg,cat` in a CSV or `1.jpg cat` in a TXT, with or without a header.

Classes are names, or numbers that a list beside the table names; several of a picture are several columns, a column a
class with 0 and 1 (as Roboflow's `_classes.csv` has them), several rows, or one cell with `;` or `|` between them.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

from reprolens.config.data import Labelled
from reprolens.convert.formats.class_folders import natural
from reprolens.convert.formats.class_table import Table, class_list, parse, read_rows, sketch
from reprolens.convert.source import Problem, Source, SourceImage, split_named
from reprolens.convert.tree import Tree
from reprolens.errors import DataError
from reprolens.voc import Record

TABLES = (".csv", ".tsv", ".txt")
# A submission's classes are placeholders; CelebA's identities and partitions look like classes and are none.
_OTHER = ("submission", "partition", "identity")

LOOKED_AT = 16
"""How many tables, and how many rows of each, are looked at to know the format."""


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like tables of files and classes, or None."""
    if not tree.images.pictures:
        return None
    for file in _candidates(tree)[:LOOKED_AT]:
        table = sketch(tree, file, LOOKED_AT)
        if table is None:
            continue
        near = _folder(file)
        found = sum(bool(tree.images.find(row.name, near)) for row in table.rows)
        if table.rows and 2 * found >= len(table.rows):
            return f"{file} gives pictures and their classes, {table.columns}"
    return None


def read(tree: Tree, options: Labelled) -> Source:
    """Open the tables of a source: all that have a column of files and classes, or those that `annotations` names.

    Raises DataError if there is none, or if not one can be read.
    """
    files = _candidates(tree)
    if options.annotations is not None:
        files = [file for file in files if PurePosixPath(file).match(options.annotations)]
    tables: list[Table] = []
    problems: list[Problem] = []
    for file in files:
        try:
            table = parse(file, read_rows(tree, file), tree.images)
        except DataError as error:
            reason = str(error).removeprefix(f"{tree.path(file)}: ")
            problems.append(Problem("unreadable_annotation", file, tree.place(file), reason))
            continue
        if table is not None:
            tables.append(table)
    if not tables:
        detail = f" ({problems[0].file}: {problems[0].reason})" if problems else ""
        raise DataError(
            f"{tree.root}: no table of pictures and their classes{detail}; give a CSV the header filename,label"
        )
    names = class_list(tree, {table.file for table in tables})
    declared = names.values() if names is not None else [name for table in tables for name in table.classes]
    classes = tuple(dict.fromkeys(declared))
    if not classes:
        classes = natural({label for table in tables for row in table.rows for label in row.labels or ()})
    return Source(_images(tree, tables, names or {}, problems), classes, "classification")


def _candidates(tree: Tree) -> list[str]:
    """Return the files that may be tables, those for training first, without those that never are."""
    found = []
    texts: Counter[str] = Counter()
    for file in tree.ending(".txt"):
        texts[_folder(file)] += 1
    for file in tree.ending(*TABLES):
        low = file.lower()
        # Many texts in one folder are one a picture; the image sets of VOC say -1, 0 and 1.
        if low.endswith(".txt") and (texts[_folder(file)] > LOOKED_AT or "imagesets/" in low):
            continue
        if not any(word in low.rpartition("/")[2] for word in _OTHER):
            found.append(file)
    return sorted(found, key=lambda file: (_split_of(file) not in (None, "train"), file))


def _images(
    tree: Tree, tables: list[Table], names: dict[str, str], problems: list[Problem]
) -> Iterator[SourceImage | Problem]:
    """Yield each row by itself; several of one picture are put together by convert."""
    yield from problems
    for table in tables:
        near, split = _folder(table.file), _split_of(table.file)
        for row in table.rows:
            place = tree.place(table.file, f"line {row.line}")
            if row.problem:
                yield Problem("unreadable_annotation", row.name, place, row.problem)
            elif row.labels is None:
                # The picture itself is not named here, so that convert finds it without an annotation.
                if not tree.images.find(row.name, near):
                    yield Problem("missing_annotation", row.name, place, "the row gives no class")
            else:
                labels = tuple(names.get(_number(label), label) for label in row.labels)
                record = Record("", row.name.replace("\\", "/"), 0, 0, labels=labels)
                own = split_named(row.split) or split or _split_of(row.name)
                yield SourceImage(record, own, near=near, place=place)


def _number(label: str) -> str:
    """Return a label that is a whole number as tables of numbers write it: 3.0 and 03 are 3."""
    whole = label.removesuffix(".0")
    return str(int(whole)) if whole.isascii() and whole.isdigit() and len(whole) < 10 else label


def _split_of(file: str) -> str | None:
    """Return the split that a file's name or its folders speak of: `train/_classes.csv`, `val_labels.csv`."""
    path = PurePosixPath(file.replace("\\", "/"))
    words = re.split(r"[\W_]+", path.stem) if path.suffix.lower() in TABLES else []
    found = {split for split in map(split_named, words) if split}
    found = found or {split for split in map(split_named, path.parent.parts) if split}
    return found.pop() if len(found) == 1 else None


def _folder(file: str) -> str:
    return file.rpartition("/")[0]
