"""Tables of pictures and classes: which column is the file, which ones the classes, and what the rows say."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from reprolens.convert.documents import read_json, read_lines, read_text
from reprolens.convert.source import split_named
from reprolens.convert.tree import PICTURES, Listing, Tree
from reprolens.errors import DataError

HEAD = 64 * 1024
"""Bytes of a table that are read to know what it is."""

# Names of columns, in lower case and without what is neither letter nor digit: `Image_Name` is imagename.
_FILE = re.compile(
    "files?|fname|file(name|path)|(image|img|picture|photo)s?(file|filename|id|index|name|path)?|id|idcode|path|name"
)
_LABEL = re.compile(
    "(label|class|category|target|tag)(s|es|id|name|label)?|categories|cls|species|breed|variety|diagnosis|dx|emotion"
    "|expression|findings?|findinglabels|groundtruth|level"
)
_SPLIT = re.compile("(data)?(split|set|subset)|partition|phase|usage")
# A table with one of these columns gives boxes, outlines or rotations, and belongs to another format.
_BOX = re.compile(
    "[xywh]|[xy][0-2]|[xy](min|max)|[xy]?cent(er|re)[xy]?|c[xy]|left|right|top|bottom|bbox|box(es)?|points|encodedpixels"
    "|segmentation|rle|regionshapeattributes|originalurl"
)
_NAMELESS = "the row names no picture"
_YES, _NO = frozenset({"1", "1.0", "true", "yes"}), frozenset({"0", "0.0", "false", "no", ""})
_MINUS = frozenset({"-1", "-1.0"})
# synsets.txt, classes.txt, class_names.txt, label_map.json, label_num_to_disease_map.json, class_to_idx.json, ...
_LIST = re.compile(
    r"^((synsets?|classes|labels?|categories|names)([_-].*)?|(class|label|category)[_-]?(names|list|map|dict|labels)"
    r"|(class|label|index|idx).*(_to_|indices).*)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the picture's name as written, its classes (None where the row is blank there), and its split.

    `problem` says why the row cannot be understood, "" if it can.
    """

    line: int
    name: str
    labels: tuple[str, ...] | None
    split: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Table:
    """A table's rows, the classes that its columns name, and which columns were read, for people."""

    file: str
    rows: list[Row]
    classes: tuple[str, ...]
    columns: str


Rows = list[tuple[int, list[str]]]


def sketch(tree: Tree, file: str, rows: int) -> Table | None:
    """Return the first rows of a file, or None if they are no table of pictures and classes."""
    try:
        with tree.path(file).open("rb") as stream:
            data = stream.read(HEAD)
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "ignore")
        if len(data) == HEAD:
            text = text[: text.rfind("\n")]
        return parse(file, _split_rows(file, text)[: rows + 1], tree.images)
    except (OSError, DataError):
        return None


def read_rows(tree: Tree, file: str) -> Rows:
    """Return a file's rows with their line numbers, cells stripped, blank rows left out. Raises DataError."""
    return _split_rows(file, read_text(tree.path(file)))


def parse(file: str, rows: Rows, images: Listing) -> Table | None:
    """Return the table that some rows are; None if they have no column of pictures or none of classes, or have boxes.

    Without a header, the first column is the picture and the second its class, if the first row names a picture.
    """
    if not rows:
        return None
    header = [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in rows[0][1]]
    if not any(map(_FILE.fullmatch, header)) or rows[0][1][0].lower().endswith(PICTURES):
        return _without_header(file, rows, images)
    open_images = {"imageid", "labelname"} <= set(header)
    if any(map(_BOX.fullmatch, header)) or open_images:
        return None
    return _with_header(file, rows[0][1], header, rows[1:], images)


def class_list(tree: Tree, tables: set[str]) -> dict[str, str] | None:
    """Return the names of classes by their number, or by their own code, from a list beside the tables; None if none.

    A text has one name a line; JSON has numbers to names, names to numbers, or a list; CSV has a number and a name.
    """
    files = [file for file in tree.ending(".txt", ".json", ".csv") if file not in tables]
    for file in sorted(files, key=lambda file: (file.count("/"), file)):
        path = PurePosixPath(file)
        if not _LIST.match(path.stem):
            continue
        if path.suffix.lower() == ".json":
            names = _from_json(read_json(tree.path(file)))
        elif path.suffix.lower() == ".csv":
            names = _from_pairs([cells for _, cells in read_rows(tree, file)])
        else:
            names = {str(number): name for number, name in enumerate(read_lines(tree.path(file)))}
        if names:
            return names
    return None


def _from_json(value: Any) -> dict[str, str]:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return {str(number): name for number, name in enumerate(value)}
    if isinstance(value, dict):
        return _from_pairs([[str(key), str(name)] for key, name in value.items() if isinstance(name, str | int)])
    return {}


def _from_pairs(rows: list[list[str]]) -> dict[str, str]:
    """Return the names by number, of rows that give a number and a name in either order, in the numbers' order."""
    rows = [[cell.strip() for cell in row] for row in rows if len(row) == 2]
    for number, name in ((0, 1), (1, 0)):
        pairs = [(row[number], row[name]) for row in rows if row[number].isascii() and row[number].isdigit()]
        if len(pairs) >= max(len(rows) - 1, 1):  # all, but for a header
            return {str(key): name for key, name in sorted((int(key[:9]), name) for key, name in pairs)}
    return {}


def _split_rows(file: str, text: str) -> Rows:
    """Cut a text into rows: by the commonest of comma, semicolon and tab in its first line, else at blanks."""
    first = text.lstrip("\n").partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    if delimiter in first:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        rows: Rows = []
        try:
            rows.extend((reader.line_num, [cell.strip() for cell in row]) for row in reader)
        except csv.Error as error:
            raise DataError(f"{file}: cannot be read as CSV ({error})") from None
        return [(number, row) for number, row in rows if any(row)]
    return [(number, _at_blanks(line)) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


_NAMED = re.compile(rf"^(.*?(?:{'|'.join(map(re.escape, PICTURES))}))\s+(.*)$", re.IGNORECASE)


def _at_blanks(line: str) -> list[str]:
    """Cut `my cat.jpg tabby cat` behind the picture's suffix, or behind the first word where there is none."""
    line = line.strip()
    match = _NAMED.match(line)
    return [match[1], match[2]] if match else line.split(None, 1)


def _is_picture(cell: str, images: Listing) -> bool:
    return cell.lower().endswith(PICTURES) or bool(images.find(cell))


def _number(cell: str) -> bool:
    return bool(re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", cell, re.IGNORECASE))


def _without_header(file: str, rows: Rows, images: Listing) -> Table | None:
    cells = rows[0][1]
    labels = cells[1:]
    last = len(cells) > 2 and all(not row[-1] or split_named(row[-1]) for _, row in rows if len(row) == len(cells))
    labels = labels[:-1] if last else labels
    if any(label.lower().endswith(PICTURES) for label in labels):
        return None  # pairs of pictures and masks
    words = [word for label in labels for word in label.split()]
    if not labels or sum(map(_number, words)) > 1:  # coordinates, or 0 and 1 for classes that nobody names
        return None
    if not cells[0].lower().endswith(PICTURES) and not images.find(cells[0], str(PurePosixPath(file).parent)):
        return None
    table = []
    for line, row in rows:
        split = row[-1] if last and len(row) == len(cells) else ""
        table.append(Row(line, row[0], _several(row[1 : 1 + len(labels)]), split, "" if row[0] else _NAMELESS))
    return Table(file, table, (), "without a header")


def _with_header(file: str, names: list[str], header: list[str], rows: Rows, images: Listing) -> Table | None:
    at_file = _file_column(header, rows, images)
    at_split = next((place for place, name in enumerate(header) if _SPLIT.fullmatch(name)), None)
    taken = {at_file, at_split}
    at_labels = [place for place, name in enumerate(header) if place not in taken and _LABEL.fullmatch(name)]
    # Names are better than the numbers beside them: class_id,class_name.
    at_labels = [place for place in at_labels if header[place].endswith("name")] or at_labels
    numbered = [place for place, name in enumerate(header) if re.fullmatch(r"(label|class|category|tag)[0-9]+", name)]
    flags = [place for place in range(len(names)) if place not in taken and _is_flag(place, rows)]
    if at_labels:
        flags, at_labels = [], at_labels[:1]
    elif numbered and not set(numbered) <= set(flags):
        flags, at_labels = [], numbered
    elif len(flags) < 2 or len({names[place] for place in flags}) < len(flags):
        return None
    doubt = _has_doubt(rows, flags)
    table = []
    for line, row in rows:
        cells = [*row, *[""] * (len(names) - len(row))]
        split = cells[at_split] if at_split is not None else ""
        if not cells[at_file]:
            table.append(Row(line, "", None, split, _NAMELESS))
        elif flags:
            table.append(_flagged(line, cells, at_file, split, {place: names[place] for place in flags}, doubt))
        else:
            table.append(Row(line, cells[at_file], _several([cells[place] for place in at_labels]), split))
    shown = f"{len(flags)} columns of 0 and 1" if flags else ", ".join(names[place] for place in (at_file, *at_labels))
    return Table(file, table, tuple(names[place] for place in flags), f"in {shown}")


def _file_column(header: list[str], rows: Rows, images: Listing) -> int:
    """Return the column of picture names: the one whose first rows name pictures, else the first that is called so."""
    named = [place for place, name in enumerate(header) if _FILE.fullmatch(name)]

    def hits(place: int) -> int:
        return sum(place < len(row) and _is_picture(row[place], images) for _, row in rows[:8])

    return max(named, key=lambda place: (hits(place), -place))


def _is_flag(place: int, rows: Rows) -> bool:
    cells = {row[place].lower() for _, row in rows if place < len(row)}
    return bool(cells - {""}) and len(cells - _YES - _NO - _MINUS) == 0


def _several(cells: Sequence[str]) -> tuple[str, ...] | None:
    """Return the classes in some cells; None if there is none. `nan` is what pandas writes for a blank one."""
    found = [part.strip() for cell in cells for part in re.split(r"[;|]", cell)]
    return tuple(dict.fromkeys(part for part in found if part and part.lower() != "nan")) or None


def _has_doubt(rows: Rows, flags: list[int]) -> bool:
    """Say whether -1 stands beside 0, where it means doubt (CheXpert); alone it means no (CelebA)."""
    cells = {row[place].lower() for _, row in rows for place in flags if place < len(row)}
    return bool(cells & _MINUS) and bool(cells & _NO)


def _flagged(line: int, cells: list[str], at_file: int, split: str, flags: dict[int, str], doubt: bool) -> Row:
    """Return the classes whose column says 1."""
    values = {name: cells[place].lower() for place, name in flags.items()}
    doubtful = next((name for name, value in values.items() if doubt and value in _MINUS), None)
    if doubtful is not None:
        reason = f"the column {doubtful[:40]!r} says -1, which is neither 0 nor 1"
        return Row(line, cells[at_file], None, split, reason)
    return Row(line, cells[at_file], tuple(name for name, value in values.items() if value in _YES), split)
