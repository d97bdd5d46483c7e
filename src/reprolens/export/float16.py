"""ONNX whose network is of 16-bit floats: half the size, and faster on GPUs. On CPUs onnxruntime works in 32 bits.

Pre- and post-processing and the decoding of boxes stay float32, and so do layers with numbers beyond what 16 bits hold.
onnxruntime's own converter rounds every number to 16 bits, between nodes that stay float32 too; hence this one.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from reprolens.config import ExportFormat
from reprolens.export.calibration import HIGHEST, LOWEST, Floats, calibration_pixels, float_types, measure
from reprolens.export.formats import Written
from reprolens.export.layers import find_layers, network_nodes, with_names
from reprolens.export.onnx import assemble, save
from reprolens.export.source import Source

LARGEST = float(np.finfo(np.float16).max)
_MARGIN = 4.0
"""How much larger than in the pictures that were tried numbers may be in others."""
_PICTURES = 16
_NOT_IN_16_BITS = {"CumSum", "GridSample", "Max", "Min", "NonMaxSuppression", "Range", "RoiAlign", "TopK"}
"""Operators that runtimes lack in float16."""
_ALWAYS_FLOAT32 = {"Resize": (1, 2)}
"""Inputs that are float32 whatever the operator works on: the region and the scales."""


def write_float16(source: Source, path: Path) -> Written:
    """Write the model with its network in float16. Raises ExportError if torch cannot export it."""
    parts = source.parts
    network = with_names(parts.network)
    outputs = [name for node in network.graph.node for name in node.output]
    wide = too_wide(network, measure(network, outputs, calibration_pixels(source, _PICTURES)))
    converted = replace(parts, network=to_float16(network, keep=wide))
    save(assemble(converted, source.contract(ExportFormat.onnx_float16, parts.batch)), path)
    layers = find_layers(network.graph)
    kept = [layer.name for layer in layers if wide.intersection(layer.nodes)]
    return Written(parts.batch, {"layers": len(layers), "layers_in_float32": len(kept)})


def too_wide(network: ModelProto, seen: Mapping[str, Floats]) -> set[str]:
    """Return the names of nodes that take or give numbers that 16 bits do not hold; `seen` as `measure` gives it."""
    large = {name for name, rows in seen.items() if np.abs(rows[:, [LOWEST, HIGHEST]]).max() * _MARGIN > LARGEST}
    for tensor in network.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            if (np.abs(values[np.isfinite(values)]) > LARGEST).any():
                large.add(tensor.name)
    return {node.name for node in network.graph.node if large.intersection((*node.input, *node.output))}


def to_float16(network: ModelProto, keep: Collection[str] = ()) -> ModelProto:
    """Return a copy of `network`, whose nodes have names, with its layers and what flows into them in float16.

    Nodes named in `keep` stay float32, and so do the inputs and outputs.
    """
    network_names, outputs = network_nodes(network.graph), {value.name for value in network.graph.output}
    inside = {
        node.name
        for node in network.graph.node
        if node.name in network_names
        and node.name not in keep
        and outputs.isdisjoint(node.output)
        and _has_float16(node)
    }
    return _Conversion(network, inside).run()


def _has_float16(node: NodeProto) -> bool:
    branches = any(attribute.type == AttributeProto.GRAPH for attribute in node.attribute)
    return node.op_type not in _NOT_IN_16_BITS and not branches


class _Conversion:
    """One run of `to_float16`: copies the nodes one by one, with casts where a number goes in or out."""

    def __init__(self, network: ModelProto, inside: Collection[str]) -> None:
        self.model, self.inside = ModelProto(), inside
        self.model.CopyFrom(network)
        graph = self.model.graph
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        numbers = [name for name, tensor in self.weights.items() if tensor.data_type == TensorProto.FLOAT]
        self.floats = {*float_types(network), *numbers}
        self.halves: set[str] = set()
        """Tensors that were made in float16; beside each may be a copy in float32, and beside others one in float16."""
        self.copies: set[str] = set()
        self.nodes: list[NodeProto] = []

    def run(self) -> ModelProto:
        graph = self.model.graph
        for node in list(graph.node):
            self._in_float16(node) if node.name in self.inside else self._in_float32(node)
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in _all_inputs(node)}
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        return self.model

    def _in_float16(self, node: NodeProto) -> None:
        for place, name in enumerate(node.input):
            if name in self.floats and place not in _ALWAYS_FLOAT32.get(node.op_type, ()):
                node.input[place] = name if name in self.halves else self._copy(name, TensorProto.FLOAT16)
            elif name in self.halves:
                node.input[place] = self._copy(name, TensorProto.FLOAT)
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
            elif attribute.type == AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
                attribute.t.CopyFrom(_half(attribute.t, attribute.t.name))
        self.halves.update(name for name in node.output if name in self.floats)
        self.nodes.append(node)

    def _in_float32(self, node: NodeProto) -> None:
        renamed = {name: self._copy(name, TensorProto.FLOAT) for name in _all_inputs(node) if name in self.halves}
        _rename_inputs(node, renamed)
        self.nodes.append(node)

    def _copy(self, name: str, type: int) -> str:
        """Return the name of tensor `name` in the other type; it is made when it is first wanted."""
        copy = f"{name}/{'float16' if type == TensorProto.FLOAT16 else 'float32'}"
        if copy not in self.copies:
            self.copies.add(copy)
            if name in self.weights:
                self.model.graph.initializer.append(_half(self.weights[name], copy))
            else:
                self.nodes.append(helper.make_node("Cast", [name], [copy], name=f"Cast/{copy}", to=type))
        return copy


def _half(tensor: TensorProto, name: str) -> TensorProto:
    """Return a float32 tensor in float16; numbers that are too small for it become 0, infinite ones stay so."""
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name)


def _all_inputs(node: NodeProto) -> Iterator[str]:
    """Yield what a node takes, and what its branches take."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _all_inputs(inner)


def _rename_inputs(node: NodeProto, names: Mapping[str, str]) -> None:
    for place, name in enumerate(node.input):
        node.input[place] = names.get(name, name)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            _rename_inputs(inner, names)
