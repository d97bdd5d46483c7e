"""One VOC annotation file: Annotations/*.xml, as the PASCAL VOC development kit documents it (VOC2012, section 10).

Coordinates shift between the 0-based continuous boxes in memory and VOC's 1-based pixels in decimal arithmetic, on the
shortest decimal that names the number, because `(x0 + 1) - 1` is not `x0` in binary floating point. So every finite
float64 comes back bit for bit, but for -0.0, which comes back as 0.0.
"""

import math
import re
from decimal import Context, Decimal, InvalidOperation

from lxml import etree

from reprolens.errors import DataError
from reprolens.voc.records import Box, Object, Record

# Wide enough for the decimal form of any float64, so that adding 1 never rounds.
_DECIMAL = Context(prec=1100)

# Control characters, line and paragraph separators, lone surrogates, and the two code points that XML lacks.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def parse_annotation(data: bytes, source: str) -> Record:
    """Read one annotation; `source` names it in errors. The record's id is left empty: it is the file's.

    Boxes are returned as they stand, also where they are inverted or outside the picture: judging is `convert`'s work.

    Raises DataError if the text is not a VOC annotation, or declares XML entities.
    """
    # A new parser each: lxml parsers must not be shared between threads. Entities, DTDs and the network are off.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        reason = " ".join(str(error.msg).split())
        raise DataError(f"{source}: not well-formed XML ({reason}); repair or remove the file") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise DataError(f"{source}: declares a document type or entities, which are refused; remove the DOCTYPE")
    if root.tag != "annotation":
        raise DataError(f"{source}: the root element is <{_short(root.tag)}>, not VOC's <annotation>")
    size = root.find("size")
    if size is None:
        raise DataError(f"{source}: has no <size>; add the picture's width, height and depth")
    return Record(
        id="",
        file=_text(root, "filename", source),
        width=_integer(size, "width", source),
        height=_integer(size, "height", source),
        depth=_integer(size, "depth", source) if size.find("depth") is not None else 3,
        objects=tuple(_parse_object(element, source) for element in root.iterfind("object")),
    )


def format_annotation(record: Record) -> bytes:
    """Return the annotation as UTF-8 XML; `parse_annotation` of it gives the record back, but for its id.

    Raises DataError if a name would not come back: an empty one, one with line breaks or other control characters, or
    one with blanks at its ends.
    """
    _check_text(record.file, "file name", record)
    for item in record.objects:
        _check_text(item.name, "class name", record)
        _check_text(item.pose, "pose", record)
    root = etree.Element("annotation")
    _add(root, "filename", record.file)
    size = etree.SubElement(root, "size")
    for name, value in (("width", record.width), ("height", record.height), ("depth", record.depth)):
        _add(size, name, str(value))
    _add(root, "segmented", "0")
    for item in record.objects:
        element = etree.SubElement(root, "object")
        _add(element, "name", item.name)
        _add(element, "pose", item.pose)
        _add(element, "truncated", str(int(item.truncated)))
        _add(element, "difficult", str(int(item.difficult)))
        _add(element, "occluded", str(int(item.occluded)))
        if item.crowd:  # not VOC's own element: readers that do not know it skip it
            _add(element, "crowd", "1")
        bndbox = etree.SubElement(element, "bndbox")
        for name, edge, shift in zip(("xmin", "ymin", "xmax", "ymax"), item.box, (1, 1, 0, 0), strict=True):
            _add(bndbox, name, _shifted(Decimal(repr(float(edge) + 0.0)), shift))
    etree.indent(root, space="\t")
    return etree.tostring(root, encoding="utf-8", pretty_print=True)


def _parse_object(element: etree._Element, source: str) -> Object:
    bndbox = element.find("bndbox")
    if bndbox is None:
        raise DataError(f"{source}: an <object> has no <bndbox>")
    corners = [_coordinate(bndbox, name, source) for name in ("xmin", "ymin", "xmax", "ymax")]
    box: Box = (
        float(_DECIMAL.subtract(corners[0], Decimal(1))),
        float(_DECIMAL.subtract(corners[1], Decimal(1))),
        float(corners[2]),
        float(corners[3]),
    )
    return Object(
        name=_text(element, "name", source),
        box=box,
        difficult=_flag(element, "difficult"),
        truncated=_flag(element, "truncated"),
        occluded=_flag(element, "occluded"),
        crowd=_flag(element, "crowd"),
        pose=" ".join((element.findtext("pose") or "").split()) or "Unspecified",
    )


def _text(element: etree._Element, name: str, source: str) -> str:
    text = (element.findtext(name) or "").strip()
    if not text:
        raise DataError(f"{source}: <{element.tag}> has no <{name}>")
    return text


def _integer(element: etree._Element, name: str, source: str) -> int:
    text = _text(element, name, source)
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{source}: <{name}> is {_short(text)!r}, not a whole number") from None


def _coordinate(element: etree._Element, name: str, source: str) -> Decimal:
    text = _text(element, name, source)
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise DataError(f"{source}: <{name}> is {_short(text)!r}, not a number") from None
    # The bound keeps a hostile exponent (1e999999999) from filling the memory with digits.
    if not value.is_finite() or abs(value.adjusted()) > 400 or math.isinf(float(value)):
        raise DataError(f"{source}: <{name}> is {_short(text)}, not a finite number")
    return value


def _flag(element: etree._Element, name: str) -> bool:
    return (element.findtext(name) or "0").strip().lower() not in ("0", "", "false", "no", "unspecified")


def _short(text: str) -> str:
    """Return the text as an error can show it."""
    return text if len(text) <= 40 else f"{text[:37]}..."


def _check_text(text: str, what: str, record: Record) -> None:
    if not text or text != text.strip() or _UNWRITABLE.search(text):
        raise DataError(
            f"{record.id or record.file!r}: the {what} {_short(text)!r} is empty, has a line break or control "
            f"character, or blanks at its ends; rename it in the source"
        )


def _shifted(value: Decimal, shift: int) -> str:
    value = _DECIMAL.add(value, Decimal(shift))
    if value == value.to_integral_value():
        value = value.quantize(Decimal(1), context=_DECIMAL)
    return f"{value:f}"


def _add(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, name).text = text
