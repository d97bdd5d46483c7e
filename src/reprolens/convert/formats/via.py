"""VGG Image Annotator, versions 1 and 2: JSON, project JSON and CSV (robots.ox.ac.uk/~vgg/software/via).

Coordinates are continuous pixels from the picture's top-left corner. Neither the pictures' sizes nor their folder are
said: they lie beside the file, or in `data.images`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from reprolens.config.data import Labelled
from reprolens.convert.documents import read_json
from reprolens.convert.formats import outlines
from reprolens.convert.formats.entries import (
    EntryError,
    chosen,
    class_name,
    collect,
    folder_of,
    is_true,
    load,
    mapping,
    marks_of,
    opening,
    sequence,
    split_of_file,
    text,
)
from reprolens.convert.formats.table import read_table
from reprolens.convert.source import Problem, Source, SourceImage, decimal, make_object, split_of_folder
from reprolens.convert.tree import Tree
from reprolens.errors import DataError, suggest
from reprolens.voc import Object, Record

CLASS_ATTRIBUTES = (
    "class", "label", "name", "type", "category", "object", "class_name", "classname", "category_name", "species",
)  # fmt: skip
"""Names of the region attribute that holds the class, where there are several; the first that exists is taken."""

NO_ATTRIBUTE = "object"
"""The class of all regions where they have no attribute at all."""

_EXPORTED = ("via_region_data", "via_export", "via_project")
_KEYS = (b'"regions"', b'"_via_img_metadata"', b'"_via_settings"', b'"shape_attributes"', b'"file_attributes"')
_UNDEFINED = re.compile(r":\s*undefined(?=\s*[,}])")


@dataclass(frozen=True)
class _Picture:
    """What a file says of one picture: its name, its regions (shape, attributes) and its own attributes."""

    name: str
    regions: tuple[tuple[dict[str, Any], dict[str, Any]], ...]
    attributes: dict[str, Any]
    damage: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Document:
    """What one file says: its pictures, and the classes that it declares for a region attribute, if it does."""

    pictures: tuple[_Picture, ...]
    options: dict[str, tuple[str, ...]]


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like VIA's, or None."""
    for file in _likely(tree.ending(".json"))[:5]:
        head = opening(tree.path(file))
        if b'"_via_img_metadata"' in head or (b'"shape_attributes"' in head and b'"regions"' in head):
            return f"{file} has regions with shape_attributes, as VIA writes them"
        if b'"data_format_version"' in head and b'"vid_list"' in head:
            return f"{file} has data_format_version and vid_list, as VIA 3 writes them"
        if head.lstrip()[:1] == b"{" and b'"file_attributes"' in head and b'"filename"' in head:
            return f"{file} has filename and file_attributes, as VIA writes them"
    for file in tree.ending(".csv")[:5]:
        if b"region_shape_attributes" in opening(tree.path(file), 4096).partition(b"\n")[0]:
            return f"{file} has a column region_shape_attributes, as VIA writes it"
    return None


def _likely(files: Iterable[str]) -> list[str]:
    """Return files with those first that have the names under which VIA saves."""
    return sorted(files, key=lambda file: (not PurePosixPath(file).name.startswith(_EXPORTED), file))


def read(tree: Tree, options: Labelled) -> Source:
    """Open VIA's files. The same annotations in two forms are read once: from JSON rather than CSV.

    Raises DataError if there is none, if one is of VIA 3, if two of them say different things of a picture, or if it
    is not clear which attribute is the class.
    """
    files = chosen(tree, options, ".json", ".csv")
    wanted = getattr(options, "class_attribute", None)
    ours = [file for file in files if _is_ours(tree.path(file))]
    if not ours:
        raise DataError(f"{tree.root}: holds no JSON or CSV file of VIA (with regions, or region_shape_attributes)")
    loaded, problems = load(tree, ours, _document)
    documents, notes = _once(tree, loaded)
    attribute = _class_attribute([document for _, document in documents], wanted, tree)
    lists = [document.options.get(attribute) for _, document in documents]
    classes = tuple(dict.fromkeys(name for names in lists for name in names or ())) if all(lists) else None

    def images() -> Iterator[SourceImage | Problem]:
        yield from (*problems, *notes)
        for file, document in documents:
            for picture in document.pictures:
                yield from _picture(picture, file, tree, attribute, classes)

    return Source(images(), classes or None)


def _is_ours(path: Path) -> bool:
    """Return whether a file is to be read: all but other tools' CSV files, and VIA's own files of attributes."""
    head = opening(path)
    if path.suffix.lower() == ".csv":
        return b"region_shape_attributes" in head.partition(b"\n")[0]
    return any(key in head for key in _KEYS) or (b'"data_format_version"' in head and b'"vid_list"' in head)


# ---- files


def _document(path: Path) -> _Document:
    if path.suffix.lower() == ".csv":
        return _from_csv(path)
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: is no JSON object, as VIA's files are")
    if "vid_list" in mapping(content.get("project")):
        raise DataError(f"{path}: is of VIA 3, which is not read; export it as COCO or CSV of VIA 2")
    entries = content.get("_via_img_metadata", content)
    values = entries if isinstance(entries, list) else mapping(entries).values()
    pictures = tuple(_from_json(value) for value in values if isinstance(value, dict) and "filename" in value)
    if not pictures and mapping(entries):
        raise DataError(f'{path}: no entry in it has a "filename", as VIA\'s have')
    region = mapping(mapping(content.get("_via_attributes")).get("region"))
    lists = {name: mapping(mapping(value).get("options")) for name, value in region.items()}
    return _Document(pictures, {name: tuple(map(text, options)) for name, options in lists.items() if options})


def _from_json(entry: dict[str, Any]) -> _Picture:
    """Return a picture of VIA 2, whose regions are a list, or of VIA 1, where they are numbered."""
    regions = entry.get("regions")
    values = regions.values() if isinstance(regions, dict) else sequence(regions)
    pairs = tuple(
        (mapping(mapping(value).get("shape_attributes")), mapping(mapping(value).get("region_attributes")))
        for value in values
    )
    damage = () if regions is None or isinstance(regions, dict | list) else ("its regions are no list",)
    return _Picture(text(entry.get("filename")), pairs, mapping(entry.get("file_attributes")), damage)


def _from_csv(path: Path) -> _Document:
    """Return the pictures of a CSV file: a row a region, or a row without one for a picture that has none."""
    names: dict[tuple[str, str], tuple[list[Any], dict[str, Any], list[str]]] = {}
    for row in read_table(path):
        row = {name.lstrip("#").strip(): value for name, value in row.items()}
        if "region_shape_attributes" not in row or "filename" not in row:
            raise DataError(f"{path}: has no columns filename and region_shape_attributes, as VIA's CSV files have")
        key = row["filename"], row.get("file_size", "")
        regions, attributes, damage = names.setdefault(key, ([], {}, []))
        try:
            attributes.update(_cell(row.get("file_attributes", "")))
            shape = _cell(row["region_shape_attributes"])
            if shape:
                regions.append((shape, _cell(row.get("region_attributes", ""))))
        except (msgspec.DecodeError, RecursionError) as error:
            damage.append(f"a cell is not valid JSON ({error})")
    pictures = (_Picture(name, tuple(r), a, tuple(d)) for (name, _), (r, a, d) in names.items())
    return _Document(tuple(pictures), {})


def _cell(value: str) -> dict[str, Any]:
    """Return the JSON in a cell. VIA writes the attributes that are not set as `undefined`, which JSON lacks."""
    if not value:
        return {}
    try:
        return mapping(msgspec.json.decode(value.encode()))
    except msgspec.DecodeError:
        return mapping(msgspec.json.decode(_UNDEFINED.sub(":null", value).encode()))


def _once(tree: Tree, loaded: list[tuple[str, _Document]]) -> tuple[list[tuple[str, _Document]], list[Problem]]:
    """Return every picture once, by the file that is to be believed, and what was left out for it.

    The files that VIA saves under its own names go first, then JSON before CSV.
    """
    loaded = sorted(loaded, key=lambda item: (_rank(item[0]), item[0]))
    owners: dict[tuple[str, str], tuple[str, _Picture]] = {}
    kept, notes = [], []
    for file, document in loaded:
        fresh, repeated, differing = [], [], []
        for picture in document.pictures:
            owner = owners.setdefault((folder_of(file), picture.name), (file, picture))
            if owner[0] == file:
                fresh.append(picture)
            elif _shapes(owner[1]) == _shapes(picture):
                repeated.append(owner[0])
            else:
                differing.append((owner[0], picture.name))
        if differing and _rank(differing[0][0])[0] == _rank(file)[0]:
            other, name = differing[0]
            meant = "set data.annotations to the one that is meant"
            raise DataError(f"{tree.path(file)}: says another thing of {name[:80]!r} than {other}; {meant}")
        if differing or repeated:
            other = differing[0][0] if differing else repeated[0]
            reason = f"annotates the same pictures {'differently' if differing else 'again'}; {other} is read"
            notes.append(Problem("file_not_read", file, tree.place(file), reason))
        if fresh:
            kept.append((file, _Document(tuple(fresh), document.options)))
    return kept, notes


def _rank(file: str) -> tuple[bool, bool]:
    path = PurePosixPath(file)
    return not path.name.startswith(_EXPORTED), path.suffix.lower() == ".csv"


def _shapes(picture: _Picture) -> list[Any]:
    """Return a picture's regions without the attributes that are not set, of which CSV tells more than JSON."""
    return [(shape, {key: value for key, value in own.items() if _names(value)}) for shape, own in picture.regions]


# ---- classes


def _class_attribute(documents: list[_Document], wanted: str | None, tree: Tree) -> str:
    """Return the region attribute that holds the class, "" where the regions have none."""
    regions = [region for document in documents for picture in document.pictures for _, region in picture.regions]
    filled = list(dict.fromkeys(key for region in regions for key, value in region.items() if _names(value)))
    if wanted is not None:
        present = {key for region in regions for key in region} | {key for item in documents for key in item.options}
        if wanted not in present and regions:
            hint = suggest(wanted, present)
            raise DataError(f"{tree.root}: no region has an attribute {wanted!r}; set data.class_attribute ({hint})")
        return wanted
    if len(filled) <= 1:
        return filled[0] if filled else ""
    lower = {key.strip().lower(): key for key in reversed(filled)}
    chosen_key = next((lower[name] for name in CLASS_ATTRIBUTES if name in lower), None)
    if chosen_key is None:
        names = ", ".join(sorted(filled)[:10])
        raise DataError(f"{tree.root}: which attribute of the regions is the class? Set data.class_attribute: {names}")
    return chosen_key


def _names(value: Any) -> list[str]:
    """Return the classes that an attribute's value names: text, or the true ones of checkboxes."""
    if isinstance(value, dict):
        return [text(key) for key, state in value.items() if is_true(state) and text(key)]
    name = text(value)
    return [name] if name and name not in ("not_defined", "undefined") else []


# ---- pictures


def _picture(
    picture: _Picture, file: str, tree: Tree, attribute: str, classes: tuple[str, ...] | None
) -> Iterator[SourceImage | Problem]:
    place = tree.place(file, picture.name)
    if not picture.name:
        yield Problem("unreadable_annotation", file, tree.place(file), "an entry without a filename")
        return
    name = picture.name.replace("\\", "/")
    for damage in picture.damage:
        yield Problem("unreadable_annotation", name, place, damage)
    known = frozenset(classes) if classes else None
    objects, problems = collect(picture.regions, lambda region: _objects(*region, attribute, known), name, place)
    yield from problems
    labels = [
        label for key, value in picture.attributes.items() if key.lower() in CLASS_ATTRIBUTES for label in _names(value)
    ]
    record = Record("", name, 0, 0, objects=tuple(objects), labels=tuple(dict.fromkeys(labels)))
    yield SourceImage(record, split_of_folder(name) or split_of_file(file), near=folder_of(file), place=place)


def _objects(
    shape: dict[str, Any], attributes: dict[str, Any], attribute: str, known: frozenset[str] | None
) -> list[Object]:
    """Return a region as an object of each class that it names. Raises EntryError, or NotANumberError."""
    kind = text(shape.get("name"))
    if kind in ("polyline", "point", "line"):
        raise EntryError("unsupported_shape", f"a {kind} has no area")
    names = _names(attributes.get(attribute)) if attribute else [NO_ATTRIBUTE]
    if not names:
        raise EntryError("unknown_class", f"its attribute {attribute!r} is not set")
    names = [class_name(name, known if attribute else None) for name in names]
    segmentation = ""
    marks = marks_of(attributes.items())
    if kind == "polygon":
        xs, ys = sequence(shape.get("all_points_x")), sequence(shape.get("all_points_y"))
        if len(xs) != len(ys):
            raise EntryError("unsupported_shape", f"a polygon of {len(xs)} x and {len(ys)} y coordinates")
        points = list(map(list, zip(xs, ys, strict=True)))
        return [outlines.outlined(name, points, marks) for name in names]
    if kind == "rect":
        x, y, width, height = (shape.get(key) for key in ("x", "y", "width", "height"))
        if type(x) is type(y) is type(width) is type(height) is int:
            return [outlines.boxed(name, (x, y, x + width, y + height), marks) for name in names]
        corners = outlines.corners_of(x, y, width, height)
    elif kind in ("circle", "ellipse"):
        centre = decimal(shape.get("cx")), decimal(shape.get("cy"))
        rx, ry = (decimal(shape.get("r" if kind == "circle" else key)) for key in ("rx", "ry"))
        corners, segmentation = outlines.ellipse(centre, (rx, ry), outlines.degrees(shape.get("theta") or 0))
    else:
        raise EntryError("unsupported_shape", f"{kind[:40]!r} is not a shape that is known")
    return [make_object(name, corners, segmentation=segmentation, **marks) for name in names]
