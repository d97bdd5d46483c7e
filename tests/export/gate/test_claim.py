"""What numbers do not show is told from a file's structure."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, helper, numpy_helper
from torch import nn

from export.gate.bench import Bench, quantised
from reprolens.config import ExportFormat
from reprolens.export.formats import FORMATS, Written
from reprolens.export.gate.claim import check_claim, count_convolutions
from reprolens.inference.load import load_model


def _check(bench: Bench, model: ModelProto, format: ExportFormat = ExportFormat.onnx, batch: int | None = None) -> Any:
    path = bench.write(model)
    return check_claim(bench.source, format, path, load_model(path, threads=1), Written(batch, {}))


def _with_norms(model: ModelProto, norms: int, activated: bool) -> ModelProto:
    """Put BatchNorms behind the first convolution, or behind an activation that follows it."""
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    output, place = convolution.output[0], list(model.graph.node).index(convolution) + 1
    channels = next(item.dims[0] for item in model.graph.initializer if item.name == convolution.input[1])
    convolution.output[0] = "convolved"
    model.graph.initializer.append(numpy_helper.from_array(np.ones(channels, np.float32), "ones"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(channels, np.float32), "zeros"))
    nodes = [helper.make_node("Relu", ["convolved"], ["active"])] if activated else []
    given = "active" if activated else "convolved"
    for number in range(norms):
        made = output if number == norms - 1 else f"normed {number}"
        nodes.append(helper.make_node("BatchNormalization", [given, "ones", "zeros", "zeros", "ones"], [made]))
        given = made
    for node in reversed(nodes):
        model.graph.node.insert(place, node)
    return model


def test_nothing_is_wrong_with_a_good_file(bench: Bench) -> None:
    assert _check(bench, bench.good()) == []


def test_a_batch_norm_behind_a_convolution_belongs_into_it(bench: Bench) -> None:
    reasons = _check(bench, _with_norms(bench.good(), 1, activated=False))
    assert reasons == ["has 1 BatchNormalization that belong into the convolutions before them"]


def test_a_batch_norm_behind_an_activation_can_stay(bench: Bench) -> None:
    assert _check(bench, _with_norms(bench.good(), 1, activated=True)) == []


def test_every_convolution_of_the_network_is_counted_however_it_is_called(bench: Bench) -> None:
    modules = [part for part in bench.source.network.modules() if isinstance(part, nn.Conv2d)]
    assert count_convolutions(bench.source) == len(modules) == 13


def test_a_file_may_have_fewer_convolutions_but_not_one_more(bench: Bench) -> None:
    model = bench.good()
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    twice = onnx.NodeProto()
    twice.CopyFrom(convolution)
    twice.name, twice.output[0] = "twice", "again"
    model.graph.node.insert(list(model.graph.node).index(convolution) + 1, twice)
    assert _check(bench, model) == ["has 14 convolutions, the folded network 13: its blocks are not folded"]


@pytest.mark.parametrize(("format", "said"), [(ExportFormat.onnx_int8, "int8"), (ExportFormat.onnx_float16, "float16")])
def test_a_file_of_float32_is_no_file_of_fewer_bits(format: ExportFormat, said: str, bench: Bench) -> None:
    assert _check(bench, bench.good(format), format) == [f"only 0 of 13 layers are {said}"]
    model = bench.good(format)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(9, np.float16), "half"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(9, np.int8), "eighth"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "step"))
    model.graph.node.append(helper.make_node("DequantizeLinear", ["eighth", "step"], ["of no use"]))
    assert _check(bench, model, format) == [f"only 0 of 13 layers are {said}"]


def test_half_of_the_layers_of_a_file_of_8_bits_are_of_8_bits(bench: Bench) -> None:
    int8 = ExportFormat.onnx_int8
    assert _check(bench, quantised(bench.good(int8)), int8) == []
    assert _check(bench, quantised(bench.good(int8), layers=7), int8) == []
    assert _check(bench, quantised(bench.good(int8), layers=6), int8) == ["only 6 of 13 layers are int8"]


def test_what_is_written_in_16_bits_is_of_16_bits_and_no_file_of_float32(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    written = FORMATS[ExportFormat.onnx_float16].write(bench.source, path)
    model = load_model(path, threads=1)
    assert check_claim(bench.source, ExportFormat.onnx_float16, path, model, written) == []
    reasons = check_claim(bench.source, ExportFormat.onnx, path, model, written)
    assert reasons[1:] == ["is to be float32, but its numbers are float16"]


def test_the_contract_is_compared_word_by_word(bench: Bench) -> None:
    reasons = _check(bench, bench.good(ExportFormat.openvino), batch=4)
    assert reasons == [
        "says that its format is openvino, the model's is onnx",
        "says that its batch is None, the model's is 4",
    ]


def test_types_and_ranks_are_part_of_the_claim(bench: Bench) -> None:
    model = bench.good()
    maker = next(node for node in model.graph.node if "labels" in node.output)
    maker.output[list(maker.output).index("labels")] = "labels of 64 bits"
    model.graph.node.append(helper.make_node("Cast", ["labels of 64 bits"], ["labels"], to=onnx.TensorProto.INT32))
    value = next(output for output in model.graph.output if output.name == "labels")
    value.type.tensor_type.elem_type = onnx.TensorProto.INT32
    assert _check(bench, model) == ["gives labels as int32 of rank 2, not as int64 of rank 2"]


def test_what_is_counted_leaves_the_network_as_it_was(bench: Bench, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in bench.source.network.state_dict().items()}
    count_convolutions(bench.source)
    assert all(torch.equal(value, before[name]) for name, value in bench.source.network.state_dict().items())
