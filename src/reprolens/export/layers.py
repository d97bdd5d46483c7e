"""Which nodes of an exported network are the network itself, and which decode boxes and scores or choose among them.

Only the network may be written in fewer bits: half a pixel is lost at once where a box's coordinates have 11 bits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

_MOVES = (
    *("Expand", "Gather", "GatherElements", "GatherND", "GridSample", "Pad", "Reshape", "Resize", "RoiAlign"),
    *("Slice", "Split", "Squeeze", "Tile", "Unsqueeze"),
)
_DATA_INPUTS = {"Shape": 0, "Size": 0, **dict.fromkeys(_MOVES, 1)}
"""Of these operators only so many inputs are numbers that flow on; the others say where from and where to."""


@dataclass(frozen=True)
class Layer:
    """The nodes that share one weight, `weight`; `name` is the module's in the trained detector."""

    name: str
    weight: str
    nodes: tuple[str, ...]


def find_layers(graph: GraphProto) -> list[Layer]:
    """Return the convolutions and linear layers of a graph in their order; nodes must have names."""
    weights = {tensor.name for tensor in graph.initializer}
    nodes: dict[str, list[str]] = {}
    for node in graph.node:
        if node.op_type in LAYERS and node.input[1] in weights:
            nodes.setdefault(node.input[1], []).append(node.name)
    return [
        Layer(weight.removeprefix("detector.").removesuffix(".weight"), weight, tuple(names))
        for weight, names in nodes.items()
    ]


def network_nodes(graph: GraphProto) -> set[str]:
    """Return the names of the layers' nodes and of the nodes whose numbers come from a layer and flow into another.

    What lies before the first and behind the last layers is not among them, nor is what only says where to look, as
    proposals do.
    """
    layers = {name for layer in find_layers(graph) for name in layer.nodes}
    producers = {name: node for node in graph.node for name in node.output}
    before: set[str] = set()
    behind: set[str] = set()
    for node in reversed(graph.node):
        if node.name in layers or node.name in before:
            before.add(node.name)
            before.update(producers[name].name for name in data_inputs(node) if name in producers)
    for node in graph.node:
        givers = {producers[name].name for name in data_inputs(node) if name in producers}
        if node.name in layers or not givers.isdisjoint(behind):
            behind.add(node.name)
    return before & behind


def data_inputs(node: NodeProto) -> Iterator[str]:
    """Yield the tensors whose numbers flow through `node`, those that its branches take from outside too."""
    yield from list(node.input)[: _DATA_INPUTS.get(node.op_type)]
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            for inner in attribute.g.node:
                yield from data_inputs(inner)


def with_names(model: ModelProto) -> ModelProto:
    """Return a copy of `model` whose nodes all have names, each its own."""
    copy = ModelProto()
    copy.CopyFrom(model)
    taken: set[str] = set()
    for place, node in enumerate(copy.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{place}"
        taken.add(node.name)
    return copy
