"""What a file takes is measured in a process of its own, which it may not bring down with it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from export.gate.bench import Bench
from reprolens.errors import ExportError
from reprolens.export.gate.memory import peak_memory


def _with_ballast(model: onnx.ModelProto, mebibytes: int) -> onnx.ModelProto:
    """Add numbers that reach no output but `counts`, by nothing."""
    ballast = np.random.default_rng(0).random((mebibytes, 2**18), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(ballast, "ballast"))
    maker = next(node for node in model.graph.node if "counts" in node.output)
    maker.output[list(maker.output).index("counts")] = "counted"
    model.graph.node.extend(
        [
            helper.make_node("ReduceMin", ["ballast"], ["ballast/least"], keepdims=0),
            helper.make_node("Cast", ["ballast/least"], ["ballast/nothing"], to=onnx.TensorProto.INT64),
            helper.make_node("Add", ["counted", "ballast/nothing"], ["counts"]),
        ]
    )
    return model


def test_a_larger_model_takes_more_and_this_process_counts_nothing(bench: Bench) -> None:
    plain = peak_memory(bench.write(bench.good()), (80, 80), 1)
    heavy = peak_memory(bench.write(_with_ballast(bench.good(), 100)), (80, 80), 1)
    assert 40 < plain < 350  # this process has torch and more
    assert 100 < heavy - plain < 450


def test_onnx_is_run_without_torch(bench: Bench) -> None:
    path = bench.write(bench.good())
    code = (
        "import sys; from reprolens.export.gate import memory; "
        f"sys.argv = ['memory', {str(path)!r}, '80', '80', '1']; memory.main(); print('torch' in sys.modules)"
    )
    source = str(Path(__file__).parents[3] / "src")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": source})
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_a_file_that_does_not_run_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ExportError, match=r"model\.onnx: onnxruntime cannot load it") as caught:
        peak_memory(tmp_path / "model.onnx", (80, 80), 1)
    assert "\n" not in str(caught.value)
