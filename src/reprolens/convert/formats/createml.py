"""CreateML JSON, which Apple's Create ML trains on and Roboflow, RectLabel and others export: boxes by their centre.

Source: developer.apple.com/documentation/createml, "Building an object detector data source": x and y are the box's
centre, all four in pixels, the origin is the picture's top-left corner.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from reprolens.config.data import Labelled
from reprolens.convert.documents import read_json
from reprolens.convert.formats.entries import (
    EntryError,
    attempt,
    chosen,
    class_name,
    collect,
    folder_of,
    mapping,
    opening,
    split_of_file,
    text,
)
from reprolens.convert.formats.outlines import EXACT
from reprolens.convert.source import Problem, Source, SourceImage, Task, decimal, make_object, split_of_folder
from reprolens.convert.tree import Tree
from reprolens.errors import DataError
from reprolens.voc import Object, Record

_HEAD = 2**20
_NAMES = ("image", "imagefilename", "imageFilename", "image_filename", "filename")
_LISTS = ("annotations", "annotation")


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like CreateML, or None."""
    for file in _candidates(tree.ending(".json"))[:3]:
        if _looks_like(_first_entry(tree, file)):
            return f"{file} is a list of pictures with annotations, as Create ML has it"
    return None


def read(tree: Tree, options: Labelled) -> Source:
    """Open the CreateML files of a folder; other JSON files are passed over.

    Raises DataError where no file looks like one.
    """
    first = {file: _first_entry(tree, file) for file in _candidates(chosen(tree, options, ".json"))}
    files = [file for file, entry in first.items() if entry is _DAMAGED or _looks_like(entry)]
    if not any(map(_looks_like, first.values())):
        example = '[{"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": {...}}]}]'
        raise DataError(f"{tree.root}: holds no CreateML file, which is JSON such as {example}; set data.format")
    return Source(_images(tree, files), task=_task(first.values()))


_DAMAGED = object()
"""Stands for the first entry of a file that is not JSON."""


def _candidates(files: Sequence[str]) -> list[str]:
    """Return the JSON files to look at: only those that are called after CreateML, where there are any."""
    return [file for file in files if file.lower().endswith(".createml.json")] or list(files)


def _first_entry(tree: Tree, file: str) -> Any:
    """Return the first entry of a JSON list, read from the start of the file alone; None if it is another document."""
    start = opening(tree.path(file), _HEAD).decode("utf-8-sig", "replace").lstrip()
    if start.startswith("{"):
        return None
    start = start.removeprefix("[").lstrip()
    if start.startswith("]"):
        return None
    try:
        return json.JSONDecoder().raw_decode(start)[0]
    except (ValueError, RecursionError):
        return _DAMAGED


def _looks_like(entry: Any) -> bool:
    """Return whether this is a picture's entry: it names the picture and lists annotations that have a label."""
    if not isinstance(entry, dict) or not any(isinstance(entry.get(key), str) for key in _NAMES):
        return False
    if not any(key in entry for key in _LISTS):
        return False
    annotations = _annotations(entry)
    return annotations is not None and all(isinstance(item, str) or "label" in mapping(item) for item in annotations)


def _task(entries: Iterable[Any]) -> Task:
    """Return classification if the first picture with annotations has labels without a place."""
    first = next((found for entry in entries if _looks_like(entry) and (found := _annotations(entry))), [])
    return "classification" if first and not any("coordinates" in mapping(item) for item in first) else "detection"


def _images(tree: Tree, files: Sequence[str]) -> Iterator[SourceImage | Problem]:
    for file in files:
        entries = attempt(tree, file, read_json)
        if isinstance(entries, Problem):
            yield entries
        elif not isinstance(entries, list):
            reason = "not a list of pictures, as CreateML has it"
            yield Problem("unreadable_annotation", file, tree.place(file), reason)
        else:
            yield from _read_file(tree, file, entries)


def _read_file(tree: Tree, file: str, entries: list[Any]) -> Iterator[SourceImage | Problem]:
    split = split_of_folder(file) or split_of_file(file)
    for number, entry in enumerate(map(mapping, entries), 1):
        place = tree.place(file, f"entry {number}")
        name = text(next((entry[key] for key in _NAMES if key in entry), None))
        annotations = _annotations(entry)
        if not name or annotations is None:
            reason = "its annotations are no list" if name else "it does not name its picture"
            yield Problem("unreadable_annotation", name or file, place, reason)
            continue
        placed = [item for item in annotations if "coordinates" in mapping(item)]
        whole = [item for item in annotations if "coordinates" not in mapping(item)]
        objects, problems = collect(placed, _read_object, name, place)
        yield from problems
        labels: list[str] = []
        for item in whole:
            try:
                labels.append(class_name(mapping(item).get("label", item)))
            except EntryError as error:
                yield Problem(error.kind, name, place, f"a label of the whole picture: {error.reason}")
        record = Record("", name, 0, 0, objects=tuple(objects), labels=tuple(dict.fromkeys(labels)))
        yield SourceImage(record, split, None, folder_of(file), place)


def _annotations(entry: dict[str, Any]) -> list[Any] | None:
    """Return what an entry lists; one class as text stands for a list of it."""
    found = next((entry[key] for key in _LISTS if key in entry), None)
    if isinstance(found, str | dict):
        return [found]
    return found if isinstance(found, list) else [] if found is None else None


def _read_object(item: Any) -> Iterator[Object]:
    name, box = class_name(item.get("label")), item["coordinates"]
    if not isinstance(box, dict):
        raise EntryError("invalid_box", f"{name[:40]!r} has no coordinates")
    missing = [key for key in ("x", "y", "width", "height") if key not in box]
    if missing:
        raise EntryError("invalid_box", f"the coordinates of {name[:40]!r} lack {missing[0]}")
    x, y, width, height = (decimal(box[key]) for key in ("x", "y", "width", "height"))
    (x0, x1), (y0, y1) = _ends(x, width), _ends(y, height)
    yield make_object(name, (x0, y0, x1, y1))


def _ends(centre: Decimal, length: Decimal) -> tuple[Decimal, Decimal]:
    half = EXACT.multiply(length, Decimal("0.5"))
    return EXACT.subtract(centre, half), EXACT.add(centre, half)
