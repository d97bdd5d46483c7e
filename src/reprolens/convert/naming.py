"""What each picture of a source is called in the VOC folder: stable, never the same for two, and in no one's way."""

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from reprolens.voc.folder import fitting, plain_name


def names(asked: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the id and the file below JPEGImages/ of every picture.

    `asked` holds the name that the annotation gives the picture, and its place below the folder of pictures ("" if it
    is in none). The annotation's name is kept, with its folders; where two pictures would get one id, they get their
    places instead, and where that does not help, their suffixes become part of the id. Whether an id is taken is
    decided as the narrowest file system does: without regard to case or to how Unicode composes its letters.
    """
    files = [_clean(name, place) for name, place in asked]
    for step in (_by_place, _with_suffix, _numbered):
        ids = [_id(file) for file, _ in files]
        taken = Counter(map(_key, ids))
        if len(taken) == len(files):
            break
        files = [
            step(*file, place, number) if taken[_key(id)] > 1 else file
            for number, (file, id, (_, place)) in enumerate(zip(files, ids, asked, strict=True))
        ]
    ids = [_id(file) for file, _ in files]
    return [(id, f"{id}{plain_name(suffix)}") for id, (_, suffix) in zip(ids, files, strict=True)]


def _clean(name: str, place: str) -> tuple[str, str]:
    """Return a name without its suffix, and the suffix: relative, with nothing that leads up or to a drive."""
    windows = "/" not in name and "\\" not in PurePosixPath(place).name  # else the backslash is a letter of the name
    path = PurePosixPath(os.path.normpath(name.replace("\\", "/") if windows else name))
    parts = list(path.parts)
    if path.is_absolute() or ".." in parts or (parts and parts[0].endswith(":")) or not path.name:
        parts = [path.name if path.name not in ("", "..") else PurePosixPath(place).name or "picture"]
    if place:  # the picture's own name is what counts where the annotation's lacks the suffix or differs in case
        parts[-1] = PurePosixPath(place).name
    path = PurePosixPath(*parts)
    return str(path.with_suffix("")) if path.suffix else str(path), path.suffix


def _id(name: str) -> str:
    return plain_name("/".join(fitting(part) for part in name.split("/")))


def _key(id: str) -> str:
    return unicodedata.normalize("NFC", id).casefold()


def _by_place(name: str, suffix: str, place: str, number: int) -> tuple[str, str]:
    return (str(PurePosixPath(place).with_suffix("")), suffix) if place else (name, suffix)


def _with_suffix(name: str, suffix: str, place: str, number: int) -> tuple[str, str]:
    return f"{name}{suffix}", suffix


def _numbered(name: str, suffix: str, place: str, number: int) -> tuple[str, str]:
    return f"{name}~{number}", suffix
