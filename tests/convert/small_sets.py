"""The same four pictures, each with a cat and a dog, as small data sets in every format: a dictionary of files each.

The boxes are (1, 2, 10, 9) and (3, 4, 12, 11) in pictures of 16 x 12 pixels.
"""

import csv
import io
import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from reprolens.convert.formats.example import masked_crc

WIDTH, HEIGHT = 16, 12
NAMES = ("p0.png", "p1.png", "p2.png", "p3.png")
CLASSES = ("cat", "dog")
BOXES = {"cat": (1, 2, 10, 9), "dog": (3, 4, 12, 11)}
Files = dict[str, bytes]


def _png(number: int) -> bytes:
    rng = np.random.default_rng(number)
    data = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(data, "PNG")
    return data.getvalue()


PICTURES: Files = {name: _png(number) for number, name in enumerate(NAMES)}


def _pictures(folder: str = "images") -> Files:
    return {f"{folder}/{name}" if folder else name: data for name, data in PICTURES.items()}


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    return text.getvalue().encode()


def _each() -> list[tuple[str, str, int, int, int, int]]:
    return [(name, label, *box) for name in NAMES for label, box in BOXES.items()]


def _stem(name: str) -> str:
    return name.removesuffix(".png")


def voc() -> Files:
    files = {f"JPEGImages/{name}": data for name, data in PICTURES.items()}
    for name in NAMES:
        objects = "".join(
            f"<object><name>{label}</name><pose>Left</pose><truncated>0</truncated><difficult>{int(label == 'dog')}"
            f"</difficult><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>"
            "</object>"
            for label, (x0, y0, x1, y1) in BOXES.items()
        )
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}</filename>{size}<segmented>0</segmented>{objects}</annotation>"
        files[f"Annotations/{_stem(name)}.xml"] = text.encode()
    files["ImageSets/Main/train.txt"] = b"p0\np1\n"
    return files | {"ImageSets/Main/val.txt": b"p2\n", "ImageSets/Main/test.txt": b"p3\n"}


def coco() -> Files:
    outlines = {
        "cat": [[1, 2, 10, 2, 10, 9, 1, 9]],
        "dog": {"size": [HEIGHT, WIDTH], "counts": [0, WIDTH * HEIGHT]},
    }
    content = {
        "images": [{"id": n, "file_name": name, "width": WIDTH, "height": HEIGHT} for n, name in enumerate(NAMES, 1)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(CLASSES, 1)],
        "annotations": [
            {
                "id": n,
                "image_id": NAMES.index(name) + 1,
                "category_id": CLASSES.index(label) + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": 63.0,
                "iscrowd": int(label == "dog"),
                "segmentation": outlines[label],
            }
            for n, (name, label, x0, y0, x1, y1) in enumerate(_each(), 1)
        ],
    }
    return _pictures() | {"annotations/instances.json": _json(content)}


def yolo() -> Files:
    lines = "".join(
        f"{number} {(x0 + x1) / 2 / WIDTH:.6f} {(y0 + y1) / 2 / HEIGHT:.6f} {(x1 - x0) / WIDTH:.6f} "
        f"{(y1 - y0) / HEIGHT:.6f}\n"
        for number, (x0, y0, x1, y1) in enumerate(BOXES.values())
    )
    labels = {f"labels/train/{_stem(name)}.txt": lines.encode() for name in NAMES}
    return _pictures("images/train") | labels | {"data.yaml": b"train: images/train\nnames:\n  0: cat\n  1: dog\n"}


def labelme() -> Files:
    files = _pictures("")
    for name in NAMES:
        shapes: list[dict[str, Any]] = [
            {"label": label, "points": [[x0, y0], [x1, y1]], "shape_type": "rectangle", "flags": {}, "group_id": None}
            for label, (x0, y0, x1, y1) in BOXES.items()
        ]
        shapes += [{"label": "cat", "points": [[1, 1], [8, 2.5], [5, 7]], "shape_type": "polygon", "flags": {}}]
        content: dict[str, Any] = {"version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": name}
        files[f"{_stem(name)}.json"] = _json(content | {"imageHeight": HEIGHT, "imageWidth": WIDTH, "imageData": None})
    return files


def via() -> Files:
    content: dict[str, Any] = {}
    for name in NAMES:
        regions = [
            {
                "shape_attributes": {"name": "rect", "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0},
                "region_attributes": {"class": label},
            }
            for label, (x0, y0, x1, y1) in BOXES.items()
        ]
        polygon = {"name": "polygon", "all_points_x": [1, 8, 5], "all_points_y": [1, 2, 7]}
        circle = {"name": "circle", "cx": 8, "cy": 6, "r": 2.5}
        regions += [{"shape_attributes": shape, "region_attributes": {"class": "cat"}} for shape in (polygon, circle)]
        size = len(PICTURES[name])
        content[f"{name}{size}"] = {"filename": name, "size": size, "regions": regions, "file_attributes": {}}
    return _pictures() | {"via_region_data.json": _json(content)}


def via_csv() -> Files:
    rows = []
    for name, label, x0, y0, x1, y1 in _each():
        shape = {"name": "rect", "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
        number = CLASSES.index(label)
        rows.append((name, 1, "{}", 2, number, json.dumps(shape), json.dumps({"class": label})))
    columns = ["filename", "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes"]
    return _pictures() | {"via.csv": _csv([*columns, "region_attributes"], rows)}


def cvat() -> Files:
    labels = "".join(f"<label><name>{name}</name><attributes></attributes></label>" for name in CLASSES)
    images = ""
    for number, name in enumerate(NAMES):
        boxes = "".join(
            f'<box label="{label}" occluded="0" xtl="{x0}.00" ytl="{y0}.00" xbr="{x1}.00" ybr="{y1}.00" z_order="0">'
            f'<attribute name="color">red</attribute></box>'
            for label, (x0, y0, x1, y1) in BOXES.items()
        )
        boxes += '<polygon label="cat" occluded="1" points="1.00,1.00;8.00,2.50;5.00,7.00"></polygon>'
        boxes += '<mask label="dog" occluded="0" rle="2, 3, 4" left="2" top="2" width="3" height="3"></mask>'
        boxes += '<ellipse label="cat" occluded="0" cx="8" cy="6" rx="3" ry="2"></ellipse>'
        images += f'<image id="{number}" name="{name}" width="{WIDTH}" height="{HEIGHT}">{boxes}</image>'
    meta = f"<meta><task><size>4</size><labels>{labels}</labels></task></meta>"
    text = f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>{meta}{images}</annotations>'
    return _pictures() | {"annotations.xml": text.encode()}


def open_images() -> Files:
    columns = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction"
    rows = [
        (_stem(name), "xclick", label, 1, x0 / WIDTH, x1 / WIDTH, y0 / HEIGHT, y1 / HEIGHT, 0, 0, 0, 0)
        for name, label, x0, y0, x1, y1 in _each()
    ]
    return _pictures() | {"train-annotations-bbox.csv": _csv(columns.split(","), rows)}


def label_studio() -> Files:
    tasks = []
    for number, name in enumerate(NAMES, 1):
        result = [
            {
                "id": f"r{label}",
                "type": "rectanglelabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": WIDTH,
                "original_height": HEIGHT,
                "image_rotation": 0,
                "value": {
                    "x": 100 * x0 / WIDTH,
                    "y": 100 * y0 / HEIGHT,
                    "width": 100 * (x1 - x0) / WIDTH,
                    "height": 100 * (y1 - y0) / HEIGHT,
                    "rotation": 0,
                    "rectanglelabels": [label],
                },
            }
            for label, (x0, y0, x1, y1) in BOXES.items()
        ]
        points = {"points": [[10, 10], [50, 20], [30, 60]], "polygonlabels": ["cat"]}
        result.append(result[0] | {"type": "polygonlabels", "value": points})
        annotations = [{"id": number, "result": result, "was_cancelled": False}]
        tasks.append({"id": number, "data": {"image": f"/data/upload/1/{name}"}, "annotations": annotations})
    return _pictures() | {"project.json": _json(tasks)}


def supervisely() -> Files:
    files = _pictures("project/ds/img")
    classes = [{"title": name, "shape": "rectangle", "color": "#ff0000"} for name in CLASSES]
    files["project/meta.json"] = _json({"classes": classes, "tags": [], "projectType": "images"})
    for name in NAMES:
        objects = [
            {
                "classTitle": label,
                "geometryType": "rectangle",
                "tags": [],
                "points": {"exterior": [[x0, y0], [x1, y1]], "interior": []},
            }
            for label, (x0, y0, x1, y1) in BOXES.items()
        ]
        objects.append(objects[0] | {"geometryType": "polygon", "points": {"exterior": [[1, 1], [8, 2], [5, 7]]}})
        content = {"description": "", "tags": [], "size": {"height": HEIGHT, "width": WIDTH}, "objects": objects}
        files[f"project/ds/ann/{name}.json"] = _json(content)
    return files


def vott() -> Files:
    assets = {}
    for name in NAMES:
        regions = [
            {
                "id": label,
                "type": "RECTANGLE",
                "tags": [label],
                "boundingBox": {"left": x0, "top": y0, "width": x1 - x0, "height": y1 - y0},
                "points": [{"x": x0, "y": y0}, {"x": x1, "y": y0}, {"x": x1, "y": y1}, {"x": x0, "y": y1}],
            }
            for label, (x0, y0, x1, y1) in BOXES.items()
        ]
        asset = {"id": name, "name": name, "path": f"file:/x/{name}", "size": {"width": WIDTH, "height": HEIGHT}}
        assets[name] = {"asset": asset, "regions": regions, "version": "2.1.0"}
    tags = [{"name": name, "color": "#ff0000"} for name in CLASSES]
    return _pictures("") | {"set-export.json": _json({"name": "set", "tags": tags, "assets": assets})}


def vott_csv() -> Files:
    rows = [(name, x0, y0, x1, y1, label) for name, label, x0, y0, x1, y1 in _each()]
    return _pictures("") | {"set-export.csv": _csv(("image", "xmin", "ymin", "xmax", "ymax", "label"), rows)}


def tf_csv() -> Files:
    rows = [(name, WIDTH, HEIGHT, label, x0, y0, x1, y1) for name, label, x0, y0, x1, y1 in _each()]
    columns = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")
    return _pictures() | {"labels.csv": _csv(columns, rows)}


def createml() -> Files:
    content = [
        {
            "image": name,
            "annotations": [
                {
                    "label": label,
                    "coordinates": {"x": (x0 + x1) / 2, "y": (y0 + y1) / 2, "width": x1 - x0, "height": y1 - y0},
                }
                for label, (x0, y0, x1, y1) in BOXES.items()
            ],
        }
        for name in NAMES
    ]
    return _pictures("") | {"_annotations.createml.json": _json(content)}


def kitti() -> Files:
    lines = "".join(
        f"{label} 0.00 0 -1.57 {x0}.00 {y0}.00 {x1}.00 {y1}.00 1.5 1.6 3.7 -2.7 1.7 10.3 -1.59\n"
        for label, (x0, y0, x1, y1) in BOXES.items()
    )
    files = _pictures("training/image_2")
    return files | {f"training/label_2/{_stem(name)}.txt": lines.encode() for name in NAMES}


def class_folders() -> Files:
    return {f"{CLASSES[number % 2]}/{name}": data for number, (name, data) in enumerate(PICTURES.items())}


def class_csv() -> Files:
    return _pictures() | {"labels.csv": _csv(("filename", "label"), [(x, CLASSES[n % 2]) for n, x in enumerate(NAMES)])}


def masks() -> Files:
    files = _pictures()
    for name in NAMES:
        values = np.zeros((HEIGHT, WIDTH), np.uint8)
        values[2:9, 1:10], values[4:11, 3:12] = 1, 2
        data = io.BytesIO()
        Image.fromarray(values).save(data, "PNG")
        files[f"masks/{name}"] = data.getvalue()
    return files | {"labelmap.txt": b"# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:1,1,1::\ndog:2,2,2::\n"}


def tfrecord(names: Sequence[str] = NAMES) -> Files:
    boxes = list(BOXES.values())
    shared: dict[str, Sequence[bytes | int | float]] = {
        "image/format": [b"png"],
        "image/width": [WIDTH],
        "image/height": [HEIGHT],
        "image/object/bbox/xmin": [box[0] / WIDTH for box in boxes],
        "image/object/bbox/ymin": [box[1] / HEIGHT for box in boxes],
        "image/object/bbox/xmax": [box[2] / WIDTH for box in boxes],
        "image/object/bbox/ymax": [box[3] / HEIGHT for box in boxes],
        "image/object/class/text": [label.encode() for label in BOXES],
        "image/object/class/label": [1, 2],
    }
    whole = b"".join(
        framed(_example({"image/encoded": [data], "image/filename": [name.encode()], **shared}))
        for name, data in zip(names, PICTURES.values(), strict=True)
    )
    items = "".join(f"item {{\n  id: {number}\n  name: '{name}'\n}}\n" for number, name in enumerate(CLASSES, 1))
    return {"train.tfrecord": whole, "label_map.pbtxt": items.encode()}


def framed(record: bytes) -> bytes:
    """Return a record as a TFRecord file holds it: with its length and checksums."""
    length = struct.pack("<Q", len(record))
    return length + struct.pack("<I", masked_crc(length)) + record + struct.pack("<I", masked_crc(record))


def _example(features: Mapping[str, Sequence[bytes | int | float]]) -> bytes:
    """Return a tf.train.Example in the wire format of protocol buffers."""
    entries = b""
    for name, values in features.items():
        if isinstance(values[0], bytes):
            field, content = 1, b"".join(_field(1, value) for value in values if isinstance(value, bytes))
        elif isinstance(values[0], float):
            field, content = 2, _field(1, struct.pack(f"<{len(values)}f", *values))
        else:
            field, content = 3, _field(1, b"".join(_varint(int(value)) for value in values))
        entries += _field(1, _field(1, name.encode()) + _field(2, _field(field, content)))
    return _field(1, entries)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


SETS: dict[str, tuple[str, Callable[[], Files]]] = {
    "voc": ("voc", voc),
    "coco": ("coco", coco),
    "yolo": ("yolo", yolo),
    "labelme": ("labelme", labelme),
    "via": ("via", via),
    "via as CSV": ("via", via_csv),
    "cvat": ("cvat", cvat),
    "open_images": ("open_images", open_images),
    "label_studio": ("label_studio", label_studio),
    "supervisely": ("supervisely", supervisely),
    "vott": ("vott", vott),
    "vott as CSV": ("vott", vott_csv),
    "tf_csv": ("tf_csv", tf_csv),
    "tfrecord": ("tfrecord", tfrecord),
    "createml": ("createml", createml),
    "kitti": ("kitti", kitti),
    "class_folders": ("class_folders", class_folders),
    "class_csv": ("class_csv", class_csv),
    "masks": ("masks", masks),
}
"""Every format but datumaro, which is another library's: its name in data.format, and what makes its files."""
