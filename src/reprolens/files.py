"""Files that are either whole or not there: written beside their place, then renamed into it."""

import csv
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LONGEST_SUFFIX = 16
"""Characters of a suffix that a temporary file gets too."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix; on success it is renamed to `path`, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Short, for `path` may be as long as names can be; a suffix of that length says nothing to whoever writes.
    suffix = path.suffix if len(path.suffix) <= _LONGEST_SUFFIX else ""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes private files; these are shared with other users and the cache
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it replaces `path` and all that was in it, else it goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    old = temporary.with_name(f"{temporary.name}-old")  # moved away whole, so that the place is never half removed
    try:
        yield temporary
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.exists():
            path.replace(old)
        try:
            temporary.replace(path)
        except OSError:
            if old.exists():
                old.replace(path)
            raise
        path.chmod(0o755)  # only now: that it is private tells what a killed process left behind
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends; a file name's bytes that are not UTF-8 are written as \\udcXX."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON; NaN and infinity are refused because JSON has neither."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under a header of all their keys; what a row lacks stays empty."""
    rows = list(rows)
    columns = dict.fromkeys(key for row in rows for key in row)
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
