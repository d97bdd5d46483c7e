"""One line of a YOLO label file: a box, a segment, an oriented box, or DOTA's four corners in pixels."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from reprolens.convert.formats.relative import corners_of, pixels, relative_corners
from reprolens.convert.source import NotANumberError, around, decimal, make_object
from reprolens.voc import Object

Size = tuple[int, int]
"""Width and height of a picture in pixels; zeros where they cannot be known."""

Refusal = tuple[str, str]
"""The kind of a problem, and its reason."""


def parse_label(fields: Sequence[str], names: Mapping[str, str], size: Size, keypoints: int = 0) -> Object | Refusal:
    """Return the object of a line of YOLO's own form: class index, then `cx cy w h` or `x y x y x y ...`, all relative.

    `names` are the classes by index; `keypoints` how many numbers of a pose follow a box. Where the size is unknown,
    the object keeps its relative coordinates.
    """
    name = names.get(fields[0]) or _name_of(fields[0], names)
    numbers = fields[1:]
    if keypoints and len(numbers) == 4 + keypoints:
        numbers = numbers[:4]
    if len(numbers) == 5:
        return "unreadable_annotation", "six columns: a detection with its confidence is no label"
    if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
        return "unreadable_annotation", f"{len(fields)} columns, where a box has 5 and a segment 7, 9, 11, ..."
    if name is None:
        return "unknown_class", f"class {fields[0][:40]!r} is not in the list of classes"
    try:
        if len(numbers) == 4:
            return make_object(name, corners_of(numbers, *size) if all(size) else relative_corners(numbers))
        sizes = [*size] * (len(numbers) // 2)
        points = pixels(numbers, sizes, together=True) if all(size) else [decimal(number) for number in numbers]
    except NotANumberError as error:
        return "invalid_box", str(error)
    return _polygon(name, points)


def parse_dota(fields: Sequence[str], names: Mapping[str, str]) -> Object | Refusal:
    """Return the object of a line `x1 y1 x2 y2 x3 y3 x4 y4 name difficult` in pixels (DOTA, Roboflow).

    The class has to be one of `names`, if there are any.
    """
    if len(fields) < 9:
        return "unreadable_annotation", f"{len(fields)} columns, where an oriented box has 10"
    marked = len(fields) > 9 and fields[-1].lstrip("-").isdecimal()
    try:
        points = [decimal(number) for number in fields[:8]]
    except NotANumberError as error:
        return "invalid_box", str(error)
    name = " ".join(fields[8:-1] if marked else fields[8:])
    if names and name not in names.values():
        return "unknown_class", f"class {name[:40]!r} is not in the list of classes"
    return _polygon(name, points, marked and fields[-1] != "0")


def is_dota(fields: Sequence[str]) -> bool:
    """Return whether a line has the form of DOTA's: eight numbers, then a name."""
    return len(fields) >= 9 and all(map(_is_number, fields[:8])) and not _is_number(fields[8])


def is_label(fields: Sequence[str]) -> bool:
    """Return whether a line may be YOLO's: an index, then as many numbers as a box or a segment has, about 0 to 1."""
    if len(fields) < 5 or len(fields) % 2 == 0 or not (fields[0].isascii() and fields[0].isdecimal()):
        return False
    return all(_is_number(number) and -1 < float(number) < 2 for number in fields[1:])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _name_of(field: str, names: Mapping[str, str]) -> str | None:
    """Return the class of an index that is written in another way, as 3.0 or 03, or of a name itself."""
    whole = field.removesuffix(".0").lstrip("0") or "0"
    if field[:1].isdecimal():
        return names.get(whole)
    return field if field in names.values() else None


def _polygon(name: str, points: Sequence[Decimal], difficult: bool = False) -> Object:
    box = around(zip(points[::2], points[1::2], strict=True))
    text = ",".join(format(point, "f") for point in points)
    return make_object(name, box, segmentation=f"[[{text}]]", difficult=difficult)
