"""Annotation files read with bounds on their size and depth: JSON, XML and plain lines.

Every function raises DataError, which says what is wrong with the file; where one of many is bad, a reader turns that
into a `Problem("unreadable_annotation", ...)` and goes on.
"""

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from lxml import etree

from reprolens.errors import DataError

LARGEST = 4 * 2**30
"""Bytes that an annotation file may have at most."""

T = TypeVar("T")


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes."""
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path}: larger than {LARGEST // 2**30} GiB, which no annotation file is; split it")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def read_text(path: Path) -> str:
    """Return a text as UTF-8, with or without a byte-order mark, or as UTF-16 where that has one; line ends as \\n."""
    data = read_bytes(path)
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise DataError(f"{path}: cannot be read as UTF-8 text; save it as such") from None


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text that are not blank, without blanks at their ends."""
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def read_json(path: Path, type: type[T] | Any = Any) -> T | Any:
    """Return a JSON file as `type`, whose unknown keys are skipped unread: msgspec's structs make large files small."""
    data = read_bytes(path)
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    try:
        return msgspec.json.decode(data, type=type)
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: not as this format has it ({error})") from None
    except RecursionError:
        raise DataError(f"{path}: nested too deeply for an annotation file") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _with_constants(path, data, type, str(error))


def _with_constants(path: Path, data: bytes, type: type[T] | Any, reason: str) -> T | Any:
    """Read JSON with NaN and Infinity in it, which Python writes and JSON lacks, as the texts "NaN" and "Infinity"."""
    if not any(constant in data for constant in (b"NaN", b"Infinity")):
        raise DataError(f"{path}: not valid JSON ({reason})")
    try:
        return msgspec.json.decode(msgspec.json.encode(json.loads(data, parse_constant=str)), type=type)
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: not as this format has it ({error})") from None
    except (RecursionError, ValueError):
        raise DataError(f"{path}: not valid JSON ({reason})") from None


def read_xml(path: Path) -> etree._Element:
    """Return the root element of an XML file. Entities, document types and the network are off, depth is bounded."""
    # A new parser each: lxml parsers must not be shared between threads.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(read_bytes(path), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not well-formed XML ({reason}); repair or remove the file") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise DataError(f"{path}: declares a document type or entities, which are refused; remove the DOCTYPE")
    return root
