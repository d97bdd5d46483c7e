"""Laws of one annotation file."""

import math
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reprolens.errors import DataError
from reprolens.voc import Object, Record, format_annotation, parse_annotation

COORDINATES = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)  # -0.0 becomes 0.0
# Names that the files can hold: no control characters or line ends, no lone surrogates, no blanks at the ends.
NAMES = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufffe\uffff"), min_size=1
).filter(lambda text: text == text.strip())
POSES = st.lists(st.sampled_from(["Left", "Frontal", "très à gauche"]), min_size=1).map(" ".join)
OBJECTS = st.builds(
    Object,
    name=NAMES,
    box=st.tuples(COORDINATES, COORDINATES, COORDINATES, COORDINATES),
    difficult=st.booleans(),
    truncated=st.booleans(),
    occluded=st.booleans(),
    crowd=st.booleans(),
    pose=POSES,
)
RECORDS = st.builds(
    Record,
    id=st.just(""),
    file=NAMES,
    width=st.integers(0, 2**63),
    height=st.integers(0, 2**63),
    depth=st.integers(1, 4),
    objects=st.lists(OBJECTS, max_size=4).map(tuple),
)


def _annotation(body: str = "", size: str = "<size><width>8</width><height>6</height><depth>3</depth></size>") -> bytes:
    return f"<annotation><filename>a.jpg</filename>{size}{body}</annotation>".encode()


def _object(name: str = "<name>cat</name>", box: str = "", **corners: str) -> str:
    values = {"xmin": "1", "ymin": "1", "xmax": "2", "ymax": "2"} | corners
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in values.items())
    return f"<object>{name}{box or f'<bndbox>{inner}</bndbox>'}</object>"


@given(COORDINATES, COORDINATES, COORDINATES, COORDINATES)
@example(0.1, 0.7, 640.3, 1e-5)
@example(5e-324, 2.2250738585072014e-308, -5e-324, 1.7976931348623157e308)
@example(-1.7976931348623157e308, 1e16, 2.0**53 + 2, -0.1)
def test_every_finite_coordinate_comes_back_bit_for_bit(x0: float, y0: float, x1: float, y1: float) -> None:
    record = Record("", "a.jpg", 8, 6, objects=(Object("cat", (x0, y0, x1, y1)),))
    (item,) = parse_annotation(format_annotation(record), "a.xml").objects
    assert [value.hex() for value in item.box] == [value.hex() for value in (x0, y0, x1, y1)]


@settings(max_examples=40)
@given(RECORDS)
def test_a_record_comes_back_whole(record: Record) -> None:
    assert parse_annotation(format_annotation(record), "a.xml") == record


@settings(max_examples=40)
@given(RECORDS)
def test_the_text_of_a_record_that_came_back_is_the_same_bytes(record: Record) -> None:
    text = format_annotation(record)
    assert format_annotation(parse_annotation(text, "a.xml")) == text


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_pixels_mean_what_the_development_kit_means(xmin: int, ymin: int, xmax: int, ymax: int) -> None:
    """VOC's pixels are 1-based and inclusive: one that starts at pixel 1 starts at the picture's edge, 0."""
    body = _object(xmin=str(xmin), ymin=str(ymin), xmax=str(xmax), ymax=str(ymax))
    (item,) = parse_annotation(_annotation(body), "a.xml").objects
    assert item.box == (xmin - 1, ymin - 1, xmax, ymax)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_whole_pixels_are_written_without_decimals(x0: int, x1: int) -> None:
    text = format_annotation(Record("", "a.jpg", 8, 6, objects=(Object("cat", (x0, 0, x1, 1)),)))
    root = ElementTree.fromstring(text)
    assert [root.findtext(f"object/bndbox/{name}") for name in ("xmin", "xmax")] == [str(x0 + 1), str(x1)]


def test_a_decimal_comes_back_as_the_source_wrote_it() -> None:
    source = _annotation(_object(xmin="17.1", ymin="1.30", xmax="123456.789", ymax="2"))
    root = ElementTree.fromstring(format_annotation(parse_annotation(source, "a.xml")))
    written = [root.findtext(f"object/bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")]
    assert written == ["17.1", "1.3", "123456.789", "2"]


def test_an_official_annotation_keeps_its_own_boxes_and_flags_not_those_of_parts() -> None:
    part = "<part><name>head</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></part>"
    flags = "<pose>Left</pose><truncated>1</truncated><occluded>0</occluded><difficult>1</difficult>"
    body = _object(name=f"<name>person</name>{part}{flags}", xmin="1", ymin="2", xmax="7.5", ymax="6")
    (item,) = parse_annotation(_annotation(body), "a.xml").objects
    assert item == Object("person", (0, 1, 7.5, 6), difficult=True, truncated=True, pose="Left")


def test_layout_and_comments_around_a_name_are_not_part_of_it() -> None:
    body = _object(name="<name>\n\t\ttraffic <!-- no --> light\n</name><pose>\n Frontal\n\t left </pose>")
    (item,) = parse_annotation(_annotation(body), "a.xml").objects
    assert (item.name, item.pose) == ("traffic  light", "Frontal left")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_any_encoding_that_the_file_declares_is_read(encoding: str) -> None:
    declared = encoding.removesuffix("-sig")
    text = f"<?xml version='1.0' encoding='{declared}'?>" + _annotation(_object("<name>blé</name>")).decode()
    (item,) = parse_annotation(text.encode(encoding), "a.xml").objects
    assert item.name == "blé"


@pytest.mark.parametrize(
    "name", ["", " ", " cat", "cat ", "a\nb", "a\tb", "a\rb", "a\x00b", "a\x85b", "a\u2028b", "\ud800", "\uffff"]
)
@pytest.mark.parametrize("field", ["class name", "file name"])
def test_a_name_that_would_not_come_back_is_refused(field: str, name: str) -> None:
    item = Object(name if field == "class name" else "cat", (0, 0, 1, 1))
    record = Record("some/id", name if field == "file name" else "a.jpg", 8, 6, objects=(item,))
    with pytest.raises(DataError, match=rf"^'some/id': the {field} .* rename it") as caught:
        format_annotation(record)
    assert "\n" not in str(caught.value)


BOMB = "<!DOCTYPE annotation [" + '<!ENTITY a0 "lol">' + "".join(
    f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12)
) + "]>"  # fmt: skip

DAMAGED = {
    "empty": (b"", "not well-formed XML"),
    "no XML": (b"\xff\xd8\xff\xe0 JFIF", "not well-formed XML"),
    "plain text": (b"0 0.5 0.5 0.1 0.1\n", "not well-formed XML"),
    "cut off": (_annotation(_object())[:-20], "not well-formed XML"),
    "forbidden character": (_annotation("\x00"), "not well-formed XML"),
    "unknown encoding": (b"<?xml version='1.0' encoding='nope'?><annotation/>", "not well-formed XML"),
    "too deep": (b"<annotation>" + b"<a>" * 10**5, "not well-formed XML"),
    "entity bomb": (BOMB.encode() + _annotation(_object("<name>&a11;</name>")), "entity"),
    "bomb in an attribute": (BOMB.encode() + _annotation("<a b='&a11;'/>"), "entity"),
    "external entity": (
        b'<!DOCTYPE annotation [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + _annotation(_object("<name>&e;</name>")),
        "document type or entities",
    ),
    "external document type": (b'<!DOCTYPE annotation SYSTEM "file:///etc/passwd">' + _annotation(), "document type"),
    "undefined entity": (_annotation(_object("<name>&e;</name>")), "not well-formed XML"),
    "other root": (b"<annotations><image/></annotations>", "the root element is <annotations>"),
    "no size": (_annotation(size=""), "has no <size>"),
    "no width": (_annotation(size="<size><height>6</height></size>"), "<size> has no <width>"),
    "size not whole": (_annotation(size="<size><width>8.5</width><height>6</height></size>"), "<width> is '8.5'"),
    "no box": (_annotation("<object><name>cat</name></object>"), "has no <bndbox>"),
    "no name": (_annotation(_object(name="")), "<object> has no <name>"),
    "blank name": (_annotation(_object(name="<name> \n </name>")), "<object> has no <name>"),
    "no corner": (_annotation(_object(box="<bndbox><xmin>1</xmin></bndbox>")), "<bndbox> has no <ymin>"),
    "decimal comma": (_annotation(_object(xmin="1,5")), "<xmin> is '1,5', not a number"),
    "NaN": (_annotation(_object(ymax="nan")), "<ymax> is nan, not a finite number"),
    "signalling NaN": (_annotation(_object(ymax="sNaN123")), "not a finite number"),
    "infinity": (_annotation(_object(ymin="-Infinity")), "not a finite number"),
    "greater than any float": (_annotation(_object(xmax="1e309")), "not a finite number"),
    "hostile exponent": (_annotation(_object(xmax="1e999999999")), "not a finite number"),
    "hostile negative exponent": (_annotation(_object(xmax="1e-999999999")), "not a finite number"),
    "exponent beyond decimal": (_annotation(_object(xmax="1e99999999999999999999999")), "not a number"),
    "endless number": (_annotation(_object(xmax="x" * 10**6)), "not a number"),
    "endless size": (_annotation(size=f"<size><width>{'9' * 10**5}</width><height>6</height></size>"), "whole number"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_or_hostile_annotation_is_refused_in_one_short_line_and_quickly(case: str) -> None:
    data, reason = DAMAGED[case]
    start = time.process_time()
    with pytest.raises(DataError) as caught:
        parse_annotation(data, "folder/a.xml")
    message = str(caught.value)
    assert time.process_time() - start < 1
    assert message.startswith("folder/a.xml: ")
    assert reason in message
    assert "\n" not in message
    assert len(message) < 250
    assert "root:" not in message  # the content of /etc/passwd


def test_an_external_entity_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("TOP SECRET <<<")  # no XML: whoever reads it complains about that
    text = f'<!DOCTYPE annotation [<!ENTITY e SYSTEM "{secret.as_uri()}">]>'.encode()
    with pytest.raises(DataError, match="declares a document type or entities") as caught:
        parse_annotation(text + _annotation(_object("<name>&e;</name>")), "a.xml")
    assert "TOP SECRET" not in str(caught.value)


@pytest.mark.parametrize("digits", [10**3, 10**5])
def test_a_number_of_many_digits_is_read_as_the_nearest_float_and_quickly(digits: int) -> None:
    start = time.process_time()
    (item,) = parse_annotation(_annotation(_object(xmax=f"1.{'3' * digits}")), "a.xml").objects
    assert time.process_time() - start < 1
    assert math.isclose(item.box[2], 4 / 3, rel_tol=1e-15)
