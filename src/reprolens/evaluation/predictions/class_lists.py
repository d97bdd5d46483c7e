"""What the class numbers of text files stand for: a number is a name's 0-based place in a list of names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from reprolens.convert.documents import read_json, read_lines
from reprolens.errors import DataError
from reprolens.evaluation.predictions.coco_files import Category
from reprolens.evaluation.predictions.refusals import quoted


@dataclass(frozen=True)
class ClassList:
    """Class names in the order of their numbers, and in words where they are listed."""

    names: Sequence[str]
    source: str

    def note(self) -> str:
        """Say how class numbers were read."""
        return f"class numbers are places in {self.source}, from 0: 0 is {quoted(self.names[0])[1:-1]}"


class _Listing(msgspec.Struct):
    categories: list[Category] = []


def find_list(folder: Path, own: Sequence[Path], annotations: Path | None) -> ClassList | None:
    """Return the list of names that is given with a folder of text files; None if none is.

    It is, the first that there is: the categories of the COCO file `annotations`, in the order of their ids; a list
    among `own`, those inside the folder; one beside the folder.

    Raises DataError if a list cannot be read or is empty, or if two in the same place differ.
    """
    if annotations is not None:
        listed = sorted(read_json(annotations, _Listing).categories, key=lambda one: (isinstance(one.id, str), one.id))
        if not listed:
            raise DataError(f"{annotations}: lists no categories; --annotations is the COCO file that numbers are of")
        return ClassList([category.name for category in listed], f"the categories of {annotations.name}")
    beside = folder.absolute().parent
    return _read(own, "") or _read([path for path in beside.iterdir() if is_list(path)], " beside the folder")


def is_list(path: Path) -> bool:
    """Return whether a file is called as lists of names are: classes.txt, or as darknet's obj.names."""
    return (path.name == "classes.txt" or path.suffix == ".names") and path.is_file()


def _read(paths: Sequence[Path], place: str) -> ClassList | None:
    lists = {path: read_lines(path) for path in sorted(paths)}
    if not lists:
        return None
    (first, names), *others = lists.items()
    if not names:
        raise DataError(f"{first}: lists no class; write one name a line, first that of class 0, or remove the file")
    for path, other in others:
        if other != names:
            raise DataError(f"{path}: lists other classes than {first}; keep the one that the class numbers are of")
    return ClassList(names, f"{first.name}{place}")
