"""Whatever datumaro reads (github.com/open-edge-platform/datumaro, MIT), for formats that are not among Reprolens' own.

It is an optional extra, imported only when asked for, and the last resort: it holds the whole data set in memory, and
rounds coordinates to two decimals of a float32. Datumaro 1.13 sends no usage data; older releases did so only from
their command line, which is not used here.
"""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reprolens.config.data import Imported, Labelled
from reprolens.convert.formats.entries import EntryError, class_name, collect, marks_of, text
from reprolens.convert.formats.outlines import (
    EXACT,
    Mask,
    Point,
    corners_of,
    ellipse,
    hull,
    polygons,
    run_length,
    turned_box,
)
from reprolens.convert.source import Problem, Source, SourceImage, Task, around, decimal, make_object, split_named
from reprolens.convert.tree import PICTURES, Tree
from reprolens.errors import DataError, suggest
from reprolens.voc import Object, Record
from reprolens.voc.records import Corners

_BACKGROUND = "background"
_OBJECT = "object"
"""The class of all objects, where none of them has any: faces, words, or whatever can be told from the rest."""

_SHAPES = frozenset(("bbox", "polygon", "mask", "ellipse", "rotated_bbox"))
_MARKS = {"difficulty": "difficult"}
_MOST_CLASSES = 254
"""A mask's classes stand in a byte, besides 0 for the background and 255 for what counts as neither."""


def detect(tree: Tree) -> str | None:
    """Return None: datumaro is used only where data.format names it."""
    return None


def read(tree: Tree, options: Labelled) -> Source:
    """Let datumaro read a data set, in the format that data.importer names, or the one that it detects.

    Raises DataError where datumaro is not installed, or where it cannot read the data set.
    """
    if options.annotations is not None:
        raise DataError("data.annotations does not apply to datumaro, which finds its files by itself; set it to null")
    library = _library()
    importer = options.importer if isinstance(options, Imported) else None
    given = Path(options.path)
    alone = given.parent == tree.root and tree.files == (given.name,) and given.is_file()
    dataset, problems = _load(library, given if alone else tree.root, importer, tree)
    categories = {kind.name: value for kind, value in dataset.categories().items()}.get("label", [])
    names: dict[int | None, str] = {number: str(category.name) for number, category in enumerate(categories)}
    unnamed = [shape for item in dataset for shape in item.annotations if shape.type.name in _SHAPES]
    if unnamed and all(shape.label is None for shape in unnamed):
        names[None] = _OBJECT
    classes = tuple(dict.fromkeys(name for name in names.values() if name.lower() != _BACKGROUND))
    task = _task(dataset) if len(classes) <= _MOST_CLASSES else "detection"
    return Source(_images(tree, dataset, names, classes, task, problems), classes or None, task)


def _library() -> Any:
    try:
        library = import_module("datumaro")
        import_module("datumaro.components.environment")
        import_module("datumaro.components.importer")
    except ImportError as error:
        reason = "" if error.name == "datumaro" else f" ({error})"
        raise DataError(f"data.format=datumaro needs datumaro{reason}: pip install 'reprolens[datumaro]'") from None
    return library


def _load(library: Any, path: Path, importer: str | None, tree: Tree) -> tuple[Any, list[Problem]]:
    """Return datumaro's data set, read to its end, and the problems of what it left out."""
    known = list(library.components.environment.Environment().importers)
    if importer is not None and importer not in known:
        raise DataError(f"{importer!r} is no importer of datumaro; {suggest(importer, known)}; set data.importer")
    problems: list[Problem] = []

    def left_out(_: Any, error: Any) -> None:
        item, subset = error.item_id
        place = f"{tree.root}, item {item} of {subset}"
        problems.append(Problem("unreadable_annotation", str(item), place, _reason(error)))

    handlers = {"_handle_item_error": left_out, "_handle_annotation_error": left_out}
    policy = type("Policy", (library.components.importer.ImportErrorPolicy,), handlers)
    try:
        # A policy of errors also makes datumaro read everything at once, so that all errors come here.
        dataset = library.Dataset.import_from(str(path), importer, error_policy=policy())
        dataset.init_cache()
    except Exception as error:  # its readers raise whatever they meet
        if isinstance(error.__cause__ or error, ImportError):
            advice = "install that package too" + ("" if importer else ", or set data.importer")
        else:
            advice = "is it in that format?" if importer else "set data.importer to the format's name in datumaro"
        raise DataError(f"{path}: datumaro cannot read it ({_reason(error)}); {advice}") from None
    return dataset, problems


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    return " ".join(str(cause).split())[:200] or type(cause).__name__


def _task(dataset: Any) -> Task:
    """Return what the annotations are for: labels alone, masks alone of which no two show one class, or boxes."""
    kinds: set[str] = set()
    for item in dataset:
        found = [(shape.type.name, getattr(shape, "label", None)) for shape in item.annotations]
        kinds |= {kind for kind, _ in found}
        if len(set(found)) < len(found):
            return "detection"
    if kinds == {"label"}:
        return "classification"
    return "segmentation" if kinds == {"mask"} else "detection"


def _images(
    tree: Tree,
    dataset: Any,
    names: Mapping[int | None, str],
    classes: Sequence[str],
    task: Task,
    problems: list[Problem],
) -> Iterator[SourceImage | Problem]:
    yield from problems
    known = frozenset(tree.images.files)
    for item in dataset:
        place = f"{tree.root}, item {item.id} of {item.subset}"
        try:
            file, image = _picture(item, tree.images.root, known)
        except Exception as error:  # datumaro's media decode when they are asked
            yield Problem(
                "undecodable_image", str(item.id), place, f"datumaro cannot give its picture ({_reason(error)})"
            )
            continue
        shapes = [shape for shape in item.annotations if shape.type.name != "label"]
        labels: list[str] = []
        for label in (shape for shape in item.annotations if shape.type.name == "label"):
            if label.label in names:
                labels.append(names[label.label])
            else:
                yield Problem("unknown_class", file, place, "the class of the picture is not among the declared ones")
        mask = None
        objects: list[Object] = []
        if task == "segmentation":
            mask = _class_mask(shapes, names, classes)
        else:
            objects, found = collect(_grouped(shapes), lambda group: _read_group(group, names), file, place)
            yield from found
        height, width = (item.media.size if getattr(item.media, "has_size", False) else None) or (0, 0)
        record = Record("", file, width, height, objects=tuple(objects), labels=tuple(dict.fromkeys(labels)))
        yield SourceImage(record, split_named(str(item.subset)), image, "", place, mask)


def _picture(item: Any, root: Path, known: frozenset[str]) -> tuple[str, Path | bytes | None]:
    """Return a picture's name, and its file if that is in the listing, or its bytes if datumaro holds them."""
    media, name = item.media, str(item.id)
    kind = type(media).__name__
    if media is None or kind == "ImageFromFile":
        path = getattr(media, "path", "")
        file = Path(os.path.relpath(path, root)).as_posix() if path else name
        if file in known:
            return file, root / file
        return name, None
    data = media.bytes if kind == "ImageFromBytes" else None
    if not isinstance(data, bytes):
        data = _png(np.asarray(media.data))
    suffix = ".png" if data.startswith(b"\x89PNG") else ".bmp" if data.startswith(b"BM") else ".jpg"
    return (name if name.lower().endswith(PICTURES) else f"{name}{suffix}"), data


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    """Return a picture (height, width) or (height, width, channels), blue first as OpenCV has it, as a PNG."""
    if pixels.ndim == 3:
        pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _class_mask(
    shapes: Sequence[Any], names: Mapping[int | None, str], classes: Sequence[str]
) -> Callable[[], np.ndarray[Any, Any]] | None:
    """Return a function that draws the masks of a picture, one above another, as `SourceImage.mask` has it."""

    def draw() -> np.ndarray[Any, Any]:
        drawn: np.ndarray[Any, Any] | None = None
        try:
            for shape in sorted(shapes, key=lambda shape: shape.z_order):
                pixels = np.asarray(shape.image) > 0
                drawn = np.zeros(pixels.shape, np.uint8) if drawn is None else drawn
                name = names.get(shape.label, _BACKGROUND)
                drawn[pixels] = classes.index(name) + 1 if name in classes else 0
        except Exception as error:  # masks are decoded only now
            raise DataError(f"datumaro cannot give its mask ({_reason(error)})") from None
        return np.zeros((0, 0), np.uint8) if drawn is None else drawn

    return draw if shapes else None


def _grouped(shapes: Iterable[Any]) -> list[list[Any]]:
    """Return annotations object by object: a box, polygons and a mask of one class and one group are one object."""
    groups: dict[Any, list[Any]] = {}
    for number, shape in enumerate(shapes):
        group = shape.group if shape.type.name in _SHAPES else 0
        groups.setdefault((group, shape.label) if group else number, []).append(shape)
    one: list[list[Any]] = []
    for group in groups.values():
        whole = sum(shape.type.name in ("bbox", "ellipse", "rotated_bbox") for shape in group) <= 1
        one += [group] if whole else [[shape] for shape in group]
    return one


def _read_group(group: Sequence[Any], names: Mapping[int | None, str]) -> Iterator[Object]:
    """Yield the object of annotations that belong together. Raises EntryError or NotANumberError."""
    shapes = {shape.type.name: shape for shape in group}
    bad = sorted(shapes.keys() - _SHAPES)
    if bad:
        raise EntryError("unsupported_shape", f"a {bad[0]} has no area")
    name = class_name(names.get(group[0].label))
    rings: list[list[Point]] = [_points(shape.points) for shape in group if shape.type.name == "polygon"]
    outline, corners = "", None
    if "rotated_bbox" in shapes:
        corners, outline = _turned(shapes["rotated_bbox"].points)
    elif rings:
        outline, corners = polygons(rings), around(point for ring in rings for point in ring)
    elif "mask" in shapes:
        pixels = _mask(shapes["mask"])
        outline = run_length(pixels, 0, 0, pixels.shape[1], pixels.shape[0])
        corners = None if "bbox" in shapes else hull(pixels)
    if "bbox" in shapes or "ellipse" in shapes:
        (x0, y0), (x1, y1) = _points(shapes["bbox" if "bbox" in shapes else "ellipse"].points)
        if "ellipse" in shapes and not outline:
            centre = _half(EXACT.add(x0, x1)), _half(EXACT.add(y0, y1))
            outline = ellipse(centre, (_half(EXACT.subtract(x1, x0)), _half(EXACT.subtract(y1, y0))))[1]
        corners = x0, y0, x1, y1
    assert corners is not None
    marks: dict[str, Any] = {}
    for shape in group:
        marks |= marks_of((_MARKS.get(key, key), value) for key, value in shape.attributes.items())
        if pose := text(shape.attributes.get("pose")):
            marks["pose"] = pose
    yield make_object(name, corners, segmentation=outline, **marks)


def _turned(numbers: Sequence[float]) -> tuple[Corners, str]:
    """Return the box around a turned one (x and y of its centre, width, height, degrees clockwise), and its outline."""
    (x, y), (width, height), (degrees, _) = _points([*numbers, 0.0])
    return turned_box(
        corners_of(EXACT.subtract(x, _half(width)), EXACT.subtract(y, _half(height)), width, height), (x, y), degrees
    )


def _half(value: Decimal) -> Decimal:
    return EXACT.multiply(value, Decimal("0.5"))


def _points(numbers: Sequence[float]) -> list[Point]:
    """Return points of a flat list; datumaro's numbers are float32, whose shortest decimal is what the source wrote."""
    values = [decimal(str(np.float32(number))) for number in numbers]
    return list(zip(values[::2], values[1::2], strict=True))


def _mask(shape: Any) -> Mask:
    try:
        return np.asarray(shape.image) > 0
    except Exception as error:  # masks are decoded only now
        raise EntryError("unreadable_mask", f"datumaro cannot give its mask ({_reason(error)[:80]})") from None
