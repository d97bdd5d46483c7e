"""OpenVINO's own format: the .xml is the graph, the .bin of the same name its weights, in float32.

OpenVINO reads ONNX's Resize but leaves out that it is antialiased, so a picture made smaller would be another one (by
half of the pixels' range, in version 2026.4). Here it is resized by two matrices, which is the same arithmetic.
"""

import tempfile
from pathlib import Path

import openvino
from onnx import ModelProto, parser

from reprolens.config import ExportFormat
from reprolens.errors import ExportError
from reprolens.export.formats import Written
from reprolens.export.onnx import assemble, save
from reprolens.export.source import Source
from reprolens.inference.model import KEY
from reprolens.inference.openvino_model import last_line

_WEIGHTS = """
    {axis}_shape = Shape <start = {place}, end = {end}> (images)
    {axis}_float = Cast <to = 1> ({axis}_shape)
    {axis}_given = Squeeze ({axis}_float)
    {axis}_ratio = Div ({axis}_given, {axis}_wanted)
    {axis}_reach = Max ({axis}_ratio, resize_one)
    {axis}_middles = Mul ({axis}_places, {axis}_ratio)
    {axis}_centres = Sub ({axis}_middles, resize_half)
    {axis}_pixels = Range (resize_zero, {axis}_given, resize_one)
    {axis}_offsets = Sub ({axis}_pixels, {axis}_centres)
    {axis}_distances = Abs ({axis}_offsets)
    {axis}_parts = Div ({axis}_distances, {axis}_reach)
    {axis}_rest = Sub (resize_one, {axis}_parts)
    {axis}_triangles = Relu ({axis}_rest)
    {axis}_sums = ReduceSum ({axis}_triangles, resize_across)
    {axis}_weights = Div ({axis}_triangles, {axis}_sums)
"""
"""`(wanted, given)`: how much of each given pixel is in each wanted one; a triangle over two wanted pixels or, if those
are smaller, over two given ones. That is what torch's antialiased bilinear interpolation does.
"""


def write_openvino(source: Source, path: Path) -> Written:
    """Write the model to `path`, an .xml, and its weights beside it. Raises ExportError if OpenVINO cannot take it."""
    parts = source.parts
    contract = source.contract(ExportFormat.openvino, parts.batch)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as folder:
        given, made = Path(folder) / "model.onnx", Path(folder) / path.name
        save(_resized_by_matrices(assemble(parts, contract), contract.size), given)
        try:
            model = openvino.convert_model(given)
            _name_by_place(model)
            model.set_rt_info(contract.to_json(), KEY)
            openvino.save_model(model, made, compress_to_fp16=False)
        except Exception as error:  # OpenVINO raises kinds of its own
            raise ExportError(f"{contract.model}: OpenVINO cannot take it ({last_line(error)})") from None
        _place(made, path)
    return Written(parts.batch, {})


def _resized_by_matrices(model: ModelProto, size: tuple[int, int]) -> ModelProto:
    """Replace the node that resizes the pictures by products with a matrix for each axis, in place."""
    [place] = [place for place, node in enumerate(model.graph.node) if node.output[0] == "resized"]
    given = model.graph.node.pop(place).input[0]
    part = parser.parse_graph(_matrices(given, size))
    for node in reversed(part.node):
        model.graph.node.insert(place, node)
    model.graph.initializer.extend(part.initializer)
    return model


def _matrices(given: str, size: tuple[int, int]) -> str:
    constants = ["float resize_zero = {0.0}", "float resize_half = {0.5}", "float resize_one = {1.0}"]
    constants += ["int64[1] resize_across = {1}"]
    lines = []
    for place, (axis, wanted) in enumerate(zip(("height", "width"), size, strict=True), 1):
        middles = ", ".join(f"{pixel}.5" for pixel in range(wanted))
        constants += [f"float {axis}_wanted = {{{wanted}.0}}", f"float[{wanted}, 1] {axis}_places = {{{middles}}}"]
        lines.append(_WEIGHTS.format(axis=axis, place=place, end=place + 1))
    return f"""
resize (float[batch, 3, height, width] {given}, uint8[batch, height, width, 3] images)
    => (float[batch, 3, h, w] resized)
<{", ".join(constants)}>
{{{"".join(lines)}
    across_width = Transpose <perm = [1, 0]> (width_weights)
    narrowed = MatMul ({given}, across_width)
    resized = MatMul (height_weights, narrowed)
}}
"""


def _name_by_place(model: openvino.Model) -> None:
    """Name the nodes by their kind and place, in branches too; OpenVINO numbers them through the process's life."""
    kept = {value.get_node().friendly_name for value in (*model.inputs, *model.outputs)}
    for place, node in enumerate(model.get_ordered_ops()):
        if node.friendly_name not in kept:
            node.friendly_name = f"{node.get_type_name()}_{place}"
        if node.get_type_name() == "If":
            for branch in (0, 1):
                _name_by_place(node.get_function(branch))


def _place(made: Path, path: Path) -> None:
    """Move the pair to its place, the .xml last: where it is, its weights are."""
    for suffix in (".bin", ".xml"):
        file = made.with_suffix(suffix)
        file.chmod(0o644)
        file.replace(path.with_suffix(suffix))
