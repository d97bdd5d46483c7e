"""label_map.pbtxt: the classes of TFRecord files, in protocol buffers' text format.

Sources: object_detection/protos/string_int_label_map.proto of tensorflow/models; protobuf.dev, text format.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from reprolens.convert.documents import read_text
from reprolens.convert.formats.entries import EntryError
from reprolens.errors import DataError

_TOKEN = re.compile(
    r"""[\s,;]+|\#[^\n]*|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<mark>[{}<>:\[\]])|(?P<word>[\w.+-]+)"""
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))")
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_BACKGROUND = ("background", "__background__", "none_of_the_above", "none", "???")
"""What entry 0, which TensorFlow reserves, is called where it is written at all."""


@dataclass(frozen=True)
class LabelMap:
    """Class names by number. `aliases` are further names, such as `/m/01g317` for what is shown as `person`."""

    names: Mapping[int, str]
    aliases: Mapping[str, str] | None = None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names in the order of their numbers."""
        return tuple(self.names[number] for number in sorted(self.names))

    def name(self, text: str, number: int | None) -> str:
        """Return the class that a record calls `text` or `number`. Raises EntryError where it is none."""
        if not self.names:
            if text or number is not None:
                return text or str(number)
            raise EntryError("unknown_class", "has no class")
        if text in self.classes:
            return text
        if text in (self.aliases or {}):
            return (self.aliases or {})[text]
        if number is not None and number in self.names:
            return self.names[number]
        if not text and not number:
            raise EntryError("unknown_class", "has no class")
        shown = repr(text[:40]) if text else f"number {number}"
        raise EntryError("unknown_class", f"the label map has no {shown}")


def nearest_map(file: str, maps: Mapping[str, LabelMap]) -> str | None:
    """Return the label map that holds for a file: the one in its folder, else in a folder above, else the only one."""
    for folder in PurePosixPath(file).parents:
        for place in maps:
            if PurePosixPath(place).parent == folder:
                return place
    return next(iter(maps)) if len(maps) == 1 else None


def read_label_map(path: Path) -> LabelMap:
    """Return the classes of a label map by number; the display names where every item has one. Raises DataError."""
    items: list[dict[str, str]] = []
    try:
        items = list(_items(_tokens(read_text(path))))
        numbers = [int(item["id"], 0) for item in items]
        names = [item["name"] if "name" in item else item["display_name"] for item in items]
    except (ValueError, KeyError) as error:
        raise DataError(f"{path}: not a label map ({_reason(error)}); it holds item {{ id: 1 name: 'cat' }}") from None
    shown = [item.get("display_name", "") for item in items]
    if all(shown) and len(set(shown)) == len(shown):
        names, others = shown, names
    else:
        others = [item.get("display_name", "") for item in items]
    pairs = list(zip(numbers, names, others, strict=True))
    pairs = [pair for pair in pairs if pair[0] != 0 or pair[1].lower() not in _BACKGROUND]
    if len({number for number, _, _ in pairs}) < len(pairs):
        raise DataError(f"{path}: gives a number to two classes; number them 1, 2, 3, ...")
    aliases = {other: name for _, name, other in pairs if other and others.count(other) == 1}
    return LabelMap({number: name for number, name, _ in pairs}, aliases)


def _reason(error: Exception) -> str:
    return f"an item has no {error.args[0]}" if isinstance(error, KeyError) else str(error).split("\n")[0][:80]


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            line = text.count("\n", 0, place) + 1
            raise ValueError(f"line {line}: {text[place : place + 20].split(chr(10))[0]!r} is not understood")
        place = found.end()
        if found.lastgroup:
            yield found.lastgroup, found.group()


def _items(tokens: Iterator[tuple[str, str]]) -> Iterator[dict[str, str]]:
    """Yield the plain values of every message `item` on the top level; messages inside one are skipped."""
    item: dict[str, str] = {}
    above: list[str] = []
    key, value = "", None
    for kind, token in tokens:
        if token in ("{", "<") and kind == "mark":
            if not above:
                item = {}
            above.append(key)
            key, value = "", None
        elif token in ("}", ">") and kind == "mark":
            if not above:
                raise ValueError("a brace too many")
            if above.pop() == "item" and not above:
                yield item
            key, value = "", None
        elif kind == "word" and (not key or value is not None):
            key, value = token, None
        elif kind != "mark":
            text = _unquoted(token) if kind == "text" else token
            value = text if value is None else value + text  # texts one after another are one text
            if len(above) == 1:
                item[key] = value
    if above:
        raise ValueError("a brace is not closed")


def _unquoted(token: str) -> str:
    """Return a quoted text with its escapes resolved: those of C; octal and hexadecimal ones are bytes of UTF-8."""

    def resolved(found: re.Match[bytes]) -> bytes:
        octal, hexadecimal, other = found.groups()
        if other:
            return _ESCAPES.get(other, other)
        return bytes([int(octal, 8) & 0xFF if octal else int(hexadecimal, 16)])

    try:
        return _ESCAPE.sub(resolved, token[1:-1].encode()).decode()
    except UnicodeError:
        raise ValueError(f"the text {token[:40]} is not UTF-8") from None
