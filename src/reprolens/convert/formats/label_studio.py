"""Label Studio's exports JSON and JSON_MIN (labelstud.io/guide/export), and the files of its cloud storage.

Boxes, polygons and ellipses are in percent of the picture's size, from its top-left corner; a box is turned about its
own top-left corner, an ellipse about its centre. Brushes are in Label Studio's own run-length code. Predictions are no
annotations; of several annotations of a picture, the latest that was not cancelled counts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from reprolens.config.data import Labelled
from reprolens.convert.documents import read_json
from reprolens.convert.formats import outlines
from reprolens.convert.formats.brush import decode_brush
from reprolens.convert.formats.entries import (
    EntryError,
    chosen,
    class_name,
    collect,
    folder_of,
    is_true,
    load,
    mapping,
    opening,
    sequence,
    side,
    split_of_file,
    text,
)
from reprolens.convert.formats.percent import box_in_pixels, point_in_pixels
from reprolens.convert.picture import shown_size
from reprolens.convert.source import Problem, Source, SourceImage, around, decimal, make_object, split_of_folder
from reprolens.convert.tree import PICTURES, Tree
from reprolens.errors import DataError
from reprolens.voc import Object, Record
from reprolens.voc.records import Corners

_IMAGE_KEYS = ("image", "img", "picture", "photo", "image_url", "url", "ocr", "captioning")
_CHOICE = re.compile(r"choice|class|label|categor", re.IGNORECASE)
_MINIMAL = re.compile(rb'"(annotator|annotation_id|lead_time)"\s*:')
_SHAPE = re.compile(rb'"(rectangle|polygon|ellipse|brush|keypoint)?labels"\s*:|"original_width"\s*:|"choices?"\s*:')


@dataclass(frozen=True)
class _Task:
    """One picture as it was annotated: its address, the regions, and the classes of the picture as a whole.

    `regions` is None where nobody has annotated it.
    """

    url: str
    regions: tuple[dict[str, Any], ...] | None
    labels: tuple[str, ...] = ()
    named: dict[str, list[Any]] = field(default_factory=dict)


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like Label Studio's, or None."""
    for file in tree.ending(".json")[:3]:
        head = opening(tree.path(file))
        if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[" and b'"result"' in head and b'"data"' in head:
            return f"{file} is a list of tasks with annotations and results, as Label Studio exports them"
        if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[" and _MINIMAL.search(head) and _SHAPE.search(head):
            return f"{file} is a list of pictures with annotation_id or annotator, as Label Studio's JSON_MIN has them"
        if head.lstrip()[:1] == b"{" and b'"result"' in head and b'"task"' in head and b'"completed_by"' in head:
            return f"{file} has result, task and completed_by, as Label Studio saves them to a cloud storage"
    return None


def read(tree: Tree, options: Labelled) -> Source:
    """Open Label Studio's JSON files. Raises DataError if there is none, or none that can be read."""
    files = chosen(tree, options, ".json")
    if not files:
        raise DataError(f"{tree.root}: holds no .json file; export from Label Studio as JSON")
    loaded, problems = load(tree, files, _tasks)
    tasks = [task for _, tasks in loaded for task in tasks]
    drawn = any(_has_place(mapping(region.get("value"))) for task in tasks for region in task.regions or ())
    labelled = any(task.labels for task in tasks)

    def images() -> Iterator[SourceImage | Problem]:
        yield from problems
        for file, tasks in loaded:
            for number, task in enumerate(tasks, 1):
                yield from _picture(task, number, file, tree)

    return Source(images(), task="classification" if labelled and not drawn else "detection")


# ---- files


def _tasks(path: Path) -> list[_Task]:
    content = read_json(path)
    entries = content if isinstance(content, list) else [content]
    tasks: dict[Any, tuple[str, _Task]] = {}
    for number, entry in enumerate(entries):
        entry = mapping(entry)
        if isinstance(entry.get("task"), dict) and "result" in entry:  # of the cloud storage: one annotation a file
            entry = {**entry["task"], "annotations": [entry]}
        if isinstance(entry.get("data"), dict):
            tasks[number] = ("", _full(entry))
        elif "annotation_id" in entry or "annotator" in entry or "lead_time" in entry:
            # JSON_MIN has an entry for each annotation of a picture.
            key, when = text(entry.get("id")) or number, text(entry.get("updated_at"))
            if key not in tasks or tasks[key][0] <= when:
                tasks[key] = (when, _minimal(entry))
        else:
            tasks[number] = ("", _Task("", None))  # reported with its number
    if entries and not any(task.url for _, task in tasks.values()):
        raise DataError(f"{path}: no entry in it names a picture, as Label Studio's tasks do")
    return [task for _, task in tasks.values()]


def _full(entry: dict[str, Any]) -> _Task:
    """Return a task of the export JSON."""
    given = entry.get("annotations", entry.get("completions"))  # as they were called before version 1.0
    done = [item for item in sequence(given) if isinstance(item, dict) and not is_true(item.get("was_cancelled"))]
    if not done:
        return _Task(_address(mapping(entry.get("data"))), None)
    latest = max(range(len(done)), key=lambda index: (_time(done[index]), index))
    regions = [mapping(item) for item in sequence(done[latest].get("result"))]
    named: dict[str, list[Any]] = {}
    labels: list[str] = []
    for region in regions:
        value = mapping(region.get("value"))
        if names := _labels(value):
            named.setdefault(text(region.get("id")), names)
        if not _has_place(value):
            labels += _choices(value)
    return _Task(_address(mapping(entry.get("data"))), tuple(regions), tuple(dict.fromkeys(labels)), named)


def _time(annotation: dict[str, Any]) -> str:
    return text(annotation.get("updated_at")) or text(annotation.get("created_at"))


def _minimal(entry: dict[str, Any]) -> _Task:
    """Return an entry of JSON_MIN, where the keys of the data and of the labelling stand side by side."""
    regions: list[dict[str, Any]] = []
    labels: list[str] = []
    for key, value in entry.items():
        if isinstance(value, list):
            items = [item for item in value if isinstance(item, dict)]
            regions += [{"value": item, **{name: item.get(name) for name in _SIZE}} for item in items]
        elif isinstance(value, dict):
            labels += _choices(value)
        elif _CHOICE.search(key) and text(value):
            labels.append(text(value))
    return _Task(_address(entry), tuple(regions), tuple(dict.fromkeys(labels)))


_SIZE = ("original_width", "original_height")


def _address(data: dict[str, Any]) -> str:
    """Return the address of the picture among a task's data: by its key, else by its suffix."""
    for key in _IMAGE_KEYS:
        if text(data.get(key)):
            return text(data[key])
    addresses = [value for value in data.values() if isinstance(value, str)]
    return next((value for value in addresses if value.partition("?")[0].lower().endswith(PICTURES)), "")


def _labels(value: dict[str, Any]) -> list[Any]:
    """Return the classes of a region: `rectanglelabels`, `brushlabels`, `labels` and so on."""
    return next((sequence(names) for key, names in value.items() if key.endswith("labels") and sequence(names)), [])


def _choices(value: dict[str, Any]) -> list[str]:
    """Return the classes that were chosen for a picture; of a taxonomy's path, its end."""
    given = sequence(value.get("choices")) + [path[-1] for path in sequence(value.get("taxonomy")) if sequence(path)]
    return [text(name) for name in given if text(name)]


def _has_place(value: dict[str, Any]) -> bool:
    return any(key in value for key in ("x", "points", "rle", "vertices", "sequence"))


# ---- pictures


def _picture(task: _Task, number: int, file: str, tree: Tree) -> Iterator[SourceImage | Problem]:
    place = tree.place(file, f"task {number}")
    if not task.url:
        yield Problem("unreadable_annotation", file, place, "names no picture")
        return
    near = folder_of(file)
    name, found = _name(task.url, near, tree)
    if task.regions is None:
        yield Problem("missing_annotation", name, place, "nobody has annotated it")
        return
    sizes = [(side(region.get("original_width")), side(region.get("original_height"))) for region in task.regions]
    size = next((size for size in sizes if all(size)), None)
    if size is None and len(found) == 1:
        size = shown_size(tree.images.path(found[0]))
    size = size or (0, 0)
    drawn = {text(region.get("id")) for region in task.regions if text(region.get("type")) not in ("labels", "choices")}

    def parse(region: dict[str, Any]) -> list[Object]:
        if text(region.get("type")) in ("labels", "choices") and text(region.get("id")) in drawn:
            return []  # says what a region is that another result draws
        return _objects(region, task.named, size)

    objects, problems = collect(task.regions, parse, name, place)
    yield from problems
    record = Record("", name, *size, objects=tuple(objects), labels=task.labels)
    yield SourceImage(record, split_of_folder(name) or split_of_file(file), near=near, place=place)


def _name(url: str, near: str, tree: Tree) -> tuple[str, list[str]]:
    """Return a picture's name out of its address, and where it lies.

    Uploads are called `1234abcd-name.jpg`; an export's pictures have the mark, the user's own files have not.
    """
    name = url.replace("\\", "/")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://|/?data/(local-files|upload)/", name):
        try:
            parts = urlsplit(name)
            name = parse_qs(parts.query).get("d", [unquote(parts.path)])[0].replace("\\", "/")
        except ValueError:
            pass
    name = name.strip("/")
    folder, slash, last = name.rpartition("/")
    for candidate in dict.fromkeys((name, folder + slash + re.sub(r"^[0-9a-f]{8}-(?=.)", "", last))):
        if found := tree.images.find(candidate, near):
            return candidate, found
    return name or url, []


def _objects(region: dict[str, Any], named: dict[str, list[Any]], size: tuple[int, int]) -> list[Object]:
    """Return a region as an object of each of its classes, none if it is not drawn. Raises EntryError, ValueError."""
    value, kind = mapping(region.get("value")), text(region.get("type"))
    if not _has_place(value) or (kind == "choices" and not _labels(value)):
        return []
    own = side(region.get("original_width")), side(region.get("original_height"))
    corners, segmentation = _shape(value, kind, own if all(own) else size)
    names = _labels(value) or named.get(text(region.get("id")), [])
    classes = [class_name(name) for name in names] or [class_name("")]
    return [make_object(name, corners, segmentation=segmentation) for name in classes]


def _shape(value: dict[str, Any], kind: str, size: tuple[int, int]) -> tuple[Corners, str]:
    """Return a region's box and outline; in percent as they are where the picture's size is not known."""
    if "rle" in value:
        mask = decode_brush(sequence(value["rle"]), *size)
        return outlines.hull(mask), outlines.run_length(mask, 0, 0, *size)
    degrees = decimal(value["rotation"]) if value.get("rotation") else outlines.UPRIGHT
    if "radiusX" in value:
        centre = point_in_pixels(value.get("x"), value.get("y"), size)
        return outlines.ellipse(centre, point_in_pixels(value["radiusX"], value.get("radiusY"), size), degrees)
    if "points" in value and kind not in ("vector", "vectorlabels"):
        pairs = outlines.points_of(sequence(value["points"]))
        ring = [point_in_pixels(x, y, size) for x, y in pairs]
        segmentation = outlines.polygons([ring])
        return around(ring), segmentation
    if kind.startswith("keypoint") or "keypointlabels" in value or "height" not in value:
        raise EntryError("unsupported_shape", f"a {kind.removesuffix('labels') or 'keypoint'} has no area")
    corners = box_in_pixels([value.get(key) for key in ("x", "y", "width", "height")], size)
    return outlines.turned_box(corners, (corners[0], corners[1]), degrees)
