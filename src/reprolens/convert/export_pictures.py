"""The pictures and names of a VOC folder as the exporters write them: as the source had them."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from reprolens.convert.placing import place
from reprolens.errors import DataError
from reprolens.voc import Folder, Record
from reprolens.voc.folder import original_name


def source_name(name: str) -> str:
    """Return a class's name as the source had it; one that is not Unicode stays as VOC has it."""
    found = original_name(name)
    try:
        found.encode()
    except UnicodeEncodeError:
        return name
    return found


def take(taken: set[str], names: Iterable[str], key: Callable[[str], str] = str) -> str:
    """Return the first of some names whose `key` is not taken, a place that leads nowhere else, and note it as taken.

    Raises DataError if there is none.
    """
    for name in names:
        if key(name) not in taken and _is_safe(name):
            taken.add(key(name))
            return name
    raise DataError("a picture's name leads out of the data set, or all names like it are taken; rename it")


def check_replaceable(folder: Folder, out: Path, own: frozenset[str]) -> None:
    """Raise DataError unless `out` may be replaced: it is new, empty, or holds an earlier export, of `own` names."""
    place, source = out.resolve(), folder.root.resolve()
    if place == source or place in source.parents or source in place.parents:
        raise DataError(f"{out}: is, holds or lies in the VOC folder {folder.root}; give another folder")
    if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= own):
        raise DataError(f"{out}: holds other things than an earlier export, which would be lost; give a new folder")


def numbered(name: str) -> Iterator[str]:
    """Yield a file's name, as the source had it, as VOC has it, and then with numbers behind it: for `take`."""
    yield source_name(name)
    yield name
    path = PurePosixPath(name)
    for number in range(2, 10**6):
        yield str(path.with_name(f"{path.stem}~{number}{path.suffix}"))


def copy_picture(folder: Folder, record: Record, target: Path) -> None:
    """Copy a record's picture. Raises DataError if it is missing or cannot be copied."""
    source = folder.image(record)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        place(source, target)
    except FileNotFoundError:
        raise DataError(f"{source}: not found; run the convert stage again") from None
    except OSError as error:
        raise DataError(f"{source}: cannot be copied to {target} ({error.strerror})") from None


def _is_safe(name: str) -> bool:
    place = os.path.normpath(name)
    return "\0" not in name and place == name and not place.startswith(("/", "../")) and place not in (".", "..")
