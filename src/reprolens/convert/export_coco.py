"""A VOC folder as COCO: annotations/instances_{train,val,test}.json and images/.

Every number is written with the digits that the source gave it: a box is `[x0, y0, x1 - x0, y1 - y0]` in decimal
arithmetic, and an outline is its own text. What COCO has no word for stands in `ignore` (VOC's difficult) and in
`attributes` (occluded, truncated, pose), as CVAT and datumaro have it. Pictures with labels and no objects are in
annotations/labels_{split}.json, as datumaro has them.
"""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from reprolens.convert.export_pictures import check_replaceable, copy_picture, numbered, source_name, take
from reprolens.convert.formats.outlines import EXACT
from reprolens.convert.segmentation import area
from reprolens.errors import DataError
from reprolens.files import atomic_folder
from reprolens.progress import track
from reprolens.voc import Folder, Object, Record


def write_coco(folder: Folder, out: Path) -> dict[str, Any]:
    """Write a VOC folder as COCO at `out`, replacing what is there, and return the counts and where the files are.

    Categories are numbered from 1 in the order of labels.txt. Raises DataError if a picture or annotation is missing,
    or an object's class is not in labels.txt.
    """
    categories = {name: number for number, name in enumerate(folder.classes, 1)}
    listed = [{"id": number, "name": source_name(name), "supercategory": ""} for name, number in categories.items()]
    taken: set[str] = set()
    images = boxes = labels = 0
    check_replaceable(folder, out, frozenset({"annotations", "images"}))
    with atomic_folder(out) as place:
        (place / "annotations").mkdir()
        (place / "images").mkdir()
        for split in folder.splits:
            pictures: list[dict[str, Any]] = []
            objects: list[dict[str, Any]] = []
            tags: list[dict[str, Any]] = []
            for record in track(folder.records(split), f"write {split}"):
                images += 1
                name = take(taken, numbered(record.file))
                copy_picture(folder, record, place / "images" / name)
                pictures.append({"id": images, "file_name": name, "width": record.width, "height": record.height})
                for item in record.objects:
                    boxes += 1
                    objects.append(_annotation(boxes, images, item, record, categories))
                for label in record.labels:
                    labels += 1
                    category = _category(label, record, categories)
                    tags.append({"id": labels, "image_id": images, "category_id": category})
            parts = {"instances": objects} if objects or not tags else {}
            parts |= {"labels": tags} if tags else {}
            for kind, annotations in parts.items():
                content = {"images": pictures, "annotations": annotations, "categories": listed}
                (place / "annotations" / f"{kind}_{split}.json").write_bytes(msgspec.json.encode(content) + b"\n")
    return {"images": images, "boxes": boxes, "labels": labels, "classes": len(categories), "path": str(out)}


def _annotation(id: int, image: int, item: Object, record: Record, categories: Mapping[str, int]) -> dict[str, Any]:
    x0, y0, x1, y1 = item.exact or tuple(Decimal(repr(edge + 0.0)) for edge in item.box)
    width, height = EXACT.subtract(x1, x0), EXACT.subtract(y1, y0)
    found: dict[str, Any] = {
        "id": id,
        "image_id": image,
        "category_id": _category(item.name, record, categories),
        "bbox": msgspec.Raw(f"[{','.join(map(_number, (x0, y0, width, height)))}]".encode()),
        "area": _area(item, float(width) * float(height)),
        "segmentation": msgspec.Raw(item.segmentation.encode() or b"[]"),
        "iscrowd": int(item.crowd),
        "ignore": int(item.difficult),
    }
    attributes: dict[str, Any] = {name: True for name in ("occluded", "truncated") if getattr(item, name)}
    if item.pose != "Unspecified":
        attributes["pose"] = item.pose
    if attributes:
        found["attributes"] = attributes
    return found


def _number(value: Decimal) -> str:
    """Return a number as JSON: the shortest text that reads as the same float64 if that is exact, else every digit."""
    if value == value.to_integral_value() and value.adjusted() < 16:
        return str(int(value))
    short = repr(float(value))
    return short if Decimal(short) == value else f"{value:f}"


def _category(name: str, record: Record, categories: Mapping[str, int]) -> int:
    if name not in categories:
        raise DataError(f"{record.id}: its class {name!r} is not in labels.txt; run the convert stage again")
    return categories[name]


def _area(item: Object, boxed: float) -> float:
    """Return the area of an object's outline, and of its box where it has none, or a damaged one."""
    try:
        return area(item.segmentation) if item.segmentation else boxed
    except DataError:
        return boxed
