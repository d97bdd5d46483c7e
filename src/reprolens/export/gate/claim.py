"""Is a file what it says it is? Told from its structure, so that what no number shows is caught too.

A BatchNorm that is left, or blocks that are not folded, give the same numbers in more time; one in training mode gives
nearly the same on the pictures that it is compared on.
"""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from reprolens.config import ExportFormat
from reprolens.export.dense import fixed_part
from reprolens.export.formats import FORMATS, Written
from reprolens.export.gate.operators import check_operators, told_convolutions, told_learning, told_unfused
from reprolens.export.layers import LAYERS
from reprolens.export.source import Source
from reprolens.inference.model import Contract, Model
from reprolens.models.mask_rcnn import without_masks

_CONVOLUTIONS = {"Conv", "ConvInteger", "FusedConv", "QLinearConv"}
_QUANTISED = {"ConvInteger": 1, "MatMulInteger": 1, "QLinearConv": 3, "QLinearMatMul": 3}
"""Layers that take integers, and which of their inputs are the weights."""
_TYPES = {"float16": {TensorProto.FLOAT16}, "int8": {TensorProto.INT8, TensorProto.UINT8}}
_INPUTS = {"images": (TensorProto.UINT8, 4)}
_DETECTIONS = {
    "boxes": (TensorProto.FLOAT, 3),
    "scores": (TensorProto.FLOAT, 2),
    "labels": (TensorProto.INT64, 2),
    "counts": (TensorProto.INT64, 1),
}
_CANDIDATES = {"candidate_boxes": (TensorProto.FLOAT, 3), "candidate_scores": (TensorProto.FLOAT, 3)}


def check_claim(source: Source, format: ExportFormat, path: Path, model: Model, written: Written) -> list[str]:
    """Return what is wrong with the file at `path`, loaded as `model`: a line each, none if it is what it says."""
    postprocess = source.config.postprocess and format != ExportFormat.torch_export
    expected = source.contract(format, written.batch, postprocess)
    reasons = _differing(model.contract, expected)
    convolutions = count_convolutions(source)
    if path.suffix != ".onnx":
        return [*reasons, *check_operators(path, convolutions)]
    file = onnx.load(path)
    return [
        *reasons,
        *_check_signature(file.graph, expected),
        *_check_mode(file),
        *_check_folded(file, convolutions),
        *_check_precision(file, FORMATS[format].precision),
    ]


def count_convolutions(source: Source) -> int:
    """Return how many convolutions the folded and fused network runs for a picture, however it calls them."""
    size = source.trained.options.image_size
    part = fixed_part(source.network, (size[0], size[1])).eval()
    with torch.no_grad(), without_masks(source.network), _Convolutions() as run:
        part(torch.zeros(1, 3, *size))
    return run.count


class _Convolutions(TorchDispatchMode):
    """Counts the convolutions that torch runs; transposed ones are another operator in ONNX."""

    count = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Tensor:
        if operator.name() in ("aten::convolution", "aten::conv2d") and not (len(args) > 6 and args[6] is True):
            self.count += 1
        return operator(*args, **kwargs or {})


def _differing(said: Contract, expected: Contract) -> list[str]:
    reasons = []
    for field in fields(Contract):
        given, wanted = getattr(said, field.name), getattr(expected, field.name)
        if given == wanted:
            continue
        if field.name == "classes":
            reasons.append("names other classes than the model has")
        else:
            reasons.append(f"says that its {field.name} is {given}, the model's is {wanted}")
    return reasons


def _check_signature(graph: GraphProto, contract: Contract) -> list[str]:
    """Check names, types and ranks of what goes in and out."""
    reasons = []
    outputs = _DETECTIONS if contract.postprocess else _CANDIDATES
    for what, values, wanted in (("takes", graph.input, _INPUTS), ("gives", graph.output, outputs)):
        found = {
            value.name: (value.type.tensor_type.elem_type, len(value.type.tensor_type.shape.dim)) for value in values
        }
        for name, kind in wanted.items():
            if name not in found:
                reasons.append(f"{what} no {name}")
            elif found[name] != kind:
                given, right = (
                    f"{TensorProto.DataType.Name(type).lower()} of rank {rank}" for type, rank in (found[name], kind)
                )
                reasons.append(f"{what} {name} as {given}, not as {right}")
    return reasons


def _check_mode(file: ModelProto) -> list[str]:
    """Check that nothing is left that only training needs."""
    nodes = list(_nodes(file))
    learning = sum(_attribute(node, "training_mode") == 1 for node in nodes if node.op_type == "BatchNormalization")
    return told_learning(learning, sum(node.op_type == "Dropout" for node in nodes))


def _check_folded(file: ModelProto, convolutions: int) -> list[str]:
    """Check that what can be one convolution is one."""
    nodes = list(_nodes(file))
    count = sum(node.op_type in _CONVOLUTIONS for node in nodes)
    return [*told_convolutions(count, convolutions), *told_unfused(sum(1 for _ in _unfused(nodes)))]


def _unfused(nodes: list[NodeProto]) -> Iterator[NodeProto]:
    """Yield BatchNorms that alone take what a convolution gives; others, as before an activation, cannot be fused."""
    convolutions = {node.output[0]: node for node in nodes if node.op_type in _CONVOLUTIONS}
    uses: dict[str, int] = {}
    norms_of: dict[str, set[str]] = {}
    norms = [node for node in nodes if node.op_type == "BatchNormalization"]
    for name in (name for node in nodes for name in node.input):
        uses[name] = uses.get(name, 0) + 1
    for norm in norms:
        if norm.input[0] in convolutions:
            norms_of.setdefault(convolutions[norm.input[0]].input[1], set()).add(norm.input[1])
    for norm in norms:
        convolution = convolutions.get(norm.input[0])
        # A convolution that several BatchNorms follow, one a level of a pyramid, stays one convolution.
        if convolution is not None and uses[norm.input[0]] == 1 and len(norms_of[convolution.input[1]]) == 1:
            yield norm


def _check_precision(file: ModelProto, precision: str) -> list[str]:
    """Check that the numbers are of the precision whose limits the gate will apply: of float32 all, of the others at
    least half of the layers' weights, since some layers lose too much.
    """
    if precision == "float32":
        quantised = any(node.op_type in ("QuantizeLinear", *_QUANTISED) for node in _nodes(file))
        halves = any(tensor.data_type == TensorProto.FLOAT16 for tensor in file.graph.initializer)
        found = "8-bit" if quantised else "float16"
        return [f"is to be float32, but its numbers are {found}"] if quantised or halves else []
    types = _weight_types(file)
    count = sum(type in _TYPES[precision] for type in types.values())
    return [f"only {count} of {len(types)} layers are {precision}"] if 2 * count < max(1, len(types)) else []


def _weight_types(file: ModelProto) -> dict[str, int]:
    """Return the type of the weights of each layer, by their name; it is that of the integers where these are made
    floats by DequantizeLinear.
    """
    nodes = list(_nodes(file))
    types = {tensor.name: tensor.data_type for tensor in file.graph.initializer}
    made = {node.output[0]: node.input[0] for node in nodes if node.op_type == "DequantizeLinear"}
    places = {**dict.fromkeys(LAYERS, 1), **_QUANTISED}
    weights = [node.input[places[node.op_type]] for node in nodes if node.op_type in places]
    names = [made.get(name, name) for name in weights]
    return {name: types[name] for name in names if name in types}


def _nodes(file: ModelProto) -> Iterator[NodeProto]:
    """Yield the nodes of a file, those of its functions and branches too."""
    waiting = [*file.graph.node, *(node for function in file.functions for node in function.node)]
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            waiting += attribute.g.node
            waiting += [inner for graph in attribute.graphs for inner in graph.node]


def _attribute(node: NodeProto, name: str) -> int | None:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), None)
