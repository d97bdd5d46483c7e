"""Laws of damaged and hostile input: whatever a data set holds, convert ends in good time, either whole or in one line.

FUZZ=20 in the environment tries twenty times as many examples, other ones each time.
"""

import contextlib
import copy
import json
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lxml import etree

from convert.small_sets import NAMES, SETS, Files, framed, tfrecord
from reprolens.config import Policy
from reprolens.config.data import Action
from reprolens.convert import convert
from reprolens.convert.formats import labelled
from reprolens.convert.inspection import inspect
from reprolens.convert.tree import PICTURES
from reprolens.errors import DataError
from reprolens.files import write_json
from reprolens.voc import read_folder

ROOT = Path(__file__).parents[2]
FUZZ = int(os.environ.get("FUZZ", "0"))
SECONDS = 10
"""What an example may take; it takes hundredths."""

ODD: list[Any] = [
    None, True, 0, -1, 1, 2, 5, 12, 16, 17, 0.5, -0.0, 1e-320, 1e300, -1e308, 2**31, 2**63, 2**64, 10**30, 10**399,
    float("nan"), float("inf"), "", " ", "cat", "dog", "Cat", " cat", "emu", "__ignore__", "background", "NaN", "1,5",
    "0x10", "1_0", "٣", "1e999999999", "-1e-999999999", "9" * 5000, "12abc", "true", "[]", "{}", "p1.png", "P1.PNG",
    "p1", "p1.jpg", "sub/p1.png", "../source/images/p1.png", "../../evil.png", "../voc/labels.txt", "..", ".", "/", "~",
    "/etc/passwd", "C:\\evil.png", "..\\..\\evil.png", "a\0b", "a\nb", "\u2028", "\ud800", "é", "e\u0301", "日本",
    "%41", "%2e%2e%2f", "x" * 300, "x/" * 600, "<&>\"'", "]]>", "&j;", "a,b", "a;b", "a b", "#", [], [[]], [None],
    [1, 2, 3], [[1, 2, 3]], [1e308] * 8, {}, {"a": 1}, {"size": [12, 16], "counts": "1"},
    {"size": [10**9, 10**9], "counts": [1]}, {"size": [12, 16], "counts": [-1, 193]}, {"x": 1, "y": None}, "polygon",
    "mask", "rectangle", "circle", "ellipse",
]  # fmt: skip
BYTES = [
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x80", b"\n", b"\r", b"\r\n", b"\t", b" ", b'"', b"'", b",", b";", b"-",
    b".", b"[", b"]", b"{", b"}", b"<", b">", b"&", b"&#0;", b"<!--", b"<![CDATA[", b'<!DOCTYPE a [<!ENTITY j "x">]>',
    b"NaN", b"[" * 3000, b"{" * 3000, b"<a>" * 3000, b"9" * 5000, b"1e9999", b"\\u0000", b"\\ud800",
    b"\xf0\x9f\x90\xb1",
]  # fmt: skip
FILES = [
    "../p1.png", "a\nb.png", "\udcff.png", " p0.png", "p0 .png", "-p0.png", "%41.png", "é.png", "e\u0301.png",
    "日本.PNG", "p0.PNG", "p1.jpg", "p1.png.png", "x" * 240 + ".png", "deep/" * 30 + "p0.png", "con.png", "a;b,c.png",
    "..png", "p0", "images.json", "labels.txt", "data.yaml", "train.txt", "Annotations/p0.xml", "classes.csv",
    "list.zip",
]  # fmt: skip

Mutation = tuple[str, int, int]
Node = tuple[Any, Any]


def _bytes(data: bytes, kind: str, where: int, what: int) -> bytes:
    """Flip a bit, cut a piece out, put it in twice, put odd bytes in, or end there."""
    place = where % (len(data) + 1)
    piece = data[place : place + 1 + what % 40]
    if kind == "flip" and piece:
        return data[:place] + bytes([piece[0] ^ 1 << what % 8]) + data[place + 1 :]
    if kind == "cut":
        return data[:place] + data[place + len(piece) :]
    if kind == "twice":
        return data[:place] + piece + data[place:]
    return data[:place] if kind == "end" else data[:place] + BYTES[what % len(BYTES)] + data[place:]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _word(data: bytes, kind: str, where: int, what: int) -> bytes:
    """Replace a word or number of a text, or remove it, or the line it is in, or put that in twice."""
    words = list(re.finditer(rb"[^\s,;:=\"'<>\[\]{}()]+", data))
    if not words:
        return data
    start, end = words[where % len(words)].span()
    if kind in ("drop", "double"):
        start, end = data.rfind(b"\n", 0, start) + 1, data.find(b"\n", end) + 1 or len(data)
        return data[:start] + data[start:end] * (0 if kind == "drop" else 2) + data[end:]
    odd = _text(ODD[what % len(ODD)]).encode("utf-8", "surrogatepass")
    return data[:start] + (odd if kind == "value" else b"<a>" * 2000) + data[end:]


def _nodes(value: Any) -> Iterator[Node]:
    """Yield every place in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _nodes(inner)


def _json(data: bytes, kind: str, where: int, what: int) -> bytes:
    """Replace a value in a JSON document, remove it, put it in twice, or nest it deeply."""
    whole = [json.loads(data)]
    nodes = list(_nodes(whole))
    parent, key = nodes[where % len(nodes)]
    if kind == "value":
        parent[key] = copy.deepcopy(ODD[what % len(ODD)])
    elif kind == "drop":
        del parent[key]
    elif kind == "double" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    elif kind == "double":
        parent[_text(ODD[what % len(ODD)])] = copy.deepcopy(parent[key])
    else:
        parent[key] = "deep"
    text = json.dumps(whole[0]) if whole else ""
    depth = (5, 300, 3000, 100_000)[what % 4]
    return text.replace('"deep"', "[" * depth + "]" * depth).encode("utf-8", "surrogatepass")


def _xml(data: bytes, kind: str, where: int, what: int) -> bytes:
    """Replace an attribute, text or name in an XML document, remove or double an element, or nest it deeply."""
    root = etree.fromstring(data)
    nodes = [(node, key) for node in root.iter() for key in (*node.attrib, None, ...)]
    node, key = nodes[where % len(nodes)]
    odd = _text(ODD[what % len(ODD)])
    with contextlib.suppress(ValueError):  # what lxml knows that XML cannot hold
        if kind == "value" and isinstance(key, str):
            node.attrib[key] = odd
        elif kind == "value" and key is None:
            node.text = odd
        elif kind == "value":
            node.tag = odd
        elif kind == "drop" and isinstance(key, str):
            del node.attrib[key]
        elif node is not root and kind == "drop":
            node.getparent().remove(node)
        elif node is not root and kind == "double":
            node.addnext(copy.deepcopy(node))
        else:
            node.text = "deep"
    depth = (5, 200, 300, 10_000)[what % 4]
    return etree.tostring(root).replace(b"deep", b"<a>" * depth + b"</a>" * depth)


def _record(data: bytes, kind: str, where: int, what: int) -> bytes:
    """Change the end of a record, where all but the picture is, in a TFRecord file whose checksums are right again."""
    length = int.from_bytes(data[:8], "little")
    record = data[12 : 12 + length]
    change = {"value": "insert", "drop": "cut", "double": "twice", "nest": "flip"}[kind]
    tail = -(where % 600 + 1)
    return framed(record[:tail] + _bytes(record[tail:], change, 0, what)) + data[16 + length :]


def _mutated(files: Files, mutation: Mutation, target: int) -> Files:
    kind, where, what = mutation
    files = dict(files)
    pictures = [name for name in files if name.endswith(PICTURES)]
    others = [name for name in files if name not in pictures]
    if kind in ("picture", "rename", "rename picture") or not others:
        chosen = (others if kind == "rename" else pictures) or others or pictures
        name = chosen[target % len(chosen)]
        data = files.pop(name)
        if kind == "picture":
            files[name] = _bytes(data, ("flip", "cut", "twice", "end", "insert")[what % 5], where, what)
        else:
            folder = name.rpartition("/")[0]
            files[f"{folder}/{FILES[what % len(FILES)]}".removeprefix("/").replace("/../", "/")] = data
        return files
    name = others[target % len(others)]
    data = files[name]
    if kind in ("flip", "cut", "twice", "insert", "end"):
        files[name] = _bytes(data, kind, where, what)
        return files
    change = {".json": _json, ".xml": _xml, ".tfrecord": _record}.get(Path(name).suffix, _word)
    try:
        files[name] = change(data, kind, where, what)
    except (ValueError, RecursionError, etree.XMLSyntaxError):  # damaged by the mutation before
        files[name] = _word(data, kind, where, what)
    return files


# ---- The law


@pytest.fixture(scope="module")
def lenient() -> Policy:
    """Return the policy that stops for nothing."""
    policy = labelled("coco", "x", None, ROOT).policy
    best = {field.name: Action.drop for field in fields(Policy) if getattr(policy, field.name) == Action.fail}
    return replace(policy, **best)


@contextlib.contextmanager
def _limit(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _listing(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _write(files: Files, root: Path) -> None:
    for name, data in files.items():
        with contextlib.suppress(OSError):  # a name that a mutation gave to a folder
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)


def _holds(files: Files, format: str, mode: str, policy: Policy | None) -> str:
    """Convert, or inspect, and see the law; return what became of it."""
    with tempfile.TemporaryDirectory() as place:
        source, out = Path(place, "data", "source"), Path(place, "data", "voc")
        _write(files, source)
        _write({"labels.txt": b"old\n", "Annotations/old.xml": b"<old/>"}, out)
        before, old = _listing(Path(place)), _listing(out)
        options = labelled(format if mode == "named" else "auto", str(source), None, ROOT)
        options = options if policy is None else replace(options, policy=policy)
        try:
            with _limit(SECONDS):
                report = inspect(options) if mode == "inspect" else convert(options, 1, out)
        except DataError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 2500, str(error)
            assert _listing(Path(place)) == before
            return "refused"
        write_json(Path(place, "report.json"), report)
        json.loads(Path(place, "report.json").read_bytes())
        Path(place, "report.json").unlink()
        after = _listing(Path(place))
        if mode == "inspect":
            assert after == before
            return "inspected"
        known = {name for name in before if name not in old}
        assert {name: after[name] for name in known} == {name: before[name] for name in known}
        assert all(Path(name).is_relative_to(out) for name in after.keys() - known)
        _is_whole(out, report)
        return "converted"


def _is_whole(out: Path, report: dict[str, Any]) -> None:
    """See that what was written reads back, and agrees with its report."""
    folder = read_folder(out)
    records = [record for split in folder.splits for record in folder.records(split)]
    assert len(records) == report["images"]
    assert sum(len(record.objects) for record in records) == report["boxes"]
    assert len({record.id for record in records}) == len(records)
    for record in records:
        assert folder.image(record).is_file()
        for item in record.objects:
            x0, y0, x1, y1 = item.box
            assert 0 <= x0 < x1 <= record.width and 0 <= y0 < y1 <= record.height
            assert item.name in folder.classes
        assert set(record.labels) <= set(folder.classes)
    assert not [path for path in out.rglob("*") if path.is_symlink()]


KINDS = ("value", "drop", "double", "nest")
BYTE_KINDS = ("flip", "cut", "twice", "insert", "end")
MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from((*KINDS, *KINDS, "value", "value", *BYTE_KINDS, "picture", "rename", "rename picture")),
        st.integers(0, 4000),
        st.integers(0, 4000),
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.parametrize("name", SETS)
def test_a_small_set_is_what_it_is_called(name: str) -> None:
    format, make = SETS[name]
    assert _holds(make(), format, "auto", None) == _holds(make(), format, "named", None) == "converted"
    with tempfile.TemporaryDirectory() as place:
        _write(make(), Path(place))
        report = inspect(labelled("auto", place, None, ROOT))
        assert report["source"][0]["format"] == format
        assert (report["images"], report["problems"]) == (4, 0)
        assert [entry["name"] for entry in report["classes"]] == ["cat", "dog"]


@pytest.mark.parametrize("name", SETS)
def test_damaged_annotations_are_refused_or_reported_and_nothing_else_happens(name: str, lenient: Policy) -> None:
    format, make = SETS[name]
    files = make()

    @settings(
        max_examples=35 * (FUZZ or 1),
        derandomize=not FUZZ,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(
        MUTATIONS,
        st.integers(0, 100),
        st.sampled_from(("named", "named", "auto", "inspect")),
        st.sampled_from((True, True, True, False)),
    )
    def law(mutations: list[Mutation], target: int, mode: str, kind: bool) -> None:
        changed = files
        for mutation in mutations:
            changed = _mutated(changed, mutation, target)
        _holds(changed, format, mode, lenient if kind else None)

    law()


HOSTILE = (
    "../../evil.png", "../p1.png", "../../../../../../../../etc/passwd", "/etc/passwd", "/tmp/evil.png", "..", ".", "/",
    "C:\\evil.png", "..\\..\\evil.png", "images/../../evil.png", "x/../../../evil.png", "~/evil.png", "file:///etc/passwd",
    "%2e%2e/evil.png", "\\\\host\\share\\p0.png", "....//evil.png",
)  # fmt: skip


NAMELESS = ("class_folders", "masks", "kitti", "yolo", "supervisely")
"""Formats whose annotations name no pictures."""


@pytest.mark.parametrize("name", [name for name in SETS if name not in NAMELESS])
def test_a_name_that_leads_out_leads_nowhere(name: str, lenient: Policy) -> None:
    format, make = SETS[name]
    files = make()
    for hostile in HOSTILE:
        if format == "tfrecord":
            changed = tfrecord((hostile, *NAMES[1:]))
        else:
            changed = {file: _called(hostile, file, data) for file, data in files.items()}
            assert changed != files
        _holds(changed, format, "named", lenient)
        _holds(changed, format, "named", None)


def _called(hostile: str, file: str, data: bytes) -> bytes:
    """Return an annotation file with another name for the first picture."""
    if file.endswith(PICTURES):
        return data
    if name := re.search(rb"\bp0(\.png)?\b", data):
        written = json.dumps(hostile)[1:-1] if file.endswith(".json") else hostile
        return data.replace(name[0], written.encode())
    return data
