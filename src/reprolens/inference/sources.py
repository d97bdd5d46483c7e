"""What the user names, to the files that it stands for: pictures and videos, folders of them, and globs."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from reprolens.errors import DataError

PICTURES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp", ".gif")) | {
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".avif", ".tga", ".qoi")
}
"""The suffixes, in lower case, of what is taken for a picture in a folder; a file that is named itself is tried."""

VIDEOS = frozenset((".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"))


@dataclass(frozen=True)
class Source:
    """A file and the name that its results bear: its path within what was asked for, with `/` and without `..`."""

    name: str
    path: Path

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEOS


def find_pictures(paths: Sequence[str | Path]) -> list[Source]:
    """Return the pictures and videos that `paths` stand for, each once, in their order; in a folder and of a glob in
    natural order (2 before 10), with what lies in folders below, but without what is hidden.

    Names are unlike each other: where two would be the same, more of the folders above them belong to their names.
    Raises DataError for a path that does not exist, a glob without a match, and a folder without a picture.
    """
    known: set[tuple[str, str]] = set()
    folder_of = cache(os.path.realpath)
    groups: list[_Group] = []
    for path in paths:
        base, files = _expand(str(path))
        new = []
        for file in files:
            place = (folder_of(file.parent), file.name)  # a link to a picture is one of its own
            if place not in known:
                known.add(place)
                new.append(file)
        groups.append(_Group(base, new))
    return list(_named(groups))


@dataclass
class _Group:
    """The files of one argument and the folder from which they are named; `above` of its parents go before."""

    base: Path
    files: list[Path]
    above: int = 0

    def parents(self) -> tuple[str, ...]:
        return Path(os.path.realpath(self.base)).parts[1:]

    def names(self) -> list[str]:
        parents = self.parents()
        before = parents[len(parents) - self.above :]
        return ["/".join((*before, *file.relative_to(self.base).parts)) for file in self.files]


def _named(groups: list[_Group]) -> Iterator[Source]:
    while True:
        names = [group.names() for group in groups]
        times = Counter(name for part in names for name in part)
        alike = [group for group, part in zip(groups, names, strict=True) if any(times[name] > 1 for name in part)]
        longer = [group for group in alike if group.above < len(group.parents())]
        if not longer:
            break
        for group in longer:
            group.above += 1
    for group, part in zip(groups, names, strict=True):
        yield from map(Source, part, group.files)


def _expand(argument: str) -> tuple[Path, list[Path]]:
    """Return the files that an argument stands for, and the folder from which they are named."""
    path = Path(argument)
    if argument and path.is_file():
        return path.parent, [path]
    if argument and path.is_dir():
        base, files = path, list(_known(_walk(path)))
        nothing = "no picture or video lies in this folder"
    elif glob.has_magic(argument):
        base = _before_wildcards(path)
        files = _matches(base, path.relative_to(base).parts)
        nothing = "matches no picture or video"
    else:
        base, files = path, []
        nothing = "is no file or folder" if argument and path.exists() else "there is no such file or folder"
    if not files:
        raise DataError(f"{argument or repr(argument)}: {nothing}")
    return base, sorted(set(files), key=lambda file: _natural(file.relative_to(base)))


def _known(files: Iterable[Path]) -> Iterator[Path]:
    return (file for file in files if file.suffix.lower() in PICTURES | VIDEOS)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and those below it that are not hidden, and links that lead nowhere, which are told
    of when they are read. Each folder is entered once, however many links lead to it, and by its own name if it can be.
    """
    entered: set[str] = set()
    folders, links = [folder], list[Path]()
    while folders or links:
        here = folders.pop() if folders else links.pop()
        place = os.path.realpath(here)
        if place in entered:
            continue
        entered.add(place)
        try:
            inside = sorted(here.iterdir())
        except OSError as error:
            raise DataError(f"{here}: cannot be read ({error.strerror})") from None
        for path in inside:
            if path.name.startswith("."):
                continue
            if path.is_dir():
                (links if path.is_symlink() else folders).append(path)
            elif path.is_file() or (path.is_symlink() and not path.exists()):
                yield path


def _before_wildcards(path: Path) -> Path:
    """Return the folder in which a glob begins. One that is there may have `[` in its name."""
    base = Path(path.anchor)
    for part in path.relative_to(base).parts:
        if glob.has_magic(part) and not (base / part).is_dir():
            break
        base /= part
    return base


def _matches(base: Path, pattern: tuple[str, ...]) -> list[Path]:
    """Return the pictures and videos that a glob below `base` matches, and those in folders that it matches; where it
    matches only files of other suffixes, those.
    """
    if ".." in pattern:
        raise DataError(f"{base.joinpath(*pattern)}: `..` cannot stand behind a wildcard")
    if not base.is_dir():
        return []
    if "**" in pattern:  # not by Python's glob, which follows links in circles
        found = [file for file in _walk(base) if _fits_any_part(file.relative_to(base).parts, pattern)]
    else:
        paths = [base / match for match in glob.iglob("/".join(pattern), root_dir=base)]  # noqa: PTH207, hides dot files
        inside = [file for path in paths if path.is_dir() for file in _known(_walk(path))]
        found = [path for path in paths if path.is_file()] + inside
    return list(_known(found)) or found


def _fits_any_part(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    return any(_fits(parts[:count], pattern) for count in range(1, len(parts) + 1))


def _fits(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _natural(path: Path) -> tuple[list[list[str | int]], str]:
    """Return what sorts paths part by part, digits as numbers."""
    parts = [
        [int(piece) if place % 2 else piece for place, piece in enumerate(re.split(r"([0-9]+)", part.casefold()))]
        for part in path.parts
    ]
    return parts, path.as_posix()
