"""Laws of faithfulness: source -> VOC -> source loses nothing, for any box inside any picture and any names."""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Context, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from convert.drawn_sets import ANY, PRINTED, SPLITS, Picture, Thing, encoded, pictures
from reprolens.config import Labelled, Policy
from reprolens.config.data import Action
from reprolens.convert import convert
from reprolens.convert.export_coco import write_coco
from reprolens.convert.export_yolo import write_yolo
from reprolens.convert.formats import labelled
from reprolens.convert.formats.relative import FLOAT_DECIMALS
from reprolens.voc import Folder, Record, read_folder
from reprolens.voc.folder import original_name

ROOT = Path(__file__).parents[2]
EXACT = Context(prec=3000)
NOISE = 2**-49
"""Of a number in YOLO's files, from 0 to 1: what float64 arithmetic may have added."""

PROFILE = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)

# ---- Sources and their conversion


def _keeping(options: Labelled) -> Labelled:
    """Return a configuration whose policy takes everything as it is."""
    kept = ("tiny_box", "duplicate_box", "duplicate_image", "near_duplicate", "similar_classes", "unused_class")
    strict: dict[str, Action] = dict.fromkeys(vars(options.policy), Action.fail)
    return replace(options, policy=Policy(**strict | dict.fromkeys(kept, Action.keep)))


@contextmanager
def _place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


def _converted(format: str, source: Path, out: Path) -> Folder:
    convert(_keeping(labelled(format, str(source), None, ROOT)), 1, out)
    return read_folder(out)


def _write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def _write_pictures(source: list[Picture], place: Callable[[Picture], Path]) -> None:
    for picture in source:
        _write(place(picture), encoded(picture))


def _records(folder: Folder) -> dict[str, tuple[str, Record]]:
    return {record.file: (split, record) for split in folder.splits for record in folder.records(split)}


def _text(number: Decimal) -> str:
    return f"{number:f}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _parsed(text: str) -> Any:
    """Return JSON with every number as the decimal that it is."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def _length(start: float, end: float) -> float:
    """Return the largest float64 that leads from the start no further than to the end, in decimal arithmetic."""
    most = EXACT.subtract(Decimal(repr(end)), Decimal(repr(start)))
    length = float(most)
    return length if Decimal(repr(length)) <= most else math.nextafter(length, 0)


def _write_coco_source(source: list[Picture], root: Path) -> None:
    _write_pictures(source, lambda picture: root / "images" / picture.file)
    classes = list(dict.fromkeys(thing.name for picture in source for thing in picture.things))
    categories = _json([{"id": number, "name": name} for number, name in enumerate(classes, 1)])
    for split in SPLITS:
        images, annotations, tags = [], [], []
        for id, picture in enumerate(source, 1):
            if picture.split != split:
                continue
            images.append({"id": id, "file_name": picture.file, "width": picture.width, "height": picture.height})
            for thing in picture.things:
                x0, y0, x1, y1 = map(float, thing.corners)
                box = _json([x0, y0, _length(x0, x1), _length(y0, y1)])
                difficult, occluded, truncated, crowd = thing.marks
                attributes = {"occluded": occluded, "truncated": truncated, "pose": thing.pose}
                start = _json(
                    {"id": len(annotations) + 1, "image_id": id, "category_id": classes.index(thing.name) + 1}
                )
                annotations.append(
                    f'{start[:-1]},"bbox":{box},"area":1,"segmentation":{thing.outline or "[]"},'
                    f'"iscrowd":{int(crowd)},"ignore":{int(difficult)},"attributes":{_json(attributes)}}}'
                )
            tags += [(id, classes.index(label) + 1) for label in picture.labels]
        start = f'{{"images":{_json(images)},"categories":{categories},"annotations":['
        _write(root / "annotations" / f"instances_{split}.json", f"{start}{','.join(annotations)}]}}")
        if tags:
            rows = [{"id": n, "image_id": id, "category_id": label} for n, (id, label) in enumerate(tags, 1)]
            _write(root / "annotations" / f"labels_{split}.json", f"{start}{_json(rows)[1:-1]}]}}")


def _read_coco(root: Path) -> dict[str, tuple[Any, ...]]:
    """Return what COCO files say, by picture, in the order of the annotations."""
    said: dict[str, tuple[Any, ...]] = {}
    for path in sorted((root / "annotations").iterdir()):
        kind, _, split = path.stem.partition("_")
        content = _parsed(path.read_text(encoding="utf-8"))
        names = {entry["id"]: entry["name"] for entry in content["categories"]}
        for image in content["images"]:
            entries = [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
            known = said.setdefault(image["file_name"], (split, image["width"], image["height"], [], []))
            for entry in entries:
                if kind == "labels":
                    known[4].append(names[entry["category_id"]])
                    continue
                marks = entry.get("attributes", {})
                outline = entry["segmentation"] or None
                flags = [bool(entry["ignore"]), *(bool(marks.get(key)) for key in ("occluded", "truncated"))]
                pose = marks.get("pose", "Unspecified")
                name = names[entry["category_id"]]
                known[3].append((name, entry["bbox"], flags, bool(entry["iscrowd"]), pose, outline))
    return said


# ---- Laws


@PROFILE
@given(pictures(ANY))
def test_coco_comes_back_with_every_number_name_mark_and_outline(source: list[Picture]) -> None:
    with _place() as place:
        _write_coco_source(source, place / "source")
        folder = _converted("coco", place / "source", place / "voc")
        write_coco(folder, place / "back")
        assert _read_coco(place / "back") == _read_coco(place / "source")
        for picture in source:
            assert (place / "back" / "images" / picture.file).read_bytes() == encoded(picture)


def _rounded(value: Fraction, decimals: int) -> str:
    return _text(
        Decimal(round(value * 10**decimals))
        .scaleb(-decimals, EXACT)
        .quantize(Decimal(1).scaleb(-decimals), context=EXACT)
    )


def _yolo_lines(picture: Picture, classes: list[str], decimals: int) -> list[str]:
    lines = []
    for thing in picture.things:
        x0, y0, x1, y1 = map(Fraction, thing.corners)
        width, height = picture.width, picture.height
        numbers = ((x0 + x1) / (2 * width), (y0 + y1) / (2 * height), (x1 - x0) / width, (y1 - y0) / height)
        texts = [_rounded(number, decimals) for number in numbers]
        if min(float(texts[2]), float(texts[3])) > NOISE:  # else the print has no area
            lines.append(" ".join((str(classes.index(thing.name)), *texts)))
    return lines


def _is_noise(found: list[str], wanted: list[str]) -> bool:
    """Return whether lines differ by the last two bits of float64: whole pixels are meant by such numbers."""
    pairs = zip(" ".join(found).split(), " ".join(wanted).split(), strict=True)
    return len(found) == len(wanted) and all(abs(float(one) - float(other)) <= NOISE for one, other in pairs)


@PROFILE
@given(pictures(ANY, rich=False), st.integers(3, 17))
def test_yolo_comes_back_in_its_own_digits_and_in_as_many_as_it_takes(source: list[Picture], decimals: int) -> None:
    classes = list(dict.fromkeys(thing.name for picture in source for thing in picture.things))
    lines = {picture.file: _yolo_lines(picture, classes, decimals) for picture in source}
    whole = " ".join(f"{value:.{decimals}f}" for value in (0.5, 0.5, 1, 1))  # train shows every class in any print
    lines[source[0].file] += [f"{number} {whole}" for number in range(len(classes))]
    with _place() as place:
        root = place / "source"
        _write_pictures(source, lambda picture: root / "images" / picture.split / picture.file)
        for picture in source:
            label = (root / "labels" / picture.split / picture.file).with_suffix(".txt")
            _write(label, "".join(f"{line}\n" for line in lines[picture.file]))
        settings = {split: f"images/{split}" for split in SPLITS} | {"names": classes}
        _write(root / "data.yaml", yaml.safe_dump(settings, allow_unicode=True))
        folder = _converted("yolo", root, place / "voc")

        assert write_yolo(folder, place / "same", decimals)["renamed"] == 0
        for picture in source:
            label = (place / "same" / "labels" / picture.split / picture.file).with_suffix(".txt")
            found, wanted = label.read_text().splitlines(), lines[picture.file]
            assert found == wanted or (decimals >= FLOAT_DECIMALS and _is_noise(found, wanted))

        assert write_yolo(folder, place / "back")["inexact"] == 0
        again = _converted("yolo", place / "back", place / "again")
        assert again.classes == folder.classes
        assert [original_name(name) for name in folder.classes] == classes
        assert _records(again) == _records(folder)
        for picture in source:
            assert (place / "back" / "images" / picture.split / picture.file).read_bytes() == encoded(picture)


def _voc_text(picture: Picture) -> str:
    objects = ""
    for thing in picture.things:
        x0, y0, x1, y1 = thing.corners
        edges = zip(("xmin", "ymin", "xmax", "ymax"), (EXACT.add(x0, 1), EXACT.add(y0, 1), x1, y1), strict=True)
        numbers = "".join(f"<{name}>{_text(edge)}</{name}>" for name, edge in edges)
        marks = zip(("difficult", "occluded", "truncated", "crowd"), thing.marks, strict=True)
        flags = "".join(f"<{name}>{int(mark)}</{name}>" for name, mark in marks)
        outline = f"<segmentation>{thing.outline}</segmentation>" if thing.outline else ""
        start = f"<object><name>{escape(thing.name)}</name><pose>{thing.pose}</pose>{flags}"
        objects += f"{start}<bndbox>{numbers}</bndbox>{outline}</object>"
    labels = "".join(f"<label>{escape(label)}</label>" for label in picture.labels)
    size = f"<size><width>{picture.width}</width><height>{picture.height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{escape(picture.file)}</filename>{size}{labels}{objects}</annotation>"


def _said(record: Record, split: str) -> tuple[Any, ...]:
    things = [
        Thing(
            original_name(item.name),
            item.exact or tuple(Decimal(repr(edge)) for edge in item.box),
            (item.difficult, item.occluded, item.truncated, item.crowd),
            item.pose,
            item.segmentation,
        )
        for item in record.objects
    ]
    return (split, record.width, record.height, tuple(things), tuple(map(original_name, record.labels)))


def _has_blank_ends(name: str) -> bool:
    return name != name.strip() or not name.strip()


@PROFILE
@given(pictures(PRINTED, bad_name=_has_blank_ends, bad_class=_has_blank_ends))
def test_voc_comes_back_with_every_number_name_mark_and_outline(source: list[Picture]) -> None:
    with _place() as place:
        root = place / "source"
        _write_pictures(source, lambda picture: root / "JPEGImages" / picture.file)
        for picture in source:
            _write((root / "Annotations" / picture.file).with_suffix(".xml"), _voc_text(picture))
        for split in SPLITS:
            ids = [os.path.splitext(picture.file)[0] for picture in source if picture.split == split]  # noqa: PTH122
            _write(root / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{id}\n" for id in ids))
        folder = _converted("voc", root, place / "voc")
        made = {original_name(file): _said(record, split) for file, (split, record) in _records(folder).items()}
        assert made == {picture.file: picture.said for picture in source}

        again = _converted("voc", place / "voc", place / "again")
        made = {
            original_name(original_name(file)): _said(record, split)[:3]
            for file, (split, record) in _records(again).items()
        }
        assert made == {picture.file: picture.said[:3] for picture in source}
