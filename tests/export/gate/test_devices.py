"""Files are judged on the CPU, where torch runs beside them, whatever else onnxruntime offers."""

import warnings
from pathlib import Path

import onnxruntime
import pytest

from export.gate.bench import Bench
from reprolens.config import ExportFormat
from reprolens.errors import ExportError
from reprolens.export.formats import FORMATS
from reprolens.inference.load import load_model

OFFERED = ["CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def path(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file, on a machine that seems to have a GPU: onnxruntime warns if it is asked for what it lacks."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: OFFERED)
    return bench.write(bench.good())


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there is a GPU")
def test_the_best_device_is_taken_unless_the_cpu_is_asked_for(path: Path) -> None:
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        load_model(path, threads=1)
    with warnings.catch_warnings(action="error"):
        assert load_model(path, threads=1, device="cpu").contract.format == "onnx"
    with pytest.raises(ExportError, match=r"model\.onnx: cannot be run on 'gpu'; name cpu"):
        load_model(path, device="gpu")


def test_the_gate_asks_for_the_cpu(path: Path, bench: Bench) -> None:

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*CUDAExecutionProvider")
        [verdict] = bench.judge({ExportFormat.onnx: path}).verdicts
    assert verdict.passed, verdict.reasons


def test_a_file_that_runs_on_the_cpu_alone_takes_that_device(bench: Bench, tmp_path: Path) -> None:

    FORMATS[ExportFormat.torch_export].write(bench.source, tmp_path / "model.pt2")
    assert load_model(tmp_path / "model.pt2", threads=1, device="cpu").contract.format == "torch_export"
