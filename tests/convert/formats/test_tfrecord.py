"""TFRecord files: real ones, and ones that Google's protocol buffers write here."""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from convert.sources import DATA, POLICY
from reprolens.config.data import Labelled
from reprolens.convert.formats.example import masked_crc, parse_example, read_records
from reprolens.convert.formats.tfrecord import detect, read, relative_corners
from reprolens.convert.source import Problem, Source, SourceImage
from reprolens.convert.tree import open_tree
from reprolens.errors import DataError

VOC100 = DATA / "voc100_multiformat" / "data" / "database"
ASSETS = DATA / "format_fixtures" / "assets"
Features = Mapping[str, Sequence[Any]]
CAT = {
    f"image/object/bbox/{key}": [value]
    for key, value in zip(("xmin", "ymin", "xmax", "ymax"), (0.25, 0.5, 0.5, 1.0), strict=True)
}
CAT |= {"image/object/class/text": ["cat"], "image/height": [10], "image/width": [8], "image/filename": ["a.jpg"]}


def options(root: Path, annotations: str | None = None) -> Labelled:
    return Labelled(
        format="tfrecord", path=str(root), images=None, annotations=annotations, ratios=[0.7, 0.1, 0.2], group_by=None,
        policy=POLICY,
    )  # fmt: skip


def opened(root: Path, images: Path | None = None) -> Source:
    return read(open_tree(root, images), options(root))


def pictures(source: Source) -> list[SourceImage]:
    found = list(source.images)
    assert not [item for item in found if isinstance(item, Problem)]
    return [item for item in found if isinstance(item, SourceImage)]


def problems(source: Source) -> list[tuple[str, str]]:
    return [(item.kind, item.reason) for item in source.images if isinstance(item, Problem)]


@pytest.fixture(scope="session")
def example() -> Callable[[Features], bytes]:
    """Return a writer of tf.train.Example by Google's own library, from the published definition of the message."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    label = descriptor_pb2.FieldDescriptorProto
    for name, kind in (
        ("BytesList", label.TYPE_BYTES),
        ("FloatList", label.TYPE_FLOAT),
        ("Int64List", label.TYPE_INT64),
    ):
        file.message_type.add(name=name).field.add(name="value", number=1, type=kind, label=label.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("bytes_list", "float_list", "int64_list"), 1):
        kind = "".join(word.title() for word in name.split("_"))
        feature.field.add(
            name=name, number=number, type=label.TYPE_MESSAGE, type_name=f".tensorflow.{kind}", oneof_index=0,
            label=label.LABEL_OPTIONAL,
        )  # fmt: skip
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    optional = {"label": label.LABEL_OPTIONAL}
    entry.field.add(name="key", number=1, type=label.TYPE_STRING, **optional)
    entry.field.add(name="value", number=2, type=label.TYPE_MESSAGE, type_name=".tensorflow.Feature", **optional)
    features.field.add(
        name="feature", number=1, type=label.TYPE_MESSAGE, type_name=".tensorflow.Features.FeatureEntry",
        label=label.LABEL_REPEATED,
    )  # fmt: skip
    whole = file.message_type.add(name="Example")
    whole.field.add(name="features", number=1, type=label.TYPE_MESSAGE, type_name=".tensorflow.Features", **optional)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))

    def write(values: Features) -> bytes:
        made = message()
        for name, items in values.items():
            target = made.features.feature[name]
            if items and isinstance(items[0], str | bytes):
                target.bytes_list.value.extend(item.encode() if isinstance(item, str) else item for item in items)
            elif items and isinstance(items[0], float):
                target.float_list.value.extend(items)
            else:
                target.int64_list.value.extend(items)
        return made.SerializeToString()

    return write


def framed(*records: bytes) -> bytes:
    whole = b""
    for data in records:
        length = len(data).to_bytes(8, "little")
        whole += length + masked_crc(length).to_bytes(4, "little") + data + masked_crc(data).to_bytes(4, "little")
    return whole


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


# ---- real files


@pytest.mark.skipif(not VOC100.exists(), reason="the shared data is not here")
def test_voc100_gives_the_same_100_pictures_and_273_boxes_as_its_coco_file() -> None:
    source = opened(VOC100 / "gts" / "tfrecord_format", VOC100 / "images")
    found = {item.record.file: sorted((o.name, *o.box) for o in item.record.objects) for item in pictures(source)}
    coco = json.loads((VOC100 / "gts" / "coco_format_v2" / "instances_v2.json").read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    files = {image["id"]: image["file_name"] for image in coco["images"]}
    wanted: dict[str, list[Any]] = {file: [] for file in files.values()}
    for annotation in coco["annotations"]:
        x, y, width, height = annotation["bbox"]
        wanted[files[annotation["image_id"]]].append((names[annotation["category_id"]], x, y, x + width, y + height))
    assert len(found) == 100
    assert sum(map(len, found.values())) == 273
    assert len(source.classes or ()) == 20
    assert found == {file: sorted(boxes) for file, boxes in wanted.items()}


@pytest.mark.skipif(not ASSETS.exists(), reason="the shared data is not here")
def test_pictures_inside_records_come_out_with_their_boxes_and_splits() -> None:
    root = ASSETS / "tf_detection_api_dataset"
    tree = open_tree(root)
    assert "TensorFlow" in (detect(tree) or "")
    found = list(read(tree, options(root)).images)
    images = {item.record.file: item for item in found if isinstance(item, SourceImage)}
    assert {file: item.split for file, item in images.items()} == {"1.jpg": "train", "2.jpg": "val", "3.jpg": "test"}
    assert [(o.name, o.box) for o in images["1.jpg"].record.objects] == [
        ("label_2", (0, 4, 4, 12)),
        ("label_3", (0, 4, 4, 8)),
    ]
    assert isinstance(images["2.jpg"].image, bytes)
    # the third box of 1.jpg has neither text nor number
    assert [item.kind for item in found if isinstance(item, Problem)] == ["unknown_class"]


@pytest.mark.skipif(not ASSETS.exists(), reason="the shared data is not here")
def test_roboflow_export_has_its_splits_from_folders_and_pictures_by_name() -> None:
    found = pictures(opened(ASSETS / "roboflow_dataset" / "tfrecord"))
    assert [(item.record.file, item.split, item.near, item.image) for item in found] == [
        ("train_001.jpg", "train", "train", None),
        ("train_002.jpg", "train", "train", None),
        ("val_001.jpg", "val", "val", None),
    ]
    assert [o.box for o in found[0].record.objects] == [(2, 1, 5, 2)]


# ---- variants


def test_what_protocol_buffers_write_is_read_back(example: Callable[[Features], bytes]) -> None:
    values = {"a": [b"x", b"", "é".encode()], "b": [0.5, -1.0, 3e38], "c": [0, -1, 2**63 - 1, -(2**63)], "d/é": [1]}
    assert parse_example(example(values)) == {**values, "b": [float(np.float32(v)) for v in values["b"]]}  # type: ignore[arg-type]


def test_unpacked_lists_and_unknown_fields_are_read() -> None:
    floats = b"\x0d\x00\x00\x80\x3f" + b"\x0d\x00\x00\x00\x40"  # field 1, 32 bits, twice
    integers = b"\x08\x05\x08\x07" + b"\x12\x01z"  # field 1, varint, twice; field 2 unknown

    def nested(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    entries = nested(1, nested(1, b"f") + nested(2, nested(2, floats))) + nested(
        1, nested(1, b"i") + nested(2, nested(3, integers))
    )
    assert parse_example(nested(1, entries) + b"\x19" + bytes(8)) == {"f": [1.0, 2.0], "i": [5, 7]}


def test_flags_masks_groups_and_poses_are_kept(tmp_path: Path, example: Callable[[Features], bytes]) -> None:
    mask = np.zeros((10, 8), np.uint8)
    mask[5:10, 2:4] = 1
    values: dict[str, Any] = {**CAT, "image/encoded": [png(mask)], "image/object/mask": [png(mask)]}
    values |= {f"image/object/{key}": [1] for key in ("difficult", "truncated", "group_of")}
    values["image/object/view"] = ["Frontal"]
    (tmp_path / "train.record").write_bytes(framed(example(values)))
    (item,) = pictures(opened(tmp_path))
    (cat,) = item.record.objects
    assert (cat.difficult, cat.truncated, cat.occluded, cat.crowd, cat.pose) == (True, True, False, True, "Frontal")
    assert cat.box == (2, 5, 4, 10)
    from pycocotools import mask as codes

    assert (codes.decode(json.loads(cat.segmentation)) == mask).all()


def test_shards_gzip_and_label_maps_are_understood(tmp_path: Path, example: Callable[[Features], bytes]) -> None:
    numbered = {**CAT, "image/object/class/label": [2]}
    del numbered["image/object/class/text"]
    data = framed(example(numbered))
    (tmp_path / "coco_train.record-00000-of-00002").write_bytes(data)
    (tmp_path / "coco_train.record-00001-of-00002").write_bytes(data)
    (tmp_path / "val.tfrecord.gz").write_bytes(gzip.compress(data))
    (tmp_path / "test.tfrecord").write_bytes(gzip.compress(data))
    (tmp_path / "label_map.pbtxt").write_text("item { id: 1 name: 'dog' }\nitem { id: 2 name: \"cat\" } # last")
    source = opened(tmp_path)
    assert source.classes == ("dog", "cat")
    found = pictures(source)
    assert [item.split for item in found] == ["train", "train", "test", "val"]
    assert {o.name for item in found for o in item.record.objects} == {"cat"}


def test_picture_without_a_name_or_a_size_gets_them_from_itself(
    tmp_path: Path, example: Callable[[Features], bytes]
) -> None:
    boxes = {key: value for key, value in CAT.items() if "object" in key}
    values = {**boxes, "image/encoded": [png(np.zeros((10, 8), np.uint8))]}
    (tmp_path / "x.tfrecord").write_bytes(framed(example(values)))
    (item,) = pictures(opened(tmp_path))
    assert (item.record.file, item.record.width, item.record.height) == ("x-00001.png", 8, 10)
    assert item.record.objects[0].box == (2, 5, 4, 10)


def test_classes_of_whole_pictures_become_labels(tmp_path: Path, example: Callable[[Features], bytes]) -> None:
    values = {"image/filename": ["a.jpg"], "image/class/text": ["cat"], "image/class/label": [1]}
    (tmp_path / "train-00000-of-00001").write_bytes(framed(example(values)))
    source = opened(tmp_path)
    assert source.task == "classification"
    assert pictures(source)[0].record.labels == ("cat",)


# ---- damage


def test_damaged_record_ends_its_file_and_no_other(tmp_path: Path, example: Callable[[Features], bytes]) -> None:
    data = framed(example(CAT), example(CAT), example(CAT))
    third = len(data) // 3
    (tmp_path / "a.tfrecord").write_bytes(data[: third + 40] + b"?" + data[third + 41 :])
    (tmp_path / "b.tfrecord").write_bytes(data[:-3])
    (tmp_path / "c.tfrecord").write_bytes(data)
    (tmp_path / "d.tfrecord").write_bytes(b"no record at all")
    found = list(opened(tmp_path).images)
    assert sum(isinstance(item, SourceImage) for item in found) == 1 + 2 + 3
    reasons = [(item.file, item.reason) for item in found if isinstance(item, Problem)]
    assert [file for file, _ in reasons] == ["a.tfrecord", "b.tfrecord", "d.tfrecord"]
    assert "checksum" in reasons[0][1]
    assert "middle" in reasons[1][1]


def test_bad_box_loses_only_itself(tmp_path: Path, example: Callable[[Features], bytes]) -> None:
    values = {key: value * 2 for key, value in CAT.items()}
    values["image/object/bbox/xmin"] = [float("nan"), 0.25]
    values["image/object/class/text"] = ["cat", "dog"]
    (tmp_path / "a.tfrecord").write_bytes(framed(example(values)))
    found = list(opened(tmp_path).images)
    assert [(item.kind, item.place.endswith("object 1")) for item in found if isinstance(item, Problem)] == [
        ("invalid_box", True)
    ]
    assert [o.name for item in found if isinstance(item, SourceImage) for o in item.record.objects] == ["dog"]


@pytest.mark.parametrize(
    "change",
    [
        {"image/object/bbox/xmin": [0.1, 0.2]},
        {"image/object/bbox/xmin": [1]},
        {"image/object/class/text": ["a", "b"]},
        {"image/object/difficult": [1, 0, 1]},
        {"image/width": ["8"]},
    ],
)
def test_record_whose_lists_do_not_agree_is_reported(
    tmp_path: Path, example: Callable[[Features], bytes], change: Features
) -> None:
    (tmp_path / "a.tfrecord").write_bytes(framed(example({**CAT, **change}), example(CAT)))
    found = list(opened(tmp_path).images)
    assert [type(item) for item in found] == [Problem, SourceImage]


def test_class_that_the_label_map_lacks_is_reported(tmp_path: Path, example: Callable[[Features], bytes]) -> None:
    (tmp_path / "a.tfrecord").write_bytes(framed(example(CAT)))
    (tmp_path / "label_map.pbtxt").write_text("item { id: 1 name: 'dog' }")
    assert problems(opened(tmp_path)) == [("unknown_class", "the label map has no 'cat'")]


def test_folder_without_records_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    tree = open_tree(tmp_path)
    assert detect(tree) is None
    with pytest.raises(DataError, match="no TFRecord file"):
        read(tree, options(tmp_path))


def test_records_of_other_things_are_not_claimed(tmp_path: Path, example: Callable[[Features], bytes]) -> None:
    (tmp_path / "a.tfrecord").write_bytes(framed(example({"audio": [0.5]})))
    assert detect(open_tree(tmp_path)) is None


# ---- laws

SIZE = st.integers(1, 10_000)


@given(st.data(), SIZE, SIZE, st.booleans())
def test_boxes_on_whole_pixels_come_back_exactly(data: st.DataObject, width: int, height: int, single: bool) -> None:
    sizes = [width, height, width, height]
    box = [data.draw(st.integers(0, size)) for size in sizes]
    kind = np.float32 if single else np.float64
    shares = (np.array(box, kind) / np.array(sizes, kind)).astype(np.float32)
    assert relative_corners(shares[None], width, height) == [tuple(map(Decimal, box))]


@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), SIZE, SIZE)
def test_other_boxes_are_the_shortest_decimal_times_the_size(shares: list[float], width: int, height: int) -> None:
    (corners,) = relative_corners(np.array([shares], np.float32), width, height)
    assert not isinstance(corners, ValueError)
    for corner, share, size in zip(corners, shares, (width, height) * 2, strict=True):
        # What is written again from the corner is the float32 that was read.
        assert np.float32(float(corner) / size) == np.float32(share) or np.float32(corner) / np.float32(
            size
        ) == np.float32(share)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_end_in_problems_and_never_in_an_exception(
    data: st.DataObject, tmp_path: Path, example: Callable[[Features], bytes]
) -> None:
    record = bytearray(example({**CAT, "image/encoded": [b"\xff\xd8x"], "image/object/mask": [b"\x89PNG"]}))
    for _ in range(data.draw(st.integers(1, 4))):
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    whole = bytearray(framed(bytes(record), bytes(record[: data.draw(st.integers(0, len(record)))])))
    if data.draw(st.booleans()):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "a.tfrecord"
    path.write_bytes(bytes(whole))
    detect(open_tree(tmp_path))
    assert list(opened(tmp_path).images)


def test_records_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(framed(b"first", b"second") + b"damage")
    records = read_records(path)
    assert [next(records), next(records)] == [b"first", b"second"]
