"""Which file of a folder is whose: pictures' names may differ by nothing but what their results' files leave out."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path, PurePosixPath

from reprolens.errors import DataError
from reprolens.inference.seen import Seen


def picture_name(seen: Seen) -> str:
    """Return the name of a picture in every format; a video's frames are called as they are drawn."""
    return seen.name if seen.frame is None else f"{seen.name}.jpg"


class ResultFiles:
    """Gives every picture a file of its own below `folder`, so that none takes the place of another one's.

    Names are told apart as file systems do that take small and capital letters for the same.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = set[str]()
        self._folders = set[str]()

    def place(self, name: str, suffix: str) -> Path:
        """Return where the picture `name` is to be written, with `suffix` in place of its own.

        Where that is taken it is put behind its own suffix, then behind a number. The folders above are made. Raises
        DataError for a name that leads out of the folder.
        """
        path = PurePosixPath(name)
        if path.is_absolute() or not path.name or ".." in path.parts or "\0" in name:
            raise DataError(f"{name!r}: leads out of the folder that is written; rename the picture")
        chosen = next(found for found in _candidates(path, suffix) if self._is_free(found))
        self._files.add(_key(chosen))
        self._folders.update(_key(parent) for parent in chosen.parents)
        target = self._folder.joinpath(*chosen.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _is_free(self, path: PurePosixPath) -> bool:
        taken = _key(path) in self._files or _key(path) in self._folders
        return not taken and not any(_key(parent) in self._files for parent in path.parents)


def _candidates(path: PurePosixPath, suffix: str) -> Iterator[PurePosixPath]:
    yield path.with_name(f"{path.stem}{suffix}")
    yield path.with_name(f"{path.name}{suffix}")
    for number in count(2):
        yield path.with_name(f"{path.name}-{number}{suffix}")
        yield PurePosixPath(f"{'-'.join(path.parts)}-{number}{suffix}")  # where a folder's name is taken by a file


def _key(path: PurePosixPath) -> str:
    return str(path).casefold()
