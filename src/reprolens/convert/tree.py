"""The files of a source, listed once, and the search for the pictures that annotations name.

Every file that is ever opened comes out of this listing, so that no name in an annotation can lead out of the source.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from reprolens.errors import DataError

PICTURES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
"""The suffixes of pictures, in lower case."""


@dataclass(frozen=True)
class Listing:
    """The files below a folder: their places there, with `/`, in order; hidden ones (`._x.jpg` of macOS) left out."""

    root: Path
    files: tuple[str, ...]

    def __contains__(self, file: str) -> bool:
        return file in self._known

    def path(self, file: str) -> Path:
        """Return where a file of the listing lies."""
        return self.root / file

    def ending(self, *suffixes: str) -> tuple[str, ...]:
        """Return the files with one of the suffixes (in lower case, such as `.json`)."""
        return tuple(file for file in self.files if file.lower().endswith(suffixes))

    @cached_property
    def pictures(self) -> tuple[str, ...]:
        return self.ending(*PICTURES)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.files)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """The pictures by every bare name that may be meant for one: with and without suffix, in lower case too."""
        named: dict[str, list[str]] = defaultdict(list)
        for file in self.pictures:
            path = PurePosixPath(file)
            for name in dict.fromkeys((path.name, path.stem, path.name.lower(), path.stem.lower())):
                named[name].append(file)
        return named

    def find(self, name: str, near: str = "") -> list[str]:
        """Return the picture that an annotation in the folder `near` calls `name`: one, none, or several it could be.

        The name is taken as a place below `near`, then below the root; then by as much of its end as there is, so that
        `C:\\data\\images\\7.jpg` finds `images/7.jpg`; then without its suffix, and last without regard to case.
        """
        for wanted in dict.fromkeys((name, name.replace("\\", "/"))):
            for base in dict.fromkeys((near, "")):
                place = os.path.normpath(f"{base}/{wanted}" if base else wanted)
                if place in self._known:
                    return [place]
        path = PurePosixPath(wanted)
        for key in dict.fromkeys((path.name, path.stem, path.name.lower(), path.stem.lower())):
            found = self._by_name.get(key, [])
            if path.suffix.lower() in PICTURES and key == path.stem:  # another file of that name may be another picture
                found = [file for file in found if PurePosixPath(file).suffix.lower() != path.suffix.lower()] or found
            if found:
                return _nearest(found, path, near)
        return []


@dataclass(frozen=True)
class Tree(Listing):
    """A source's files. `images` lists the folder of its pictures, which may be another one."""

    images: Listing

    def place(self, file: str, detail: str = "") -> str:
        """Return how a problem names a file of the source, and a place in it."""
        return f"{self.root / file}, {detail}" if detail else str(self.root / file)


def open_tree(path: Path, images: Path | None = None) -> Tree:
    """List the files of a source: of a folder, or the one file that `path` is. Pictures lie there too, or in `images`.

    Raises DataError if there is no such place, or nothing in it.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; set data.path in params.yaml to the data set")
    root = path if path.is_dir() else path.parent
    files = tuple(sorted(_files(root))) if path.is_dir() else (path.name,)
    if not files:
        raise DataError(f"{path}: the folder is empty; set data.path in params.yaml to the data set")
    if images is not None and not images.is_dir():
        raise DataError(f"{images}: there is no such folder; set data.images to the folder of the pictures")
    folder = images if images is not None else root
    same = folder == path
    return Tree(root, files, Listing(folder, files if same else tuple(sorted(_files(folder)))))


def _files(root: Path) -> Iterator[str]:
    """Yield the files below a folder; links to folders are followed, but no folder is listed twice in one line."""
    pending: list[tuple[str, str, frozenset[str]]] = [(str(root), "", frozenset({os.path.realpath(root)}))]
    while pending:
        folder, prefix, above = pending.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise DataError(f"{folder}: cannot be listed ({error.strerror})") from None
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_file():
                yield f"{prefix}{entry.name}"
            elif entry.is_dir():
                real = os.path.realpath(entry.path) if entry.is_symlink() else ""
                if real not in above:
                    pending.append((entry.path, f"{prefix}{entry.name}/", above | {real} if real else above))


def _nearest(found: list[str], path: PurePosixPath, near: str) -> list[str]:
    """Return those of several pictures whose folders agree longest with the name's; of these, those near the folder."""
    folders = path.parent.parts[::-1]

    def agreeing(file: str) -> int:
        own = PurePosixPath(file).parent.parts[::-1]
        pairs = enumerate(zip(folders, own, strict=False))
        return next((depth for depth, (one, other) in pairs if one != other), min(len(folders), len(own)))

    best = max(map(agreeing, found))
    found = [file for file in found if agreeing(file) == best]
    if near and len(found) > 1:
        close = [file for file in found if str(PurePosixPath(file).parent) == near]
        close = close or [file for file in found if file.startswith(f"{near}/")]
        found = close or found
    return found
