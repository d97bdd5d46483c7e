"""TFRecord files and the tf.train.Example messages in them, read without TensorFlow, one record at a time.

Framing (tensorflow/core/lib/io/record_writer.h): the length of the data (uint64), the masked CRC-32C of these eight
bytes (uint32), the data, the masked CRC-32C of the data (uint32); all little-endian. The data is a protocol buffer
(tensorflow/core/example/example.proto, feature.proto), of which only these messages are known here.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import google_crc32c

LARGEST_RECORD = 2**29
"""Bytes that one record may have; more is damage or malice, for it holds one picture."""

Feature = list[bytes] | list[float] | list[int]
"""The values of one feature: texts, numbers that are float32, or integers."""


class RecordError(ValueError):
    """A record, or the file from here on, cannot be read; the message says why."""


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the data of every record of a file, plain or gzipped. Raises RecordError where the file is damaged."""
    try:
        with _opened(path) as file:
            while header := file.read(12):
                length = _length(header)
                data = file.read(length)
                footer = file.read(4)
                if len(data) < length or len(footer) < 4:
                    raise RecordError("the file ends in the middle of a record")
                if masked_crc(data) != int.from_bytes(footer, "little"):
                    raise RecordError("a record's checksum does not fit its data")
                yield data
    except OSError as error:  # also gzip's BadGzipFile
        raise RecordError(f"cannot be read ({error.strerror or error})") from None
    except (EOFError, zlib.error) as error:
        raise RecordError(f"its gzip data is damaged ({error})") from None


def masked_crc(data: bytes) -> int:
    """Return the checksum that TFRecord keeps of `data`: CRC-32C, rotated right by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        start = file.read(12)
    # 1F 8B may also be the length of a plain record; only its checksum tells.
    plain = len(start) == 12 and masked_crc(start[:8]) == int.from_bytes(start[8:], "little")
    zipped = start.startswith(b"\x1f\x8b") and not plain
    return cast(IO[bytes], gzip.open(path, "rb") if zipped else path.open("rb"))


def _length(header: bytes) -> int:
    if len(header) < 12:
        raise RecordError("the file ends in the middle of a record")
    length, crc = struct.unpack("<QI", header)
    if masked_crc(header[:8]) != crc:
        raise RecordError("not a TFRecord file, or damaged: the checksum of a record's length does not fit")
    if length > LARGEST_RECORD:
        raise RecordError(f"a record of {length} bytes is larger than {LARGEST_RECORD // 2**20} MiB")
    return int(length)


def parse_example(data: bytes) -> dict[str, Feature]:
    """Return the features of a tf.train.Example by name. Raises RecordError if the data is none."""
    features: dict[str, Feature] = {}
    view = memoryview(data)
    for number, value in _fields(view):
        if number == 1:  # Example.features
            for inner, entry in _fields(_message(value)):
                if inner == 1:  # Features.feature, a map
                    name, feature = _entry(_message(entry))
                    features[name] = feature
    return features


def _entry(view: memoryview) -> tuple[str, Feature]:
    name, feature = "", memoryview(b"")
    for number, value in _fields(view):
        if number == 1:
            try:
                name = str(_message(value), "utf-8")
            except UnicodeDecodeError:
                raise RecordError("the name of a feature is not UTF-8") from None
        elif number == 2:
            feature = _message(value)
    values: Feature = []
    for number, value in _fields(feature):  # a oneof: the last one holds
        if number == 1:
            values = [bytes(_message(item)) for inner, item in _fields(_message(value)) if inner == 1]
        elif number == 2:
            values = _floats(_message(value))
        elif number == 3:
            values = _integers(_message(value))
    return name, values


def _floats(view: memoryview) -> list[float]:
    values: list[float] = []
    for number, value in _fields(view):
        if number != 1 or isinstance(value, int):
            continue
        if len(value) % 4:
            raise RecordError("a list of float32 does not end with a whole number")
        values += struct.unpack(f"<{len(value) // 4}f", value)
    return values


def _integers(view: memoryview) -> list[int]:
    values: list[int] = []
    for number, value in _fields(view):
        if number != 1:
            continue
        if isinstance(value, int):
            values.append(_signed(value))
            continue
        place = 0
        while place < len(value):
            integer, place = _varint(value, place)
            values.append(_signed(integer))
    return values


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise RecordError("not a tf.train.Example: a number stands where a message belongs")
    return value


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the fields of a message: number, and the integer of a varint or the bytes of anything else.

    Source: protobuf.dev/programming-guides/encoding. Groups, which are gone from the language, are refused.
    """
    place, end = 0, len(data)
    while place < end:
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == 0:
            integer, place = _varint(data, place)
            yield tag >> 3, integer
            continue
        if kind == 2:
            size, place = _varint(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise RecordError("not a tf.train.Example: a field of unknown type")
        if size > end - place:
            raise RecordError("not a tf.train.Example: a field is longer than its message")
        yield tag >> 3, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    end = len(data)
    if place < end and (byte := data[place]) < 0x80:
        return byte, place + 1  # nearly all are one byte long
    value = shift = 0
    while shift < 70 and place < end:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, place
        shift += 7
    raise RecordError("not a tf.train.Example: a number does not end")
