"""The list of formats: complete, and what cannot be written is refused before anything is done."""

import importlib
import subprocess
import sys

import pytest

from reprolens.config import ExportFormat
from reprolens.errors import ExportError
from reprolens.export import formats
from reprolens.export.formats import FORMATS, check_formats


def test_every_format_that_can_be_chosen_is_in_the_list_and_has_a_writer() -> None:
    assert set(FORMATS) == set(ExportFormat)
    for entry in FORMATS.values():
        module, _, function = entry.writer.partition(":")
        assert callable(getattr(importlib.import_module(module), function)), entry


def test_no_two_formats_share_a_file() -> None:
    assert len({entry.file for entry in FORMATS.values()}) == len(FORMATS)


def test_a_format_whose_extra_is_missing_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"^export\.formats: openvino needs .* pip install 'reprolens\[openvino\]'$"):
        check_formats([ExportFormat.onnx, ExportFormat.openvino])
    check_formats([ExportFormat.onnx, ExportFormat.onnx_int8, ExportFormat.torch_export])


def test_a_request_is_checked_without_torch_or_onnx() -> None:
    code = """
import sys
from reprolens.config import ExportFormat
from reprolens.export.formats import check_formats
check_formats(list(ExportFormat))
print([name for name in ("torch", "onnx", "openvino") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
