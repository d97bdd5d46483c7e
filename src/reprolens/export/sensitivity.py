"""How much a network's outputs suffer from 8 bits, from all layers together and from each one alone.

What counts is the noise in what leaves the network for decoding: behind it a score that is cut, or a box that is
suppressed, says little about where the noise came from.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from reprolens.export.calibration import Floats, float_types, open_session, showing
from reprolens.export.layers import LAYERS, Layer, data_inputs, find_layers, network_nodes
from reprolens.export.quantisation import OF_FLOAT_OUTPUT, Range, channel_noise, scale_and_zero

_WHICH = "quantised_layer"


def noise(network: ModelProto, quantised: ModelProto, pictures: Sequence[Floats]) -> float:
    """Return the noise that `quantised` adds to what `network` gives for `pictures (1, 3, h, w)`.

    It is `channel_noise`, meaned over tensors and pictures.
    """
    names = ends(network.graph)
    decoded = _as_decoded(quantised, names)
    one, other = open_session(showing(network, names)), open_session(showing(quantised, decoded))
    gaps = []
    for pixels in pictures:
        given = {"pixels": pixels}
        gaps.append(_noise(one.run(names, given), other.run(decoded, given)))
    return float(np.mean(gaps))


def rank(network: ModelProto, ranges: Mapping[str, Range], pictures: Sequence[Floats]) -> list[tuple[Layer, float]]:
    """Return the layers of a prepared network with the noise that each makes if it alone is in 8 bits, worst first.

    One session does it all: each layer's input and output can be switched to 8 bits, and weights can be given anew.
    """
    names, layers = ends(network.graph), find_layers(network.graph)
    session = open_session(_with_switches(showing(network, names), layers, ranges))
    weights = {tensor.name: tensor for tensor in network.graph.initializer}
    axes = _channel_axes(network.graph)
    clean = [session.run(names, _given(pixels, -1)) for pixels in pictures]
    found = []
    for place, layer in enumerate(layers):
        weight = _weight_in_8_bits(numpy_helper.to_array(weights[layer.weight]), axes[layer.weight])
        gaps = [
            _noise(expected, session.run(names, {**_given(pixels, place), layer.weight: weight}))
            for pixels, expected in zip(pictures, clean, strict=True)
        ]
        found.append((layer, float(np.mean(gaps))))
    return sorted(found, key=lambda item: -item[1])


def ends(graph: GraphProto) -> list[str]:
    """Return the tensors in which the network's numbers leave it: given by one of its nodes, taken by another."""
    network = network_nodes(graph)
    taken = {name for node in graph.node if node.name not in network for name in data_inputs(node)}
    taken.update(value.name for value in graph.output)
    return [name for node in graph.node if node.name in network for name in node.output if name in taken]


def _noise(clean: Sequence[Floats], noisy: Sequence[Floats]) -> float:
    """Return the mean noise of tensors; behind proposals there may be more or fewer rows, which are all noise."""
    pairs = zip(clean, noisy, strict=True)
    gaps = [channel_noise(*pair) if pair[0].shape == pair[1].shape else 1.0 for pair in pairs]
    return float(np.mean(gaps)) if gaps else 0.0


def _as_decoded(quantised: ModelProto, names: Sequence[str]) -> list[str]:
    """Return for each tensor the one that stands for it behind its way through 8 bits."""
    inner = {node.input[0]: node.output[0] for node in quantised.graph.node if node.op_type == "QuantizeLinear"}
    outer = {node.input[0]: node.output[0] for node in quantised.graph.node if node.op_type == "DequantizeLinear"}
    return [outer.get(inner.get(name, ""), name) for name in names]


def _given(pixels: Floats, place: int) -> dict[str, NDArray]:
    return {"pixels": pixels, _WHICH: np.array(place)}


def _with_switches(network: ModelProto, layers: Sequence[Layer], ranges: Mapping[str, Range]) -> ModelProto:
    """Return `network` with one more input: the place of the layer whose inputs and outputs go through 8 bits.

    The weights become inputs as well, which need not be given.
    """
    types, graph = float_types(network), network.graph
    places = {name: place for place, layer in enumerate(layers) for name in layer.nodes}
    clipped = {node.input[0] for node in graph.node if node.op_type in ("Clip", "Relu")}  # 8 bits come behind these
    nodes: list[NodeProto] = []
    for node in graph.node:
        place = places.get(node.name)
        nodes.append(node)
        if place is None:
            continue
        tensor, output = node.input[0], node.output[0]
        if tensor in ranges and tensor in types:
            node.input[0] = f"{node.name}/input"
            nodes[-1:] = [*_switch(tensor, node.input[0], place, ranges[tensor]), node]
        if node.op_type not in OF_FLOAT_OUTPUT and output in ranges and output not in clipped:
            node.output[0] = f"{node.name}/output"
            nodes += _switch(node.output[0], output, place, ranges[output])
    del graph.node[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info(_WHICH, TensorProto.INT64, []))
    weights = {layer.weight for layer in layers}
    graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in graph.initializer
        if tensor.name in weights
    )
    return network


def _switch(given: str, output: str, place: int, bounds: Range) -> list[NodeProto]:
    """Return nodes that give `given` as `output`, through 8 bits if the layer at `place` is the one asked for."""
    scale, zero = scale_and_zero(bounds)
    constants = {f"{output}/scale": scale, f"{output}/zero": zero, f"{output}/place": np.int64(place)}
    names = list(constants)
    through = [
        helper.make_node("QuantizeLinear", [given, *names[:2]], [f"{output}/8 bits"]),
        helper.make_node("DequantizeLinear", [f"{output}/8 bits", *names[:2]], [f"{output}/through"]),
    ]
    past = [helper.make_node("Identity", [given], [f"{output}/past"])]
    branches = {
        "then_branch": helper.make_graph(through, "through", [], [_float(f"{output}/through")]),
        "else_branch": helper.make_graph(past, "past", [], [_float(f"{output}/past")]),
    }
    return [
        *(
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value)))
            for name, value in constants.items()
        ),
        helper.make_node("Equal", [_WHICH, names[2]], [f"{output}/asked"]),
        helper.make_node("If", [f"{output}/asked"], [output], **branches),
    ]


def _float(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def _channel_axes(graph: GraphProto) -> dict[str, int]:
    """Return for each weight the axis of its output channels."""
    axes = {}
    for node in graph.node:
        if node.op_type in LAYERS:
            turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            axes[node.input[1]] = 0 if node.op_type == "Conv" or turned else 1
    return axes


def _weight_in_8_bits(weight: Floats, axis: int) -> Floats:
    """Return a weight as it is when it comes back from 8 bits with a scale for each channel."""
    others = tuple(place for place in range(weight.ndim) if place != axis)
    scale = np.abs(weight).max(axis=others, keepdims=True) / 127
    scale[scale == 0] = 1
    return (np.round(weight / scale) * scale).astype(np.float32)
