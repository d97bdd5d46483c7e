"""What the readers of labelling tools' files share: which files to read, and entries read one by one.

A bad entry loses itself alone: its reader raises `EntryError` or a ValueError, and `collect` makes a problem of that.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from reprolens.config.data import Labelled
from reprolens.convert.source import NotANumberError, Problem, decimal, split_named, split_of_folder
from reprolens.convert.tree import Tree
from reprolens.errors import DataError

T = TypeVar("T")
R = TypeVar("R")

LONGEST_SIDE = 10**6
"""Pixels; a width or height above it is no picture's, and counts as not said."""


class EntryError(Exception):
    """An entry is left out: the kind of the problem, and the reason in a few words."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


def chosen(tree: Tree, options: Labelled, *suffixes: str) -> tuple[str, ...]:
    """Return the source's files with one of the suffixes that `data.annotations` lets through."""
    files = tree.ending(*suffixes)
    if options.annotations is None:
        return files
    return tuple(file for file in files if PurePosixPath(file).match(options.annotations))


def opening(path: Path, size: int = 65536) -> bytes:
    """Return the first bytes of a file, or none if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def attempt(tree: Tree, file: str, parse: Callable[[Path], T]) -> T | Problem:
    """Return what `parse` makes of a file, or the problem that it cannot be read."""
    path = tree.path(file)
    try:
        return parse(path)
    except DataError as error:
        return Problem("unreadable_annotation", file, tree.place(file), str(error).removeprefix(f"{path}: "))


def load(tree: Tree, files: Iterable[str], parse: Callable[[Path], T]) -> tuple[list[tuple[str, T]], list[Problem]]:
    """Return what `parse` makes of every file, and the problems of those that cannot be read.

    Raises DataError, that of the first file, if none of them can.
    """
    loaded: list[tuple[str, T]] = []
    problems: list[Problem] = []
    for file in files:
        outcome = attempt(tree, file, parse)
        if isinstance(outcome, Problem):
            problems.append(outcome)
        else:
            loaded.append((file, outcome))
    if problems and not loaded:
        raise DataError(f"{problems[0].place}: {problems[0].reason}")
    return loaded, problems


def collect(
    entries: Iterable[T], parse: Callable[[T], Iterable[R]], file: str, place: str
) -> tuple[list[R], list[Problem]]:
    """Return the objects that `parse` makes of a picture's entries, and a problem for each entry it makes none of.

    Args:
        entries: what the annotation holds, one an object; a problem names it by its number, from 1.
        parse: raises EntryError, or ValueError (NotANumberError) or ArithmeticError for numbers that are none.
        file: the picture, as the source names it.
        place: where the entries stand.
    """
    objects: list[R] = []
    problems: list[Problem] = []
    for number, entry in enumerate(entries, 1):
        try:
            objects.extend(parse(entry))
            continue
        except EntryError as error:
            kind, reason = error.kind, error.reason
        except NotANumberError as error:
            kind, reason = "invalid_box", str(error)
        except (ValueError, ArithmeticError):
            kind, reason = "invalid_box", "its numbers are beyond all measure"
        problems.append(Problem(kind, file, f"{place}, object {number}", reason))
    return objects, problems


def class_name(value: Any, known: Iterable[str] | None = None) -> str:
    """Return an entry's class. Raises EntryError where it has none, or one that is not among the `known`."""
    name = text(value)
    if not name:
        raise EntryError("unknown_class", "has no class")
    if known is not None and name not in known:
        raise EntryError("unknown_class", f"{name[:40]!r} is not among the classes that the data set declares")
    return name


def mapping(value: Any) -> dict[str, Any]:
    """Return a JSON object as it is, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """Return a JSON array as it is, and an empty one for anything else."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    """Return text or a number as text without blanks around it, and "" for anything else."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)[:400] if abs(value) < 10**300 else ""
    return ""


def is_true(value: Any) -> bool:
    """Return whether a flag is set: true, 1, "1", "true" or "yes"."""
    return value is True or text(value).lower() in ("1", "true", "yes")


def side(value: Any) -> int:
    """Return a picture's width or height in pixels, or 0 where it is not a whole number of a sensible size."""
    if type(value) is int:
        return value if 0 < value <= LONGEST_SIDE else 0
    try:
        number = decimal(value)
    except ValueError:
        return 0
    return int(number) if 0 < number <= LONGEST_SIDE and number == int(number) else 0


def folder_of(file: str) -> str:
    """Return the folder of a file of the source, "" for the root."""
    return file.rpartition("/")[0]


def split_of_file(place: str) -> str | None:
    """Return the split that a file of many pictures' annotations is called after, such as `labels_train.json`."""
    words = [word for word in re.split(r"[^A-Za-z]+", PurePosixPath(place).stem) if word]
    return next((split for word in (words[-1:] + words[:1]) if (split := split_named(word))), None) or split_of_folder(
        place
    )


MARKS = {
    "difficult": "difficult",
    "truncated": "truncated",
    "occluded": "occluded",
    "crowd": "crowd",
    "iscrowd": "crowd",
    "is_crowd": "crowd",
}
"""Names that people give to attributes, in lower case, and the marks of an object that they mean."""


def marks_of(attributes: Iterable[tuple[Any, Any]]) -> dict[str, bool]:
    """Return the marks of an object that its attributes (name, value) set."""
    return {MARKS[name]: True for key, value in attributes if (name := text(key).lower()) in MARKS and is_true(value)}
