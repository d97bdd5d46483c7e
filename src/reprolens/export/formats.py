"""The formats as data: name, file, precision, what it needs, and the function that writes it.

A new one also needs a name in `config.ExportFormat`, what runs it (`inference.load`), and an example (`export.about`).
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprolens.config import ExportFormat
from reprolens.errors import ExportError

if TYPE_CHECKING:
    from reprolens.export.source import Source


@dataclass(frozen=True)
class Written:
    """What a writer says of its file: how many pictures it takes at a time (None: any number), and flat facts for
    reports/export.json, such as how many layers stayed in float.
    """

    batch: int | None
    facts: dict[str, Any]


@dataclass(frozen=True)
class Format:
    """A kind of file.

    file: its name in the export folder.
    precision: of its numbers: the key of `export.gate.max_drop`.
    extra: of the package, and `package`, the module that it installs.
    two_stage: whether it takes detectors of two stages.
    writer: `module:function`, imported only to write: `(source, path) -> Written`, raises ExportError.
    """

    name: ExportFormat
    file: str
    precision: str
    writer: str
    extra: str | None = None
    package: str | None = None
    two_stage: bool = True

    def write(self, source: "Source", path: Path) -> Written:
        """Write `source` to `path`."""
        module, _, function = self.writer.partition(":")
        writer: Callable[[Source, Path], Written] = getattr(importlib.import_module(module), function)
        return writer(source, path)


FORMATS = {
    item.name: item
    for item in (
        Format(ExportFormat.onnx, "model.onnx", "float32", "reprolens.export.onnx:write_onnx"),
        Format(ExportFormat.onnx_float16, "model-float16.onnx", "float16", "reprolens.export.float16:write_float16"),
        Format(ExportFormat.onnx_int8, "model-int8.onnx", "int8", "reprolens.export.int8:write_int8"),
        Format(
            ExportFormat.torch_export,
            "model.pt2",
            "float32",
            "reprolens.export.torch_export:write_torch_export",
            two_stage=False,
        ),
        Format(
            ExportFormat.openvino,
            "model-openvino.xml",
            "float32",
            "reprolens.export.openvino:write_openvino",
            extra="openvino",
            package="openvino",
        ),
    )
}


def check_formats(names: list[ExportFormat]) -> None:
    """Raise ExportError if a format's extra is not installed. Nothing heavy is imported."""
    for name in names:
        entry = FORMATS[name]
        if entry.package is not None and find_spec(entry.package) is None:
            raise ExportError(
                f"export.formats: {name} needs the extra {entry.extra}: pip install 'reprolens[{entry.extra}]'"
            )
