"""Microsoft's VoTT: its JSON and CSV exports, and its projects (.vott with a file an asset).

Source: github.com/microsoft/VoTT, src/models/applicationState.ts (IAsset, IRegion) and src/providers/export.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import msgspec

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
    sequence,
    side,
    split_of_file,
    text,
)
from reprolens.convert.formats.outlines import corners_of, points_of, polygons
from reprolens.convert.formats.table import read_table
from reprolens.convert.source import Problem, Source, SourceImage, around, decimal, make_object, split_of_folder
from reprolens.convert.tree import Tree
from reprolens.errors import DataError
from reprolens.voc import Object, Record

_COLUMNS = ("image", "xmin", "ymin", "xmax", "ymax", "label")
_EXPORT = re.compile(rb'"assets"\s*:\s*\{\s*("[^"]*"\s*:\s*\{\s*"(asset|regions)"\s*:|\})')
_PROJECT = re.compile(rb'"(videoSettings|activeLearningSettings|securityToken|lastVisitedAssetId)"\s*:')
_NOT_PICTURES = (2, 4)  # AssetType: a video as a whole, and a TFRecord
_NOT_VISITED, _VISITED = 0, (1, 2)  # AssetState: 2 is tagged
_FEW = 3


class _Document(msgspec.Struct):
    """An export or a project. All but its being an object is checked where it is used."""

    assets: Any = None
    tags: Any = None


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of a folder that VoTT wrote, by what they are."""

    exports: list[str]
    projects: list[str]
    assets: list[str]
    tables: list[str]


def detect(tree: Tree) -> str | None:
    """Return why the folder looks like VoTT, or None."""
    files = _files(tree.files, tree, _FEW)
    if files.exports:
        return f"{files.exports[0]} is an export of VoTT: settings of a project, tags and assets"
    if files.projects and files.assets:
        return f"{files.projects[0]} is a project of VoTT, and {files.assets[0]} one of its pictures"
    if files.assets:
        return f"{files.assets[0]} is a picture of a VoTT project: asset and regions"
    if files.tables:
        return f"{files.tables[0]} has the columns of VoTT's CSV export: {', '.join(_COLUMNS)}"
    return None


def read(tree: Tree, options: Labelled) -> Source:
    """Open the JSON exports of a folder; where it has none its project; else its CSV exports. They say the same.

    Raises DataError where there is none of them.
    """
    files = _files(chosen(tree, options, ""), tree, None)
    problems: list[Problem] = []
    if files.exports or files.assets:
        documents = {file: _document(tree, file, problems) for file in files.exports or files.projects}
        tags = _tags(documents.values())
        entries = _exported(tree, documents) if files.exports else _project(tree, documents, files.assets)
        return Source(chain(problems, _pictures(tree, entries)), tags)
    if files.tables:
        return Source(_table_pictures(tree, files.tables))
    wanted = f" that fits {options.annotations}" if options.annotations else " (*-export.json, *-asset.json)"
    raise DataError(f"{tree.root}: holds no file of VoTT{wanted}; set data to the right format")


def _files(files: Sequence[str], tree: Tree, few: int | None) -> _Files:
    """Sort files by their names and first bytes; of each kind of name only the first `few` are opened."""
    tables = [file for file in files if file.lower().endswith(".csv")][:few]
    documents = [file for file in files if file.lower().endswith(".json")]
    named = [file for file in documents if file.lower().endswith("-export.json")]
    others = [file for file in documents if file not in set(named) and not file.lower().endswith("-asset.json")]
    exports = [file for file in named[:few] + others[:few] if _is_export(opening(tree.path(file)))]
    return _Files(
        # A damaged file among exports, told by its name, is to be reported.
        exports=sorted({*exports, *named[:few]}) if exports else [],
        projects=[file for file in files if file.lower().endswith(".vott")],
        assets=_assets(tree, [file for file in documents if file.lower().endswith("-asset.json")]),
        tables=[file for file in tables if set(_first_row(opening(tree.path(file)))) == set(_COLUMNS)],
    )


def _is_export(head: bytes) -> bool:
    return bool(_EXPORT.search(head)) or (bool(_PROJECT.search(head)) and b'"tags"' in head)


def _assets(tree: Tree, files: list[str]) -> list[str]:
    return files if any(b'"asset"' in opening(tree.path(file)) for file in files[:_FEW]) else []


def _first_row(head: bytes) -> list[str]:
    line = head.decode("utf-8-sig", "replace").lstrip().split("\n")[0]
    return [cell.strip().strip('"') for cell in re.split("[,;\t]", line)]


def _document(tree: Tree, file: str, problems: list[Problem]) -> _Document:
    document = attempt(tree, file, lambda path: read_json(path, _Document))
    if isinstance(document, _Document) and isinstance(document.assets, dict):
        return document
    reason = "has no assets, as VoTT has them"
    known = isinstance(document, Problem)
    problems.append(document if known else Problem("unreadable_annotation", file, tree.place(file), reason))
    return _Document({})


def _tags(documents: Iterable[_Document]) -> tuple[str, ...] | None:
    lists = (document.tags for document in documents if isinstance(document.tags, list))
    names = (tag.get("name") if isinstance(tag, dict) else tag for tag in chain.from_iterable(lists))
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name.strip())) or None


@dataclass(frozen=True, slots=True)
class _Entry:
    """What VoTT says about one picture, and where that stands."""

    file: str
    place: str
    split: str | None
    value: Any


def _exported(tree: Tree, documents: Mapping[str, _Document]) -> Iterator[_Entry | Problem]:
    splits = _splits(list(documents))
    for file, document in documents.items():
        for key, value in document.assets.items():
            yield _Entry(file, tree.place(file, f"asset {str(key)[:40]}"), splits[file], value)


def _project(tree: Tree, documents: Mapping[str, _Document], files: list[str]) -> Iterator[_Entry | Problem]:
    there = {PurePosixPath(file).name.removesuffix("-asset.json") for file in files}
    for project, document in documents.items():
        for key, asset in document.assets.items():
            if key not in there and mapping(asset).get("state") in _VISITED:
                reason = f"the project has marked it, but {str(key)[:40]}-asset.json is not there"
                yield Problem("missing_annotation", text(asset.get("name")) or project, tree.place(project), reason)
    for file in files:
        value = attempt(tree, file, read_json)
        if isinstance(value, Problem):
            yield value
        else:
            yield _Entry(file, tree.place(file), split_of_folder(file), value)


def _splits(files: Sequence[str]) -> dict[str, str | None]:
    """Return the splits in the names of exports or of the folders above them.

    One export alone bears its project's name, which says nothing even if that is `test`.
    """
    if len(files) == 1:
        return {files[0]: split_of_folder(files[0])}
    return {file: split_of_file(re.sub(r"-export(?=\.\w+$)", "", file)) for file in files}


def _pictures(tree: Tree, entries: Iterable[_Entry | Problem]) -> Iterator[SourceImage | Problem]:
    for entry in entries:
        if isinstance(entry, Problem):
            yield entry
            continue
        asset, regions = mapping(mapping(entry.value).get("asset")), mapping(entry.value).get("regions")
        name = _name(tree, asset)
        if not name or not isinstance(regions or [], list):
            reason = "its regions are no list" if name else "it does not name its picture"
            yield Problem("unreadable_annotation", name or entry.file, entry.place, reason)
            continue
        if asset.get("type") in _NOT_PICTURES or (asset.get("state") == _NOT_VISITED and not regions):
            continue  # convert tells of a picture that nobody has looked at
        objects, problems = collect(regions or [], _read_region, name, entry.place)
        yield from problems
        width, height = (side(mapping(asset.get("size")).get(key)) for key in ("width", "height"))
        record = Record("", name, width, height, objects=tuple(objects))
        yield SourceImage(record, entry.split, None, folder_of(entry.file), entry.place)


def _name(tree: Tree, asset: dict[str, Any]) -> str:
    """Return the picture's name, with as many of the folders in its path as tell it from others of that name."""
    name = text(asset.get("name")).replace("\\", "/")
    if len(tree.images.find(name)) < 2:
        return name
    parts = unquote(text(asset.get("path")).removeprefix("file:")).replace("\\", "/").split("/")
    tails = ("/".join(parts[-count:]) for count in range(2, len(parts) + 1))
    return next((tail for tail in tails if len(tree.images.find(tail)) == 1), name)


def _read_region(region: Any) -> Iterator[Object]:
    """Yield an object for each tag of a region. Raises EntryError or NotANumberError."""
    if not isinstance(region, dict):
        raise EntryError("unreadable_annotation", f"{str(region)[:40]!r} is no region")
    tags = region.get("tags")
    names = dict.fromkeys(map(class_name, tags if isinstance(tags, list) else [tags]))
    if not names:
        raise EntryError("unknown_class", "has no tag")
    kind = text(region.get("type")).upper() or "RECTANGLE"
    box, given = region.get("boundingBox"), sequence(region.get("points"))
    if kind not in ("RECTANGLE", "SQUARE", "POLYGON"):
        raise EntryError("unsupported_shape", f"a {kind[:40]} has no area")
    points = []
    if kind == "POLYGON" or not isinstance(box, dict):
        points = points_of((mapping(point).get("x"), mapping(point).get("y")) for point in given)
    outline = polygons([points]) if kind == "POLYGON" else ""
    if not points and not isinstance(box, dict):
        raise EntryError("invalid_box", "has no bounding box")
    corners = corners_of(*map(box.get, ("left", "top", "width", "height"))) if isinstance(box, dict) else around(points)
    for name in names:
        yield make_object(name, corners, segmentation=outline)


def _table_pictures(tree: Tree, files: Sequence[str]) -> Iterator[SourceImage | Problem]:
    splits = _splits(files)
    for file in files:
        rows = attempt(tree, file, read_table)
        if isinstance(rows, Problem):
            yield rows
            continue
        pictures: dict[str, list[dict[str, str]]] = {}
        if rows and not set(_COLUMNS) <= set(rows[0]):
            yield Problem("unreadable_annotation", file, tree.place(file), f"lacks a column of {', '.join(_COLUMNS)}")
            continue
        for row in rows:
            pictures.setdefault(row["image"].replace("\\", "/"), []).append(row)
        if pictures.pop("", None):
            reason = "a row does not name its picture"
            yield Problem("unreadable_annotation", file, tree.place(file), reason)
        for name, own in pictures.items():
            place = tree.place(file, f"picture {name}")
            placed = [row for row in own if any(row[key] for key in _COLUMNS[1:])]
            objects, problems = collect(placed, _read_row, name, place)
            yield from problems
            record = Record("", name, 0, 0, objects=tuple(objects))
            yield SourceImage(record, splits[file], None, folder_of(file), place)


def _read_row(row: dict[str, str]) -> Iterator[Object]:
    x0, y0, x1, y1 = (decimal(row[key]) for key in _COLUMNS[1:5])
    yield make_object(class_name(row["label"]), (x0, y0, x1, y1))
