"""CSV files row by row, so that a table of millions of rows needs the memory of its text alone."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path

from reprolens.convert.documents import read_text
from reprolens.errors import DataError

HEAD = 2**16
"""Bytes of a file that are read to tell what it holds."""


def rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line's number and the stripped cells of every row that is not blank; comma, semicolon or tab divides.

    Raises DataError if the file cannot be read, in the middle too if its damage lies there.
    """
    text = read_text(path)
    reader = csv.reader(StringIO(text, newline=""), delimiter=_delimiter(text[:HEAD]))
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as CSV ({error})") from None


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows by the names in the first one; what a short row lacks is "".

    Raises DataError for a file that cannot be read or is empty, and for a name given twice.
    """
    lines = [cells for _, cells in rows(path)]
    if not lines:
        raise DataError(f"{path}: is empty")
    names = lines[0]
    if len({name for name in names if name}) != sum(map(bool, names)):
        raise DataError(f"{path}: its first line names a column twice")
    return [dict(zip(names, [*cells, *[""] * len(names)], strict=False)) for cells in lines[1:]]


def head(path: Path, count: int = 5) -> list[list[str]]:
    """Return the first rows of a table without reading all of it; none of a file that is no table."""
    try:
        with path.open("rb") as file:
            data = file.read(HEAD)
        encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        text = data.decode(encoding, "ignore").replace("\r\n", "\n").replace("\r", "\n")
        reader = csv.reader(StringIO(text, newline=""), delimiter=_delimiter(text))
        found = [[cell.strip() for cell in row] for row, _ in zip(reader, range(count * 4), strict=False)]
    except (OSError, csv.Error, UnicodeDecodeError):
        return []
    return [row for row in found if any(row)][:count]


def plain(name: str) -> str:
    """Return a column's name as it is compared: lower case, letters and digits only, so that `X Min` is `x_min`."""
    return re.sub(r"[\W_]", "", name.lower())


def columns(header: Sequence[str], synonyms: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return where each wanted column is, by the first of its synonyms that the header has; some may be lacking."""
    places: dict[str, int] = {}
    for place, name in enumerate(header):
        places.setdefault(plain(name), place)
    return {
        column: found
        for column, names in synonyms.items()
        if (found := next((places[name] for name in names if name in places), None)) is not None
    }


def _delimiter(text: str) -> str:
    first = text.lstrip("\n").partition("\n")[0]
    return max(",;\t", key=first.count)
