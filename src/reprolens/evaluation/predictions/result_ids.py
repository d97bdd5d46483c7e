"""What `image_id` and `category_id` of COCO results stand for: found out once for all rows, all or nothing.

Where a file says it (`Table`), that counts. Else ids are names, or numbers in names, or places; numbers that could be
two of these, and would then mean different pictures, are refused rather than guessed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprolens.errors import DataError, suggest
from reprolens.evaluation.predictions.picture_names import PictureNames
from reprolens.voc.folder import plain_name

Id = int | float | str

_GIVE = "give --annotations, the COCO file that the ids are of"


@dataclass(frozen=True)
class Table:
    """What ids stand for, as the file `source` says it: pictures by their names or places, classes by their names.

    A `binding` one holds even where it knows none of the ids: it was named by someone, or is in the predictions' file.
    """

    source: str
    images: Mapping[Id, str | int]
    categories: Mapping[Id, str]
    binding: bool = False


def find_pictures(
    path: Path, ids: Sequence[Id], names: PictureNames, pictures: int, table: Table
) -> tuple[list[int], str]:
    """Return the place of each row's picture, and in words what its id is. Raises DataError with the first bad row."""
    rows = _first_rows(ids)
    found: Mapping[Id, int]
    if table.images:
        found = {
            id: listed if isinstance(listed, int) else names.find(listed, f"{path}: row {rows[id]}")
            for id, listed in _listed(path, rows, table.images.get, "image", table.source).items()
        }
        note = f"the id in {table.source}"
    elif any(_whole(id) is None for id in rows):
        found = {id: names.find(str(id), f"{path}: row {row}") for id, row in rows.items()}
        note = "the name of the picture's file"
    elif all(isinstance(id, str) for id in rows) and (named := _all_named(rows, names)):
        found, note = named, "the name of the picture's file"
    else:
        found, note = _numbered(path, rows, names, pictures)
    return [found[id] for id in ids], note


def find_classes(path: Path, ids: Sequence[Id], classes: Sequence[str], table: Table) -> tuple[list[int], str]:
    """Return the class of each row, and in words what its id is. Raises DataError with the first bad row."""
    rows = _first_rows(ids)
    indices = {name: index for index, name in enumerate(classes)}
    names: Mapping[Id, str]
    if table.categories and (table.binding or not rows.keys().isdisjoint(table.categories)):
        names = _listed(path, rows, table.categories.get, "category", table.source)
        note = f"the id in {table.source}"
    elif any(_whole(id) is None for id in rows) or all(isinstance(id, str) and id in indices for id in rows):
        names = {id: str(id) for id in rows}
        note = "the class's name"
    else:
        numbers, first = _numbered_classes(path, rows, len(classes))
        return [numbers[id] - first for id in ids], f"the place in labels.txt, from {first}"
    found = {}
    for id, name in names.items():
        index = indices.get(name, indices.get(plain_name(name)))
        if index is None:
            where = f"{path}: row {rows[id]} is of class {name!r}"
            raise DataError(f"{where}, which is not in labels.txt; {suggest(name, classes)}")
        found[id] = index
    return [found[id] for id in ids], note


def _first_rows(ids: Sequence[Id]) -> dict[Id, int]:
    """Return each id once, with the first of its rows; of 145,000 rows nearly as many ids may be different ones."""
    rows: dict[Id, int] = {}
    for row, id in enumerate(ids):
        rows.setdefault(id, row)
    return rows


def _listed(path: Path, rows: Mapping[Id, int], find: Callable[[Id], Any], what: str, source: str) -> dict[Id, Any]:
    found = {id: find(id) for id in rows}
    for id, value in found.items():
        if value is None:
            where = f"{path}: row {rows[id]} is of {what} {id}"
            raise DataError(f"{where}, which {source} does not list; leave the row out, or {_GIVE}")
    return found


def _all_named(ids: Iterable[Id], names: PictureNames) -> dict[Id, int] | None:
    try:
        found = {id: names.place(str(id)) for id in ids}
    except DataError:  # several pictures have that name
        return None
    return {id: place for id, place in found.items() if place is not None} if None not in found.values() else None


def _numbered(path: Path, rows: Mapping[Id, int], names: PictureNames, pictures: int) -> tuple[Mapping[Id, int], str]:
    """Return the places of pictures told by numbers: those that are the files' names, or their places from 1."""
    by_name = {id: names.number(int(id)) for id in rows}
    by_place = {id: int(id) - 1 if 1 <= int(id) <= pictures else None for id in by_name}
    named, placed = (None not in found.values() for found in (by_name, by_place))
    if named and placed and by_name != by_place:
        raise DataError(
            f"{path}: its image_ids could be numbers in the files' names or places in the split, which are different "
            f"pictures; {_GIVE}"
        )
    if named:
        return {id: place for id, place in by_name.items() if place is not None}, "the number in the file's name"
    if placed:
        words = "the place in the split's image set, from 1"
        return {id: place for id, place in by_place.items() if place is not None}, words
    if sum(place is not None for place in by_name.values()) * 2 > len(by_name):
        id = next(id for id, place in by_name.items() if place is None)
        what = "the name of no picture of the split; leave the row out"
    else:
        id = next(id for id, place in by_place.items() if place is None)
        what = f"neither a number that is a file's name nor a place from 1 to {pictures} in the split"
    raise DataError(f"{path}: row {rows[id]} is of image {id}, {what}, or {_GIVE}")


def _numbered_classes(path: Path, rows: Mapping[Id, int], classes: int) -> tuple[dict[Id, int], int]:
    """Return the ids as whole numbers, and which of them is the first class."""
    found = {id: int(id) for id in rows}
    first = 0 if 0 in found.values() else 1
    for id, number in found.items():
        if not first <= number < classes + first:
            where = f"{path}: row {rows[id]} has the category_id {id}"
            raise DataError(f"{where}, but labels.txt has {classes} classes, counted from {first}; {_GIVE}")
    return found, first


def _whole(id: Id) -> int | None:
    """Return an id that is a whole number, or a text of digits, as that; None for any other."""
    if isinstance(id, str):
        return int(id) if id.isascii() and id.isdigit() and len(id) < 19 else None
    return int(id) if id == int(id) else None
