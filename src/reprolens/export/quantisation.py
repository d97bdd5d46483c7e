"""A network's layers in 8 bits: ONNX's QuantizeLinear and DequantizeLinear around what stays as it is (QDQ).

Weights are signed and have a scale for each output channel, activations are unsigned: that is what onnxruntime is fast
with on x86 (VNNI, AMX); signed activations are slower there than float32. What lies between two convolutions is
quantised too, so that numbers do not go back and forth. Decoding stays float. Jacob et al., 2018, arXiv:1712.05877;
Wu et al., 2020, arXiv:2004.09602.
"""

import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from reprolens.export.calibration import (
    HIGH,
    HIGHEST,
    LOW,
    LOWEST,
    USUAL_HIGH,
    USUAL_LOW,
    Floats,
    by_channel,
    open_session,
    showing,
)
from reprolens.export.layers import LAYERS, find_layers, network_nodes, with_names
from reprolens.export.quiet import quiet

Range = tuple[float, float]

_BETWEEN = {"Add", "AveragePool", "Clip", "Concat", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Relu", "Resize"}
"""Operators that may be quantised between convolutions."""
_UNARY = _BETWEEN - {"Add", "Concat"}
OF_FLOAT_OUTPUT = ["Gemm", "MatMul"]
"""Layers that onnxruntime runs in 8 bits though they give float, as norms and softmax want it."""

METHODS: Mapping[str, Callable[[Floats], Range]] = {
    "extremes": lambda rows: (float(rows[:, LOWEST].min()), float(rows[:, HIGHEST].max())),
    "mean extremes": lambda rows: (float(rows[:, LOWEST].mean()), float(rows[:, HIGHEST].mean())),
    "quantiles": lambda rows: (float(rows[:, LOW].mean()), float(rows[:, HIGH].mean())),
    "usual channels": lambda rows: (float(rows[:, USUAL_LOW].mean()), float(rows[:, USUAL_HIGH].mean())),
}
"""How the range of a tensor can follow from its numbers `(pictures, 6)` in each picture: what is beyond is cut off."""


def choose_ranges(network: ModelProto, seen: Mapping[str, Floats], pictures: Iterable[Floats]) -> dict[str, Range]:
    """Return for each tensor the range by which 8 bits make the least noise in it on `pictures (1, 3, h, w)`.

    `seen` is what `measure` saw. Channels count alike: the bias of -10000 that a class which is never to be found has
    would otherwise leave nothing of the others.
    """
    names = list(seen)
    session = open_session(showing(network, names))
    lost = {name: dict.fromkeys(METHODS, 0.0) for name in names}
    for pixels in pictures:
        for name, values in zip(names, session.run(names, {"pixels": pixels}), strict=True):
            for method, take in METHODS.items():
                lost[name][method] += channel_noise(values, in_8_bits(values, take(seen[name])))
    return {name: METHODS[min(METHODS, key=lost[name].__getitem__)](rows) for name, rows in seen.items()}


def in_8_bits(values: Floats, bounds: Range) -> Floats:
    """Return activations as they come back from 8 bits."""
    scale, zero = scale_and_zero(bounds)
    return ((np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale).astype(np.float32)


def scale_and_zero(bounds: Range) -> tuple[np.float32, np.uint8]:
    """Return how wide a step of 8 bits is if they reach over `bounds` and 0, and which step 0 is."""
    low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)
    scale = np.float32((high - low) / 255 or 1.0)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))


def channel_noise(clean: Floats, noisy: Floats) -> float:
    """Return the power of the difference over that of the signal, at most 1 for each channel, meaned over them."""
    one, other = by_channel(clean), by_channel(noisy)
    if not one.size:
        return 0.0
    power = one.var(axis=1)
    gap = np.square(one - other).mean(axis=1) / np.where(power > 0, power, 1)
    return float(np.where(np.isfinite(gap), np.minimum(gap, 1), 1).mean())


def prepare(network: ModelProto) -> ModelProto:
    """Return `network` as onnxruntime would simplify it when it loads it: constants folded, activations fused."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "network.onnx"
        onnx.save(with_names(network), path)
        quant_pre_process(path, path, skip_symbolic_shape=True)
        prepared = with_names(onnx.load(path))
    used = {node.domain for node in prepared.graph.node}
    imports = [entry for entry in prepared.opset_import if entry.domain in used]
    del prepared.opset_import[:], prepared.metadata_props[:]
    prepared.opset_import.extend(imports)
    return prepared


def quantise(network: ModelProto, ranges: Mapping[str, Range], floats: Collection[str] = ()) -> ModelProto:
    """Return a copy of a prepared network with its layers in 8 bits, but those named in `floats`.

    `ranges` has the lowest and the highest number of each tensor.
    """
    copy = ModelProto()
    copy.CopyFrom(network)
    nodes = quantised_nodes(network.graph, floats)
    data = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()}
    with quiet():
        quantizer = QDQQuantizer(
            copy,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, data),
            nodes_to_quantize=[node.name for node in nodes],
            nodes_to_exclude=[],
            op_types_to_quantize=sorted({node.op_type for node in nodes}),
            extra_options={"OpTypesToExcludeOutputQuantization": OF_FLOAT_OUTPUT},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    return quantizer.model.model


def quantised_nodes(graph: GraphProto, floats: Collection[str] = ()) -> list[NodeProto]:
    """Return the nodes of the layers not in `floats`, and those between them that take nothing but their numbers.

    Nor are those that give the layers in `floats` their numbers, which would come from 8 bits otherwise.
    """
    weights = {tensor.name for tensor in graph.initializer} | {""}
    network, swishes = network_nodes(graph), _swishes(graph)
    layers = {name for layer in find_layers(graph) for name in layer.nodes}
    left = _with_givers(graph, {name for layer in find_layers(graph) if layer.name in floats for name in layer.nodes})
    found: list[NodeProto] = []
    quantised: set[str] = set()
    for node in graph.node:
        between = node.name in network and (node.op_type in _BETWEEN or node.name in swishes)
        fits = between and all(name in quantised or name in weights for name in node.input)
        if node.name not in left and (node.name in layers or fits):
            found.append(node)
            quantised.update(node.output if node.op_type not in OF_FLOAT_OUTPUT else ())
    return found


def layers_left(graph: GraphProto, floats: Collection[str]) -> list[str]:
    """Return the names of the layers that are not, or not everywhere, in 8 bits if those in `floats` are to be left."""
    quantised = {node.name for node in quantised_nodes(graph, floats)}
    return [layer.name for layer in find_layers(graph) if not quantised.issuperset(layer.nodes)]


def _with_givers(graph: GraphProto, layers: set[str]) -> set[str]:
    """Return the nodes named in `layers` and those that make their inputs, back to a layer or where several meet."""
    producers = {name: node for node in graph.node for name in node.output}
    swishes = _swishes(graph)
    found = set(layers)
    waiting = [node.input[0] for node in graph.node if node.name in layers]
    while waiting:
        giver = producers.get(waiting.pop())
        if giver is None or giver.name in found:
            continue
        if giver.op_type in LAYERS or giver.op_type in _BETWEEN or giver.name in swishes:
            found.add(giver.name)
        if giver.op_type in _UNARY or giver.name in swishes:
            waiting += giver.input
    return found


def _swishes(graph: GraphProto) -> set[str]:
    """Return the names of the nodes of activations x * sigmoid(x), which ONNX writes as two."""
    sigmoids = {node.output[0]: node for node in graph.node if node.op_type == "Sigmoid"}
    found: set[str] = set()
    for node in graph.node:
        for one, other in (node.input, reversed(node.input)) if node.op_type == "Mul" else ():
            if other in sigmoids and sigmoids[other].input[0] == one:
                found.update((node.name, sigmoids[other].name))
    return found
