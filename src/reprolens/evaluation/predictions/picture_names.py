"""Which picture of a split the name in somebody's predictions means."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from reprolens.errors import DataError
from reprolens.evaluation.predictions.refusals import quoted
from reprolens.voc import Record
from reprolens.voc.folder import original_name

_SEVERAL = -1
_NUMBER = re.compile(r"(?:COCO_\w+_)?(\d{1,18})")  # 000000397133.jpg, and COCO_val2014_000000397133.jpg before 2017


@dataclass(frozen=True)
class PictureNames:
    """The names of a split's pictures: each leads to the picture's place, or to -1 where several bear it.

    whole: the VOC ids and the files below JPEGImages. short: the files without their folders, without their suffixes,
    and without either. numbers: the numbers that are the files' names.
    """

    whole: Mapping[str, int]
    short: Mapping[str, int]
    numbers: Mapping[int, int]

    def place(self, name: str) -> int | None:
        """Return the place of the picture that `name` means, with or without folders and suffix; None if none is.

        The name of a whole file, or a VOC id, goes before one that leaves something out. Raises DataError if several
        pictures could be meant.
        """
        last = name.replace("\\", "/").rpartition("/")[2]
        found = self.whole.get(name, self.short.get(name, self.short.get(last)))
        if found == _SEVERAL:
            raise DataError(f"{quoted(name)} is the name of several pictures; write it with its folder and suffix")
        return found

    def find(self, name: str, where: str) -> int:
        """Return the place of the picture that `name` means. Raises DataError if none is; `where` is its beginning."""
        try:
            place = self.place(name)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        if place is None:
            raise DataError(f"{where}: {quoted(name)} is no picture of the split; {self.hint(name)}")
        return place

    def number(self, id: int) -> int | None:
        """Return the place of the one picture whose file's name is this number, leading zeros aside."""
        found = self.numbers.get(id)
        return None if found == _SEVERAL else found

    def hint(self, name: str) -> str:
        """Return the end of an error line about a name that no picture of the split has."""
        near = difflib.get_close_matches(name, self.whole, n=1, cutoff=0.8)
        return f"did you mean {near[0]}?" if near else "leave it out, or give the --split and --data that it belongs to"


def picture_names(records: Sequence[Record]) -> PictureNames:
    """Return the names of pictures, in the order of their places."""
    whole: list[tuple[str, int]] = []
    short: list[tuple[str, int]] = []
    numbers: list[tuple[int, int]] = []
    for place, record in enumerate(records):
        whole += [(name, place) for name in _spellings(record.id, record.file)]
        for file in _spellings(record.file):
            path = PurePosixPath(file)
            stem = path.name.removesuffix(path.suffix)
            short += [(name, place) for name in (path.name, stem, file.removesuffix(path.suffix))]
            if match := _NUMBER.fullmatch(stem):
                numbers.append((int(match[1]), place))
    return PictureNames(_unique(whole), _unique(short), _unique(numbers))


def _spellings(*names: str) -> dict[str, None]:
    """Return names as VOC has them, and as the source had them."""
    return dict.fromkeys(spelling for name in names for spelling in (name, original_name(name)) if spelling)


def _unique(pairs: Iterable[tuple]) -> dict:
    found: dict = {}
    for name, place in pairs:
        found[name] = place if found.setdefault(name, place) == place else _SEVERAL
    return found
