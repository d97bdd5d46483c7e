"""torch.export's files, run by torch on the CPU.

`torch.export.load` is not safe as it stands: it unpickles weights, constants and example inputs where an archive says
so, evaluates the text of shapes, and calls whatever of torch a node names. So an archive is looked through before, and
refused if it holds anything but raw tensors, an example of plain tensors, torch's own arithmetic and plain shapes.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from reprolens.errors import ExportError, first_line
from reprolens.inference.model import KEY, Found, Model, Pixels, read_contract
from reprolens.inference.outputs import CANDIDATES, Arrays, find

_FILES = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/model\.json"
    r"|data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)"
    rf"|data/sample_inputs/model\.pt|extra/{KEY}\.json"
)
_TARGETS = re.compile(
    r"torch\.ops\.(aten|torchvision)\.\w+\.\w+|_operator\.(add|sub|mul|floordiv|truediv|neg|mod|getitem|eq|ne|lt|le|gt|ge)"
    r"|torch\.sym_(float|int|max|min|ite|not)|math\.(ceil|floor|trunc)"
)
_SHAPES = re.compile(
    r"(?:Symbol\('[su]\d+'|\b(?:positive|nonnegative|integer|real)=True\b|\b(?:Add|Mul|Pow|Integer|Rational|Max|Min|Mod"
    r"|PythonMod|FloorDiv|CleanDiv|CeilDiv|TruncToInt|IntTrueDiv|FloatTrueDiv|ToFloat|Float|Eq|Ne|Ge|Gt|Le|Lt)\b"
    r"|[su]\d+\b|\b\d+(?:\.\d+)?\b|'\d+(?:\.\d+)?'|precision=\d+|[-+*/(), ])*"
)


class TorchExportModel(Model):
    """An exported .pt2. Raises ExportError if torch cannot load it, it is not one of ours, or holds other things."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self._path = path
        if threads is not None:
            torch.set_num_threads(threads)  # torch has one number for the process
        self.contract = read_contract(check_archive(path), path)
        try:
            # Without guards, which are code in the file's words; that the pictures are right `find` sees to.
            self._module = torch.export.load(path).module(check_guards=False)
        except Exception as error:  # torch's loader raises many kinds
            raise ExportError(f"{path}: torch cannot load it ({first_line(error)})") from None

    def __call__(self, images: Pixels) -> list[Found]:
        return find(images, self.contract, self._run)

    def _run(self, images: Pixels) -> Arrays:
        try:
            with torch.no_grad():
                outputs = self._module(torch.from_numpy(images.copy()))
            return {name: values.numpy() for name, values in zip(CANDIDATES, outputs, strict=True)}
        except Exception as error:  # its operators raise many kinds, and whoever made the file chose its outputs
            raise ExportError(f"{self._path}: torch cannot run it ({first_line(error)})") from None


def check_archive(path: Path) -> str | None:
    """Return what an archive of torch.export says of itself, None if nothing.

    Raises ExportError if loading it could do more than to make a graph of torch's arithmetic.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = {name.partition("/")[2]: name for name in archive.namelist()}
            strange = next((name for name in files if not _FILES.fullmatch(name)), None)
            if strange is not None or len(files) != len(archive.namelist()):
                raise ExportError(f"{path}: holds {strange!r}, which no file of reprolens does; it is not loaded")
            for name, inner in files.items():
                if name.endswith(".json") and not name.startswith("extra/"):
                    _check_json(path, json.loads(archive.read(inner)))
            example = io.BytesIO(archive.read(files["data/sample_inputs/model.pt"]))
            torch.load(example, weights_only=True)
            said = files.get(f"extra/{KEY}.json")
            return archive.read(said).decode() if said else None
    except ExportError:
        raise
    except Exception as error:  # zipfile, json and torch raise many kinds
        raise ExportError(f"{path}: torch cannot load it ({first_line(error)})") from None


def _check_json(path: Path, content: Any) -> None:
    allowed = {"target": _TARGETS, "expr_str": _SHAPES}
    for key, value in _entries(content):
        known = allowed.get(key)
        if key == "use_pickle" and value is not False:
            raise ExportError(f"{path}: has pickled weights, which may be any code; it is not loaded")
        if key == "path_name" and not re.fullmatch(r"(weight|tensor)_\d+", str(value)):
            raise ExportError(f"{path}: has {value!r} for a weight; it is not loaded")
        if known is not None and isinstance(value, str) and not known.fullmatch(value):
            raise ExportError(f"{path}: has {value[:80]!r} in its graph, which may be any code; it is not loaded")
        if key in ("in_spec", "out_spec") and "__enum__" in str(value):
            raise ExportError(f"{path}: has {value[:80]!r} in its graph, which may be any code; it is not loaded")


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield all keys and values of nested JSON."""
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield from part.items()
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
