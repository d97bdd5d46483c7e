"""A Pascal VOC folder as the source: Annotations/*.xml, JPEGImages/ and, where they exist, ImageSets/Main/*.txt."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from reprolens.config import Voc
from reprolens.config.schema import Action
from reprolens.convert.source import Problem, SourceImage
from reprolens.convert.split import TRAINVAL
from reprolens.errors import DataError
from reprolens.voc import parse_annotation
from reprolens.voc.folder import SPLITS, plain_name

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def read_voc(config: Voc, seed: int) -> Iterator[SourceImage | Problem]:
    """Yield every annotated picture, in the order of the names, then what was left over.

    Annotations go by their place below Annotations/ without `.xml`, and so do their pictures and the lines of the image
    sets; only where that finds nothing, <filename> and the bare file name are tried.

    Raises DataError if this is no VOC folder, or if one thing could be meant for two.
    """
    root = Path(config.path)
    annotations = _annotations(root)
    pictures = _pictures(root / "JPEGImages")
    splits, problems = _image_sets(root / "ImageSets" / "Main", annotations)
    owners: dict[str, Path] = {}
    for name, path in annotations.items():
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        record = parse_annotation(data, str(path))
        found = _picture_of(name, record.file.replace("\\", "/"), pictures, annotations)
        if len(found) > 1:
            raise DataError(
                f"{path}: its picture could be {' or '.join(found)}; give its suffix or place in <filename>"
            )
        file = found[0] if found else f"{name}{PurePosixPath(record.file).suffix or '.jpg'}"
        if owners.setdefault(file, path) != path:
            raise DataError(f"{path}: its picture {file} is that of {owners[file]} too; keep one of the two")
        id = plain_name(name)
        suffix = PurePosixPath(file).suffix
        yield SourceImage(
            replace(record, id=id, file=f"{id}{suffix}"), splits.get(name), root / "JPEGImages" / file, str(path)
        )
    yield from problems
    for file in sorted(pictures.files - owners.keys()):
        reason = "a picture without an annotation"
        yield Problem("missing_annotation", file, str(root / "JPEGImages" / file), reason, Action.drop)


@dataclass(frozen=True)
class _Pictures:
    """The pictures below JPEGImages/: their places there, and by every name that may be meant for one."""

    files: frozenset[str]
    named: Mapping[str, list[str]]


def _annotations(root: Path) -> dict[str, Path]:
    """Return the annotations by their names: the place below Annotations/, without the suffix."""
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder; set data.path in params.yaml to the VOC folder")
    folder = root / "Annotations"
    if not folder.is_dir():
        nested = sorted(path.parent for pattern in ("*/Annotations", "*/*/Annotations") for path in root.glob(pattern))
        if nested:
            raise DataError(f"{root}: no Annotations/ in it, but in {nested[0]}; set data.path to that")
        inside = sorted(path.name for path in root.iterdir())[:5]
        found = f"found {', '.join(inside)}" if inside else "the folder is empty"
        raise DataError(f"{root}: not a VOC folder (no Annotations/; {found}); set data to the right format")
    annotations: dict[str, Path] = {}
    for file in _files(folder, (".xml",)):
        name = _bare(file)
        if annotations.setdefault(name, folder / file) != folder / file:
            raise DataError(f"{folder / file}: {annotations[name].name} is beside it; keep one of the two")
    if not annotations:
        raise DataError(f"{folder}: holds no .xml file; there is nothing to convert")
    return annotations


def _pictures(folder: Path) -> _Pictures:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; a VOC folder holds its pictures there")
    files = _files(folder, SUFFIXES)
    named: dict[str, list[str]] = defaultdict(list)
    for file in files:
        path = PurePosixPath(file)
        for name in {file, _bare(file), path.name, path.stem}:
            named[name].append(file)
    return _Pictures(frozenset(files), named)


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Return the places of all files below a folder; hidden ones (`._x.jpg` of macOS) are no part of a data set."""
    found = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes and path.is_file())
    places = (path.relative_to(folder) for path in found)
    return [place.as_posix() for place in places if not any(part.startswith(".") for part in place.parts)]


def _picture_of(name: str, filename: str, pictures: _Pictures, annotations: Mapping[str, Path]) -> list[str]:
    """Return the picture of an annotation, several that it could be, or none."""
    stem, suffix = PurePosixPath(name).name, PurePosixPath(filename).suffix
    for guess in (f"{name}{suffix}", name, filename):
        found = [file for file in pictures.named.get(guess, []) if guess in (file, _bare(file))]
        if found := [file for file in found if _free(file, name, annotations)]:
            return found
    for guess in (f"{stem}{suffix}", stem, PurePosixPath(filename).name):
        if found := [file for file in pictures.named.get(guess, []) if _free(file, name, annotations)]:
            return found
    return []


def _free(file: str, name: str, annotations: Mapping[str, Path]) -> bool:
    """Return whether a picture may belong to an annotation: it does not if another one bears its name."""
    return _bare(file) == name or _bare(file) not in annotations


def _bare(file: str) -> str:
    """Return a file's place without its suffix."""
    return str(PurePosixPath(file).with_suffix(""))


def _image_sets(folder: Path, annotations: Mapping[str, Path]) -> tuple[dict[str, str], list[Problem]]:
    """Return the split of every annotation that an image set names, and the lines that name none.

    Raises DataError if one is in two splits, or if a set names only pictures that have no annotation.
    """
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in annotations:
        by_stem[PurePosixPath(name).name].append(name)
    splits: dict[str, str] = {}
    problems: list[Problem] = []
    for split in (*SPLITS, TRAINVAL):  # trainval last: it says less than train and val, which it repeats
        agreeing = ("train", "val", TRAINVAL) if split == TRAINVAL else (split,)
        path = folder / f"{split}.txt"
        lines = _lines(path)
        names = [_annotation_of(line, annotations, by_stem) for line in lines]
        if lines and not any(names):
            raise DataError(
                f"{path}: no picture that it names, such as {lines[0]!r}, has an annotation; mend or remove it"
            )
        for line, found in zip(lines, names, strict=True):
            if found is None:
                reason = "an image set names it, but it has no annotation"
                problems.append(Problem("missing_annotation", line, str(path), reason, Action.drop))
            elif splits.setdefault(found, split) not in agreeing:
                raise DataError(f"{path}: {found} is in {splits[found]}.txt too; a picture belongs to one split")
    return splits, problems


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError):
        raise DataError(f"{path}: cannot be read as UTF-8 text; save it as such") from None
    return [line.strip() for line in text.split("\n") if line.strip()]


def _annotation_of(line: str, annotations: Mapping[str, Path], by_stem: Mapping[str, list[str]]) -> str | None:
    """Return the annotation that a line of an image set names, also with VOC's flag (1, 0, -1) or a suffix behind."""
    for name in (line, re.sub(r"\s+-?[01]$", "", line)):
        path = PurePosixPath(name)
        if path.suffix.lower() in SUFFIXES and name not in annotations:
            path = path.with_suffix("")
        if str(path) in annotations:
            return str(path)
        if len(by_stem.get(path.name, [])) == 1:
            return by_stem[path.name][0]
    return None
