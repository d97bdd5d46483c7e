"""One VOC annotation file: Annotations/*.xml, as the PASCAL VOC development kit documents it (VOC2012, section 10).

Beside VOC's own elements a file may hold, and readers that do not know them skip: `<crowd>1</crowd>` in an object, a
box around many objects, as COCO's iscrowd; `<segmentation>` in an object, its outline as COCO writes it, as JSON,
0-based; `<label>` in the annotation, once for each class of the picture as a whole.

Coordinates shift between the 0-based continuous boxes in memory and VOC's 1-based pixels in decimal arithmetic, on the
shortest decimal that names the number, because `(x0 + 1) - 1` is not `x0` in binary floating point. So every finite
float64 comes back bit for bit, but for -0.0, which comes back as 0.0; and so do more digits, where a source has them.
"""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal, InvalidOperation

from lxml import etree

from reprolens.errors import DataError
from reprolens.voc.records import Box, Corners, Object, Record

# Wide enough for the decimal form of any float64, so that adding 1 never rounds.
_DECIMAL = Context(prec=1100)
_ONE = Decimal(1)
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_SHIFTS = (1, 1, 0, 0)

# Control characters, line and paragraph separators, lone surrogates, and the two code points that XML lacks.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_MARKUP = re.compile("[&<>]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def parse_annotation(data: bytes, source: str, problems: list[str] | None = None) -> Record:
    """Read one annotation; `source` names it in errors. The record's id is left empty: it is the file's.

    Boxes are returned as they stand, also where they are inverted or outside the picture: judging is `convert`'s work.
    With a list for `problems`, what is wrong with an object goes there and the object is left out; a missing size is 0.

    Raises DataError if the text is not a VOC annotation, or declares XML entities.
    """
    # A new parser each: lxml parsers must not be shared between threads. Entities, DTDs and the network are off.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        reason = " ".join(str(getattr(error, "msg", error)).split())
        raise DataError(f"{source}: not well-formed XML ({reason}); repair or remove the file") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise DataError(f"{source}: declares a document type or entities, which are refused; remove the DOCTYPE")
    if root.tag != "annotation":
        raise DataError(f"{source}: the root element is <{_short(root.tag)}>, not VOC's <annotation>")
    objects = []
    for element in root.iterfind("object"):
        try:
            objects.append(_parse_object(element, source))
        except DataError as error:
            if problems is None:
                raise
            problems.append(str(error).removeprefix(f"{source}: "))
    width, height, depth = _parse_size(root, source, lenient=problems is not None)
    return Record(
        id="",
        file=_text(root, "filename", source) if problems is None else (root.findtext("filename") or "").strip(),
        width=width,
        height=height,
        depth=depth,
        objects=tuple(objects),
        labels=tuple(text for element in root.iterfind("label") if (text := (element.text or "").strip())),
    )


def format_annotation(record: Record) -> bytes:
    """Return the annotation as UTF-8 XML; `parse_annotation` of it gives the record back, but for its id.

    Raises DataError if a name would not come back: an empty one, one with line breaks or other control characters, or
    one with blanks at its ends.
    """
    lines = [
        "<annotation>",
        f"\t<filename>{_name(record.file, 'file name', record)}</filename>",
        f"\t<size>\n\t\t<width>{record.width}</width>\n\t\t<height>{record.height}</height>",
        f"\t\t<depth>{record.depth}</depth>\n\t</size>",
        f"\t<segmented>{int(any(item.segmentation for item in record.objects))}</segmented>",
    ]
    lines += [f"\t<label>{_name(label, 'class name', record)}</label>" for label in record.labels]
    for item in record.objects:
        lines.append(
            f"\t<object>\n\t\t<name>{_name(item.name, 'class name', record)}</name>\n"
            f"\t\t<pose>{_name(item.pose, 'pose', record)}</pose>\n\t\t<truncated>{int(item.truncated)}</truncated>\n"
            f"\t\t<difficult>{int(item.difficult)}</difficult>\n\t\t<occluded>{int(item.occluded)}</occluded>"
        )
        if item.crowd:
            lines.append("\t\t<crowd>1</crowd>")
        xmin, ymin, xmax, ymax = _on_disk(item)
        lines.append(
            f"\t\t<bndbox>\n\t\t\t<xmin>{xmin}</xmin>\n\t\t\t<ymin>{ymin}</ymin>\n"
            f"\t\t\t<xmax>{xmax}</xmax>\n\t\t\t<ymax>{ymax}</ymax>\n\t\t</bndbox>"
        )
        if item.segmentation:
            lines.append(f"\t\t<segmentation>{_escaped(item.segmentation)}</segmentation>")
        lines.append("\t</object>")
    lines.append("</annotation>\n")
    return "\n".join(lines).encode()


def _on_disk(item: Object) -> list[str]:
    """Return VOC's numbers of a box, as text."""
    edges: Sequence[float | Decimal] = item.exact or item.box
    return [_shifted(edge, shift) for edge, shift in zip(edges, _SHIFTS, strict=True)]


def _parse_size(root: etree._Element, source: str, lenient: bool) -> tuple[int, int, int]:
    size = root.find("size")
    if size is None:
        if lenient:
            return 0, 0, 3
        raise DataError(f"{source}: has no <size>; add the picture's width, height and depth")
    if lenient:
        texts = [(size.findtext(name) or "").strip() for name in ("width", "height", "depth")]
        numbers = [round(float(text)) if re.fullmatch(r"\d{1,9}(\.\d{0,9})?", text) else 0 for text in texts]
        return numbers[0], numbers[1], numbers[2] or 3
    depth = _integer(size, "depth", source) if size.find("depth") is not None else 3
    return _integer(size, "width", source), _integer(size, "height", source), depth


def _parse_object(element: etree._Element, source: str) -> Object:
    texts = _texts(element)  # each child is looked at once: three times faster than a search for every name
    bndbox = element.find("bndbox")
    if bndbox is None:
        raise DataError(f"{source}: an <object> has no <bndbox>")
    edges = _texts(bndbox)
    read = [_coordinate(edges.get(name, ""), name, source) for name in _EDGES]
    corners: Corners = (_DECIMAL.subtract(read[0], _ONE), _DECIMAL.subtract(read[1], _ONE), read[2], read[3])
    box: Box = (float(corners[0]), float(corners[1]), float(corners[2]), float(corners[3]))
    pairs = zip(box, corners, strict=True)
    rounded = any(Decimal(repr(edge)) != corner for edge, corner in pairs)
    return Object(
        name=_required(texts.get("name", ""), "object", "name", source),
        box=box,
        difficult=_flag(texts, "difficult"),
        truncated=_flag(texts, "truncated"),
        occluded=_flag(texts, "occluded"),
        crowd=_flag(texts, "crowd"),
        pose=" ".join(texts.get("pose", "").split()) or "Unspecified",
        segmentation=texts.get("segmentation", ""),
        exact=corners if rounded else None,
    )


def _texts(element: etree._Element) -> dict[str, str]:
    """Return the texts of an element's children; of several children of a name the first one's."""
    texts: dict[str, str] = {}
    for child in element:
        texts.setdefault(child.tag, (child.text or "").strip())
    return texts


def _text(element: etree._Element, name: str, source: str) -> str:
    return _required((element.findtext(name) or "").strip(), element.tag, name, source)


def _required(text: str, parent: str, name: str, source: str) -> str:
    if not text:
        raise DataError(f"{source}: <{parent}> has no <{name}>")
    return text


def _integer(element: etree._Element, name: str, source: str) -> int:
    text = _text(element, name, source)
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{source}: <{name}> is {_short(text)!r}, not a whole number") from None


def _coordinate(text: str, name: str, source: str) -> Decimal:
    _required(text, "bndbox", name, source)
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise DataError(f"{source}: <{name}> is {_short(text)!r}, not a number") from None
    # The bound keeps a hostile exponent (1e999999999) from filling the memory with digits.
    if not value.is_finite() or abs(value.adjusted()) > 400 or math.isinf(float(value)):
        raise DataError(f"{source}: <{name}> is {_short(text)}, not a finite number")
    return value


def _flag(texts: Mapping[str, str], name: str) -> bool:
    return texts.get(name, "").lower() not in ("0", "", "false", "no", "unspecified")


def _short(text: str) -> str:
    """Return the text as an error can show it."""
    return text if len(text) <= 40 else f"{text[:37]}..."


def _name(text: str, what: str, record: Record) -> str:
    """Return a name as XML, if it would come back."""
    if not text or text != text.strip() or _UNWRITABLE.search(text):
        raise DataError(
            f"{record.id or record.file!r}: the {what} {_short(text)!r} is empty, has a line break or control "
            f"character, or blanks at its ends; rename it in the source"
        )
    return _escaped(text)


def _escaped(text: str) -> str:
    return _MARKUP.sub(lambda found: _ENTITIES[found[0]], text)


def _shifted(edge: float | Decimal, shift: int) -> str:
    text = repr(float(edge)) if isinstance(edge, float | int) else str(edge)
    whole, _, digits = text.partition(".")
    if whole.isdigit() and digits.isdigit():  # not negative, no exponent: only the whole part shifts
        return f"{int(whole) + shift}.{digits}" if digits.strip("0") else str(int(whole) + shift)
    value = _DECIMAL.add(Decimal(text), Decimal(shift))
    if value == value.to_integral_value():
        value = value.quantize(Decimal(1), context=_DECIMAL)
    return f"{value:f}"
