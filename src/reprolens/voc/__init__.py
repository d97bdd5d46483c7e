"""The interchange data set: Pascal VOC folders, read and written without losing a thing."""

from reprolens.voc.annotation import format_annotation, parse_annotation
from reprolens.voc.folder import Folder, read_folder, write_folder
from reprolens.voc.records import Box, Object, Record

__all__ = [
    "Box",
    "Folder",
    "Object",
    "Record",
    "format_annotation",
    "parse_annotation",
    "read_folder",
    "write_folder",
]
