"""CSV files with a box a row, as TensorFlow's tutorials, Roboflow, Kaggle and keras-retinanet have them.

With a first line of column names (`filename,width,height,class,xmin,ymin,xmax,ymax`) these may have any order, any case
and many synonyms; without one, the columns are `path,x1,y1,x2,y2,class` (keras-retinanet) or `path,class,x1,y1,x2,y2`.
A row with a picture and nothing else is a picture without objects.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from reprolens.config.data import Labelled
from reprolens.convert.formats.table import columns, head, plain, rows
from reprolens.convert.source import NotANumberError, Problem, Source, SourceImage, decimal, make_object, split_named
from reprolens.convert.tree import PICTURES, Tree
from reprolens.errors import DataError
from reprolens.voc import Object, Record
from reprolens.voc.records import Corners

_SYNONYMS = {
    "file": "filename file image imagename imagefile imagepath imageid path img imgname imgpath filepath photo picture",
    "name": "class classname label labelname category categoryname name object objectname classes",
    "x0": "xmin x1 x0 left bboxx1 bboxxmin boxxmin bboxx x minx",
    "y0": "ymin y1 y0 top bboxy1 bboxymin boxymin bboxy y miny",
    "x1": "xmax x2 right bboxx2 bboxxmax boxxmax maxx",
    "y1": "ymax y2 bottom bboxy2 bboxymax boxymax maxy",
    "w": "w bboxw bboxwidth boxwidth",
    "h": "h bboxh bboxheight boxheight",
    "box": "bbox box boundingbox",
    "width": "width imagewidth imgwidth imwidth",
    "height": "height imageheight imgheight imheight",
    "split": "split subset set usage",
}

SYNONYMS: Mapping[str, Sequence[str]] = {column: tuple(names.split()) for column, names in _SYNONYMS.items()}
"""The names of a column, compared without case, blanks and signs; the first that a table has is taken."""

SAMPLES = 40
"""Files of which `detect` reads the first lines at most."""

_VOTT = ["image", "xmin", "ymin", "xmax", "ymax", "label"]
_CORNERS = frozenset(("x0", "y0", "x1", "y1"))


@dataclass(frozen=True)
class _Table:
    """A file, where its columns are, and whether its first row names them."""

    file: str
    columns: Mapping[str, int]
    header: bool


@dataclass
class _Image:
    """What the rows say about one picture so far."""

    near: str
    place: str
    split: str | None
    size: tuple[int, int] = (0, 0)
    objects: list[Object] = field(default_factory=list)


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like tables of boxes, or None."""
    for file in tree.ending(".csv", ".txt")[:SAMPLES]:
        start = head(tree.path(file))
        names = [plain(name) for name in start[0]] if start else []
        if names == _VOTT or {"imageid", "labelname"} <= set(names):  # VoTT's own and Open Images' have their readers
            continue
        if table := _table(file, start):
            if table.header:
                return f"{file} has the columns {', '.join(start[0][:8])}"
            return f"{file} has rows of a picture, four numbers and a class"
    return None


def read(tree: Tree, options: Labelled) -> Source:
    """Open tables of boxes. Raises DataError if there is none."""
    files = tree.ending(".csv", ".txt", ".tsv")
    if options.annotations is not None:
        files = tuple(file for file in tree.files if PurePosixPath(file).match(options.annotations))
    tables, classes = [], None
    for file in files:
        start = head(tree.path(file))
        if table := _table(file, start):
            tables.append(table)
        elif start and all(len(row) == 2 and row[1].isdecimal() for row in start):
            classes = _class_list(tree, file)
    if not tables:
        names = "filename, class, xmin, ymin, xmax, ymax"
        raise DataError(f"{tree.root}: holds no CSV file with the columns {names}; set data.path or data.format")
    headed = any(table.header for table in tables)
    return Source(_images(tree, tables), None if headed else classes)


def _table(file: str, start: Sequence[Sequence[str]]) -> _Table | None:
    """Return the table of a file by its first rows, or None if it is not one of boxes."""
    if not start:
        return None
    found = columns(start[0], SYNONYMS)
    if {"file", "name"} <= found.keys() and (shape := _box_columns(found)):
        return _Table(file, shape, header=True)
    for names in (("file", "x0", "y0", "x1", "y1", "name"), ("file", "name", "x0", "y0", "x1", "y1")):
        layout = dict(zip(names, range(len(names)), strict=True))
        if all(_fits(row, layout) for row in start):
            return _Table(file, layout, header=False)
    return None


def _box_columns(found: dict[str, int]) -> dict[str, int] | None:
    """Return the columns without those that are none of the box's; None where they give no box."""
    if found.keys() >= _CORNERS:
        return {key: place for key, place in found.items() if key not in ("w", "h", "box")}
    if {"x0", "y0"} <= found.keys():
        if {"w", "h"} <= found.keys():
            return {key: place for key, place in found.items() if key not in ("x1", "y1", "box")}
        if {"width", "height"} <= found.keys():  # x, y, width, height: no corner beside them, so they are the box's
            renamed = {"width": "w", "height": "h"}
            return {renamed.get(key, key): place for key, place in found.items() if key not in ("x1", "y1", "box")}
    if "box" in found:
        return {key: place for key, place in found.items() if key not in (*_CORNERS, "w", "h")}
    return None


def _fits(row: Sequence[str], layout: Mapping[str, int]) -> bool:
    """Return whether a row without column names has a picture, four numbers or nothing, and a class, in that layout."""
    if len(row) != len(layout) or not row[layout["file"]].lower().endswith(PICTURES):
        return False
    numbers = [row[layout[key]] for key in ("x0", "y0", "x1", "y1")]
    return not any((*numbers, row[layout["name"]])) or (bool(row[layout["name"]]) and all(map(_is_number, numbers)))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _class_list(tree: Tree, file: str) -> tuple[str, ...] | None:
    """Return the names of keras-retinanet's second file, a name and its index a row; None if it is another."""
    try:
        found = [row for _, row in rows(tree.path(file))]
    except DataError:
        return None
    if any(len(row) != 2 or not (row[1].isascii() and row[1].isdecimal()) for row in found):
        return None
    numbered = sorted((int(row[1][:9]), row[0]) for row in found)
    distinct = len({index for index, _ in numbered}) == len(numbered)
    return tuple(dict.fromkeys(name for _, name in numbered)) if distinct else None


def _images(tree: Tree, tables: Sequence[_Table]) -> Iterator[SourceImage | Problem]:
    """Yield the pictures of all tables in order of their first row: a picture's rows need not lie together."""
    images: dict[tuple[str, str], _Image] = {}
    for table in tables:
        yield from _read_table(tree, table, images)
    for (near, file), image in images.items():
        record = Record("", file, *image.size, objects=tuple(image.objects))
        yield SourceImage(record, image.split, near=near, place=image.place)


def _read_table(tree: Tree, table: _Table, images: dict[tuple[str, str], _Image]) -> Iterator[Problem]:
    folder = str(PurePosixPath(table.file).parent)
    near = "" if folder == "." else folder
    split = _split(table.file)
    spans = "box" in table.columns and _gives_spans(tree, table)
    try:
        for number, row in _body(tree, table):
            cells = {key: row[place] if place < len(row) else "" for key, place in table.columns.items()}
            place = tree.place(table.file, f"line {number}")
            file = cells["file"].replace("\\", "/")
            if not file:
                yield Problem("unreadable_annotation", "", place, "no picture is named")
                continue
            if (near, file) not in images:
                own = split_named(cells.get("split", "")) or split
                images[near, file] = _Image(near, place, own, _size(cells))
            item = _object(cells, spans)
            if isinstance(item, Object):
                images[near, file].objects.append(item)
            elif item:
                yield Problem(item[0], file, place, item[1])
    except DataError as error:
        yield Problem("unreadable_annotation", table.file, tree.place(table.file), str(error).partition(": ")[2])


def _body(tree: Tree, table: _Table) -> Iterator[tuple[int, list[str]]]:
    found = rows(tree.path(table.file))
    if table.header:
        next(found, None)
    return found


def _split(file: str) -> str | None:
    """Return the split that a table's name says, as train_labels.csv or test-export.csv, else that of its folder."""
    *folders, name = PurePosixPath(file).with_suffix("").parts
    words = (*re.split(r"[\W_]+", name), *reversed(folders))
    return next((split for word in words if (split := split_named(word))), None)


def _size(cells: Mapping[str, str]) -> tuple[int, int]:
    """Return a picture's width and height, zeros where a row does not say them."""
    sides = [cells.get("width", ""), cells.get("height", "")]
    if not all(side.removesuffix(".0").isdecimal() and side.isascii() and len(side) < 9 for side in sides):
        return 0, 0
    width, height = (int(side.removesuffix(".0")) for side in sides)
    return width, height


def _object(cells: Mapping[str, str], spans: bool) -> Object | tuple[str, str] | None:
    """Return the object of a row, the kind and reason of a problem, or None where the row has a picture alone."""
    name, numbers = cells["name"], _numbers(cells)
    if not any(numbers):
        return ("invalid_box", f"class {name[:40]!r} has no box") if name else None
    if not name:
        return "unreadable_annotation", "the box has no class"
    if len(numbers) != 4:
        return "invalid_box", f"{cells['box'][:40]!r} is not four numbers"
    try:
        x0, y0, x1, y1 = map(decimal, numbers)
    except NotANumberError as error:
        return "invalid_box", str(error)
    corners: Corners = (x0, y0, x0 + x1, y0 + y1) if spans or "w" in cells else (x0, y0, x1, y1)
    return make_object(name, corners)


def _numbers(cells: Mapping[str, str]) -> list[str]:
    if "x1" in cells:
        return [cells[key] for key in ("x0", "y0", "x1", "y1")]
    if "w" in cells:
        return [cells[key] for key in ("x0", "y0", "w", "h")]
    return [number for number in re.split(r"[\s,;]+", cells["box"].strip("[](){} ")) if number]


def _gives_spans(tree: Tree, table: _Table) -> bool:
    """Return whether a column of whole boxes gives width and height: as corners, some would end before they begin.

    Nothing else tells the two apart: Kaggle has both.
    """
    inverted = False
    try:
        for _, row in _body(tree, table):
            place = table.columns["box"]
            texts = _numbers({"box": row[place] if place < len(row) else ""})
            values = [float(text) for text in texts if _is_number(text)]
            if len(values) == 4:
                if values[2] <= 0 or values[3] <= 0:
                    return False
                inverted = inverted or values[2] < values[0] or values[3] < values[1]
    except DataError:
        return False
    return inverted
