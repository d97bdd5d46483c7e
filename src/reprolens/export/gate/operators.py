"""The operators of files that are not ONNX, which `claim` looks through itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.fx import Node


def check_operators(path: Path, convolutions: int) -> list[str]:
    """Return, a line each, what a .pt2 or .xml has that is not in the folded and fused network, which has so many
    `convolutions`, in evaluation mode and float32.
    """
    return _check_torch_export(path, convolutions) if path.suffix == ".pt2" else _check_openvino(path, convolutions)


def told_convolutions(count: int, convolutions: int) -> list[str]:
    """Return what is wrong with so many convolutions. Fewer are right: what is constant is computed beforehand."""
    if count <= convolutions:
        return []
    return [f"has {count} convolutions, the folded network {convolutions}: its blocks are not folded"]


def told_learning(norms: int, dropouts: int) -> list[str]:
    """Return what is wrong with so many BatchNorms in training mode and Dropouts."""
    reasons = []
    if norms:
        reasons.append(f"was exported in training mode: {norms} BatchNormalization normalise by the batch")
    if dropouts:
        reasons.append(f"was exported in training mode: it has {dropouts} Dropout")
    return reasons


def told_unfused(norms: int) -> list[str]:
    """Return what is wrong with so many BatchNorms right behind a convolution."""
    return [f"has {norms} BatchNormalization that belong into the convolutions before them"] if norms else []


def _check_torch_export(path: Path, convolutions: int) -> list[str]:
    nodes = list(torch.export.load(path).graph.nodes)
    count = sum(_is_convolution(node) for node in nodes)
    norms = [node for node in nodes if "batch_norm" in _name(node)]
    learning = sum(_argument(norm, "training") is True for norm in norms)
    dropouts = sum("dropout" in _name(node) and _argument(node, "train") is True for node in nodes)
    return [
        *told_learning(learning, dropouts),
        *told_convolutions(count, convolutions),
        *told_unfused(sum(1 for _ in _unfused(norms))),
    ]


def _unfused(norms: list[Node]) -> Iterator[Node]:
    """Yield BatchNorms that alone take what a convolution gives, whose weights no other one follows."""
    pairs = [(given, norm) for norm in norms if isinstance(given := norm.args[0], Node) and _is_convolution(given)]
    norms_of: dict[Any, set[Any]] = {}
    for convolution, norm in pairs:
        norms_of.setdefault(convolution.args[1], set()).add(norm.args[1])
    for convolution, norm in pairs:
        if len(convolution.users) == 1 and len(norms_of[convolution.args[1]]) == 1:
            yield norm


def _is_convolution(node: Node) -> bool:
    if _name(node) == "aten::convolution":
        return _argument(node, "transposed") is not True
    return _name(node) in ("aten::conv1d", "aten::conv2d", "aten::conv3d")


def _name(node: Node) -> str:
    """Return the name of the operator that a node calls, without its overload; nothing if it calls none of torch's."""
    return node.target._schema.name if isinstance(node.target, torch._ops.OpOverload) else ""


def _argument(node: Node, name: str) -> Any:
    """Return an argument of an operator, None if it is not given or there is none of this name."""
    places = [place for place, entry in enumerate(node.target._schema.arguments) if entry.name == name]  # type: ignore[union-attr]
    given = node.args[places[0] : places[0] + 1] if places else ()
    return given[0] if given else node.kwargs.get(name)


def _check_openvino(path: Path, convolutions: int) -> list[str]:
    import openvino

    operators = list(_operators(openvino.Core().read_model(path)))
    kinds = [operator.get_type_name() for operator in operators]
    constants = {operator.get_element_type() for operator in operators if operator.get_type_name() == "Constant"}
    reasons = told_convolutions(sum(kind in ("Convolution", "GroupConvolution") for kind in kinds), convolutions)
    if "FakeQuantize" in kinds or openvino.Type.i8 in constants:
        reasons.append("is to be float32, but its numbers are 8-bit")
    elif constants & {openvino.Type.f16, openvino.Type.bf16}:
        reasons.append("is to be float32, but its numbers are float16")
    return reasons


def _operators(model: Any) -> Iterator[Any]:
    """Yield a model's operators, those of branches too."""
    for operator in model.get_ordered_ops():
        yield operator
        if operator.get_type_name() == "If":
            for branch in (0, 1):
                yield from _operators(operator.get_function(branch))
